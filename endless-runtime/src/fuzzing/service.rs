//! A service that answers as the script says, and notes what it was asked.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::script::{Answer, Given, Reads, Status};
use crate::error::BoxError;
use crate::lock::lock;

/// What the service saw of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    head: String,
    body: String,
    trailers: Option<HeaderMap>,
    pub(super) progress: Progress,
    /// Endless would have answered by itself, what hyper lets through.
    pub(super) is_refused: bool,
}

impl Seen {
    /// Endless knows that a body of known length is whole when its last byte is read, and hyper may forget to
    /// say so, if the response is at its end before. And where a connection fails, the end of the body that
    /// was read by then and the failure race for the reader, in hyper's own channel between the two.
    pub(super) fn agrees_with(&self, bare: &Self) -> bool {
        let body_agrees = match &bare.progress {
            Progress::Failed(_) => self.body.starts_with(&bare.body),
            _ => self.body == bare.body && self.progress == bare.progress && self.trailers == bare.trailers,
        };
        self.head == bare.head && body_agrees
    }

    pub(super) fn is_connect(&self) -> bool {
        self.head.starts_with("CONNECT ")
    }
}

/// Of a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Reading,
    Whole,
    /// The service wanted no more.
    Left,
    Failed(String),
}

type Log = Arc<Mutex<Vec<Seen>>>;

#[derive(Clone)]
pub(super) struct Service {
    answers: Arc<[Answer]>,
    seen: Log,
}

impl Service {
    pub(super) fn new(answers: &[Answer], seen: &Log) -> Self {
        let plain = Answer { reads: Reads::All, after: 0, status: Status::Ok, body: Given::Whole(5) };
        let answers = if answers.is_empty() { vec![plain] } else { answers.to_vec() };
        Self { answers: answers.into(), seen: Arc::clone(seen) }
    }

    /// What endless does with an error, for hyper, which would close the connection. And as in endless, an
    /// answer that hands the connection over waits until the connection is polled `again`: meanwhile, hyper
    /// may see that the client is gone, or that the request's body is left unread.
    pub(super) async fn answer_or_500<B>(
        self,
        request: Request<B>,
        again: Arc<AtomicBool>,
    ) -> Result<Response<Pieces>, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let connects = request.method() == Method::CONNECT;
        let response = self.answer(request).await.unwrap_or_else(|_| {
            let mut response = Response::new(Pieces::nothing());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        });
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS || (connects && status.is_success()) {
            poll_fn(|_cx| if again.swap(true, Relaxed) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
        Ok(response)
    }

    pub(super) async fn answer<B>(self, request: Request<B>) -> Result<Response<Pieces>, BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let is_refused = crate::connection::refusal(&request).is_some();
        let (head, body) = request.into_parts();
        let number = self
            .note(is_refused, format!("{} {} {:?} {:?}", head.method, head.uri, head.version, head.headers));
        let answer = self.answers[number % self.answers.len()].clone();
        let read = self.clone().read(number, body, answer.reads);
        match answer.reads {
            Reads::Beside => drop(tokio::spawn(read)),
            _ => read.await,
        }
        if answer.after > 0 {
            sleep(Duration::from_millis(answer.after.into())).await;
        }
        let mut response = Response::new(Pieces::new(answer.body));
        *response.status_mut() = match answer.status {
            Status::Ok | Status::AlsoOk => StatusCode::OK,
            Status::NoContent => StatusCode::NO_CONTENT,
            Status::NotModified => StatusCode::NOT_MODIFIED,
            Status::SwitchingProtocols => StatusCode::SWITCHING_PROTOCOLS,
            Status::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Status::Error => return Err("as the script says".into()),
        };
        response.headers_mut().insert("x-number", number.into());
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-trailer"));
        Ok(response)
    }

    fn note(&self, is_refused: bool, head: String) -> usize {
        let mut seen = lock(&self.seen);
        seen.push(Seen {
            head,
            body: String::new(),
            trailers: None,
            progress: Progress::Reading,
            is_refused,
        });
        seen.len() - 1
    }

    async fn read<B: Body<Data = Bytes, Error: Into<BoxError>>>(self, number: usize, body: B, reads: Reads) {
        let frames = match reads {
            Reads::All | Reads::Beside => usize::MAX,
            Reads::Frames(count) => count.into(),
            Reads::Nothing => 0,
        };
        let mut body = pin!(body);
        let mut progress = Progress::Left;
        for _ in 0..frames {
            let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            let mut seen = lock(&self.seen);
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => seen[number].body += &String::from_utf8_lossy(&data),
                Some(Ok(Err(frame))) => seen[number].trailers = frame.into_trailers().ok(),
                Some(Err(error)) => {
                    progress = Progress::Failed(error.into().to_string());
                    break;
                }
                None => {
                    progress = Progress::Whole;
                    break;
                }
            }
        }
        lock(&self.seen)[number].progress = progress;
    }
}

/// The body of a response.
#[derive(Debug)]
pub(super) struct Pieces {
    left: u8,
    piece: Bytes,
    pause: Duration,
    pausing: Option<Pin<Box<Sleep>>>,
    trailers: bool,
    fails: bool,
    /// Known from the start.
    whole: bool,
}

impl Pieces {
    fn nothing() -> Self {
        Self::new(Given::Nothing)
    }

    fn new(given: Given) -> Self {
        let (left, length, pause, trailers, fails) = match given {
            Given::Nothing | Given::Whole(0) => (0, 0, 0, false, false),
            Given::Whole(length) => (1, usize::from(length % 8192) + 1, 0, false, false),
            Given::Pieces { count, length, pause, trailers, fails } => {
                (count % 8, usize::from(length) + 1, pause, trailers, fails)
            }
        };
        let whole = !matches!(given, Given::Pieces { .. });
        let (piece, pause) = (Bytes::from(vec![b'b'; length]), Duration::from_millis(pause.into()));
        Self { left, piece, pause, pausing: None, trailers, fails, whole }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.pause > Duration::ZERO {
            let pause = self.pause;
            ready!(self.pausing.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(cx));
            self.pausing = None;
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))));
        }
        if std::mem::take(&mut self.fails) {
            return Poll::Ready(Some(Err("as the script says".into())));
        }
        let trailers = HeaderMap::from_iter([("x-trailer".parse().expect("a name"), 1.into())]);
        Poll::Ready(std::mem::take(&mut self.trailers).then(|| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.whole && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        match self.whole {
            true => SizeHint::with_exact(u64::from(self.left) * self.piece.len() as u64),
            false => SizeHint::default(),
        }
    }
}
