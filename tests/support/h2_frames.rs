//! HTTP/2 frame by frame: a client that does what the protocol demands and no more.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::patiently;

/// What a client begins with (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types and flags of frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The bytes of one frame (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends(&self, stream: u32) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.stream == stream && self.flags & END_STREAM != 0
    }

    /// What a GOAWAY says: the last stream and the error.
    pub(crate) fn last_stream(&self) -> Option<(u32, u32)> {
        let number = |at: usize| u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"));
        (self.kind == GOAWAY).then(|| (number(0), number(4)))
    }
}

/// The payloads of a stream's DATA frames.
pub(crate) fn body_of(frames: &[Frame], stream: u32) -> String {
    let data = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
    let bytes = data.flat_map(|frame| &frame.payload).copied().collect();
    String::from_utf8(bytes).expect("the app answers in UTF-8")
}

/// It closes nothing, so that the server must.
pub(crate) struct H2Client(TcpStream);

impl H2Client {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        let mut client = Self(stream);
        client.0.write_all(PREFACE).await.expect("open");
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.write_all(&frame(kind, flags, stream, payload)).await.expect("the server reads");
    }

    /// The head by HPACK's static table (RFC 7541, appendix A): GET, http, and the path spelled out.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).expect("a short path")];
        head.extend(path.as_bytes());
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &head).await;
    }

    /// Waits until the server has read all that was sent so far.
    pub(crate) async fn acknowledged(&mut self) -> Vec<Frame> {
        self.send(PING, 0, 0, b"ping now").await;
        self.frames_until(|frame| frame.kind == PING && frame.flags & ACK != 0).await
    }

    /// Lets the server send so many bytes more, on this stream and in all.
    pub(crate) async fn open_windows(&mut self, stream: u32, bytes: u32) {
        for stream in [stream, 0] {
            self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()).await;
        }
    }

    /// All frames up to the server's end of the connection.
    pub(crate) async fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    pub(crate) async fn frames_until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame| !wanted(frame)) {
            let frame = self.next().await;
            frames.push(frame.unwrap_or_else(|| panic!("closed without the awaited frame after {frames:?}")));
        }
        frames
    }

    /// Sends a PING every so often and answers none, until the server ends the connection in any way.
    pub(crate) async fn ping_until_ended(self, pause: Duration) {
        let (mut reader, mut writer) = self.0.into_split();
        let mut nowhere = tokio::io::sink();
        let pings = async {
            while writer.write_all(&frame(PING, 0, 0, b"ping now")).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
            std::future::pending().await
        };
        let ended = async {
            tokio::select! {
                _any = tokio::io::copy(&mut reader, &mut nowhere) => {}
                () = pings => {}
            }
        };
        patiently(ended).await;
    }

    /// Takes this many bytes of answers, and answers nothing itself.
    pub(crate) async fn take(&mut self, bytes: usize) {
        let mut taken = 0;
        while taken < bytes {
            let frame = patiently(self.read()).await.expect("the connection goes on");
            taken += if frame.kind == DATA { frame.payload.len() } else { 0 };
        }
    }

    /// The next frame, answered where the protocol demands it; None at the orderly end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        let frame = patiently(self.read()).await?;
        match (frame.kind, frame.flags & ACK) {
            (SETTINGS, 0) => self.send(SETTINGS, ACK, 0, &[]).await,
            (PING, 0) => self.send(PING, ACK, 0, &frame.payload).await,
            _ => {}
        }
        Some(frame)
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if self.0.read(&mut head[..1]).await.expect("no reset") == 0 {
            return None;
        }
        self.0.read_exact(&mut head[1..]).await.expect("a whole head");
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.expect("a whole frame");
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }
}
