//! A service manager that only listens: the other end of sd_notify(3).

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::process::{PATIENCE, shared_folder};

/// Reads what a service says of itself.
#[derive(Debug)]
pub(crate) struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    /// One that `program` will tell. Needs a tokio runtime.
    pub(crate) fn of(program: &mut Command) -> Self {
        let folder = shared_folder();
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("bound");
        let manager = Self { folder, socket };
        program.env("NOTIFY_SOCKET", manager.path());
        manager
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// The next message, whole.
    pub(crate) async fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let come = timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        let length = come.expect("a message comes in time").expect("our own socket can be read");
        String::from_utf8(buffer[..length].to_vec()).expect("messages are text")
    }

    /// All messages up to the first with this text, that one included.
    pub(crate) async fn until(&self, text: &str) -> Vec<String> {
        let come = timeout(PATIENCE, self.all_until(text)).await;
        come.unwrap_or_else(|_| panic!("{text:?} does not come in time"))
    }

    async fn all_until(&self, text: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|message: &String| message.contains(text)) {
            heard.push(self.next().await);
        }
        heard
    }

    /// What has come and was not read; waits for nothing.
    pub(crate) fn waiting(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let come = std::iter::from_fn(|| {
            self.socket.try_recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
        });
        come.map(|message| String::from_utf8(message).expect("messages are text")).collect()
    }
}
