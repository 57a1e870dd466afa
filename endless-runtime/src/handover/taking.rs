//! Taking connections over from a predecessor: the other side of [`super::giving`].

use std::collections::HashMap;
use std::mem::take;

use bytes::Bytes;
use nix::unistd::getpid;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::channel::Channel;
use super::message::{Batch, Committed, Malformed, Message, Taken};
use super::wire::ChannelError;
use crate::future::BoxFuture;
use crate::log::event;
use crate::moving::{Errand, Moving};
use crate::pause::{self, Point};
use crate::servers::{Newcomer, Servers};

/// The most bytes that a predecessor may have read of one batch of connections and not answered.
const MAX_AHEAD: usize = 256 << 20;

/// Takes connections over, on tasks of its own, until they go to another process.
#[derive(Debug)]
pub(crate) struct Taker {
    heir: watch::Sender<Option<mpsc::UnboundedSender<Errand>>>,
    task: JoinHandle<()>,
}

impl Taker {
    pub(crate) fn start(channel: Channel, servers: &'static Servers) -> Self {
        let (heir, known) = watch::channel(None);
        Self { heir, task: tokio::spawn(taking(channel, servers, known)) }
    }

    /// Lets the predecessors that still drain give their connections to this process's own successor. Resolves
    /// when none is on its way here any more.
    pub(crate) async fn pass_on(self, errands: mpsc::UnboundedSender<Errand>) {
        self.heir.send_replace(Some(errands));
        let _over = self.task.await;
    }
}

/// Boxed, as a predecessor may hand over a channel to one of its own.
fn taking(
    channel: Channel,
    servers: &'static Servers,
    heir: watch::Receiver<Option<mpsc::UnboundedSender<Errand>>>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut taking =
            Taking { channel, servers, uncommitted: HashMap::new(), ahead: Vec::new(), taken: 0 };
        let mut others = JoinSet::new();
        let end = taking.run(heir.clone(), &mut others).await;
        taking.finish(end);
        while others.join_next().await.is_some() {}
    })
}

struct Taking {
    channel: Channel,
    servers: &'static Servers,
    /// By their batch.
    uncommitted: HashMap<u64, Vec<Newcomer>>,
    /// Bytes of the batch that comes next.
    ahead: Vec<u8>,
    taken: usize,
}

enum End {
    /// To this process's own successor.
    PassedOn(mpsc::UnboundedSender<Errand>),
    Closed,
    Broken(ChannelError),
}

impl Taking {
    /// Closes what is still the predecessor's.
    fn finish(self, end: End) {
        let Self { channel, uncommitted, taken, .. } = self;
        match end {
            // Whoever is there no more will notice that nobody takes anything.
            End::PassedOn(errands) => match channel.into_socket() {
                Ok(socket) => drop(errands.send(Errand::Channel(socket))),
                Err(error) => event!(WARN, "no more connections are taken", reason = error),
            },
            End::Closed => match uncommitted.values().map(Vec::len).sum::<usize>() {
                0 => {}
                kept => event!(INFO, "the predecessor did not give these up", connections = kept),
            },
            End::Broken(error) => event!(WARN, "no more connections are taken", reason = error),
        }
        if taken > 0 {
            event!(INFO, "connections taken over", pid = getpid(), connections = taken);
        }
    }

    async fn run(
        &mut self,
        mut heir: watch::Receiver<Option<mpsc::UnboundedSender<Errand>>>,
        others: &mut JoinSet<()>,
    ) -> End {
        let known = heir.clone();
        loop {
            let is_quiet = self.uncommitted.is_empty() && self.ahead.is_empty() && self.channel.is_quiet();
            tokio::select! {
                biased;
                Ok(errands) = heir.wait_for(Option::is_some), if is_quiet => {
                    if let Some(errands) = errands.clone() {
                        return End::PassedOn(errands);
                    }
                }
                received = self.channel.receive() => match received {
                    Ok(Some(Message::MovingChannel(socket))) => {
                        match Channel::over(socket) {
                            Ok(channel) => drop(others.spawn(taking(channel, self.servers, known.clone()))),
                            Err(error) => return End::Broken(error.into()),
                        }
                    }
                    Ok(Some(message)) => {
                        if let Err(malformed) = self.on(message) {
                            return End::Broken(malformed.into());
                        }
                    }
                    Ok(None) => return End::Closed,
                    Err(error) => return End::Broken(error),
                }
            }
        }
    }

    /// # Errors
    ///
    /// Bytes that are missing, or more than anybody can have read.
    fn on(&mut self, message: Message) -> Result<(), Malformed> {
        match message {
            Message::Ahead(bytes) => {
                self.ahead.extend(bytes);
                if self.ahead.len() > MAX_AHEAD {
                    return Err(Malformed::Length(self.ahead.len()));
                }
            }
            Message::Move(batch) => self.install(batch)?,
            Message::Commit(Committed { batch }) => {
                pause::at(Point::HeardCommit);
                let newcomers = self.uncommitted.remove(&batch).unwrap_or_default();
                self.taken += newcomers.len();
                newcomers.into_iter().for_each(Newcomer::begin);
            }
            _ => {}
        }
        Ok(())
    }

    fn install(&mut self, Batch { batch, connections, unread, bytes }: Batch) -> Result<(), Malformed> {
        pause::at(Point::HeardMove);
        let mut all = take(&mut self.ahead);
        all.extend(bytes);
        let mut all = Bytes::from(all);
        let (mut newcomers, mut refused) = (Vec::new(), Vec::new());
        for (place, ((note, socket), unread)) in connections.into_iter().zip(unread).enumerate() {
            if unread > all.len() {
                return Err(Malformed::Batch);
            }
            // A connection lives longer than those that came with it.
            let unread = Bytes::copy_from_slice(&all.split_to(unread));
            match self.servers.take(Moving { note, socket, unread }) {
                Some(newcomer) => newcomers.push(newcomer),
                None => refused.push(place),
            }
        }
        self.uncommitted.insert(batch, newcomers);
        self.channel.queue(Message::Taken(Taken { batch, refused }));
        // The rest goes out when the next message is waited for.
        let _later = self.channel.flush_now();
        pause::at(Point::SaidTaken);
        Ok(())
    }
}
