//! A user's own descriptors, which go from generation to generation under their names.
//!
//! What is in here is there before the [`Process`] is: a program may bequeath before its first server.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::control;
use crate::error::{Error, Result, describe};
use crate::lock::lock;
use crate::process::Process;

/// In bytes: so many names as a message carries descriptors, whatever is in them, fit into that message.
pub(crate) const LONGEST_NAME: usize = 255;

/// A name, and what goes by it.
pub(crate) type Bequest = (String, OwnedFd);

/// Those of this process.
pub(crate) static BEQUESTS: Bequests = Bequests::new();

/// Hands a descriptor of yours on: each successor gets a copy and takes it by [`inherited`], so that a UDP
/// socket, or a listener of another protocol, carries on across restarts.
///
/// endless keeps the descriptor, as a duplicate with close-on-exec set, until the drain of this process begins,
/// and does nothing with it but send copies of it: to the successors that are started from now on and, where
/// there is one, to the supervisor, which hands it to the successor of a generation that has crashed too. So
/// give away a duplicate of what you use yourself. All copies are one and the same socket to the kernel: what
/// waits in its queue waits for whoever reads first, so read only while you serve, that is, from a `ready` hook
/// on until [`draining`](crate::draining()).
///
/// To bequeath under a name again replaces what was there. A successor hands nothing on that it does not bequeath
/// itself, and does so best before its first server is awaited: a crash after that leaves nothing behind that was
/// not bequeathed yet. There is no limit to how many there are, but this process, its successor and the
/// supervisor need a descriptor for each.
///
/// ```no_run
/// # use endless_runtime as endless;
/// use std::net::UdpSocket;
///
/// fn socket() -> Result<UdpSocket, Box<dyn std::error::Error + Send + Sync>> {
///     let inherited = endless::inherited("metrics").map(UdpSocket::from);
///     let socket = inherited.map_or_else(|| UdpSocket::bind("127.0.0.1:8125"), Ok)?;
///     endless::bequeath("metrics", socket.try_clone()?)?;
///     Ok(socket)
/// }
/// ```
///
/// # Errors
///
/// A name that is empty or longer than 255 bytes; no descriptor left for the duplicate (`EMFILE` and `ENFILE` of
/// open(2)). [`Error::is_bequest`] is true, and a descriptor that was bequeathed under this name before stays so.
pub fn bequeath(name: &str, descriptor: impl Into<OwnedFd>) -> Result<()> {
    if !(1..=LONGEST_NAME).contains(&name.len()) {
        let length = name.len();
        let message =
            format!("cannot bequeath under a name of {length} bytes: expected 1 to {LONGEST_NAME} bytes");
        return Err(Error::bequest(message, None));
    }
    // A duplicate has close-on-exec set from its first moment, whatever the user's own has.
    let kept = descriptor.into().try_clone().map_err(|error| {
        Error::bequest(format!("cannot bequeath {name}: {}", describe(&error)), Some(error))
    })?;
    BEQUESTS.bequeath(name, kept);
    if let Some(process) = Process::current() {
        process.servers.relist();
    }
    Ok(())
}

/// Takes what the predecessor has [bequeathed](bequeath) under this name, close-on-exec set; `None` if there is
/// nothing, or if it was taken before.
///
/// So it is `None` in a first generation, and in a process that was not started by endless, where this returns at
/// once and starts nothing. In a successor it waits until the handover has come, which takes a moment, and no
/// longer than the predecessor lives or this process is wanted. If that is before the first server, this starts
/// the process as [`serve`](crate::serve()) would, and [`configure`](crate::configure) is too late after it. Where
/// the process cannot be started there is nothing either, and the first server says why.
///
/// What is not taken when this process begins to serve is closed, and a line of the log names it.
pub fn inherited(name: &str) -> Option<OwnedFd> {
    if !control::is_started_by_endless() {
        return None;
    }
    // Somebody has to hear what comes.
    Process::get_or_start().ok()?;
    BEQUESTS.take(name)
}

/// What this process has inherited and not taken, and what it bequeaths.
#[derive(Debug)]
pub(crate) struct Bequests {
    inherited: Mutex<Inherited>,
    arrival: Condvar,
    bequeathed: Mutex<Bequeathed>,
}

#[derive(Debug)]
enum Inherited {
    Awaited,
    Come(BTreeMap<String, OwnedFd>),
}

#[derive(Debug)]
enum Bequeathed {
    Kept(BTreeMap<String, Arc<OwnedFd>>),
    /// There will be no further successor.
    LetGo,
}

impl Bequests {
    const fn new() -> Self {
        Self {
            inherited: Mutex::new(Inherited::Awaited),
            arrival: Condvar::new(),
            bequeathed: Mutex::new(Bequeathed::Kept(BTreeMap::new())),
        }
    }

