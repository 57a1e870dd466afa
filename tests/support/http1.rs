//! A strict reader of HTTP/1.1 responses (RFC 9112): what it does not expect it refuses. Own code, because a
//! client library repairs, retries and ignores what the tests must see.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

use super::pipe::{Idle, Pipe};
use super::secure::Secure;

const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection is of no further use: `Connection: close`, or a body that ends with the connection.
    pub(crate) close: bool,
}

impl Response {
    /// The value of the first header of this name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection ended; `received` bytes of the answer had come.
    Eof { received: usize },
    /// A reset or another error of the socket.
    Io { error: io::Error, received: usize },
    /// The bytes are not the response that they should be.
    Malformed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof { received: 0 } => write!(f, "closed without an answer"),
            Self::Eof { received } => write!(f, "closed after {received} bytes of the answer"),
            Self::Io { error, received } => {
                write!(f, "{error} after {received} bytes of the answer")
            }
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Pipe,
    /// Read from the socket, not yet used.
    buffer: Vec<u8>,
    /// Bytes of the current answer, for the wording of a failure.
    received: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::open_over(address, None).await
    }

    /// Over TLS, if it is said how.
    pub(crate) async fn open_over(address: SocketAddr, secure: Option<&Secure>) -> io::Result<Self> {
        Ok(Self::over(Pipe::open(address, secure).await?))
    }

    pub(crate) fn over(stream: Pipe) -> Self {
        Self { stream, buffer: Vec::new(), received: 0 }
    }

    /// Names the connection in a failure, as a packet capture would.
    pub(crate) fn local_port(&self) -> u16 {
        self.local().map_or(0, |address| address.port())
    }

    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Looks at the connection now.
    pub(crate) fn idle(&self) -> Idle {
        match self.buffer.len() {
            0 => self.stream.idle(),
            surplus => Idle::Broken(format!("{surplus} surplus bytes after an answer")),
        }
    }

    /// Waits until the connection, on which nothing is awaited, is no longer quiet.
    pub(crate) async fn end_of_quiet(&self) -> Idle {
        let stream = self.stream.plain();
        loop {
            if let Err(error) = stream.readable().await {
                return Idle::Broken(error.to_string());
            }
            // `WouldBlock` makes tokio forget the readiness of old, so that the next turn waits.
            let seen = stream.try_io(Interest::READABLE, || match self.idle() {
                Idle::Open => Err(io::ErrorKind::WouldBlock.into()),
                ended => Ok(ended),
            });
            if let Ok(ended) = seen {
                return ended;
            }
        }
    }

    /// Waits for the server's end of a connection whose last answer has come, and refuses anything but an
    /// orderly one.
    pub(crate) async fn closed(&mut self) -> Result<(), Fault> {
        if self.buffer.is_empty() && self.fill().await? == 0 {
            return Ok(());
        }
        Err(Fault::Malformed(format!(
            "{} surplus bytes after an answer with Connection: close",
            self.buffer.len()
        )))
    }

    /// Reads one answer to a GET or POST, and nothing beyond it.
    pub(crate) async fn response(&mut self) -> Result<Response, Fault> {
        self.received = self.buffer.len();
        let mut response = parse_head(&self.head().await?)?;
        match framing(&response)? {
            Framing::Length(length) => response.body = self.take(length).await?,
            Framing::Chunked => response.body = self.chunks().await?,
            Framing::UntilClose => response.body = self.rest().await?,
        }
        match self.buffer.len() {
            0 => Ok(response),
            surplus => Err(Fault::Malformed(format!("{surplus} surplus bytes after the body"))),
        }
    }

    async fn head(&mut self) -> Result<String, Fault> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.drain(..at + 4).take(at + 2).collect();
                return String::from_utf8(head).map_err(|_| malformed("the head is not UTF-8"));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(malformed("the head does not end"));
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let digits = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = usize::from_str_radix(&line, 16).ok().filter(|_| digits);
            match size.filter(|size| body.len().saturating_add(*size) <= MAX_BODY) {
                None => return Err(Fault::Malformed(format!("chunk size {line:?}"))),
                Some(0) => break,
                Some(size) => body.extend(self.take(size).await?),
            }
            if !self.line().await?.is_empty() {
                return Err(malformed("a chunk is longer than its size"));
            }
        }
        match self.line().await?.as_str() {
            "" => Ok(body),
            trailer => Err(Fault::Malformed(format!("trailer {trailer:?} that no app of the tests sends"))),
        }
    }

    async fn line(&mut self) -> Result<String, Fault> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.drain(..at + 2).take(at).collect();
                return String::from_utf8(line).map_err(|_| malformed("a line is not UTF-8"));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(malformed("a line does not end"));
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn rest(&mut self) -> Result<Vec<u8>, Fault> {
        while self.buffer.len() <= MAX_BODY {
            if self.fill().await? == 0 {
                return Ok(std::mem::take(&mut self.buffer));
            }
        }
        Err(malformed("the body does not end"))
    }

    async fn more(&mut self) -> Result<(), Fault> {
        match self.fill().await? {
            0 => Err(Fault::Eof { received: self.received }),
            _ => Ok(()),
        }
    }

    async fn fill(&mut self) -> Result<usize, Fault> {
        let read = self.stream.read_buf(&mut self.buffer).await;
        let read = read.map_err(|error| Fault::Io { error, received: self.received })?;
        self.received += read;
        Ok(read)
    }
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// RFC 9112, section 6.3, without what it tolerates.
fn framing(response: &Response) -> Result<Framing, Fault> {
    let all = |name: &str| {
        let named = response.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    match (response.status, all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        (100..=199, ..) => {
            Err(Fault::Malformed(format!("status {} that was not asked for", response.status)))
        }
        (204 | 304, ..) => Ok(Framing::Length(0)),
        (_, [], []) => Ok(Framing::UntilClose),
        (_, [], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (_, [length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => match length.parse() {
            Ok(length) if length <= MAX_BODY => Ok(Framing::Length(length)),
            _ => Err(Fault::Malformed(format!("content-length {length:?}"))),
        },
        (_, lengths, codings) => {
            Err(Fault::Malformed(format!("content-length {lengths:?} with transfer-encoding {codings:?}")))
        }
    }
}

/// `head` ends with the last header's line end; the body and whether its framing closes are not known yet.
fn parse_head(head: &str) -> Result<Response, Fault> {
    let mut lines = head.strip_suffix("\r\n").unwrap_or(head).split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status =
        parse_status(status_line).ok_or_else(|| Fault::Malformed(format!("status line {status_line:?}")))?;
    let headers = lines.map(parse_header).collect::<Result<Vec<_>, _>>()?;
    let mut response = Response { status, headers, body: Vec::new(), close: false };
    response.close = says_close(&response) || matches!(framing(&response), Ok(Framing::UntilClose));
    Ok(response)
}

fn parse_status(line: &str) -> Option<u16> {
    let (code, _reason) = line.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
    let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    code.parse().ok().filter(|code| digits && (100..600).contains(code))
}

fn parse_header(line: &str) -> Result<(String, String), Fault> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match line.split_once(':') {
        Some((name, value))
            if !name.is_empty() && name.bytes().all(token) && !value.contains(['\r', '\n', '\0']) =>
        {
            Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        }
        _ => Err(Fault::Malformed(format!("header line {line:?}"))),
    }
}

fn says_close(response: &Response) -> bool {
    let named = response.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case("connection"));
    named.flat_map(|(_, value)| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn malformed(what: &str) -> Fault {
    Fault::Malformed(what.to_owned())
}
