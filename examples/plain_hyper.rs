//! A service written against hyper alone, without tower or axum: `curl localhost:4242/hello -d 'some bytes'`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};

#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> impl endless::HttpService {
    endless::hyper_service(Hello)
}

#[derive(Clone)]
struct Hello;

impl Service<Request<Incoming>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(async { Ok(answer(request).await) })
    }
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/hello") => response(StatusCode::OK, "WORLD!"),
        (&Method::POST, "/hello") => match request.into_body().collect().await {
            Ok(body) => response(StatusCode::OK, body.to_bytes()),
            Err(_) => response(StatusCode::BAD_REQUEST, ""),
        },
        _ => response(StatusCode::NOT_FOUND, ""),
    }
}

fn response(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
