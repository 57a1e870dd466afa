//! A client of server-sent events that does what a browser's `EventSource` does: when the stream ends, it
//! asks again for what follows the last event, on the connection that it has.

use std::net::SocketAddr;

use super::raw::Raw;

/// One source, for as long as somebody serves it.
#[derive(Debug)]
pub(crate) struct EventSource {
    path: &'static str,
    stream: Raw,
    /// The events' numbers, in the order in which they came.
    pub(crate) heard: Vec<u64>,
}

impl EventSource {
    pub(crate) async fn open(address: SocketAddr, path: &'static str) -> Self {
        let mut source = Self { path, stream: Raw::connect(address).await, heard: Vec::new() };
        source.ask().await;
        source
    }

    /// Waits for at least one event.
    pub(crate) async fn hear(&mut self) {
        let event = self.stream.take("\n\n").await;
        self.note(&event);
    }

    /// Hears all events up to the end of the stream; true if the server said that it would close.
    pub(crate) async fn hear_to_the_end(&mut self) -> bool {
        let rest = self.stream.take("\r\n0\r\n\r\n").await;
        self.note(&rest);
        rest.to_lowercase().contains("\r\nconnection: close\r\n")
    }

    /// Asks for what follows, on the same connection.
    pub(crate) async fn ask(&mut self) {
        let last = self.heard.last().map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
        let (path, accept) = (self.path, "Accept: text/event-stream");
        self.stream.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n{accept}\r\n{last}\r\n")).await;
        let status = self.stream.take("\r\n").await;
        assert_eq!(status, "HTTP/1.1 200 OK\r\n");
    }

    fn note(&mut self, text: &str) {
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        self.heard.extend(ids.map(|id| id.parse::<u64>().expect("the events are numbered")));
    }
}
