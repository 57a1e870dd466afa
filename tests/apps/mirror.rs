//! The tests' program that says what it was asked, in its answers and on stderr: nothing is taken for a
//! request without a line.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use endless::{Body, ConnectInfo};
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

type Mirrored = UnsyncBoxBody<Bytes, Infallible>;

/// 8 MiB, and a little.
const LARGE_LINES: usize = (8 << 20) / 6 + 1;

#[endless::main(listen = "127.0.0.1:0", connect_info = true)]
async fn main() -> impl endless::HttpService {
    endless::service_fn(answer)
}

/// With the query `later`, not before the drain has begun.
async fn answer(request: Request<Body>) -> Result<Response<Mirrored>, Infallible> {
    let port = client_port(&request);
    let path = request.uri().path().to_owned();
    if path != "/status" {
        say(format!("INFO app: asked {} {} port={port}", request.method(), request.uri()));
    }
    if request.uri().query() == Some("later") {
        endless::draining().await;
    }
    let mut response = match path.trim_start_matches('/').split('/').next() {
        Some("status") => whole(serde_json::to_string(&endless::status()).expect("plain fields")),
        Some("empty") => empty(&path),
        Some("unread") => whole("unread".to_owned()),
        Some("large") => whole("large\n".repeat(LARGE_LINES)),
        Some("stream") => pieces(),
        _ => whole(seen(request).await),
    };
    response.headers_mut().insert("x-pid", HeaderValue::from(std::process::id()));
    response.headers_mut().insert("x-port", HeaderValue::from(port));
    Ok(response)
}

/// In one write, so that what others say does not come between its words.
fn say(line: String) {
    eprint!("{}", line + "\n");
}

/// As the server knows it; 0 if it does not.
fn client_port(request: &Request<Body>) -> u16 {
    let remote = request.extensions().get::<ConnectInfo>().and_then(|info| info.remote().tcp());
    remote.map_or(0, |address| address.port())
}

/// The request once more: its line, and its body's length, checksum and trailer.
async fn seen(request: Request<Body>) -> String {
    let asked = format!("{} {}", request.method(), target(&request));
    let Ok(body) = request.into_body().collect().await else { return format!("{asked} broken") };
    let trailer = body.trailers().and_then(|trailers| trailers.get("x-trailer")).cloned();
    let trailer = trailer.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let bytes = body.to_bytes();
    let checksum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{asked} {} {checksum:016x} {trailer}", bytes.len())
}

/// As HTTP/1 writes it; HTTP/2 has scheme and authority apart, and the URI has them in it.
fn target(request: &Request<Body>) -> String {
    match (request.version(), request.uri().path_and_query()) {
        (Version::HTTP_2, Some(path)) => path.to_string(),
        _ => request.uri().to_string(),
    }
}

fn whole(text: String) -> Response<Mirrored> {
    Response::new(Full::from(text).boxed_unsync())
}

/// The status that the path names, without a body.
fn empty(path: &str) -> Response<Mirrored> {
    let status = path.split('/').nth(2).and_then(|status| status.parse::<StatusCode>().ok());
    let mut response = Response::new(http_body_util::Empty::new().boxed_unsync());
    *response.status_mut() = status.expect("the tests ask for real ones");
    response
}

/// One piece at once, nine when the drain has begun, with pauses in which a server could do wrong.
fn pieces() -> Response<Mirrored> {
    let pieces = stream::iter(0..10).then(async |piece| {
        if piece == 1 {
            endless::draining().await;
        }
        tokio::time::sleep(Duration::from_millis(if piece > 1 { 20 } else { 0 })).await;
        Ok(Frame::data(Bytes::from(format!("piece {piece}\n"))))
    });
    Response::new(StreamBody::new(pieces).boxed_unsync())
}
