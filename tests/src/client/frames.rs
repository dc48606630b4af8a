//! A client of HTTP/2 that sends exactly the frames it is given, sound or not.

use super::hpack;
use crate::wait::soon;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const PRIORITY: u8 = 0x2;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PUSH_PROMISE: u8 = 0x5;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs)]
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Error codes (RFC 9113 §7).
pub mod code {
    #![allow(missing_docs)]
    pub const NO_ERROR: u32 = 0x0;
    pub const PROTOCOL_ERROR: u32 = 0x1;
    pub const INTERNAL_ERROR: u32 = 0x2;
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    pub const STREAM_CLOSED: u32 = 0x5;
    pub const FRAME_SIZE_ERROR: u32 = 0x6;
    pub const REFUSED_STREAM: u32 = 0x7;
    pub const CANCEL: u32 = 0x8;
    pub const COMPRESSION_ERROR: u32 = 0x9;
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// A frame as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`], or any other.
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// What follows the head.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Any frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// A whole header block.
    pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        Self::new(kind::HEADERS, flags | flag::END_HEADERS, stream, hpack::encode(fields))
    }

    /// A whole GET.
    pub fn get(stream: u32, path: &str) -> Self {
        Self::headers(stream, flag::END_STREAM, &request("GET", path))
    }

    /// A piece of a body.
    pub fn data(stream: u32, flags: u8, data: impl Into<Vec<u8>>) -> Self {
        Self::new(kind::DATA, flags, stream, data)
    }

    /// Settings, each an identifier and a value.
    pub fn settings(values: &[(u16, u32)]) -> Self {
        let bytes = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
        Self::new(kind::SETTINGS, 0, 0, values.iter().flat_map(bytes).collect::<Vec<u8>>())
    }

    /// The stream is given up.
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// Room for more data.
    pub fn window_update(stream: u32, increment: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
    }

    /// A question for a sign of life.
    pub fn ping(payload: [u8; 8]) -> Self {
        Self::new(kind::PING, 0, 0, payload)
    }

    /// The same on another stream.
    pub fn on(self, stream: u32) -> Self {
        Self { stream, ..self }
    }

    /// The bytes of it.
    pub fn bytes(&self) -> Vec<u8> {
        let [_, high, middle, low] = (self.payload.len() as u32).to_be_bytes();
        let head = [&[high, middle, low, self.kind, self.flags][..], &self.stream.to_be_bytes()[..]].concat();
        [head, self.payload.clone()].concat()
    }

    /// Whether this flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The error code of a `RST_STREAM` or a `GOAWAY`.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    }
}

/// The pseudo-header fields of a request to `a.test`.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)]
}

/// What came on a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamResponse {
    /// Statuses of interim responses.
    pub interim: Vec<u16>,
    /// 0 when there was none.
    pub status: u16,
    /// Without `:status`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The fields behind it.
    pub trailers: Vec<(String, String)>,
    /// The end came with a flag, as it should.
    pub whole: bool,
    /// The code of a `RST_STREAM`.
    pub reset: Option<u32>,
}

