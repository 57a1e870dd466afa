//! What becomes of a connection whose process drains: the successor has it after a restart, a stop ends it.

use nix::sys::signal::Signal;

use super::client::Client;
use super::process::{App, Mark};
use super::told::successor_of;

/// A restart and a stop.
pub(crate) const SIGNALS: [Signal; 2] = [Signal::SIGHUP, Signal::SIGTERM];

/// Whether it ends connections, so that what is answered says `Connection: close`.
pub(crate) fn is_stop(signal: Signal) -> bool {
    signal == Signal::SIGTERM
}

/// Whether the head of an answer says that the connection ends with it.
pub(crate) fn says_close(text: &str) -> bool {
    text.to_lowercase().contains("\r\nconnection: close\r\n")
}

/// After the last answer of the first generation.
pub(crate) async fn moves_or_closes(app: &App, client: &mut Client, signal: Signal) {
    if is_stop(signal) {
        return client.closed().await;
    }
    let line = app.wait_for_message(Mark::START, "handed over").await;
    lives_on(client, successor_of(&line)).await;
}

/// The successor answers on a connection from before the restart, and keeps it open.
pub(crate) async fn lives_on(client: &mut Client, successor: u32) {
    let answer = client.get("/hello").await;
    assert_eq!((answer.text().as_str(), answer.close), ("WORLD!", false));
    assert_eq!(answer.header("x-pid"), Some(successor.to_string().as_str()));
}
