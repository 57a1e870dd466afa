//! What the tests' programs serve: every kind of answer that a drain meets, and the ways to start badly.

use std::convert::Infallible;
use std::fs;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, Request};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::middleware::map_response;
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tower::ServiceExt as _;

/// Which build this is, so that a test can tell one from the other.
const VERSION: &str = match option_env!("APP_VERSION") {
    Some(version) => version,
    None => "unnamed",
};

/// Carries out what the file that `APP_PLAN` names says, if there is one: the next generation can be made to
/// start badly without a change to its environment.
pub(crate) fn follow_plan() -> Result<(), String> {
    match plan().as_str() {
        "exit" => {
            say(format!("INFO app: exits pid={}", std::process::id()));
            std::process::exit(3)
        }
        "panic" => panic!("as planned"),
        "error" => Err("as planned".to_owned()),
        "hang" => loop {
            std::thread::park();
        },
        "abort" => std::process::abort(),
        "wait" => {
            say(format!("INFO app: waiting pid={}", std::process::id()));
            while plan() == "wait" {
                std::thread::sleep(Duration::from_millis(5));
            }
            follow_plan()
        }
        _ => Ok(()),
    }
}

/// In one write, so that what endless writes meanwhile does not come between its words.
pub(crate) fn say(line: String) {
    eprint!("{}", line + "\n");
}

/// The plan's text; empty without one.
pub(crate) fn plan() -> String {
    let file = std::env::var("APP_PLAN").unwrap_or_default();
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/hello", get(|| async { "WORLD!" }))
        .route("/sleep", get(sleep))
        .route("/upload", post(upload))
        .route("/early", post(early))
        .route("/stream", get(stream))
        .route("/bytes/{count}", get(bytes))
        .route("/pieces/{count}", get(pieces))
        .route("/endless", get(endless))
        .route("/status", get(|| async { axum::Json(endless::status()) }))
        .route("/ends", get(ends))
        .route("/runtime", get(runtime))
        .route("/restart", get(restart))
        .route("/shutdown", get(|| async { endless::shutdown() }))
        .route("/until_draining", get(until_draining))
        .route("/large_when_draining", any(large_when_draining))
        .route("/echo", any(echo))
        .route("/block_the_log", get(|| async { block_the_log() }))
        .route("/hang", get(hang))
        .route("/spin", get(|| async { spin("/spin") }))
        .route("/block", get(block))
        .route("/spawn", get(spawn))
        .route("/spawn_self", get(spawn_self))
        .route("/exit", get(exit))
        .route("/pid", get(|| async { endless::pid().to_string() }))
        .route("/orphan", get(orphan))
        .route("/panic", get(|| async { panicking::<()>() }))
        .route("/panic_when_draining", get(panic_when_draining))
        .route("/panic_in_body", get(|| async { ending_badly(panicking) }))
        .route("/error_in_body", get(|| async { ending_badly(|| Err("as the client wished")) }))
        .route("/empty", any(empty))
        .route("/trailers", any(trailers))
        .route(
            "/websocket",
            any(async |upgrade: WebSocketUpgrade| -> Response<Body> { upgrade.on_upgrade(speak) }),
        )
        .route("/unwanted", get(|| async { switching_protocols() }))
        .layer(map_response(signed))
}

/// Says which process and which build has answered.
async fn signed(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert("x-pid", HeaderValue::from(std::process::id()));
    headers.insert("x-version", HeaderValue::from_static(VERSION));
    response
}

#[derive(Deserialize)]
struct Milliseconds {
    #[serde(default)]
    ms: u64,
}

async fn sleep(Query(Milliseconds { ms }): Query<Milliseconds>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("slept {ms}")
}

async fn upload(body: Bytes) -> String {
    let checksum = body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("received {} {checksum:016x}", body.len())
}

/// Answers, while a task of its own reads on and says how that ended; with `?draining`, when the drain has
/// begun.
async fn early(request: Request) -> &'static str {
    let awaits_drain = request.uri().query() == Some("draining");
    tokio::spawn(async move {
        match axum::body::to_bytes(request.into_body(), usize::MAX).await {
            Ok(body) => say(format!("INFO app: upload finished bytes={}", body.len())),
            Err(error) => say(format!("INFO app: upload failed: {error}")),
        }
    });
    if awaits_drain {
        endless::draining().await;
    }
    "early"
}

