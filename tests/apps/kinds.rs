//! The tests' program as each kind of service that a user may bring, by its first argument; and a plain one
//! on 127.0.0.2, to look at the process without a place in the other's queue.

mod routes;

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use endless::HttpService;
use hyper::body::Incoming;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _};

/// How many requests `limited` and `buffered` work on at a time.
const LIMIT: usize = 2;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    routes::follow_plan()?;
    let routes = routes::routes();
    let layers = || ServiceBuilder::new().concurrency_limit(LIMIT);
    match std::env::args().nth(1).as_deref() {
        Some("axum") => serve(routes).await,
        Some("function") => serve(routes::failing_at_error(routes)).await,
        Some("hyper") => serve(endless::hyper_service(hyper::service::service_fn(by_hyper))).await,
        Some("limited") => serve(layers().service(routes)).await,
        Some("buffered") => serve(ServiceBuilder::new().buffer(1).layer(layers()).service(routes)).await,
        Some("never ready") => serve(NeverReady { waits: false }).await,
        Some("waits to be never ready") => serve(NeverReady { waits: true }).await,
        kind => panic!("{kind:?} is no kind of service"),
    }?;
    Ok(())
}

async fn serve(service: impl HttpService) -> endless::Result<()> {
    let plain: Router = routes::routes();
    tokio::try_join!(endless::serve("127.0.0.1:0", service), endless::serve("127.0.0.2:0", plain))?;
    Ok(())
}

async fn by_hyper(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    routes::routes().oneshot(request).await
}

/// Fails before it is called, at once or when it has waited.
#[derive(Clone)]
struct NeverReady {
    waits: bool,
}

impl Service<Request<endless::Body>> for NeverReady {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if std::mem::take(&mut self.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err("not today".into()))
    }

    fn call(&mut self, _request: Request<endless::Body>) -> Self::Future {
        unreachable!("it is never ready")
    }
}
