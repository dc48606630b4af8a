//! A DNS server inside the test process, whose answers can be changed (RFC 1035, one question a message).

use parking_lot::Mutex;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// Answers every question in the same way; gone when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: AbortHandle,
}

/// What it says of every name.
#[derive(Debug, Clone)]
pub enum Says {
    /// These IPv4 addresses, for so many seconds.
    Addresses(Vec<Ipv4Addr>, u32),
    /// There is no such name.
    NoSuchName,
    /// The server has failed.
    Failed,
    /// Nothing at all.
    Nothing,
}

#[derive(Debug)]
struct Shared {
    says: Mutex<Says>,
    questions: AtomicUsize,
}

const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const CLASS_IN: [u8; 2] = [0, 1];
/// A response that the server has found by asking others.
const RESPONSE: [u8; 2] = [0x81, 0x80];
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;
/// The name in the question.
const SAME_NAME: [u8; 2] = [0xc0, HEADER as u8];

impl Dns {
    /// Starts one that says this.
    pub async fn start(says: Says) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind a DNS server");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { says: Mutex::new(says), questions: AtomicUsize::new(0) });
        let server = tokio::spawn(serve(socket, Arc::clone(&shared))).abort_handle();
        Self { address, shared, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says from now on.
    pub fn says(&self, says: Says) {
        *self.shared.says.lock() = says;
    }

    /// Questions so far.
    pub fn questions(&self) -> usize {
        self.shared.questions.load(Ordering::Relaxed)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        shared.questions.fetch_add(1, Ordering::Relaxed);
        let says = shared.says.lock().clone();
        if let Some(answer) = answer(&buffer[..length], &says) {
            // whoever asked may be gone
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn answer(message: &[u8], says: &Says) -> Option<Vec<u8>> {
    let rest = message.get(HEADER..)?;
    let name = rest.iter().position(|byte| *byte == 0)?;
    let question = rest.get(..name + 5)?;
    let asks_for_ipv4 = question[name + 1..].starts_with(&TYPE_A);
    let (code, addresses, ttl) = match says {
        Says::Addresses(addresses, ttl) if asks_for_ipv4 => (0, &addresses[..], *ttl),
        Says::Addresses(..) => (0, &[][..], 0),
        Says::NoSuchName => (NAME_ERROR, &[][..], 0),
        Says::Failed => (SERVER_FAILURE, &[][..], 0),
        Says::Nothing => return None,
    };
    let mut answer = message[..2].to_vec();
    answer.extend([RESPONSE[0], RESPONSE[1] | code]);
    let counts = [1, addresses.len() as u16, 0, 0];
    answer.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    answer.extend_from_slice(question);
    for address in addresses {
        answer.extend([SAME_NAME, TYPE_A, CLASS_IN].concat());
        answer.extend(ttl.to_be_bytes());
        answer.extend(4u16.to_be_bytes());
        answer.extend(address.octets());
    }
    Some(answer)
}
