//! A client without any idea of HTTP: text out, text in, an orderly end.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

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

    /// With a small buffer for what it has not read yet.
    pub(crate) async fn connect_narrowly(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("any size");
        let stream = patiently(socket.connect(address)).await.expect("the server takes connections");
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

    /// The client's own port.
    pub(crate) fn port(&self) -> u16 {
        self.stream.local_addr().expect("it is connected").port()
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        patiently(self.stream.write_all(bytes)).await.expect("the server reads");
    }

    /// All that comes until an orderly end.
    pub(crate) async fn bytes_to_the_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        patiently(self.stream.read_to_end(&mut bytes)).await.expect("an end in peace");
        bytes
    }

    /// To somebody who may have closed.
    pub(crate) async fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        patiently(self.stream.write_all(text.as_bytes())).await
    }

    /// Reads on until so many bytes have come.
    pub(crate) async fn until_at_least(&mut self, bytes: usize) {
        while self.text.len() < bytes {
            assert!(self.more().await, "closed after {} bytes", self.text.len());
        }
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

    /// Reads what has come or comes next; false at the end.
    pub(crate) async fn more(&mut self) -> bool {
        self.read().await > 0
    }

    async fn read(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let count = patiently(self.stream.read(&mut bytes)).await.expect("no reset");
        self.text.push_str(std::str::from_utf8(&bytes[..count]).expect("the tests' answers are text"));
        count
    }
}
