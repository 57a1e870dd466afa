//! A client of servers on unix sockets, as strict as the others: one request, one connection, no retry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::process::PATIENCE;
use super::running::Running;

/// A whole answer over a unix socket.
#[derive(Debug)]
pub(crate) struct UnixAnswer {
    head: String,
    pub(crate) body: String,
}

impl UnixAnswer {
    pub(crate) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of the first header of this name, in lower case as all servers of the tests write it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The process that has answered.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.header("x-pid")?.parse().ok()
    }
}

/// Sends a GET on a connection of its own and reads to the connection's end.
///
/// # Errors
///
/// A refused connect, a reset, an answer that is cut short or has no end.
pub(crate) async fn unix_get(socket: &Path, path: &str) -> Result<UnixAnswer, String> {
    let asked = tokio::time::timeout(PATIENCE, ask(socket, path)).await;
    let text =
        asked.map_err(|_| format!("no answer within {PATIENCE:?}"))?.map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("cut short: {text:?}"))?;
    let answer = UnixAnswer { head: head.to_owned(), body: body.to_owned() };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    match length == Some(body.len()) && head.starts_with("HTTP/1.1 ") {
        true => Ok(answer),
        false => Err(format!("malformed: {text:?}")),
    }
}

async fn ask(socket: &Path, path: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// How long a client waits after a failure: a server that is gone refuses faster than anybody could count.
const PAUSE: Duration = Duration::from_millis(10);

/// Clients that each ask for `/hello` on one fresh connection after the other.
pub(crate) fn unix_load(socket: &Path, clients: usize) -> Running {
    Running::start(|tasks, tally, stop| {
        for _ in 0..clients {
            let (socket, tally, mut stop) = (PathBuf::from(socket), tally.clone(), stop.clone());
            tasks.spawn(async move {
                while !stop.is_set() {
                    tally.update(|report| report.requests += 1);
                    let what = match unix_get(&socket, "/hello").await {
                        Ok(answer) if answer.body == "WORLD!" => {
                            tally.update(|report| {
                                report.answered += 1;
                                *report.pids.entry(answer.pid().unwrap_or(0)).or_default() += 1;
                            });
                            continue;
                        }
                        Ok(answer) => format!("{answer:?}"),
                        Err(what) => what,
                    };
                    tally.fail(what);
                    stop.sleep(PAUSE).await;
                }
            });
        }
    })
}
