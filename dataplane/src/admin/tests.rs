//! The endpoints over real sockets.

use super::*;
use crate::status::Identity;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn serving() -> (SocketAddr, Board) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let board = Board::default();
    tokio::spawn(Admin::new(board.clone(), Gateway::new("edge-1".to_owned())).serve(listener));
    (address, board)
}

/// The whole answer to one request.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn activate(board: &Board) {
    board.update(|running| {
        running.active = Some(Identity { version: 7, sha256: "ab".into() });
        running.listening = vec!["127.0.0.1:8080".parse().unwrap()];
    });
}

#[tokio::test]
async fn readiness_follows_what_runs() {
    let (address, board) = serving().await;
    let before = ask(address, "GET", "/readyz").await;
    assert_eq!(status(&before), "503");
    assert!(body(&before).contains("no config yet"), "{before}");

    activate(&board);
    assert_eq!(status(&ask(address, "GET", "/readyz").await), "200");

    board.update(|running| running.draining = true);
    let after = ask(address, "GET", "/readyz").await;
    assert_eq!((status(&after), body(&after)), ("503", "not ready: draining\n"));
}

#[tokio::test]
async fn a_config_without_a_listener_is_not_ready() {
    let (address, board) = serving().await;
    activate(&board);
    board.update(|running| running.listening.clear());
    let answer = ask(address, "GET", "/readyz").await;
    assert_eq!(status(&answer), "503");
    assert!(body(&answer).contains("no listener"), "{answer}");
}

#[tokio::test]
async fn liveness_does_not_depend_on_a_config() {
    let (address, board) = serving().await;
    assert_eq!(status(&ask(address, "GET", "/livez").await), "200");
    board.update(|running| running.draining = true);
    assert_eq!(status(&ask(address, "GET", "/livez").await), "200");
}

#[tokio::test]
async fn health_tells_status_version_and_instance() {
    let (address, board) = serving().await;
    let facts = |answer: &str| serde_json::from_str::<serde_json::Value>(body(answer)).unwrap();

    let before = ask(address, "GET", "/health").await;
    assert_eq!(status(&before), "200");
    assert_eq!(facts(&before)["status"], "starting");
    assert_eq!(facts(&before)["version"], 0);

    activate(&board);
    let after = facts(&ask(address, "GET", "/health").await);
    assert_eq!(after["status"], "ok");
    assert_eq!(after["version"], 7);
    assert_eq!(after["instance"], "edge-1");
    assert_eq!(after["listening"][0], "127.0.0.1:8080");
}

#[tokio::test]
async fn head_answers_without_a_body() {
    let (address, _board) = serving().await;
    let answer = ask(address, "HEAD", "/livez").await;
    assert_eq!((status(&answer), body(&answer)), ("200", ""));
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let (address, _board) = serving().await;
    let post = ask(address, "POST", "/readyz").await;
    assert_eq!(status(&post), "405");
    assert!(post.to_lowercase().contains("\r\nallow: get, head\r\n"), "{post}");
    assert_eq!(status(&ask(address, "POST", "/metrics").await), "405");
    assert_eq!(status(&ask(address, "GET", "/nothing").await), "404");
    assert_eq!(status(&ask(address, "POST", "/nothing").await), "404");
    assert_eq!(status(&ask(address, "GET", "/readyz?probe=1").await), "503");
}

#[tokio::test]
async fn metrics_are_there_before_the_first_config() {
    let (address, _board) = serving().await;
    let answer = ask(address, "GET", "/metrics").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(body(&answer).contains("\ngateway_config_version 0\n"), "{answer}");
    assert!(body(&answer).contains("gateway=\"edge-1\"} 1\n"), "{answer}");
    assert!(!body(&answer).contains("gateway_requests_total"), "{answer}");
    assert_eq!(body(&ask(address, "HEAD", "/metrics").await), "");
}
