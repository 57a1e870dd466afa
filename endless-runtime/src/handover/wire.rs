//! What is said over a socket, without waiting for it: messages put into bytes and taken out again, with the
//! descriptors that go with them.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};
use zeroize::Zeroize as _;

use super::message::{HEADER, Header, MAX_DESCRIPTORS, Malformed, Message};
use crate::bequest::Bequest;
use crate::error::describe;
use crate::listener::ListenerNote;
use crate::sys;

/// How much is read at a time, in bytes.
const READ: usize = 16 * 1024;

/// What is on its way over a socket that does not block. It shows nothing of its bytes, and leaves none of a secret
/// behind.
#[derive(Default)]
pub(crate) struct Wire {
    /// Not looked at yet, so there may be a secret among them.
    received: BytesMut,
    /// Descriptors arrive no later than the first byte of their message, and in the messages' order.
    descriptors: VecDeque<OwnedFd>,
    outgoing: VecDeque<Frame>,
    /// Whether the peer was gone when something was to be sent.
    is_cut: bool,
}

/// A message on its way out.
struct Frame {
    bytes: Vec<u8>,
    is_secret: bool,
    sent: usize,
    /// They go with the first byte, and then never again.
    descriptors: Vec<Arc<OwnedFd>>,
}

/// Why nothing more can be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("the channel failed: {}", describe(.0))]
    Io(#[from] io::Error),
    #[error("the other side sent {0}")]
    Malformed(#[from] Malformed),
    #[error("descriptors were lost on the way")]
    DescriptorsLost,
}

impl Wire {
    /// Lets a message go out with the next [`Wire::send`].
    pub(crate) fn queue(&mut self, message: Message) {
        let is_secret = message.is_secret();
        let (bytes, descriptors) = message.into_frame();
        self.outgoing.push_back(Frame { bytes, is_secret, sent: 0, descriptors });
    }

    /// Queues listeners, in several messages if they are many.
    ///
    /// # Errors
    ///
    /// The first of `listeners`.
    pub(crate) fn queue_listeners(
        &mut self,
        listeners: impl IntoIterator<Item = io::Result<(ListenerNote, OwnedFd)>>,
    ) -> io::Result<()> {
        self.queue_in_parts(listeners, Message::Listeners)
    }

    /// Queues the user's own descriptors, in several messages if they are many.
    ///
    /// # Errors
    ///
    /// The first of `bequests`.
    pub(crate) fn queue_bequests(
        &mut self,
        bequests: impl IntoIterator<Item = io::Result<Bequest>>,
    ) -> io::Result<()> {
        self.queue_in_parts(bequests, Message::Bequests)
    }

    /// A descriptor goes with each of `all`, so a message takes so many at most.
    fn queue_in_parts<T>(
        &mut self,
        all: impl IntoIterator<Item = io::Result<T>>,
        message: impl Fn(Vec<T>) -> Message,
    ) -> io::Result<()> {
        let mut all = all.into_iter();
        loop {
            let some: Vec<_> = all.by_ref().take(MAX_DESCRIPTORS).collect::<io::Result<_>>()?;
            if some.is_empty() {
                return Ok(());
            }
            self.queue(message(some));
        }
    }

    /// Whether something waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether something that was sent reached nobody for certain.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether there is nothing on its way, in either direction, as far as it has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.outgoing.is_empty() && self.received.is_empty() && self.descriptors.is_empty()
    }

    /// Sends some of what is queued; `WouldBlock` if the kernel takes nothing now. Nothing is left to send to
    /// a peer that is gone; what it had to say may still be there to read, its end too.
    pub(crate) fn send_some(&mut self, socket: &impl AsFd) -> io::Result<()> {
        let Some(frame) = self.outgoing.front_mut() else { return Ok(()) };
        match frame.send_some(socket) {
            Err(error) if is_broken(&error) => {
                self.outgoing.clear();
                self.is_cut = true;
            }
            sent => sent?,
        }
        if self.outgoing.front().is_some_and(|frame| frame.sent == frame.bytes.len()) {
            self.outgoing.pop_front();
        }
        Ok(())
    }

    /// Sends as much of what is queued as the kernel takes now.
    pub(crate) fn send(&mut self, socket: &impl AsFd) -> io::Result<()> {
        while self.is_waiting() {
            match self.send_some(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                sent => sent?,
            }
        }
        Ok(())
    }

    /// The next message of what was read that this build knows.
    ///
    /// # Errors
    ///
    /// Bytes that are no message, lost descriptors.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, ChannelError> {
        loop {
            match self.parse()? {
                Some(Message::Unknown(_)) => {}
                message => return Ok(message),
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Message>, ChannelError> {
        let Some(head) = self.received.first_chunk::<HEADER>() else { return Ok(None) };
        let Header { kind, descriptors, length } = Header::parse(*head)?;
        if self.received.len() < HEADER + length {
            self.make_room(HEADER + length - self.received.len());
            return Ok(None);
        }
        if self.descriptors.len() < descriptors {
            return Err(ChannelError::DescriptorsLost);
        }
        self.received.advance(HEADER);
        let mut payload = self.received.split_to(length);
        let descriptors = self.descriptors.drain(..descriptors).collect();
        let message = Message::parse(kind, &payload, descriptors);
        if message.as_ref().map_or(true, Message::is_secret) {
            payload.as_mut().zeroize();
        }
        Ok(Some(message?))
    }

    /// Grows without leaving behind what would be freed with its bytes in it.
    fn make_room(&mut self, more: usize) {
        let (length, capacity) = (self.received.len(), self.received.capacity());
        if capacity - length < more {
            let mut larger = BytesMut::with_capacity((length + more).max(2 * capacity));
            larger.extend_from_slice(&self.received);
            self.received.as_mut().zeroize();
            self.received = larger;
        }
    }

    /// Reads some of what has come: how many bytes, 0 at the end, `WouldBlock` if there is nothing.
    pub(crate) fn read(&mut self, socket: &impl AsFd) -> Result<usize, ChannelError> {
        let mut space = vec![0; READ];
        let (count, descriptors, lost) = match receive_some(socket, &mut space) {
            // It has closed without reading everything.
            Err(error) if is_broken(&error) => return Ok(0),
            received => received?,
        };
        self.make_room(count);
        self.received.extend_from_slice(&space[..count]);
        space[..count].zeroize();
        if lost {
            return Err(ChannelError::DescriptorsLost);
        }
        self.descriptors.extend(descriptors);
        match self.descriptors.len() {
            // More than one message carries, as nobody sends who keeps to the protocol.
            pending if pending > 2 * MAX_DESCRIPTORS => Err(Malformed::Descriptors(pending).into()),
            _ => Ok(count),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.received.as_mut().zeroize();
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("received", &self.received.len())
            .field("outgoing", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if self.is_secret {
            self.bytes.zeroize();
        }
    }
}

impl Frame {
    fn send_some(&mut self, socket: &impl AsFd) -> io::Result<()> {
        let numbers: Vec<RawFd> = self.descriptors.iter().map(|one| one.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
        let slices = [IoSlice::new(&self.bytes[self.sent..])];
        // A peer that is gone is an error here, not a SIGPIPE.
        self.sent +=
            sendmsg::<()>(socket.as_fd().as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?;
        self.descriptors.clear();
        Ok(())
    }
}

/// Whether the other side is gone: a broken socket means what a closed one means.
fn is_broken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Reads bytes and descriptors; says too whether the kernel could not install all of them.
fn receive_some(socket: &impl AsFd, space: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>, bool)> {
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(space)];
    let socket = socket.as_fd().as_raw_fd();
    let received = recvmsg::<()>(socket, &mut slices, Some(&mut control), close_on_exec())?;
    // Set if the kernel could not install all of them, as this process is out of descriptors.
    let (count, lost) = (received.bytes, received.flags.contains(MsgFlags::MSG_CTRUNC));
    Ok((count, sys::own_received(&control), lost))
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
))]
fn close_on_exec() -> MsgFlags {
    MsgFlags::MSG_CMSG_CLOEXEC
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
fn close_on_exec() -> MsgFlags {
    MsgFlags::empty()
}
