//! WebSockets that leave when the drain begins: each gets a close frame, connects again, and is in the
//! successor.
//!
//! ```text
//! cargo run --example websocket    # the first lines say the PID
//! websocat ws://localhost:4242/echo
//! kill -HUP PID                    # the socket is closed by a frame, 1001 "restarting": connect again
//! ```

use std::pin::pin;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::{Router, response::Response, routing::any};

#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> Router {
    Router::new()
        .route("/echo", any(async |upgrade: WebSocketUpgrade| -> Response { upgrade.on_upgrade(echo) }))
}

/// What has come by then is answered before the close frame. What comes after it is not, so a client that has
/// sent something and hears the close frame instead of an answer knows that nobody has acted on it, and sends
/// it again.
async fn echo(mut socket: WebSocket) {
    let mut draining = pin!(endless::draining());
    loop {
        let message = tokio::select! {
            biased;
            message = socket.recv() => message,
            () = &mut draining => return close(socket).await,
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // Pings are answered by the library.
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// Says goodbye, and waits for the client's: a socket that were closed earlier would be reset, and the close
/// frame lost.
async fn close(mut socket: WebSocket) {
    let frame = CloseFrame { code: close_code::AWAY, reason: "restarting".into() };
    if socket.send(Message::Close(Some(frame))).await.is_ok() {
        while let Some(Ok(_)) = socket.recv().await {}
    }
}
