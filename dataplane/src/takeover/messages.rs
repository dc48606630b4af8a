//! What goes over the Unix socket: a version, a number, and so many sockets, the one of the admin HTTP last.

use rustix::cmsg_space;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

/// Sockets in one message; the kernel takes 253.
const AT_ONCE: usize = 64;
/// More are a mistake: a hundred ports with forty workers each.
const MOST: u64 = 4096;

/// What a process needs to serve in the place of another.
#[derive(Debug)]
pub(crate) struct Equipment {
    /// Listening, all that there are: what comes to one that nobody accepts on would wait for ever.
    pub(crate) sockets: Vec<TcpListener>,
    /// Of the admin HTTP.
    pub(crate) admin: TcpListener,
}

pub(super) fn send(mut stream: &UnixStream, version: u64, equipment: &Equipment) -> io::Result<()> {
    let all: Vec<BorrowedFd<'_>> =
        equipment.sockets.iter().chain([&equipment.admin]).map(|socket| socket.as_fd()).collect();
    stream.write_all(&version.to_le_bytes())?;
    stream.write_all(&(all.len() as u64).to_le_bytes())?;
    for some in all.chunks(AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(some)) {
            return Err(io::Error::other("no room for the sockets"));
        }
        // at least one byte must go with them
        sendmsg(stream, &[IoSlice::new(b"S")], &mut ancillary, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

pub(super) fn receive(mut stream: &UnixStream) -> io::Result<(u64, Equipment)> {
    let version = number(&mut stream)?;
    let count = number(&mut stream)?;
    if count > MOST {
        return Err(io::Error::other(format!("{count} sockets are too many")));
    }
    let mut sockets: Vec<TcpListener> = Vec::with_capacity(count as usize);
    while (sockets.len() as u64) < count {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                sockets.extend(some.map(|socket: OwnedFd| TcpListener::from(socket)));
            }
        }
    }
    let admin = sockets.pop().ok_or_else(|| io::Error::other("it sent no sockets"))?;
    Ok((version, Equipment { sockets, admin }))
}

fn number(stream: &mut &UnixStream) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