impl StreamResponse {
    /// A response of which only the header block has come.
    pub fn of(block: &[u8]) -> Self {
        let mut response = Self::default();
        response.take(hpack::decode(block));
        response
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Status, and for a refusal of the gateway its reason: `200`, `503 circuit_open`.
    pub fn outcome(&self) -> String {
        let told = self.header("proxy-status").and_then(|header| header.split_once("details=\""));
        match told.and_then(|(_, rest)| rest.split_once('"')) {
            Some((reason, _)) => format!("{} {reason}", self.status),
            None => self.status.to_string(),
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One connection.
#[derive(Debug)]
pub struct FrameClient {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Read while something else was waited for.
    put_aside: VecDeque<Frame>,
    /// Settings and questions for a sign of life are answered as they come.
    pub polite: bool,
}

impl FrameClient {
    /// Connects and says nothing.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = soon("connect", TcpStream::connect(address)).await.expect("connect");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::new(), put_aside: VecDeque::new(), polite: true }
    }

    /// Connects, and sends the preface and settings by which the peer compresses without a table.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[]).await
    }

    /// The same with more settings.
    pub async fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        const HEADER_TABLE_SIZE: u16 = 1;
        let mut client = Self::silent(address).await;
        let settings = [&[(HEADER_TABLE_SIZE, 0)], settings].concat();
        client.send([PREFACE, &Frame::settings(&settings).bytes()].concat()).await;
        client
    }

    /// Sends bytes; that the peer has already closed is no error here, its last word says why.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("send", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends bytes, if the peer takes them.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        soon("send", self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends frames in one write.
    pub async fn frames(&mut self, frames: &[Frame]) {
        self.send(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>()).await;
    }

    /// The next frame; `None` when the connection is over.
    pub async fn next(&mut self) -> Option<Frame> {
        match self.put_aside.pop_front() {
            Some(frame) => Some(frame),
            None => soon("a frame, or the end of the connection", self.read()).await,
        }
    }

    /// The first frame that is meant, of those that come; what comes before it can still be asked for.
    pub async fn find(&mut self, what: &str, is_meant: impl Fn(&Frame) -> bool) -> Frame {
        if let Some(at) = self.put_aside.iter().position(&is_meant) {
            return self.put_aside.remove(at).expect("it is there");
        }
        let mut passed = Vec::new();
        loop {
            match soon(what, self.read()).await {
                Some(frame) if is_meant(&frame) => {
                    self.put_aside.extend(passed);
                    return frame;
                }
                Some(frame) => passed.push(frame),
                None => panic!("{what}: closed after {passed:?} behind {:?}", self.put_aside),
            }
        }
    }

    /// Whatever comes until the connection is over.
    pub async fn until_closed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// The code of the last `GOAWAY` before the connection is over; `None` when there was none.
    pub async fn until_gone(&mut self) -> Option<u32> {
        self.until_closed()
            .await
            .iter()
            .filter(|frame| frame.kind == kind::GOAWAY)
            .filter_map(Frame::code)
            .next_back()
    }

    /// The code with which the peer has said that the connection ends, if it has; what else has come can still be asked
    /// for.
    pub fn gone(&mut self) -> Option<u32> {
        let mut chunk = [0; 16 * 1024];
        while let Ok(read @ 1..) = self.stream.try_read(&mut chunk) {
            self.buffer.extend_from_slice(&chunk[..read]);
        }
        while let Some(frame) = self.take() {
            self.put_aside.push_back(frame);
        }
        self.put_aside.iter().find_map(|frame| frame.code().filter(|_| frame.kind == kind::GOAWAY))
    }

    /// A frame of this stream that has come already.
    pub fn arrived(&mut self, stream: u32) -> Option<Frame> {
        self.gone();
        let at = self.put_aside.iter().position(|frame| frame.stream == stream)?;
        self.put_aside.remove(at)
    }

    /// Whatever bytes come until the connection is over, frames or not.
    pub async fn until_closed_bytes(&mut self) -> Vec<u8> {
        while matches!(
            soon("the end of the connection", self.stream.read_buf(&mut self.buffer)).await,
            Ok(1..)
        ) {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits until the peer has looked at everything that was sent.
    pub async fn settled(&mut self) {
        assert!(self.try_settled().await, "closed before a PING was answered");
    }

    /// The same; false when the connection ends before.
    pub async fn try_settled(&mut self) -> bool {
        const MARK: [u8; 8] = *b"settled?";
        self.frames(&[Frame::ping(MARK)]).await;
        loop {
            match soon("the answer to a PING", self.read()).await {
                Some(frame) if frame.kind == kind::PING && frame.has(flag::ACK) && frame.payload == MARK => {
                    return true;
                }
                Some(frame) => self.put_aside.push_back(frame),
                None => return false,
            }
        }
    }

    /// What comes on a stream until it ends.
    pub async fn response(&mut self, stream: u32) -> StreamResponse {
        let mut response = StreamResponse::default();
        let mut block = Vec::new();
        while !response.whole && response.reset.is_none() {
            let what = format!("a response on stream {stream}");
            let frame = self.find(&what, |frame| frame.stream == stream).await;
            match frame.kind {
                kind::HEADERS | kind::CONTINUATION => {
                    block.extend(&frame.payload);
                    response.whole |= frame.kind == kind::HEADERS && frame.has(flag::END_STREAM);
                    if frame.has(flag::END_HEADERS) {
                        response.take(hpack::decode(&std::mem::take(&mut block)));
                    }
                }
                kind::DATA => {
                    response.body.extend(&frame.payload);
                    response.whole = frame.has(flag::END_STREAM);
                }
                kind::RST_STREAM => response.reset = frame.code(),
                _ => {}
            }
        }
        response
    }

    /// A request without a body, and what comes of it.
    pub async fn get(&mut self, stream: u32, path: &str) -> StreamResponse {
        self.frames(&[Frame::get(stream, path)]).await;
        self.response(stream).await
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                let asks = matches!(frame.kind, kind::SETTINGS | kind::PING) && !frame.has(flag::ACK);
                if asks && self.polite {
                    let payload = if frame.kind == kind::PING { frame.payload.clone() } else { Vec::new() };
                    self.send(Frame::new(frame.kind, flag::ACK, 0, payload).bytes()).await;
                }
                return Some(frame);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// A whole frame of what has come.
    fn take(&mut self) -> Option<Frame> {
        let head = self.buffer.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if self.buffer.len() < 9 + length {
            return None;
        }
        let payload = self.buffer[9..9 + length].to_vec();
        self.buffer.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }
}

impl StreamResponse {
    fn take(&mut self, mut fields: Vec<(String, String)>) {
        match fields.first() {
            Some((name, status)) if name == ":status" => {
                let status = status.parse().expect("a status");
                fields.remove(0);
                if status < 200 {
                    self.interim.push(status);
                } else {
                    self.status = status;
                    self.headers = fields;
                }
            }
            _ => self.trailers = fields,
        }
    }
}
