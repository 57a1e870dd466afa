//! A client that asks one thing at a time and waits for it as long as all tests wait; what goes wrong ends
//! the test.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http1::{Connection, Response};
use super::pipe::{Idle, Pipe};
use super::process::PATIENCE;
use super::secure::Secure;

/// How often a server is asked what it does not tell by itself.
const POLL: std::time::Duration = std::time::Duration::from_millis(5);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client(Connection);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(patiently(Connection::open(address)).await.expect("the server takes connections"))
    }

    /// Connects over TLS.
    pub(crate) async fn secure(address: SocketAddr, secure: &Secure) -> Self {
        Self::try_secure(address, secure).await.expect("the server takes connections over TLS")
    }

    /// The same with a server that may not want to.
    pub(crate) async fn try_secure(address: SocketAddr, secure: &Secure) -> io::Result<Self> {
        patiently(Connection::open_over(address, Some(secure))).await.map(Self)
    }

    /// Goes on with a connection on which nothing is awaited.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self::over_pipe(Pipe::Plain(stream))
    }

    pub(crate) fn over_pipe(pipe: Pipe) -> Self {
        Self(Connection::over(pipe))
    }

    /// Sends a GET and reads its answer.
    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.ask(path).await;
        self.answer().await
    }

    /// Sends a GET to somebody who may not answer.
    pub(crate) async fn try_get(&mut self, path: &str) -> Result<Response, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        patiently(self.0.send(request.as_bytes())).await.map_err(|error| error.to_string())?;
        patiently(self.0.response()).await.map_err(|fault| fault.to_string())
    }

    /// Sends a GET.
    pub(crate) async fn ask(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    }

    pub(crate) async fn send(&mut self, text: &str) {
        patiently(self.0.send(text.as_bytes())).await.expect("the server reads");
    }

    pub(crate) async fn answer(&mut self) -> Response {
        patiently(self.0.response()).await.unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// The client's own end.
    pub(crate) fn local(&self) -> std::io::Result<SocketAddr> {
        self.0.local()
    }

    /// Waits for an orderly end: no reset, and no byte that was not asked for.
    pub(crate) async fn closed(&mut self) {
        patiently(self.0.closed()).await.unwrap_or_else(|fault| panic!("{fault}"));
    }

    /// Waits for an end of any kind, without an answer.
    pub(crate) async fn broken(&mut self) {
        let answer = patiently(self.0.response()).await;
        assert!(answer.is_err(), "{answer:?} where none could come");
    }

    /// Whether the server has neither closed nor sent anything, as far as it has arrived.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.0.idle(), Idle::Open)
    }
}

/// Sends a GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Response {
    get_over(address, None, path).await
}

/// The same over TLS, if it is said how.
async fn get_over(address: SocketAddr, secure: Option<&Secure>, path: &str) -> Response {
    let connection = patiently(Connection::open_over(address, secure)).await;
    let mut client = Client(connection.expect("the server takes connections"));
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await;
    let response = client.answer().await;
    client.closed().await;
    response
}

/// Asks for `/status` until it is as `wanted`, and returns it.
pub(crate) async fn status_when(address: SocketAddr, wanted: impl Fn(&Value) -> bool) -> Value {
    status_over_when(address, None, wanted).await
}

async fn status_over_when(
    address: SocketAddr,
    secure: Option<&Secure>,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let come = async {
        loop {
            let status = status_over(address, secure).await;
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    patiently(come).await
}

/// What the process that accepts now says of itself.
pub(crate) async fn status(address: SocketAddr) -> Value {
    status_over(address, None).await
}

async fn status_over(address: SocketAddr, secure: Option<&Secure>) -> Value {
    let answer = get_over(address, secure, "/status").await;
    serde_json::from_slice(&answer.body).expect("/status answers with JSON")
}

/// Waits until this many connections are open and this many requests in flight, the one that asks left out.
pub(crate) async fn until_busy(address: SocketAddr, connections: u64, in_flight: u64) {
    until_busy_over(address, None, connections, in_flight).await;
}

/// The same over TLS, if it is said how.
pub(crate) async fn until_busy_over(
    address: SocketAddr,
    secure: Option<&Secure>,
    connections: u64,
    in_flight: u64,
) {
    let sum = |status: &Value, field: &str| {
        let servers = status["servers"].as_array().into_iter().flatten();
        servers.filter_map(|server| server[field].as_u64()).sum::<u64>()
    };
    status_over_when(address, secure, |status| {
        sum(status, "connections") == connections + 1 && sum(status, "in_flight") == in_flight + 1
    })
    .await;
}

/// Waits for what must come.
///
/// # Panics
///
/// If it does not come within 60 s.
#[track_caller]
pub(crate) fn patiently<F: Future>(what: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let come = timeout(PATIENCE, what).await;
        come.unwrap_or_else(|_| panic!("what is awaited at {caller} did not come within {PATIENCE:?}"))
    }
}
