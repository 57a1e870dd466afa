//! A request and its answer, by the least of a client, which believes nothing that is not there.

use std::io::{self, Read as _, Write as _};

use crate::client::{Stream, Way};
use crate::server::PATIENCE;

/// The head of an answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Its own bytes.
    pub(crate) length: usize,
    /// Those that follow.
    pub(crate) body: usize,
    pub(crate) close: bool,
}

impl Head {
    /// None as long as there is not all of it.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| broken("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
        let field = |name: &str| {
            let found = fields.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        };
        let body = field("content-length").and_then(|length| length.parse().ok());
        Ok(Some(Self {
            status: status.ok_or_else(|| broken("a head without status"))?,
            length: end + 4,
            body: body.ok_or_else(|| broken("a head without content-length"))?,
            close: field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        }))
    }

    pub(crate) fn whole(&self) -> usize {
        self.length + self.body
    }
}

pub(crate) fn request(path: &str, reuse: bool) -> Vec<u8> {
    let close = if reuse { "" } else { "connection: close\r\n" };
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{close}\r\n").into_bytes()
}

/// The whole answer, head and body, on a connection of its own.
pub(crate) fn once(way: &Way, path: &str) -> io::Result<String> {
    body(&mut way.connect()?, path)
}

/// The body that a path has.
pub(crate) fn body(stream: &mut Stream, path: &str) -> io::Result<String> {
    let (head, answer) = ask(stream, path)?;
    String::from_utf8(answer[head.length..].to_vec()).map_err(|_| broken("a body that is no text"))
}

/// One that must be answered with 200.
pub(crate) fn ask(stream: &mut Stream, path: &str) -> io::Result<(Head, Vec<u8>)> {
    stream.write_all(&request(path, true))?;
    answer(stream)
}

/// The answer to what was asked before.
pub(crate) fn answer(stream: &mut Stream) -> io::Result<(Head, Vec<u8>)> {
    let mut answer = Vec::new();
    let mut piece = [0; 8 << 10];
    loop {
        let count = stream.read(&mut piece).map_err(in_words)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&piece[..count]);
        if let Some(head) = Head::parse(&answer)?
            && answer.len() >= head.whole()
        {
            return expect_ok(head).map(|head| (head, answer));
        }
    }
}

pub(crate) fn expect_ok(head: Head) -> io::Result<Head> {
    if head.status == 200 { Ok(head) } else { Err(broken(&format!("status {}", head.status))) }
}

/// A time-out of a socket says that it would block.
fn in_words(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::WouldBlock {
        return error;
    }
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}"))
}

pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::Head;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nWORLD!";
        assert_eq!(Head::parse(&text[..40]).expect("no fault"), None);
        let head = Head::parse(text).expect("no fault").expect("whole");
        assert_eq!(head, Head { status: 200, length: text.len() - 6, body: 6, close: true });
    }

    #[test]
    fn a_head_without_length_is_none() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
