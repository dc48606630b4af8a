//! What one process hands to another, over a real socket.

use super::*;
use std::net::{SocketAddr, TcpStream};

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn sockets_change_hands_with_what_waits_in_their_queues() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).unwrap();
    let (sockets, addresses): (Vec<_>, Vec<_>) = (0..150).map(|_| socket()).unzip();
    let (admin, admin_address) = socket();
    let waiting = TcpStream::connect(addresses[149]).unwrap();

    let state_dir = dir.path().to_owned();
    let successor = std::thread::spawn(move || Predecessor::find(&state_dir).unwrap().unwrap());
    let equipped = tokio::spawn(async move { door.knock().await.equip(7, sockets, admin).await });
    let (predecessor, equipment) = spawn_blocking(move || successor.join().unwrap()).await.unwrap();
    assert_eq!(predecessor.version, 7);
    let received: Vec<_> = equipment.sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    assert_eq!(received, addresses);
    assert_eq!(equipment.admin.local_addr().unwrap(), admin_address);
    let (_, peer) = equipment.sockets[149].accept().unwrap();
    assert_eq!(peer, waiting.local_addr().unwrap());

    predecessor.relieve().unwrap();
    equipped.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_successor_that_dies_is_noticed_and_a_stranger_is_not_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::open(dir.path()).unwrap();
    let path = path(dir.path());
    let mut stranger = UnixStream::connect(&path).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();

    let state_dir = dir.path().to_owned();
    let dies = spawn_blocking(move || drop(Predecessor::find(&state_dir).unwrap().unwrap()));
    let equipped = door.knock().await.equip(0, Vec::new(), socket().0).await;
    dies.await.unwrap();
    assert_eq!(equipped.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(stranger.read(&mut [0]).unwrap_or(0), 0, "it is told nothing");
}

#[tokio::test]
async fn without_a_predecessor_there_is_nothing_to_take_over() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Predecessor::find(dir.path()).unwrap().is_none());
    drop(Door::open(dir.path()).unwrap());
    assert!(Predecessor::find(dir.path()).unwrap().is_none(), "its process is gone, its file is not");
    Door::open(dir.path()).unwrap();
    assert_eq!(fs::metadata(path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
}
