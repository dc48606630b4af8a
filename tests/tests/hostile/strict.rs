//! Takes apart what a target was sent, forgiving nothing: the reader that the most careless server is not.

/// A message that is beyond doubt.
#[derive(Debug)]
pub struct Message {
    pub target: String,
}

/// Every message in `bytes`, or what is doubtful about them.
pub fn messages(mut bytes: &[u8]) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (message, rest) = message(bytes)?;
        messages.push(message);
        bytes = rest;
    }
    Ok(messages)
}

fn message(bytes: &[u8]) -> Result<(Message, &[u8]), String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("a head without an end")?;
    // a value may hold any bytes; for names and targets, what is no ASCII is found below
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let target = request_line(lines.next().unwrap_or_default())?;
    let headers = lines.map(header).collect::<Result<Vec<_>, _>>()?;
    let body = &bytes[end + 4..];
    let rest = match framing(&headers)? {
        Framing::Length(length) => body.get(length..).ok_or("a body shorter than its length")?,
        Framing::Chunked => after_chunks(body)?,
    };
    Ok((Message { target }, rest))
}

fn request_line(line: &str) -> Result<String, String> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("request line {line:?}")) };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(format!("method {method:?}"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // not RFC 3986's set: some characters it leaves out are common and read alike by everybody
    let clean = |byte: u8| byte.is_ascii_graphic() && !b"#<>\\".contains(&byte);
    // some servers take these characters in a query, and no router looks at them there
    let clean_query = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !path.starts_with('/') || !path.bytes().all(clean) || !query.bytes().all(clean_query) {
        return Err(format!("target {target:?}"));
    }
    let lower = path.to_ascii_lowercase();
    if lower.split('/').any(|segment| matches!(segment.replace("%2e", ".").as_str(), "." | "..")) {
        return Err(format!("dot segments in {target:?}"));
    }
    if ["%2f", "%5c", "%00", "..;"].iter().any(|doubtful| lower.contains(doubtful)) {
        return Err(format!("a path read differently by different servers: {target:?}"));
    }
    Ok(target.to_owned())
}

fn header(line: &str) -> Result<(String, &str), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("header line {line:?}"))?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("header name {name:?}"));
    }
    if value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        return Err(format!("a control character in {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches(' ')))
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(headers: &[(String, &str)]) -> Result<Framing, String> {
    let all = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(key, _)| key == name).map(|(_, v)| *v).collect()
    };
    let [host] = all("host")[..] else { return Err(format!("hosts {:?}", all("host"))) };
    if host.is_empty() || host.contains(['/', '@', ',', ' ', '\\', '?', '#']) {
        return Err(format!("host {host:?}"));
    }
    for gone in ["upgrade", "http2-settings", "proxy-connection", "keep-alive", "proxy"] {
        if !all(gone).is_empty() {
            return Err(format!("{gone} was forwarded"));
        }
    }
    match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(|_| format!("length {length:?}"))
        }
        ([], ["chunked"]) => Ok(Framing::Chunked),
        (lengths, codings) => Err(format!("lengths {lengths:?}, codings {codings:?}")),
    }
}

fn after_chunks(mut body: &[u8]) -> Result<&[u8], String> {
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").ok_or("a chunk without an end")?;
        let size = std::str::from_utf8(&body[..end]).map_err(|_| "a chunk size that is not UTF-8")?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("chunk size {size:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {size:?}"))?;
        body = body[end + 2..].get(size..).ok_or("a chunk cut short")?;
        body = body.strip_prefix(b"\r\n").ok_or("no CRLF after a chunk")?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
