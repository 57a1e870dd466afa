//! Whether this process may accept from a listener now.
//!
//! Predecessor and successor hold the same listener while one hands over to the other, and at any time only
//! one of the two may accept. The gate makes that a matter of one lock: once [`Gate::pause`] has returned, no
//! accept is under way in this process, whatever its tasks are doing.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::{Listener, Stream};
use crate::connection::{Connections, Registered};
use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Gate {
    connections: Arc<Connections>,
    door: Mutex<Door>,
}

#[derive(Debug)]
struct Door {
    listener: Option<Arc<Listener>>,
    stance: Stance,
    /// Whether this process has ever accepted from it.
    opened: bool,
    acceptor: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// Not yet, or not now: connections wait in the kernel's queue.
    Shut,
    Open,
    /// Nobody else will: what waits in the queue is accepted, and then the listener is closed.
    LastCall {
        /// At most, as a queue that others fill while it is emptied would never be empty.
        waiting: u32,
    },
    Closed,
}

impl Gate {
    /// A gate without a listener; connections wait, once there is one, until [`Gate::open`].
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        let door = Door { listener: None, stance: Stance::Shut, opened: false, acceptor: None };
        Self { connections, door: Mutex::new(door) }
    }

    pub(crate) fn install(&self, listener: Listener) {
        self.door().listener = Some(Arc::new(listener));
    }

    /// The listener, unless there is none yet or it was let go.
    pub(crate) fn listener(&self) -> Option<Arc<Listener>> {
        self.door().listener.clone()
    }

    pub(crate) fn open(&self) {
        self.turn(|door| {
            door.change(Stance::Open);
            door.opened |= door.stance == Stance::Open;
        });
    }

    /// When this returns, this process accepts nothing from the listener until the gate is opened again.
    pub(crate) fn pause(&self) {
        self.turn(|door| door.change(Stance::Shut));
    }

    /// Lets the listener go to whoever else holds it.
    pub(crate) fn close(&self) {
        self.turn(|door| {
            door.stance = Stance::Closed;
            door.listener = None;
        });
    }

    /// Lets a listener go for good: what waits in its queue is accepted first. One that this process was
    /// never told to accept from is the predecessor's, and so is its queue.
    pub(crate) fn last_call(&self) {
        self.turn(|door| match &door.listener {
            Some(listener) if door.opened => {
                if let Some(file) = listener.file() {
                    file.remove();
                }
                let waiting = listener.backlog();
                door.change(Stance::LastCall { waiting });
            }
            _ => {
                door.stance = Stance::Closed;
                door.listener = None;
            }
        });
    }

    /// The next connection, already counted; `None` once the listener was let go.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Option<io::Result<(Stream, Registered)>>> {
        let mut door = self.door();
        let accepted = match (door.stance, &door.listener) {
            (Stance::Closed, _) => return Poll::Ready(None),
            (Stance::Open, Some(listener)) => listener.poll_accept(cx),
            (Stance::LastCall { waiting }, Some(listener)) => match listener.accept_now() {
                Ok(stream) if waiting > 0 => {
                    door.stance = Stance::LastCall { waiting: waiting - 1 };
                    Poll::Ready(Ok(stream))
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Poll::Ready(Err(error)),
                Ok(_) | Err(_) => {
                    door.stance = Stance::Closed;
                    door.listener = None;
                    return Poll::Ready(None);
                }
            },
            (Stance::Shut | Stance::Open | Stance::LastCall { .. }, _) => Poll::Pending,
        };
        if accepted.is_pending() {
            door.acceptor = Some(cx.waker().clone());
        }
        accepted.map(|accepted| Some(accepted.map(|stream| (stream, self.connections.admit()))))
    }

    fn turn(&self, turn: impl FnOnce(&mut Door)) {
        let mut door = self.door();
        turn(&mut door);
        let acceptor = door.acceptor.take();
        drop(door);
        acceptor.into_iter().for_each(Waker::wake);
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        lock(&self.door)
    }
}

impl Door {
    /// A listener that is going, or gone, does not come back.
    fn change(&mut self, stance: Stance) {
        if !matches!(self.stance, Stance::LastCall { .. } | Stance::Closed) {
            self.stance = stance;
        }
    }
}
