//! The channel between predecessor and successor: frames and descriptors over a private socket pair.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use bytes::{Buf as _, BytesMut};
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::{HEADER, Header, MAX_DESCRIPTORS, Malformed, Message};
use crate::error::describe;
use crate::servers::Heirloom;
use crate::sys;

/// How much is read at a time, in bytes.
const READ: usize = 16 * 1024;

/// One end of the channel.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    received: BytesMut,
    /// Descriptors arrive no later than the first byte of their message, and in the messages' order.
    descriptors: VecDeque<OwnedFd>,
    outgoing: VecDeque<Frame>,
}

/// A message on its way out.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    sent: usize,
    /// They go with the first byte, and then never again.
    descriptors: Vec<OwnedFd>,
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

impl Channel {
    /// Both ends of a new one: ours, and the successor's, close-on-exec both.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        Ok((Self::over(near.into())?, far.into()))
    }

    /// Needs the tokio runtime that will use it.
    pub(crate) fn over(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        let (received, descriptors, outgoing) = (BytesMut::new(), VecDeque::new(), VecDeque::new());
        Ok(Self { socket, received, descriptors, outgoing })
    }

    /// Lets a message go out with the next [`Channel::flush`] or [`Channel::receive`].
    pub(crate) fn queue(&mut self, message: Message) {
        let (bytes, descriptors) = message.into_frame();
        self.outgoing.push_back(Frame { bytes, sent: 0, descriptors });
    }

    /// Queues listeners without giving this process's own up.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left for their duplicates.
    pub(crate) fn queue_listeners(&mut self, heirlooms: &[Heirloom]) -> io::Result<()> {
        for some in heirlooms.chunks(MAX_DESCRIPTORS) {
            let listeners: io::Result<_> = some.iter().map(Heirloom::duplicate).collect();
            self.queue(Message::Listeners(listeners?));
        }
        Ok(())
    }

    /// Sends what is queued. Cancel safe.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.outgoing.front_mut() {
            self.socket.async_io(Interest::WRITABLE, || frame.send_some(&self.socket)).await?;
            self.drop_sent();
        }
        Ok(())
    }

    /// Sends as much of what is queued as can be sent at once.
    pub(crate) fn flush_now(&mut self) -> io::Result<()> {
        while let Some(frame) = self.outgoing.front_mut() {
            let sent = frame.send_some(&self.socket);
            if self.is_full_after(sent)? {
                break;
            }
        }
        Ok(())
    }

    /// Sends a message, after what is queued. Cancel safe: what is not sent stays queued.
    pub(crate) async fn send(&mut self, message: Message) -> io::Result<()> {
        self.queue(message);
        self.flush().await
    }

    fn drop_sent(&mut self) {
        if self.outgoing.front().is_some_and(|frame| frame.sent == frame.bytes.len()) {
            self.outgoing.pop_front();
        }
    }

    /// The next message that this build knows; `None` when the other side has closed. What is queued goes
    /// out meanwhile. Cancel safe.
    ///
    /// # Errors
    ///
    /// Bytes that are no message, lost descriptors, a broken socket.
    pub(crate) async fn receive(&mut self) -> Result<Option<Message>, ChannelError> {
        loop {
            match self.parse()? {
                Some(Message::Unknown(_)) => continue,
                Some(message) => return Ok(Some(message)),
                None => {}
            }
            let interest = match self.outgoing.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let ready = self.socket.ready(interest).await?;
            if ready.is_writable() {
                self.flush_some()?;
            }
            if ready.is_readable() && self.fill()? == Some(0) {
                return Ok(None);
            }
        }
    }

    fn flush_some(&mut self) -> io::Result<()> {
        let Some(frame) = self.outgoing.front_mut() else { return Ok(()) };
        let sent = self.socket.try_io(Interest::WRITABLE, || frame.send_some(&self.socket));
        self.is_full_after(sent).map(drop)
    }

    /// Whether the kernel takes no more for now. Nothing is left to send to a peer that is gone; what it had
    /// to say may still be there to read, its end too.
    fn is_full_after(&mut self, sent: io::Result<()>) -> io::Result<bool> {
        match sent {
            Ok(()) => self.drop_sent(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if is_broken(&error) => self.outgoing.clear(),
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    fn parse(&mut self) -> Result<Option<Message>, ChannelError> {
        let Some(head) = self.received.first_chunk::<HEADER>() else { return Ok(None) };
        let Header { kind, descriptors, length } = Header::parse(*head)?;
        if self.received.len() < HEADER + length {
            self.received.reserve(HEADER + length - self.received.len());
            return Ok(None);
        }
        if self.descriptors.len() < descriptors {
            return Err(ChannelError::DescriptorsLost);
        }
        self.received.advance(HEADER);
        let payload = self.received.split_to(length);
        let descriptors = self.descriptors.drain(..descriptors).collect();
        Ok(Some(Message::parse(kind, &payload, descriptors)?))
    }

    /// Reads what has come; 0 at its end, `None` if there is nothing.
    fn fill(&mut self) -> Result<Option<usize>, ChannelError> {
        let mut space = vec![0; READ];
        let received = self.socket.try_io(Interest::READABLE, || receive_some(&self.socket, &mut space));
        let (count, descriptors, lost) = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // It has closed without reading everything.
            Err(error) if is_broken(&error) => return Ok(Some(0)),
            received => received?,
        };
        if lost {
            return Err(ChannelError::DescriptorsLost);
        }
        self.received.extend_from_slice(&space[..count]);
        self.descriptors.extend(descriptors);
        match self.descriptors.len() {
            // More than one message carries, as nobody sends who keeps to the protocol.
            pending if pending > 2 * MAX_DESCRIPTORS => Err(Malformed::Descriptors(pending).into()),
            _ => Ok(Some(count)),
        }
    }
}

impl Frame {
    fn send_some(&mut self, socket: &UnixStream) -> io::Result<()> {
        let numbers: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &rights[..0] } else { &rights[..] };
        let slices = [IoSlice::new(&self.bytes[self.sent..])];
        // A peer that is gone is an error here, not a SIGPIPE.
        self.sent += sendmsg::<()>(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::message::{Hello, Ready};
    use crate::listener::ListenerNote;
    use tokio::io::AsyncWriteExt as _;

    fn pair() -> (Channel, Channel) {
        let (near, far) = Channel::pair().expect("a pair");
        (near, Channel::over(far).expect("the other end"))
    }

    fn listener(number: usize) -> (ListenerNote, OwnedFd) {
        let note =
            ListenerNote { requested: format!(":{number}"), occurrence: 0, local: String::new(), file: None };
        (note, std::net::UdpSocket::bind("127.0.0.1:0").expect("a descriptor").into())
    }

    #[tokio::test]
    async fn messages_arrive_in_order_with_their_own_descriptors() {
        let (mut near, mut far) = pair();
        near.send(Message::Hello(Hello { protocol: 1, generation: 7 })).await.expect("sent");
        let first = listener(1);
        let inode = nix::sys::stat::fstat(&first.1).expect("open").st_ino;
        near.send(Message::Listeners(vec![first])).await.expect("sent");
        near.send(Message::Unknown(4711)).await.expect("sent");
        near.send(Message::Ready(Ready { protocol: 1, claimed: vec![3] })).await.expect("sent");
        drop(near);
        assert!(matches!(far.receive().await, Ok(Some(Message::Hello(hello))) if hello.generation == 7));
        let Ok(Some(Message::Listeners(listeners))) = far.receive().await else { panic!("no listeners") };
        assert_eq!(nix::sys::stat::fstat(&listeners[0].1).expect("open").st_ino, inode);
        assert!(matches!(far.receive().await, Ok(Some(Message::Ready(ready))) if ready.claimed == [3]));
        assert!(matches!(far.receive().await, Ok(None)));
    }

    #[tokio::test]
    async fn a_message_cut_at_every_byte_is_the_same_message() {
        let (bytes, _) = Message::Hello(Hello { protocol: 1, generation: 7 }).into_frame();
        for cut in 1..bytes.len() {
            let (mut near, mut far) = pair();
            near.socket.write_all(&bytes[..cut]).await.expect("sent");
            let rest = async {
                tokio::task::yield_now().await;
                near.socket.write_all(&bytes[cut..]).await.expect("sent");
            };
            let (message, ()) = tokio::join!(far.receive(), rest);
            assert!(matches!(message, Ok(Some(Message::Hello(hello))) if hello.generation == 7));
        }
    }

    #[tokio::test]
    async fn garbage_is_an_error_and_no_panic() {
        let (mut near, mut far) = pair();
        near.socket.write_all(&[0xff; 64]).await.expect("sent");
        assert!(matches!(far.receive().await, Err(ChannelError::Malformed(_))));
        let (mut near, mut far) = pair();
        near.socket.write_all(&[2, 0, 1, 0, 2, 0, 0, 0, b'[', b']']).await.expect("sent");
        assert!(matches!(far.receive().await, Err(ChannelError::DescriptorsLost)));
    }
}