/// Ten pieces, one every `ms` milliseconds.
async fn stream(Query(Milliseconds { ms }): Query<Milliseconds>) -> Body {
    let pieces = stream::unfold(0, move |piece| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        (piece < 10).then(|| (Ok::<_, Infallible>(format!("piece {piece}\n")), piece + 1))
    });
    Body::from_stream(pieces)
}

/// So many zeros, in one piece.
async fn bytes(Path(count): Path<usize>) -> Bytes {
    Bytes::from(vec![0; count])
}

/// So many pieces of 10,000 zeros.
async fn pieces(Path(count): Path<usize>) -> Body {
    let piece = Bytes::from_static(&[0; 10_000]);
    Body::from_stream(futures_util::stream::iter(vec![Ok::<_, Infallible>(piece); count]))
}

/// As many bytes as the client takes.
async fn endless() -> Body {
    let piece = Bytes::from_static(&[b'x'; 64 * 1024]);
    Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, Infallible>(piece.clone())))
}

type AxumInfo = axum::extract::ConnectInfo<std::net::SocketAddr>;

/// Both ends of the connection, as far as the server tells: endless's `ConnectInfo`, and axum's.
async fn ends(
    info: Option<Extension<endless::ConnectInfo>>,
    axums: Option<Extension<AxumInfo>>,
) -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({
        "remote": info.as_ref().map(|info| info.remote().to_string()),
        "local": info.as_ref().map(|info| info.local().to_string()),
        "axum": axums.map(|info| info.0.0.to_string()),
        "tls": info.as_ref().and_then(|info| info.tls()).map(about_tls),
    }))
}

fn about_tls(tls: &endless::TlsInfo) -> serde_json::Value {
    let chain = tls.client_chain().iter().map(|certificate| certificate.to_vec());
    serde_json::json!({
        "version": tls.version().to_string(),
        "alpn": tls.alpn().map(String::from_utf8_lossy),
        "sni": tls.sni(),
        "client_chain": chain.collect::<Vec<_>>(),
    })
}

#[derive(Deserialize)]
struct Status {
    status: u16,
}

/// Ends the process on the spot.
async fn exit(Query(Status { status }): Query<Status>) {
    std::process::exit(status.into())
}

/// A status without a body.
async fn empty(Query(Status { status }): Query<Status>) -> StatusCode {
    StatusCode::from_u16(status).expect("the tests ask for real ones")
}

/// More than a socket takes before its client reads.
async fn large_when_draining() -> String {
    endless::draining().await;
    "large".repeat(2_000_000)
}

/// The body of the request once more, a pause until the drain has begun, and the trailers of the request.
async fn trailers(request: Request) -> Response<Body> {
    let body = request.into_body().collect().await.expect("a whole body");
    let trailers = body.trailers().cloned().unwrap_or_default();
    let data = stream::iter([Ok::<_, Infallible>(Frame::data(body.to_bytes()))]);
    let trailers = stream::once(async move {
        endless::draining().await;
        Ok(Frame::trailers(trailers))
    });
    let mut response = Response::new(Body::new(StreamBody::new(data.chain(trailers))));
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
    response
}

/// A piece, and a while later what is not one.
fn ending_badly(end: impl Fn() -> Result<&'static str, &'static str> + Send + 'static) -> Body {
    let bad = stream::once(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        end()
    });
    Body::from_stream(stream::iter([Ok("piece\n")]).chain(bad))
}

async fn panic_when_draining() {
    endless::draining().await;
    panicking()
}

async fn restart() -> String {
    match endless::restart().await {
        Ok(pid) => format!("restarted {pid}"),
        Err(error) => format!("not restarted: {error}"),
    }
}

/// A long poll that leaves when the drain begins, or `ms` milliseconds later.
async fn until_draining(Query(Milliseconds { ms }): Query<Milliseconds>) -> &'static str {
    endless::draining().await;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "draining"
}

/// Switches protocols, with `?draining` when the drain has begun, and echoes.
async fn echo(mut request: Request) -> Response<Body> {
    if request.uri().query() == Some("draining") {
        endless::draining().await;
    }
    tokio::spawn(give_back(hyper::upgrade::on(&mut request)));
    switching_protocols()
}

