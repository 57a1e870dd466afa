//! Giving connections to the successor, over a channel of their own.
//!
//! ```text
//!   predecessor                               successor
//!     ── Ahead…, Move (descriptors) ───────▶    takes them, reads nothing
//!     ◀─────────────────────────── Taken ──
//!     ── Commit ───────────────────────────▶    serves them
//!        closes its own
//! ```
//!
//! Until it says *commit*, a connection is this process's, and if anything goes wrong it stays: the channel is
//! closed, and what a successor has taken then and was not told to keep it lets go unread.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::getpid;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::channel::Channel;
use super::message::{Batch, Committed, Message, Taken};
use super::replacing::ANSWER_TIME;
use super::wire::ChannelError;
use crate::connection::Idlers;
use crate::log::event;
use crate::moving::{Errand, Moving, Parcel};
use crate::pause::{self, Point};
use crate::servers::Servers;

/// How many connections go over together. A request to one of them waits for all of them, some 30 µs each; with
/// four times as many, thousands take as long.
const BATCH: usize = 32;

/// How many batches may be unanswered: as the next one is sent, the last is taken. The kernel limits the
/// descriptors that a user has under way (unix(7), `ETOOMANYREFS`).
const WINDOW: usize = 2;

/// How many bytes go into one message at most.
const PIECE: usize = 512 << 10;

/// For how long connections are waited for that were asked to move, before more are asked.
const DELAY: Duration = Duration::from_millis(5);

/// For how long the kernel is left alone that lets no more descriptors be under way.
const PAUSE: Duration = Duration::from_millis(10);

const GONE: &str = "the successor takes no more";

/// Gives this process's connections away, on a task of its own.
#[derive(Debug)]
pub(crate) struct Giver {
    errands: mpsc::UnboundedSender<Errand>,
    task: JoinHandle<()>,
}

impl Giver {
    /// Begins with the servers' connections; when it cannot go on, they stay and leave as in a stop.
    pub(crate) fn start(channel: Channel, servers: &'static Servers) -> Self {
        let (errands, received) = mpsc::unbounded_channel();
        let idlers = servers.leave_to(&errands);
        let mut giving = Giving { channel, unanswered: VecDeque::new(), next: 0, idlers, asked: 0 };
        giving.ask();
        let task = tokio::spawn(async move {
            if let Err(reason) = giving.run(received).await {
                event!(WARN, "no more connections are moved", pid = getpid(), reason = reason);
                servers.leave();
            }
        });
        Self { errands, task }
    }

    pub(crate) fn errands(&self) -> mpsc::UnboundedSender<Errand> {
        self.errands.clone()
    }

    /// Resolves when the successor has been told all that there was to tell.
    pub(crate) async fn finish(self) {
        // One that has failed is done.
        let _over = self.errands.send(Errand::End);
        let _over = self.task.await;
    }
}

struct Giving {
    channel: Channel,
    /// The oldest first.
    unanswered: VecDeque<Sent>,
    next: u64,
    idlers: Idlers,
    /// How many of them are expected.
    asked: usize,
}

/// A batch on its way.
struct Sent {
    batch: u64,
    parcels: Vec<Parcel>,
    deadline: Instant,
}

impl Giving {
    /// Gives away what comes, until there is nothing more or the successor takes nothing more; returns why.
    async fn run(mut self, mut errands: mpsc::UnboundedReceiver<Errand>) -> Result<(), String> {
        let result = self.give(&mut errands).await;
        // What is still on its way to the kernel goes nowhere, before anybody goes on with it here.
        let Self { channel, unanswered, .. } = self;
        drop(channel);
        unanswered.into_iter().flat_map(|sent| sent.parcels).for_each(give_back);
        errands.close();
        while let Some(errand) = errands.recv().await {
            if let Errand::Connection(parcel) = errand {
                give_back(parcel);
            }
        }
        result
    }

    async fn give(&mut self, errands: &mut mpsc::UnboundedReceiver<Errand>) -> Result<(), String> {
        let (mut some, mut is_over) = (Vec::new(), false);
        while !is_over || !self.unanswered.is_empty() {
            let late = until(self.unanswered.front().map(|sent| sent.deadline));
            let has_room = !is_over && self.unanswered.len() < WINDOW;
            if has_room {
                self.ask();
            }
            tokio::select! {
                biased;
                received = self.channel.receive() => self.received(received).await?,
                count = errands.recv_many(&mut some, BATCH), if has_room => {
                    is_over = count == 0 || some.iter().any(|errand| matches!(errand, Errand::End));
                    self.asked = self.asked.saturating_sub(count);
                    self.send(some.drain(..));
                }
                () = late => return Err(format!("the successor did not take them within {ANSWER_TIME:?}")),
                // They have begun a request meanwhile, and come when it is answered.
                () = sleep(DELAY), if has_room && !self.idlers.is_empty() => self.asked = 0,
            }
        }
        match timeout(ANSWER_TIME, self.channel.flush()).await {
            Ok(flushed) => flushed.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the successor did not listen for {ANSWER_TIME:?}")),
        }
    }

