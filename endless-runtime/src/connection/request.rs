//! One request: the user's service called, its errors answered, its response watched to the last byte.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::Terms;
use super::info::ConnectInfo;
use super::refusal::{prefer_targets_host, refusal};
use super::state::{ConnectionState, InFlight};
use super::timer::Timer;
use crate::body::{Body, Deadline};
use crate::error::BoxError;
use crate::log::event;
use crate::service::HttpService;

/// The user's service as hyper calls it, one for each connection.
pub(crate) struct Requests<S> {
    service: RefCell<S>,
    connection: Arc<ConnectionState>,
    terms: Arc<Terms>,
    info: Option<ConnectInfo>,
}

impl<S> Requests<S> {
    pub(crate) fn new(
        service: S,
        connection: Arc<ConnectionState>,
        terms: Arc<Terms>,
        info: Option<ConnectInfo>,
    ) -> Self {
        Self { service: RefCell::new(service), connection, terms, info }
    }

    pub(super) fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// What the service is not asked.
    fn own_answer<B>(&self, request: &Request<Incoming>) -> Option<Response<Option<B>>> {
        let refused = refusal(request).map(|status| refused(status, request.version()));
        refused.or_else(|| self.readiness(request))
    }

    /// Whether the service stops, if that is what is asked.
    fn readiness<B>(&self, request: &Request<Incoming>) -> Option<Response<Option<B>>> {
        let (path, stops) = self.terms.readiness?;
        let stops = || stops.load(Relaxed);
        (request.uri().path() == path).then(|| empty(if stops() { NOT_READY } else { StatusCode::OK }))
    }
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Requests<S> {
    type Response = Response<ResponseBody<S::ResponseBody>>;
    type Error = TooLate;
    type Future = Answer<S>;

    fn call(&self, request: Request<Incoming>) -> Answer<S> {
        let in_flight = self.connection.request_begins();
        let read_deadline = self.read_deadline();
        let asked = Asked {
            in_flight,
            version: request.version(),
            connect: request.method() == Method::CONNECT,
            body_was_late: read_deadline.as_ref().map(Deadline::watch),
            write_deadline: self.terms.limits.write_timeout.map(Timer::after),
        };
        if let Some(response) = self.own_answer(&request) {
            return Answer { step: Step::Answered { response: Some(response) }, asked: Some(asked) };
        }
        let mut request = request.map(|body| self.body(body, read_deadline));
        self.introduce(&mut request);
        Answer { step: self.begin(request), asked: Some(asked) }
    }
}

impl<S: HttpService> Requests<S> {
    fn body(&self, incoming: Incoming, deadline: Option<Deadline>) -> Body {
        Body::from_connection(incoming, deadline, || self.connection.body_begins())
    }

    fn read_deadline(&self) -> Option<Deadline> {
        let time = self.terms.limits.read_timeout?;
        self.connection.take_head_began().checked_add(time).map(Deadline::at)
    }

    fn introduce(&self, request: &mut Request<Body>) {
        prefer_targets_host(request);
        if let Some(info) = &self.info {
            info.insert_into(request.extensions_mut());
        }
    }

    /// A service that is ready at once, as nearly all are, is called where it is. One that is not is moved
    /// into the request's future, which has a task to wake, and a clone takes its place: what it has
    /// queued for (a permit, a slot) goes with it.
    fn begin(&self, request: Request<Body>) -> Step<S> {
        let mut service = self.service.borrow_mut();
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Step::Calling { future: service.call(request) },
            Poll::Ready(Err(error)) => Step::Failed { error: Some(error.into()) },
            Poll::Pending => {
                let clone = service.clone();
                let waiting = std::mem::replace(&mut *service, clone);
                Step::Readying { service: waiting, request: Some(request) }
            }
        }
    }
}

/// What must be known of a request when its response comes.
struct Asked {
    in_flight: InFlight,
    version: Version,
    connect: bool,
    /// Where a request has a time to be read in.
    body_was_late: Option<Arc<AtomicBool>>,
    write_deadline: WriteDeadline,
}

/// Where a response has a time to be written in.
type WriteDeadline = Option<Timer>;

/// The response is not written in time. Hyper closes the connection for it, or resets the stream.
#[derive(Debug, thiserror::Error)]
#[error("the response takes longer than write_timeout")]
pub(crate) struct TooLate;

fn poll_in_time(deadline: &mut WriteDeadline, cx: &mut Context<'_>) -> Result<(), TooLate> {
    match deadline.as_mut().map(|deadline| deadline.poll_over(cx)) {
        Some(Poll::Ready(())) => Err(TooLate),
        Some(Poll::Pending) | None => Ok(()),
    }
}