    /// What was handed over, which is all that ever will be; of two of one name, the later one counts.
    pub(crate) fn inherit(&self, bequests: Vec<Bequest>) {
        *lock(&self.inherited) = Inherited::Come(bequests.into_iter().collect());
        self.arrival.notify_all();
    }

    /// Waits until everything has come.
    fn take(&self, name: &str) -> Option<OwnedFd> {
        match &mut *self.come() {
            Inherited::Awaited => None,
            Inherited::Come(bequests) => bequests.remove(name),
        }
    }

    fn come(&self) -> MutexGuard<'_, Inherited> {
        let inherited = lock(&self.inherited);
        let come = self.arrival.wait_while(inherited, |inherited| matches!(inherited, Inherited::Awaited));
        come.unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what nobody has taken; returns the names.
    pub(crate) fn give_up(&self) -> Vec<String> {
        match mem::replace(&mut *lock(&self.inherited), Inherited::Come(BTreeMap::new())) {
            Inherited::Awaited => Vec::new(),
            Inherited::Come(bequests) => bequests.into_keys().collect(),
        }
    }

    fn bequeath(&self, name: &str, descriptor: OwnedFd) {
        if let Bequeathed::Kept(bequests) = &mut *lock(&self.bequeathed) {
            bequests.insert(name.to_owned(), Arc::new(descriptor));
        }
    }

    /// What goes over a channel, one after the other; this process keeps its own.
    pub(crate) fn duplicates(&self) -> impl Iterator<Item = io::Result<Bequest>> + use<> {
        let bequests = match &*lock(&self.bequeathed) {
            Bequeathed::Kept(bequests) => bequests.clone(),
            Bequeathed::LetGo => BTreeMap::new(),
        };
        bequests.into_iter().map(|(name, descriptor)| Ok((name, descriptor.try_clone()?)))
    }

    /// Closes everything: a listener that is open in here only would let clients wait for nobody. Whoever waits
    /// for what a predecessor leaves waits no longer.
    pub(crate) fn let_go(&self) {
        self.give_up();
        self.arrival.notify_all();
        *lock(&self.bequeathed) = Bequeathed::LetGo;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use super::*;

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").expect("a descriptor").into()
    }

    #[test]
    fn a_name_is_taken_once() {
        let bequests = Bequests::new();
        bequests.inherit(vec![("udp".to_owned(), descriptor())]);
        assert!(bequests.take("tcp").is_none());
        assert!(bequests.take("udp").is_some());
        assert!(bequests.take("udp").is_none());
        assert!(bequests.give_up().is_empty());
    }

    #[test]
    fn what_is_not_taken_in_time_is_closed() {
        let bequests = Bequests::new();
        bequests.inherit(vec![("udp".to_owned(), descriptor())]);
        assert_eq!(bequests.give_up(), ["udp"]);
        assert!(bequests.take("udp").is_none());
    }

    #[test]
    fn whoever_waits_hears_what_comes_and_that_nothing_does() {
        let comes: [fn(&Bequests); 2] =
            [|bequests| bequests.inherit(vec![("udp".to_owned(), descriptor())]), Bequests::let_go];
        for (come, some) in comes.into_iter().zip([true, false]) {
            let bequests = Bequests::new();
            thread::scope(|scope| {
                let waits = scope.spawn(|| bequests.take("udp").is_some());
                come(&bequests);
                assert_eq!(waits.join().expect("no panic"), some);
            });
        }
    }

    #[test]
    fn of_two_of_one_name_the_later_one_counts() {
        let bequests = Bequests::new();
        let later = File::open("/dev/zero").expect("a descriptor");
        let device = nix::sys::stat::fstat(&later).expect("it is open").st_rdev;
        bequests.bequeath("udp", descriptor());
        bequests.bequeath("udp", later.into());
        let copies: Vec<Bequest> = bequests.duplicates().collect::<io::Result<_>>().expect("descriptors");
        assert_eq!(copies.len(), 1);
        assert_eq!(nix::sys::stat::fstat(&copies[0].1).expect("it is open").st_rdev, device);
    }

    #[test]
    fn who_drains_keeps_nothing_for_anybody() {
        let bequests = Bequests::new();
        bequests.bequeath("udp", descriptor());
        bequests.let_go();
        bequests.bequeath("tcp", descriptor());
        assert_eq!(bequests.duplicates().count(), 0);
    }

    #[test]
    fn a_name_has_a_length() {
        for (name, length) in [(String::new(), 0), ("a".repeat(256), 256)] {
            let error = bequeath(&name, descriptor()).expect_err("no name");
            let words = format!("cannot bequeath under a name of {length} bytes: expected 1 to 255 bytes");
            assert_eq!((error.to_string(), error.is_bequest()), (words, true));
        }
        bequeath(&"a".repeat(255), descriptor()).expect("a name");
    }

    /// Nothing was handed over, and nobody is waited for.
    #[test]
    fn outside_of_a_successor_there_is_nothing() {
        assert!(inherited("udp").is_none());
        assert!(Process::current().is_none(), "it has started something");
    }
}
