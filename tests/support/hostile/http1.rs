//! Attacks by HTTP/1: heads and bodies without an end, too slow or too large, and readers that never read.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::sleep;

use super::{Attack, End, until_ended};

const GET: &str = "GET /hello HTTP/1.1\r\nHost: test\r\n";
const PIECE: usize = 64 * 1024;

/// The status of the first answer whose head is whole.
fn answered(heard: &mut Vec<u8>) -> Option<End> {
    let end = heard.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(heard.drain(..end + 4).collect()).ok()?;
    head.get(9..12)?.parse().ok().map(End::Answered)
}

/// Slowloris: a head that grows by a byte now and then, and never ends.
#[derive(Debug, Clone)]
pub(crate) struct SlowHead {
    pub(crate) pause: Duration,
}

impl Attack for SlowHead {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let trickle = async |mut writer: OwnedWriteHalf| {
            writer.write_all(GET.as_bytes()).await?;
            writer.write_all(b"X: ").await?;
            drip(writer, self.pause, b"x").await
        };
        until_ended(stream, trickle, answered).await
    }
}

/// Slowloris in the body: one chunk of a byte now and then.
#[derive(Debug, Clone)]
pub(crate) struct SlowBody {
    pub(crate) pause: Duration,
}

impl Attack for SlowBody {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let trickle = async |mut writer: OwnedWriteHalf| {
            writer.write_all(UPLOAD_CHUNKS.as_bytes()).await?;
            drip(writer, self.pause, b"1\r\nx\r\n").await
        };
        until_ended(stream, trickle, answered).await
    }
}

const UPLOAD_CHUNKS: &str = "POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn drip(mut writer: OwnedWriteHalf, pause: Duration, drop: &[u8]) -> io::Result<()> {
    loop {
        writer.write_all(drop).await?;
        sleep(pause).await;
    }
}

/// A head of this size in a single header.
#[derive(Debug, Clone)]
pub(crate) struct HugeHead {
    pub(crate) bytes: usize,
}

impl Attack for HugeHead {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            writer.write_all(GET.as_bytes()).await?;
            writer.write_all(b"X: ").await?;
            for _ in 0..self.bytes / PIECE {
                writer.write_all(&[b'x'; PIECE]).await?;
            }
            writer.write_all(b"\r\n\r\n").await
        };
        until_ended(stream, send, answered).await
    }
}

/// A head that never ends, from a client that hears nothing and does not stop when it is told to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeafHead;

impl Attack for DeafHead {
    async fn attack(self, mut stream: TcpStream) -> io::Result<End> {
        stream.write_all(GET.as_bytes()).await?;
        stream.write_all(b"X: ").await?;
        loop {
            stream.write_all(&[b'x'; PIECE]).await?;
        }
    }
}

/// A head of this many headers of a few bytes.
#[derive(Debug, Clone)]
pub(crate) struct ManyHeaders {
    pub(crate) count: usize,
}

impl Attack for ManyHeaders {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            writer.write_all(GET.as_bytes()).await?;
            let thousand = b"X: y\r\n".repeat(1000);
            for _ in 0..self.count / 1000 {
                writer.write_all(&thousand).await?;
            }
            writer.write_all(b"\r\n").await
        };
        until_ended(stream, send, answered).await
    }
}

/// A body that never ends, as fast as the server reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EndlessBody {
    /// Of the greatest length that there is.
    Length,
    /// In large chunks.
    Chunks,
    /// In chunks of a byte.
    Crumbs,
    /// One chunk, whose extension does not end.
    Extension,
    /// No chunk, and trailers for ever.
    Trailers,
}

impl Attack for EndlessBody {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            writer.write_all(self.begin().as_bytes()).await?;
            let piece = self.piece();
            loop {
                writer.write_all(&piece).await?;
            }
        };
        until_ended(stream, send, answered).await
    }
}

impl EndlessBody {
    fn begin(self) -> String {
        match self {
            Self::Length => {
                let length = u64::MAX >> 2;
                format!("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n")
            }
            Self::Chunks | Self::Crumbs => UPLOAD_CHUNKS.to_owned(),
            Self::Extension => format!("{UPLOAD_CHUNKS}5;"),
            Self::Trailers => format!("{UPLOAD_CHUNKS}0\r\n"),
        }
    }

    fn piece(self) -> Vec<u8> {
        match self {
            Self::Length | Self::Extension => vec![b'x'; PIECE],
            Self::Chunks => format!("{PIECE:x}\r\n{}\r\n", "x".repeat(PIECE)).into_bytes(),
            Self::Crumbs => b"1\r\nx\r\n".repeat(PIECE / 6),
            Self::Trailers => b"X: y\r\n".repeat(PIECE / 6),
        }
    }
}

/// Asks for this, again and again as long as the server reads, and reads no answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asks(pub(crate) &'static str);

impl Attack for Asks {
    async fn attack(self, mut stream: TcpStream) -> io::Result<End> {
        let requests = format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", self.0).repeat(100);
        loop {
            stream.write_all(requests.as_bytes()).await?;
        }
    }
}
