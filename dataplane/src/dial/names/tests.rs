//! What becomes of a name's addresses when answers come, change and stay away.

use super::*;
use policy::config::leaf;

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// A name that nobody looks up.
fn name() -> Arc<Name> {
    let config = DnsConfig {
        servers: Vec::new(),
        min_ttl: leaf::Duration::from_secs(1),
        max_ttl: leaf::Duration::from_secs(60),
    };
    Arc::new(Name {
        host: "a.example".into(),
        config,
        addresses: ArcSwap::default(),
        epoch: AtomicU64::new(0),
        turn: AtomicUsize::new(0),
        error: Mutex::new(None),
        settled: watch::Sender::new(false),
    })
}

fn answer(addresses: &[IpAddr], ttl: u64) -> Result<Answer, String> {
    Ok(Answer { addresses: addresses.to_vec(), ttl: Duration::from_secs(ttl) })
}

#[test]
fn an_answer_is_kept_as_long_as_it_says_within_bounds() {
    let (name, mut failures) = (name(), 0);
    for (ttl, pause) in [(0, 1), (1, 1), (30, 30), (86_400, 60)] {
        assert_eq!(name.take(answer(&[ONE], ttl), &mut failures), Duration::from_secs(pause));
    }
}

#[test]
fn the_last_answer_is_kept_while_there_is_none() {
    let (name, mut failures) = (name(), 0);
    name.take(answer(&[ONE], 1), &mut failures);
    let pauses: Vec<_> = (0..7).map(|_| name.take(Err("down".into()), &mut failures).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!((&**name.addresses(), name.last_error().as_deref()), (&[ONE][..], Some("down")));
    assert_eq!(name.take(answer(&[ONE], 1), &mut failures), Duration::from_secs(1));
    assert_eq!((name.last_error(), failures), (None, 0));
}

#[test]
fn a_connection_outlasts_changes_that_keep_its_address() {
    let (name, mut failures) = (name(), 0);
    name.take(answer(&[TWO, ONE], 1), &mut failures);
    let [one, two] = [ONE, TWO].map(|address| Origin::new(name.clone(), address));
    assert!(one.is_current() && two.is_current());
    name.take(answer(&[ONE], 1), &mut failures);
    assert!(one.is_current() && !two.is_current());
    name.take(Err("down".into()), &mut failures);
    assert!(one.is_current() && !two.is_current());
    name.take(answer(&[TWO], 1), &mut failures);
    assert!(!one.is_current() && two.is_current());
}

#[tokio::test]
async fn all_addresses_have_their_turn() {
    let (name, mut failures) = (name(), 0);
    name.take(answer(&[TWO, ONE, TWO], 1), &mut failures);
    let turns = [name.in_turn().await, name.in_turn().await, name.in_turn().await];
    assert_eq!(turns, [Ok(vec![ONE, TWO]), Ok(vec![TWO, ONE]), Ok(vec![ONE, TWO])]);
}

#[tokio::test]
async fn only_the_first_answer_is_waited_for() {
    let name = name();
    let asking = tokio::spawn({
        let name = name.clone();
        async move { name.in_turn().await }
    });
    while name.settled.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    name.take(Err("down".into()), &mut 0);
    assert_eq!(asking.await.expect("asking"), Err("down".to_owned()));
    assert_eq!(name.in_turn().await, Err("down".to_owned()));
}