pin_project! {
    /// A response on its way.
    pub(crate) struct Answer<S: HttpService> {
        #[pin]
        step: Step<S>,
        asked: Option<Asked>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<S: HttpService> {
        Readying { service: S, request: Option<Request<Body>> },
        Calling { #[pin] future: S::Future },
        Failed { error: Option<BoxError> },
        Answered { response: Option<Response<Option<S::ResponseBody>>> },
    }
}

impl<S: HttpService> Future for Answer<S> {
    type Output = Result<Response<ResponseBody<S::ResponseBody>>, TooLate>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(asked) = this.asked {
            poll_in_time(&mut asked.write_deadline, cx)?;
        }
        let result = loop {
            match this.step.as_mut().project() {
                StepProjection::Readying { service, request } => match ready!(service.poll_ready(cx)) {
                    Ok(()) => {
                        let request = request.take().expect("a service is called once");
                        let future = service.call(request);
                        this.step.set(Step::Calling { future });
                    }
                    Err(error) => break Err(error.into()),
                },
                StepProjection::Calling { future } => break ready!(future.poll(cx)).map_err(Into::into),
                StepProjection::Answered { response } => {
                    let response = response.take().expect("not polled after it is done");
                    let asked = this.asked.take().expect("not polled after it is done");
                    return Poll::Ready(Ok(asked.finish(response)));
                }
                StepProjection::Failed { error } => break Err(error.take().expect("polled once")),
            }
        };
        let asked = this.asked.as_ref().expect("not polled after it is done");
        let response = asked.answer(result);
        if asked.is_upgraded_by(response.status()) {
            // Not before the connection's task, which polls this, knows what becomes of the connection; it
            // looks at once.
            asked.in_flight.connection().upgrades();
            this.step.set(Step::Answered { response: Some(response) });
            return Poll::Pending;
        }
        let asked = this.asked.take().expect("it was there");
        Poll::Ready(Ok(asked.finish(response)))
    }
}

impl Asked {
    fn answer<B>(&self, result: Result<Response<B>, BoxError>) -> Response<Option<B>> {
        match result {
            Ok(response) if is_error(response.status()) && self.body_was_late() => {
                empty(StatusCode::REQUEST_TIMEOUT)
            }
            Ok(response) => response.map(Some),
            Err(_) if self.body_was_late() => empty(StatusCode::REQUEST_TIMEOUT),
            Err(error) => internal_error(&*error),
        }
    }

    fn body_was_late(&self) -> bool {
        self.body_was_late.as_ref().is_some_and(|late| late.load(Relaxed))
    }

    fn finish<B>(self, mut response: Response<Option<B>>) -> Response<ResponseBody<B>> {
        if self.must_close(response.status()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            // To a response of HTTP/1.1 for a client of HTTP/1.0, hyper would add "keep-alive" all the same.
            *response.version_mut() = self.version;
        }
        self.in_flight.connection().responds(response.status());
        response.map(|body| ResponseBody { body, deadline: self.write_deadline, in_flight: self.in_flight })
    }

    /// Asked when the head is written, so that a response that began before the drain says it too. After a
    /// late body, hyper closes because its rest is unread.
    fn must_close(&self, status: StatusCode) -> bool {
        let connection = self.in_flight.connection();
        connection.leave_if_stuck();
        let last = connection.is_leaving() || self.body_was_late();
        last && self.version < Version::HTTP_2 && !self.is_upgraded_by(status)
    }

    /// Whether an answer of this status hands the connection over. Over HTTP/2 it is a stream at most.
    fn is_upgraded_by(&self, status: StatusCode) -> bool {
        let is_final = status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success());
        is_final && self.version < Version::HTTP_2
    }
}

const NOT_READY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Whatever follows such a request on its connection cannot be trusted either.
fn refused<B>(status: StatusCode, version: Version) -> Response<Option<B>> {
    let mut response = empty(status);
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn empty<B>(status: StatusCode) -> Response<Option<B>> {
    let mut response = Response::new(None);
    *response.status_mut() = status;
    response
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn internal_error<B>(error: &(dyn std::error::Error + 'static)) -> Response<Option<B>> {
    event!(ERROR, "the service failed", error = error);
    empty(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Hyper cuts the connection, or resets the stream, and says nothing.
fn body_error(error: impl Into<BoxError>) -> BoxError {
    let error = error.into();
    event!(ERROR, "the body of a response failed", error = error);
    error
}

pin_project! {
    /// The user's response body, whose end is the request's end.
    pub(crate) struct ResponseBody<B> {
        #[pin]
        body: Option<B>,
        deadline: WriteDeadline,
        in_flight: InFlight,
    }
}

impl<B: http_body::Body<Error: Into<BoxError>>> http_body::Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.project();
        if let Err(late) = poll_in_time(this.deadline, cx) {
            return Poll::Ready(Some(Err(late.into())));
        }
        match this.body.as_pin_mut() {
            Some(body) => body.poll_frame(cx).map_err(body_error),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}
