//! Real clients of HTTP/2: curl and nghttp2's.

use super::Range;
use std::process::{Command, Stdio};
use tests::authority::Authority;
use tests::{config, fleet::Fleet, peers, upstream::Upstream};

/// What a program says, once it has ended well.
async fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {out}{err}");
    format!("{out}{err}")
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_and_posts_by_prior_knowledge() {
    if !peers::present(&["curl"]) {
        return;
    }
    let range = Range::open("").await;
    let url = format!("http://{}/h", range.fleet.address(0));
    let format = "\n%{http_version} %{http_code}";
    let got = said("curl", &["-sS", "--http2-prior-knowledge", "-w", format, &url]).await;
    assert!(got.ends_with("\n2 200"), "{got}");
    let posted = said("curl", &["-sS", "--http2-prior-knowledge", "-w", format, "-d", "body", &url]).await;
    assert!(posted.ends_with("\n2 200") && posted.contains("body"), "{posted}");
    let asked = said("curl", &["-sS", "--http2", "-w", format, &url]).await;
    assert!(asked.ends_with("\n1.1 200"), "an upgrade is not taken: {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nghttp_gets_a_page_and_all_that_belongs_to_it() {
    if !peers::present(&["nghttp"]) {
        return;
    }
    let range = Range::open("").await;
    let url = |n: usize| format!("http://{}/{n}", range.fleet.address(0));
    let urls: Vec<_> = (0..20).map(url).collect();
    let arguments: Vec<&str> = ["-n", "-s"].into_iter().chain(urls.iter().map(String::as_str)).collect();
    let told = said("nghttp", &arguments).await;
    assert_eq!(
        told.lines().filter(|line| line.split_whitespace().nth(4) == Some("200")).count(),
        20,
        "{told}"
    );
}

/// Many streams on several connections, no more of them than the queue of a fake target takes.
#[tokio::test(flavor = "multi_thread")]
async fn h2load_loses_nothing() {
    if !peers::present(&["h2load"]) {
        return;
    }
    let large = Upstream::download(64 << 10, Some(16), None).await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, large.address())).await;
    let url = format!("http://{}/", fleet.address(0));
    let told = said("h2load", &["-n", "400", "-c", "4", "-m", "20", &url]).await;
    assert!(told.contains("400 succeeded, 0 failed, 0 errored"), "{told}");

    let range = Range::open("").await;
    let url = format!("http://{}/h", range.fleet.address(0));
    let told = said("h2load", &["-n", "5000", "-c", "2", "-m", "32", &url]).await;
    assert!(told.contains("5000 succeeded, 0 failed, 0 errored"), "{told}");
}

/// By ALPN, and with large bodies both ways.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_negotiated_over_tls() {
    if !peers::present(&["curl", "h2load", "openssl"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let certificate = authority.server("a", &["a.test"]).item();
    let (echo, large) = (Upstream::echo("target").await, Upstream::download(64 << 10, Some(32), None).await);
    let fleet = Fleet::start(1, |port| {
        config::server(port, &format!("  tls: {{certificates: [{certificate}]}}\n"))
            + "routes:\n"
            + &config::route("large", &[large.address()], &[])
            + "  - name: all\n    prefix: /\n"
            + &config::targets(&[echo.address()])
    })
    .await;
    let port = fleet.port();
    let (resolve, ca) = (format!("a.test:{port}:127.0.0.1"), authority.file().display().to_string());
    let curl = |more: &[&str], path: &str| {
        let format = "\n%{http_version} %{http_code} %{size_download}";
        let url = format!("https://a.test:{port}{path}");
        let common = ["-sS", "--resolve", &resolve, "--cacert", &ca, "-w", format];
        common.iter().chain(more).map(|one| (*one).to_owned()).chain([url]).collect::<Vec<_>>()
    };
    let run = async |arguments: Vec<String>| {
        said("curl", &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let got = run(curl(&[], "/h")).await;
    assert!(got.contains("\n2 200 "), "{got}");
    assert_eq!(echo.requests()[0].header("x-forwarded-proto"), Some("https"));
    let older = run(curl(&["--http1.1"], "/h")).await;
    assert!(older.contains("\n1.1 200 "), "{older}");
    let body = directory.path().join("body");
    std::fs::write(&body, vec![b'x'; 3 << 20]).expect("write");
    let posted =
        run(curl(&["-o", "/dev/null", "--data-binary", &format!("@{}", body.display())], "/h")).await;
    assert!(posted.contains("2 200 3"), "{posted}");
    assert_eq!(echo.requests().last().map(|got| got.body.len()), Some(3 << 20));
    let got = run(curl(&["-o", "/dev/null"], "/large")).await;
    assert!(got.ends_with(&format!("2 200 {}", 2 << 20)), "{got}");
    let url = format!("https://127.0.0.1:{port}/h");
    let told = said("h2load", &["-n", "2000", "-c", "4", "-m", "32", &url]).await;
    assert!(told.contains("Application protocol: h2\n"), "{told}");
    assert!(told.contains("2000 succeeded, 0 failed, 0 errored"), "{told}");
}
