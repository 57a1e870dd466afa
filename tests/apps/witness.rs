//! The tests' program that remembers what its service was asked: `/seen` tells it, one request a line.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use endless::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};

/// As `METHOD PATH HOST BODY`, the last in bytes, or `unread` of a body that was not read to its end.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[endless::main(listen = "127.0.0.1:0")]
async fn main() -> impl endless::HttpService {
    endless::service_fn(answer)
}

/// Reads the body, except under `/unread`, and answers 400 to one that fails.
async fn answer(request: Request<Body>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    if request.uri().path() == "/seen" {
        return Ok(signed(Response::new(Full::from(seen().join("\n")))));
    }
    let about = about(&request);
    // Noted at once: a request whose body never ends was seen too.
    let place = note(format!("{about} unread"));
    if request.uri().path() == "/unread" {
        return Ok(signed(Response::default()));
    }
    let mut response = Response::default();
    match request.into_body().collect().await {
        Ok(body) => seen()[place] = format!("{about} {}", body.to_bytes().len()),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(signed(response))
}

fn about(request: &Request<Body>) -> String {
    let host = request.headers().get(header::HOST).map_or("-", |host| host.to_str().unwrap_or("?"));
    format!("{} {} {host}", request.method(), request.uri().path())
}

fn note(line: String) -> usize {
    let mut seen = seen();
    seen.push(line);
    seen.len() - 1
}

fn seen() -> MutexGuard<'static, Vec<String>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn signed(mut response: Response<Full<bytes::Bytes>>) -> Response<Full<bytes::Bytes>> {
    response.headers_mut().insert("x-pid", HeaderValue::from(std::process::id()));
    response
}
