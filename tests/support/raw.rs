//! A client without any idea of HTTP: text out, text in, an orderly end.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Client, patiently};

/// One connection.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    /// All that has come, less what was taken.
    pub(crate) text: String,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(address)).await.expect("the server takes connections");
        Self { stream, text: String::new() }
    }

    /// One that gives back what it is sent.
    pub(crate) async fn upgraded(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send("GET /echo HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
        let head = raw.take("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head:?}");
        raw
    }

    pub(crate) async fn send(&mut self, text: &str) {
        patiently(self.stream.write_all(text.as_bytes())).await.expect("the server reads");
    }

    /// Reads on until this has come.
    ///
    /// # Panics
    ///
    /// If the connection ends before.
    pub(crate) async fn until(&mut self, wanted: &str) -> &str {
        while !self.text.contains(wanted) {
            assert!(self.read().await > 0, "closed after {:?}", self.text);
        }
        &self.text
    }

    /// The same connection for who speaks HTTP; nothing may have come that was not taken.
    pub(crate) fn into_client(self) -> Client {
        assert_eq!(self.text, "", "nobody has asked for this");
        Client::over(self.stream)
    }

    /// As `until`, and takes it out, with what came before it.
    pub(crate) async fn take(&mut self, wanted: &str) -> String {
        let end = self.until(wanted).await.find(wanted).expect("it has come") + wanted.len();
        self.text.drain(..end).collect()
    }

    /// Reads to the end, which must be an orderly one.
    pub(crate) async fn rest(&mut self) -> &str {
        while self.read().await > 0 {}
        &self.text
    }

    /// Sends no more, and still reads.
    pub(crate) async fn says_no_more(&mut self) {
        patiently(self.stream.shutdown()).await.expect("the connection is open");
    }

    async fn read(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let count = patiently(self.stream.read(&mut bytes)).await.expect("no reset");
        self.text.push_str(std::str::from_utf8(&bytes[..count]).expect("the tests' answers are text"));
        count
    }
}
