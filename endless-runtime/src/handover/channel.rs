//! The channel between two processes: messages and descriptors over a private socket pair.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::Message;
use super::wire::{ChannelError, Wire};
use crate::bequest::BEQUESTS;
use crate::secrets;
use crate::servers::Heirloom;

/// One end of the channel.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    wire: Wire,
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
        Ok(Self { socket: UnixStream::from_std(socket)?, wire: Wire::default() })
    }

    /// Lets a message go out with the next [`Channel::flush`] or [`Channel::receive`].
    pub(crate) fn queue(&mut self, message: Message) {
        self.wire.queue(message);
    }

    /// Queues listeners without giving this process's own up.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left for their duplicates.
    pub(crate) fn queue_listeners(&mut self, heirlooms: &[Heirloom]) -> io::Result<()> {
        self.wire.queue_listeners(heirlooms.iter().map(Heirloom::duplicate))
    }

    /// Queues what the user has bequeathed, without giving it up.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left for the duplicates.
    pub(crate) fn queue_bequests(&mut self) -> io::Result<()> {
        self.wire.queue_bequests(BEQUESTS.duplicates())
    }

    /// Queues what only the next generation may see, if there is anything.
    pub(crate) fn queue_secrets(&mut self) {
        secrets::heirloom().into_iter().for_each(|secrets| self.wire.queue(Message::Secrets(secrets)));
    }

    /// Sends what is queued. Cancel safe.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let Self { socket, wire } = self;
        while wire.is_waiting() {
            socket.async_io(Interest::WRITABLE, || wire.send_some(&socket)).await?;
        }
        Ok(())
    }

    /// Sends as much of what is queued as can be sent at once.
    pub(crate) fn flush_now(&mut self) -> io::Result<()> {
        self.wire.send(&self.socket)
    }

    /// Whether nothing is half said, in either direction, as far as it has come.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wire.is_empty()
    }

    /// Whether something that was sent reached nobody for certain.
    pub(crate) fn is_cut(&self) -> bool {
        self.wire.is_cut()
    }

    /// The socket, for somebody else to go on with; what has come and was not taken is lost.
    pub(crate) fn into_socket(self) -> io::Result<OwnedFd> {
        self.socket.into_std().map(Into::into)
    }

    /// Sends a message, after what is queued. Cancel safe: what is not sent stays queued.
    pub(crate) async fn send(&mut self, message: Message) -> io::Result<()> {
        self.queue(message);
        self.flush().await
    }

    /// The next message that this build knows; `None` when the other side has closed. What is queued goes
    /// out meanwhile. Cancel safe.
    ///
    /// # Errors
    ///
    /// Bytes that are no message, lost descriptors, a broken socket.
    pub(crate) async fn receive(&mut self) -> Result<Option<Message>, ChannelError> {
        let Self { socket, wire } = self;
        loop {
            if let Some(message) = wire.next()? {
                return Ok(Some(message));
            }
            let interest = match wire.is_waiting() {
                true => Interest::READABLE | Interest::WRITABLE,
                false => Interest::READABLE,
            };
            let ready = socket.ready(interest).await?;
            if ready.is_writable() {
                unless_blocked(socket.try_io(Interest::WRITABLE, || wire.send_some(&socket)))?;
            }
            if ready.is_readable() && read(socket, wire)? == Some(0) {
                return Ok(None);
            }
        }
    }
}

/// Reads what has come; 0 at its end, `None` if there is nothing.
fn read(socket: &UnixStream, wire: &mut Wire) -> Result<Option<usize>, ChannelError> {
    let mut failure = None;
    let count = socket.try_io(Interest::READABLE, || match wire.read(&socket) {
        Err(ChannelError::Io(error)) => Err(error),
        Err(other) => {
            failure = Some(other);
            Ok(0)
        }
        Ok(count) => Ok(count),
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(unless_blocked(count)?),
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::message::{Hello, Ready};
    use crate::listener::ListenerNote;
    use crate::secrets::Secrets;
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
        near.send(Message::Hello(Hello { protocol: 1, generation: 7, ..Hello::default() }))
            .await
            .expect("sent");
        let first = listener(1);
        let inode = nix::sys::stat::fstat(&first.1).expect("open").st_ino;
        near.send(Message::Listeners(vec![first])).await.expect("sent");
        near.send(Message::Unknown(4711)).await.expect("sent");
        let secrets = Secrets::new(b"abc".to_vec().into()).expect("they are short");
        near.send(Message::Secrets(secrets.clone())).await.expect("sent");
        near.send(Message::Ready(Ready { protocol: 1, claimed: vec![3] })).await.expect("sent");
        drop(near);
        assert!(matches!(far.receive().await, Ok(Some(Message::Hello(hello))) if hello.generation == 7));
        let Ok(Some(Message::Listeners(listeners))) = far.receive().await else { panic!("no listeners") };
        assert_eq!(nix::sys::stat::fstat(&listeners[0].1).expect("open").st_ino, inode);
        assert!(matches!(far.receive().await, Ok(Some(Message::Secrets(come))) if come == secrets));
        assert!(matches!(far.receive().await, Ok(Some(Message::Ready(ready))) if ready.claimed == [3]));
        assert!(matches!(far.receive().await, Ok(None)));
    }

    #[tokio::test]
    async fn a_message_cut_at_every_byte_is_the_same_message() {
        let (bytes, _) =
            Message::Hello(Hello { protocol: 1, generation: 7, ..Hello::default() }).into_frame();
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
