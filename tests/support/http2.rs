//! A client of HTTP/2 that asks one thing at a time or several, and tells what becomes of each stream.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use tokio::task::JoinHandle;

use super::client::patiently;
use super::pipe::Pipe;
use super::secure::Secure;

/// One connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    address: SocketAddr,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer2 {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_over(address, None).await
    }

    /// Over TLS, if it is said how.
    pub(crate) async fn connect_over(address: SocketAddr, secure: Option<&Secure>) -> Self {
        let stream = patiently(Pipe::open(address, secure)).await.expect("the server takes connections");
        let (requests, connection) =
            patiently(h2::client::handshake(stream)).await.expect("the server speaks HTTP/2");
        Self { requests, address, connection: tokio::spawn(connection) }
    }

    /// Sends a GET. The answer comes whether it is awaited or not.
    pub(crate) async fn ask(
        &mut self,
        path: &str,
    ) -> impl Future<Output = Result<Answer2, h2::Error>> + use<> {
        let request = Request::get(format!("http://{}{path}", self.address)).body(());
        let (response, _) = self.send(request.expect("a well-formed request"), true).await;
        patiently(answer(response))
    }

    /// Sends a GET and reads its answer.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer2, h2::Error> {
        self.ask(path).await.await
    }

    /// Sends a request; its body follows on the stream, if it is not at its end.
    pub(crate) async fn send(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let ready = patiently(self.requests.clone().ready()).await;
        ready.expect("it takes streams").send_request(request, end).expect("it takes this one")
    }

    /// Sends CONNECT; what comes back is a tunnel.
    pub(crate) async fn tunnel(&mut self) -> (RecvStream, SendStream<Bytes>) {
        let request = Request::builder().method(Method::CONNECT).uri("echo.test:7").body(());
        let (response, out) = self.send(request.expect("a well-formed request"), false).await;
        let response = patiently(response).await.expect("an answer");
        assert_eq!(response.status(), 200);
        (response.into_body(), out)
    }

    /// Closes at once, whatever is under way.
    pub(crate) fn leave(self) {
        self.connection.abort();
    }

    /// Waits until the server has closed, in peace.
    pub(crate) async fn closed(self) {
        let ended = patiently(self.connection).await.expect("no panic");
        // What the client says of its own end may find nobody there any more.
        let is_too_late =
            |error: &h2::Error| error.get_io().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe);
        ended.or_else(|error| if is_too_late(&error) { Ok(()) } else { Err(error) }).expect("a peaceful end");
    }

    /// Waits for an end of any kind.
    pub(crate) async fn broken(self) {
        patiently(self.connection).await.expect("no panic").ok();
    }
}

/// Reads to the end of the stream.
pub(crate) async fn answer(response: ResponseFuture) -> Result<Answer2, h2::Error> {
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = more(&mut incoming).await? {
        body.extend_from_slice(&data);
    }
    let trailers = incoming.trailers().await?;
    let body = String::from_utf8(body).expect("the tests' answers are text");
    Ok(Answer2 { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

/// The next bytes; none at the end.
pub(crate) async fn more(incoming: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let data = incoming.data().await.transpose()?;
    if let Some(data) = &data {
        incoming.flow_control().release_capacity(data.len())?;
    }
    Ok(data)
}

/// Why the server has reset the stream.
pub(crate) fn reset(answer: Result<Answer2, h2::Error>) -> Option<Reason> {
    let error = answer.expect_err("no whole answer");
    assert!(error.is_reset() && error.is_remote(), "{error:?}");
    error.reason()
}