    /// Asks more connections to move once half of a batch is all that is expected.
    fn ask(&mut self) {
        if self.asked <= BATCH / 2 {
            self.asked += self.idlers.ask(BATCH - self.asked);
        }
    }

    fn send(&mut self, errands: impl Iterator<Item = Errand>) {
        let mut parcels = Vec::new();
        for errand in errands {
            match errand {
                Errand::Connection(parcel) => parcels.push(parcel),
                Errand::Channel(channel) => self.channel.queue(Message::MovingChannel(channel)),
                Errand::End => {}
            }
        }
        if parcels.is_empty() {
            return;
        }
        pause::at(Point::Giving);
        let batch = self.next;
        self.next += 1;
        for message in messages(batch, parcels.iter().map(|parcel| &parcel.moving)) {
            self.channel.queue(message);
        }
        // What the kernel does not take now goes out later, and its errors are seen then.
        let _later = self.channel.flush_now();
        self.unanswered.push_back(Sent { batch, parcels, deadline: Instant::now() + ANSWER_TIME });
        pause::at(Point::Gave);
    }

    async fn received(&mut self, received: Result<Option<Message>, ChannelError>) -> Result<(), String> {
        match received {
            Ok(Some(Message::Taken(taken))) => self.commit(&taken),
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(GONE.to_owned()),
            // Also of other processes of this user.
            Err(ChannelError::Io(error)) if is_too_many_under_way(&error) => {
                sleep(PAUSE).await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn commit(&mut self, taken: &Taken) -> Result<(), String> {
        pause::at(Point::HeardTaken);
        if self.unanswered.front().is_none_or(|sent| sent.batch != taken.batch) {
            return Err("the successor took what it was not given".to_owned());
        }
        self.channel.queue(Message::Commit(Committed { batch: taken.batch }));
        let _later = self.channel.flush_now();
        // It has taken them and died: nobody has read a byte of them.
        if self.channel.is_cut() {
            return Err(GONE.to_owned());
        }
        let Some(sent) = self.unanswered.pop_front() else { return Ok(()) };
        for (place, parcel) in sent.parcels.into_iter().enumerate() {
            match taken.refused.contains(&place) {
                true => give_back(parcel),
                // Whose connection it was may be gone.
                false => drop(parcel.answer.send(None)),
            }
        }
        pause::at(Point::SaidCommit);
        Ok(())
    }
}

fn give_back(Parcel { moving, answer }: Parcel) {
    // Whose connection it was may be gone.
    let _closed = answer.send(Some(moving));
}

/// A batch, after those of its bytes that a message has no room for.
fn messages<'a>(batch: u64, connections: impl Iterator<Item = &'a Moving>) -> Vec<Message> {
    let mut all = Batch { batch, ..Batch::default() };
    for Moving { note, socket, unread } in connections {
        all.connections.push((note.clone(), socket.clone()));
        all.unread.push(unread.len());
        all.bytes.extend_from_slice(unread);
    }
    let mut messages = Vec::new();
    while all.bytes.len() > PIECE {
        let rest = all.bytes.split_off(PIECE);
        messages.push(Message::Ahead(std::mem::replace(&mut all.bytes, rest)));
    }
    messages.push(Message::Move(all));
    messages
}

fn is_too_many_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ETOOMANYREFS as i32)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Both ends of a new channel for connections, of which this process uses neither.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    Ok((near.into(), far.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::moving::{MovingNote, Remote};

    fn servers() -> &'static Servers {
        Box::leak(Box::new(Servers::new()))
    }

    fn giver() -> (Giver, Channel) {
        let (near, far) = Channel::pair().expect("a pair");
        (Giver::start(near, servers()), Channel::over(far).expect("the other end"))
    }

    fn connection(unread: Vec<u8>) -> (Errand, oneshot::Receiver<Option<Moving>>) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a descriptor");
        let remote = Remote::Unix(Vec::new());
        let note = MovingNote { listener: ":80".into(), remote, http1: true, awaited_for: Duration::ZERO };
        let moving = Moving { note, socket: Arc::new(socket.into()), unread: Bytes::from(unread) };
        let (answer, answered) = oneshot::channel();
        (Errand::Connection(Parcel { moving, answer }), answered)
    }

