//! A client that sends exactly the bytes it is given and takes responses apart without forgiving anything.

use crate::ports::loopback;
use crate::wait::soon;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response as it stood on the wire.
#[derive(Debug, Clone, Default)]
pub struct RawResponse {
    /// Statuses of the 1xx responses before it.
    pub interim: Vec<u16>,
    /// The final status.
    pub status: u16,
    /// Header fields in their order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Whether the body came in chunks.
    pub chunked: bool,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
}

impl RawClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let connected = Self::try_connect(None, address).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects as the client 127.0.0.`source`.
    pub async fn connect_from(source: u8, address: SocketAddr) -> Self {
        let connected = Self::try_connect(Some(source), address).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects, if it can be done.
    pub async fn try_connect(source: Option<u8>, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(loopback(source), 0))?;
        }
        let stream = soon("connect", socket.connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// From where it is connected.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    /// Sends bytes; that the peer has already closed is no error here, its answer says why.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("send", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends bytes and says whether the peer took them.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        soon("send", self.stream.write_all(bytes.as_ref())).await
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The response to a request other than HEAD.
    #[track_caller]
    pub fn response(&mut self) -> impl Future<Output = RawResponse> {
        let caller = std::panic::Location::caller();
        async move {
            let read = soon("a response", self.read_response(false)).await;
            read.unwrap_or_else(|error| panic!("{caller}: no response: {error}"))
        }
    }

    /// The response to a HEAD request.
    pub async fn response_to_head(&mut self) -> RawResponse {
        soon("a response", self.read_response(true)).await.expect("a response to HEAD")
    }

    /// The response, or why there is none.
    pub async fn try_response(&mut self) -> io::Result<RawResponse> {
        soon("a response or the end of the connection", self.read_response(false)).await
    }

    /// Waits for an interim (1xx) response and returns its status.
    pub async fn interim(&mut self) -> u16 {
        let (status, _) = soon("an interim response", self.read_head()).await.expect("an interim response");
        assert!((100..200).contains(&status), "{status} is final");
        status
    }

    /// Waits for at least `count` more bytes and takes them, whatever they mean.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            soon("bytes", self.more()).await.expect("more bytes");
        }
        self.buffer.drain(..count).collect()
    }

    /// Waits until the peer closes; returns what came before that. A reset counts as closed.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        while soon("the end of the connection", self.more()).await.is_ok() {}
        std::mem::take(&mut self.buffer)
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn read_response(&mut self, to_head: bool) -> io::Result<RawResponse> {
        let mut response = RawResponse::default();
        loop {
            let (status, headers) = self.read_head().await?;
            if (100..200).contains(&status) && status != 101 {
                response.interim.push(status);
                continue;
            }
            response.status = status;
            response.headers = headers;
            break;
        }
        let coding = response.header("transfer-encoding").map(str::to_ascii_lowercase);
        let length = response.header("content-length").map(str::to_owned);
        if to_head || matches!(response.status, 101 | 204 | 304) {
            return Ok(response);
        }
        match (coding, length) {
            (Some(_), Some(_)) => return Err(bad("both framings")),
            (Some(coding), None) if coding == "chunked" => self.read_chunks(&mut response).await?,
            (Some(_), None) => return Err(bad("a transfer coding other than chunked")),
            (None, Some(length)) => {
                let length: usize = length.parse().map_err(|_| bad("content-length"))?;
                response.body = self.exactly(length).await?;
            }
            (None, None) => {
                while self.more().await.is_ok() {}
                response.body = std::mem::take(&mut self.buffer);
            }
        }
        Ok(response)
    }

    async fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Response::new(&mut fields);
        parsed.parse(&head).map_err(|error| bad(&format!("{error}: {}", String::from_utf8_lossy(&head))))?;
        let status = parsed.code.ok_or_else(|| bad("no status"))?;
        Ok((status, parsed.headers.iter().map(pair).collect()))
    }

    async fn read_chunks(&mut self, response: &mut RawResponse) -> io::Result<()> {
        response.chunked = true;
        loop {
            let size = self.line().await?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| bad(&format!("chunk size {size:?}")))?;
            if size == 0 {
                break;
            }
            response.body.extend(self.exactly(size).await?);
            if self.exactly(2).await? != b"\r\n" {
                return Err(bad("no CRLF after a chunk"));
            }
        }
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { return Ok(()) };
            response.trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                break at;
            }
            self.more().await?;
        };
        let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 2);
        Ok(line)
    }

    async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.more().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }
}

impl RawResponse {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How often a header stands there.
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(key, _)| key == name).count()
    }

    /// Status, and for a refusal of the gateway its reason: `200`, `503 circuit_open`.
    pub fn outcome(&self) -> String {
        match self.reason() {
            "" => self.status.to_string(),
            reason => format!("{} {reason}", self.status),
        }
    }

    /// The gateway's reason for an answer of its own; empty for a target's.
    pub fn reason(&self) -> &str {
        let told = self.header("proxy-status").and_then(|header| header.split_once("details=\""));
        told.and_then(|(_, rest)| rest.split_once('"')).map_or("", |(reason, _)| reason)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

fn pair(header: &httparse::Header<'_>) -> (String, String) {
    (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
