//! Issuers that rotate, fail, stay silent or send nonsense, over real connections.

use super::*;
use policy::auth::jwt::KeySetView;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

/// Long enough for any machine; a test that waits for so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// An issuer that gives each request the next answer, and holds a request while there is none.
struct Issuer {
    address: SocketAddr,
    answers: mpsc::Sender<String>,
}

impl Issuer {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, queue) = mpsc::channel::<String>();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let Ok(answer) = queue.recv() else { return };
                // the client may have given up
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, answers }
    }

    fn answers(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}");
        self.answers.send(format!("{head}\r\n{body}")).unwrap();
    }

    fn set(&self) -> Arc<KeySet> {
        Arc::new(KeySet::new(format!("http://{}/keys", self.address).parse().unwrap()))
    }
}

fn jwks(kid: &str) -> String {
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}]}}"#)
}

/// The set as it is when so many fetches have ended.
async fn after(set: &KeySet, fetches: u64) -> KeySetView {
    let reached = async {
        while set.view().fetches < fetches {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("a fetch");
    set.view()
}

#[tokio::test]
async fn a_set_is_fetched_at_once_and_anew_when_a_key_is_missed() {
    let issuer = Issuer::new();
    let set = issuer.set();
    issuer.answers("200 OK", "", &jwks("a"));
    let _fetcher = Fetcher::start(Arc::clone(&set), Arc::default());
    let view = after(&set, 1).await;
    assert_eq!((view.keys, view.changes, view.error), (1, 1, None));

    issuer.answers("200 OK", "", &jwks("b"));
    let wait = set.ask(clock::now()).expect("the first one may ask");
    tokio::time::timeout(PATIENCE, wait).await.expect("who asked is woken");
    let view = set.view();
    assert_eq!((view.fetches, view.changes), (2, 2));
    assert!(set.ask(clock::now()).is_none(), "not again at once");
}

#[tokio::test]
async fn the_last_good_set_stays_whatever_the_issuer_does() {
    let issuer = Issuer::new();
    let set = issuer.set();
    let client = Client::default();
    issuer.answers("200 OK", "cache-control: max-age=77\r\n", &jwks("a"));
    assert_eq!(fetch_once(&set, &client).await, Ok(Some(Duration::from_secs(77))));
    let huge = " ".repeat((1 << 20) + 1);
    for (status, headers, body, part) in [
        ("500 Internal Server Error", "", "", "status 500"),
        ("302 Found", "location: http://evil/\r\n", "", "redirects are not followed"),
        ("204 No Content", "", "", "status 204"),
        ("200 OK", "", "<html>", "not a JWK set"),
        ("200 OK", "", r#"{"keys":[]}"#, "none of its keys"),
        ("200 OK", "", huge.as_str(), "larger than 1 MiB"),
    ] {
        issuer.answers(status, headers, body);
        assert_eq!(fetch_once(&set, &client).await, Err(()), "{status}");
        let view = set.view();
        let (_, why) = view.error.expect("a reason");
        assert!(why.contains(part), "{why}");
        assert_eq!((view.keys, view.changes), (1, 1), "{status}");
    }
    issuer.answers.send("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{".to_owned()).unwrap();
    assert_eq!(fetch_once(&set, &client).await, Err(()), "cut off");
    issuer.answers("200 OK", "", &jwks("a"));
    assert_eq!(fetch_once(&set, &client).await, Ok(None));
    assert_eq!(set.view().error, None);
    assert_eq!(set.view().changes, 1, "the same keys as before");
}

#[tokio::test]
async fn an_issuer_that_is_not_there_is_told_in_words() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let set = KeySet::new(format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap());
    drop(listener);
    assert_eq!(fetch_once(&set, &Client::default()).await, Err(()));
    let (_, why) = set.view().error.expect("a reason");
    assert!(why.to_lowercase().contains("refused"), "{why}");
    assert!(!set.was_loaded());
}

#[tokio::test]
async fn an_issuer_that_stays_silent_is_given_up() {
    let issuer = Issuer::new();
    let set = issuer.set();
    let client = Client::with_timeout(Duration::from_millis(20));
    assert_eq!(fetch_once(&set, &client).await, Err(()));
    assert_eq!(set.view().error.expect("a reason").1, "no answer within 20ms");
}

#[test]
fn ages_and_retries_are_bounded() {
    let seconds = Duration::from_secs;
    assert_eq!(age(None), seconds(600));
    assert_eq!(age(Some(seconds(0))), seconds(30));
    assert_eq!(age(Some(seconds(7200))), seconds(7200));
    assert_eq!(age(Some(Duration::MAX)), seconds(24 * 3600));
    let retries: Vec<_> = (1..9).map(|failures| retry_after(failures).as_secs()).collect();
    assert_eq!(retries, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(retry_after(u32::MAX), seconds(60));
}
