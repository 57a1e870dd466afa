//! The client's end of a connection in memory. It is moved by the script alone, so that every run is the
//! same.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

pub(super) struct Client {
    io: DuplexStream,
    to_send: VecDeque<u8>,
    sends_no_more: bool,
    received: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    HalfClosed,
    /// The server writes no more.
    Closed,
}

impl Client {
    pub(super) fn new(io: DuplexStream) -> Self {
        let (to_send, received) = (VecDeque::new(), Vec::new());
        Self { io, to_send, sends_no_more: false, received, state: State::Open }
    }

    /// Nothing after the last byte.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if !self.sends_no_more {
            self.to_send.extend(bytes);
        }
        self.write();
    }

    pub(super) fn half_close(&mut self) {
        self.sends_no_more = true;
        self.write();
    }

    /// Whether there is something that the server has not made room for.
    pub(super) fn can_write(&mut self) -> bool {
        let before = self.to_send.len();
        self.write();
        self.to_send.len() < before
    }

    /// As far as there is room.
    pub(super) fn write(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        while !self.to_send.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, self.to_send.as_slices().0) {
                Poll::Ready(Ok(count)) => drop(self.to_send.drain(..count)),
                // The server reads no more.
                Poll::Ready(Err(_)) => self.to_send.clear(),
                Poll::Pending => return,
            }
        }
        if self.sends_no_more && self.state == State::Open {
            self.state = State::HalfClosed;
            let _done = Pin::new(&mut self.io).poll_shutdown(cx);
        }
    }

    /// Takes what has come; whether anything has.
    pub(super) fn read(&mut self) -> bool {
        let before = self.received.len();
        let cx = &mut Context::from_waker(Waker::noop());
        let mut bytes = [0; 4096];
        while self.state != State::Closed {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.received.extend(buffer.filled()),
                Poll::Ready(_) => self.state = State::Closed,
                Poll::Pending => break,
            }
        }
        self.received.len() > before
    }

    pub(super) fn take_received(&mut self) -> Vec<u8> {
        self.read();
        std::mem::take(&mut self.received)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}
