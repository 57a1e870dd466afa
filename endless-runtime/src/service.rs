//! What a user brings to be served: one sealed trait over tower's `Service`, and adapters for plain
//! functions and for hyper's own `Service`.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use tower_service::Service;

use crate::body::Body;
use crate::error::BoxError;

/// A service for HTTP, for every
/// `tower::Service<http::Request<endless::Body>, Response = http::Response<B>> + Clone + Send + 'static`
/// whose future and body can be sent between threads: an `axum::Router`, a stack of tower layers,
/// [`service_fn`], [`hyper_service`].
///
/// Sealed: it is implemented for every type that fits, and nobody else can implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no HTTP service",
    label = "expected a `tower::Service<http::Request<endless::Body>>` such as `axum::Router`",
    note = "the service must be `Clone + Send + 'static` and answer with an `http::Response`; wrap a function in `endless::service_fn`"
)]
pub trait HttpService: sealed::Sealed + Clone + Send + 'static {
    #[doc(hidden)]
    type ResponseBody: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
    #[doc(hidden)]
    type Error: Into<BoxError>;
    #[doc(hidden)]
    type Future: Future<Output = Result<Response<Self::ResponseBody>, Self::Error>> + Send + 'static;

    #[doc(hidden)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>>;
    #[doc(hidden)]
    fn call(&mut self, request: Request<Body>) -> Self::Future;
}

// Whoever returns something else is told of this trait, not of every `tower::Service` there is.
#[diagnostic::do_not_recommend]
impl<S, B> HttpService for S
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type ResponseBody = B;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(self, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Service::call(self, request)
    }
}

mod sealed {
    use super::*;

    pub trait Sealed {}
    #[diagnostic::do_not_recommend]
    impl<S, B> Sealed for S where S: Service<Request<Body>, Response = Response<B>> {}
}

/// Makes a service of a function from a request to a response.
///
/// ```
/// use std::convert::Infallible;
/// # use endless_runtime as endless;
/// let service = endless::service_fn(async |request: http::Request<endless::Body>| {
///     Ok::<_, Infallible>(http::Response::new(format!("you asked for {}", request.uri())))
/// });
/// # fn is_a_service(_: impl endless::HttpService) {}
/// # is_a_service(service);
/// ```
pub fn service_fn<F>(f: F) -> ServiceFn<F> {
    ServiceFn { f }
}

/// The service that [`service_fn`] makes.
#[derive(Clone, Copy, Debug)]
pub struct ServiceFn<F> {
    f: F,
}

impl<F, Fut, B, E> Service<Request<Body>> for ServiceFn<F>
where
    F: Fn(Request<Body>) -> Fut,
    Fut: Future<Output = Result<Response<B>, E>>,
{
    type Response = Response<B>;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Fut {
        (self.f)(request)
    }
}

/// Makes a service of a [`hyper::service::Service`] that takes hyper's own [`Incoming`] body.
///
/// What such a service leaves unread of a body cannot be known, so a connection whose last request had a
/// body is not handed to a successor, and `read_timeout` does not reach into its body.
pub fn hyper_service<S>(service: S) -> HyperService<S> {
    HyperService { service }
}

/// The service that [`hyper_service`] makes.
#[derive(Clone, Copy, Debug)]
pub struct HyperService<S> {
    service: S,
}

impl<S, B> Service<Request<Body>> for HyperService<S>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    /// # Panics
    ///
    /// If the body did not come from a connection: hyper offers no way to make its `Incoming`.
    fn call(&mut self, request: Request<Body>) -> S::Future {
        let request = request.map(|body| body.into_incoming().expect("a body that came from a connection"));
        self.service.call(request)
    }
}

/// What a declarative `main` may return: a service, or a `Result` of one. `Kind` tells the two apart, so
/// that aliases and type inference work.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no HTTP service",
    label = "with `listen`, main returns a service such as `axum::Router`, or a `Result` of one",
    note = "without `listen`, main returns `()` or `Result<(), E>` and awaits `endless::serve` itself"
)]
pub trait IntoService<Kind> {
    #[doc(hidden)]
    type Service: HttpService;
    #[doc(hidden)]
    fn into_service(self) -> Result<Self::Service, BoxError>;
}

/// Kind of a type that is a service itself.
#[derive(Debug)]
pub enum Plain {}

/// Kind of a `Result` with error `E`.
#[derive(Debug)]
pub struct Fallible<E>(PhantomData<E>, Infallible);

impl<S: HttpService> IntoService<Plain> for S {
    type Service = S;
    fn into_service(self) -> Result<S, BoxError> {
        Ok(self)
    }
}

impl<S: HttpService, E: Into<BoxError>> IntoService<Fallible<E>> for Result<S, E> {
    type Service = S;
    fn into_service(self) -> Result<S, BoxError> {
        self.map_err(Into::into)
    }
}

/// What an imperative `main` may return: `()` or `Result<(), E>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that an imperative main returns",
    label = "without `listen`, main returns `()` or `Result<(), E>`",
    note = "the error can be anything that becomes a `Box<dyn Error + Send + Sync>`: add `+ Send + Sync` to a boxed one",
    note = "to serve what main returns, say where: `#[endless::main(listen = \"127.0.0.1:4242\")]`"
)]
pub trait IntoOutcome<Kind> {
    #[doc(hidden)]
    fn into_outcome(self) -> Result<(), BoxError>;
}

impl IntoOutcome<Plain> for () {
    fn into_outcome(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> IntoOutcome<Fallible<E>> for Result<(), E> {
    fn into_outcome(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}