/// What a proxy does with CONNECT: an answer, and then an echo.
fn tunnel<B>(mut request: http::Request<B>) -> Response<Body> {
    tokio::spawn(give_back(hyper::upgrade::on(&mut request)));
    Response::new(Body::empty())
}

fn switching_protocols() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    response.headers_mut().insert("upgrade", HeaderValue::from_static("echo"));
    response
}

/// The kind of tokio runtime that serves, and how many threads it has.
async fn runtime() -> String {
    let runtime = tokio::runtime::Handle::current();
    format!("{:?} {}", runtime.runtime_flavor(), runtime.metrics().num_workers())
}

/// Says when the drain begins, and gives every byte back until the client closes.
async fn give_back(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut io = hyper_util::rt::TokioIo::new(upgraded);
    let mut bytes = [0; 1024];
    let mut draining = pin!(endless::draining().fuse());
    loop {
        let written = tokio::select! {
            () = &mut draining => io.write_all(b"draining\n").await,
            read = io.read(&mut bytes) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => io.write_all(&bytes[..count]).await,
            }
        };
        // Over HTTP/2 what was written waits for a flush.
        if written.is_err() || io.flush().await.is_err() {
            return;
        }
    }
}

/// The same over a WebSocket, message by message.
async fn speak(mut socket: WebSocket) {
    let mut draining = pin!(endless::draining().fuse());
    loop {
        let message = tokio::select! {
            () = &mut draining => Message::text("draining\n"),
            message = socket.recv() => match message {
                Some(Ok(message)) => message,
                Some(Err(_)) | None => return,
            }
        };
        if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// What a subprocess finds: its signal masks, and its descriptors.
async fn spawn() -> Vec<u8> {
    let script = "grep Sig /proc/self/status; ls -l /proc/self/fd";
    let output = Command::new("sh").args(["-c", script]).output().await.expect("a shell");
    output.stdout
}

/// What this program says when it is a subprocess of itself and begins to serve.
async fn spawn_self() -> String {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(std::env::args_os().skip(1)).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("this program can be started");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    loop {
        match lines.next_line().await.expect("a pipe can be read") {
            Some(line) if !line.contains(" serving ") => {}
            end => return end.unwrap_or_default(),
        }
    }
}

/// Starts a process that soon has no parent, and lives a little longer; returns its PID.
async fn orphan() -> Vec<u8> {
    let script = "sleep 0.3 >/dev/null 2>&1 & echo $!";
    let output = Command::new("sh").args(["-c", script]).output().await.expect("a shell");
    output.stdout
}

async fn hang() {
    eprintln!("INFO app: stuck in /hang");
    std::future::pending().await
}

async fn block() {
    tokio::task::spawn_blocking(|| spin("/block")).await.expect("no panic");
}

/// From now on, whoever logs through `tracing` is stuck.
fn block_the_log() {
    tracing::subscriber::set_global_default(Stuck).expect("there is no subscriber yet");
}

struct Stuck;

impl tracing::Subscriber for Stuck {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn event(&self, _event: &tracing::Event<'_>) {
        loop {
            std::thread::park();
        }
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}
    fn enter(&self, _span: &tracing::span::Id) {}
    fn exit(&self, _span: &tracing::span::Id) {}
}

fn spin(path: &str) {
    eprintln!("INFO app: stuck in {path}");
    loop {
        std::hint::spin_loop();
    }
}

fn panicking<T>() -> T {
    panic!("as the client wished");
}

/// The routes as a service that does what axum's own handlers never do: fail at `/error`, panic when it is
/// called with `/panic_in_call`, answer CONNECT.
pub(crate) fn failing_at_error(routes: Router) -> impl endless::HttpService {
    endless::service_fn(move |request: http::Request<endless::Body>| {
        if request.uri().path() == "/panic_in_call" {
            panicking()
        }
        let routes = routes.clone();
        async move {
            match request.uri().path() {
                "/error" => Err("as the client wished"),
                _ if request.method() == Method::CONNECT => Ok(tunnel(request)),
                _ => Ok(routes.oneshot(request).await.unwrap_or_else(|never| match never {})),
            }
        }
    })
}