    fn give(giver: &Giver, unread: Vec<u8>) -> oneshot::Receiver<Option<Moving>> {
        let (errand, answered) = connection(unread);
        giver.errands.send(errand).expect("it runs");
        answered
    }

    async fn heard(channel: &mut Channel) -> Message {
        channel.receive().await.expect("a message").expect("it goes on")
    }

    fn taken(batch: u64, refused: &[usize]) -> Message {
        Message::Taken(Taken { batch, refused: refused.to_vec() })
    }

    #[tokio::test]
    async fn what_is_taken_is_committed_and_what_is_refused_comes_back() {
        let (giver, mut successor) = giver();
        let (first, second) = (give(&giver, b"one".to_vec()), give(&giver, b"two".to_vec()));
        let Message::Move(Batch { batch: 0, connections, unread, bytes }) = heard(&mut successor).await
        else {
            panic!("no batch");
        };
        assert_eq!((connections.len(), unread, bytes), (2, vec![3, 3], b"onetwo".to_vec()));
        successor.send(taken(0, &[1])).await.expect("sent");
        assert!(matches!(heard(&mut successor).await, Message::Commit(Committed { batch: 0 })));
        assert!(first.await.expect("an answer").is_none());
        let stays = second.await.expect("an answer").expect("it is refused");
        assert_eq!(stays.unread, "two");
        assert!(Arc::into_inner(stays.socket).is_some(), "nobody else has it");
        giver.finish().await;
        assert!(matches!(successor.receive().await, Ok(None)));
    }

    #[tokio::test]
    async fn all_come_back_from_a_successor_that_is_gone() {
        let (giver, mut successor) = giver();
        let sent = give(&giver, Vec::new());
        heard(&mut successor).await;
        let waiting = give(&giver, Vec::new());
        drop(successor);
        for answered in [sent, waiting] {
            let stays = answered.await.expect("an answer").expect("it stays");
            assert!(Arc::into_inner(stays.socket).is_some(), "nobody else has it");
        }
        giver.finish().await;
    }

    fn moving() -> Moving {
        match connection(Vec::new()).0 {
            Errand::Connection(parcel) => parcel.moving,
            _ => unreachable!("it is one"),
        }
    }

    #[tokio::test]
    async fn what_a_successor_has_taken_comes_back_if_it_dies_before_it_is_told_to_keep_it() {
        let (giver, mut successor) = giver();
        let sent = give(&giver, Vec::new());
        heard(&mut successor).await;
        successor.send(taken(0, &[])).await.expect("sent");
        drop(successor);
        assert!(sent.await.expect("an answer").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn all_come_back_from_a_successor_that_does_not_answer() {
        let (giver, _successor) = giver();
        let begin = Instant::now();
        assert!(give(&giver, Vec::new()).await.expect("an answer").is_some());
        assert!(begin.elapsed() >= ANSWER_TIME);
    }

    #[tokio::test]
    async fn one_that_takes_what_it_was_not_given_gets_nothing_more() {
        let (giver, mut successor) = giver();
        let sent = give(&giver, Vec::new());
        heard(&mut successor).await;
        successor.send(taken(7, &[])).await.expect("sent");
        assert!(sent.await.expect("an answer").is_some());
        assert!(matches!(successor.receive().await, Ok(None)));
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_the_window_has_room_for() {
        let (giver, mut successor) = giver();
        let count = BATCH * (WINDOW + 1);
        let _answers: Vec<_> = (0..count).map(|_| give(&giver, Vec::new())).collect();
        let mut under_way = 0;
        for _ in 0..WINDOW {
            let Message::Move(batch) = heard(&mut successor).await else { panic!("no batch") };
            under_way += batch.connections.len();
        }
        assert_eq!(under_way, BATCH * WINDOW);
        assert!(timeout(Duration::from_millis(50), successor.receive()).await.is_err());
        successor.send(taken(0, &[])).await.expect("sent");
        assert!(matches!(heard(&mut successor).await, Message::Commit(_)));
        assert!(matches!(heard(&mut successor).await, Message::Move(_)));
    }

    #[test]
    fn bytes_that_a_message_has_no_room_for_go_ahead() {
        let moving = Moving { unread: vec![7; 2 * PIECE + 1].into(), ..moving() };
        let messages = messages(0, [&moving].into_iter());
        let [Message::Ahead(first), Message::Ahead(second), Message::Move(last)] = &messages[..] else {
            panic!("{messages:?}");
        };
        assert_eq!((first.len(), second.len(), last.bytes.len()), (PIECE, PIECE, 1));
        assert_eq!(last.unread, [2 * PIECE + 1]);
    }
}
