//! A WebSocket client that says and hears text, and tells an end with a close frame from one without.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::client::patiently;

/// One socket.
#[derive(Debug)]
pub(crate) struct WebSocket(Box<WebSocketStream<TcpStream>>);

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Text(String),
    /// A close frame with this code; what follows it can only be the end of the connection.
    Close(u16),
}

impl WebSocket {
    pub(crate) async fn connect(address: SocketAddr, path: &str) -> Self {
        let stream = patiently(TcpStream::connect(address)).await.expect("the server takes connections");
        let shaken = tokio_tungstenite::client_async(format!("ws://{address}{path}"), stream);
        let (socket, _response) = patiently(shaken).await.expect("the server switches protocols");
        Self(Box::new(socket))
    }

    pub(crate) async fn say(&mut self, text: &str) {
        // A server that closes meanwhile says so to whoever listens.
        patiently(self.0.send(Message::text(text))).await.ok();
    }

    /// # Panics
    ///
    /// If the connection ends without a close frame.
    pub(crate) async fn hear(&mut self) -> Said {
        match patiently(self.0.next()).await {
            Some(Ok(Message::Text(text))) => Said::Text(text.as_str().to_owned()),
            Some(Ok(Message::Close(Some(frame)))) => Said::Close(frame.code.into()),
            other => panic!("{other:?} in the place of text or a close frame"),
        }
    }

    /// Answers the server's close frame and waits for an orderly end.
    pub(crate) async fn closed(mut self) {
        let end = patiently(self.0.next()).await;
        assert!(end.is_none(), "{end:?} after a close frame");
    }

    /// Waits for an end without a close frame.
    pub(crate) async fn broken(mut self) {
        let end = patiently(self.0.next()).await;
        assert!(matches!(end, Some(Err(_))), "{end:?} where nobody could say goodbye");
    }
}
