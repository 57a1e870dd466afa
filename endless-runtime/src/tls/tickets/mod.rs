//! Session tickets that outlive the process that has made them: a client that comes back resumes its session, without
//! certificates and signatures, with whoever serves then.
//!
//! A ticket is the server's own state of a session, sealed, and kept by the client (RFC 5077, RFC 8446 section 4.6.1).
//! rustls's own tickets are sealed with keys that nobody gets out of it, so each generation would begin with a storm of
//! full handshakes. These keys are ours: made and rotated here, handed over to each successor, and kept by a
//! supervisor for the one that replaces a generation that has crashed.

mod binding;
mod clock;
mod keys;
mod seal;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::ProducesTickets;

pub(crate) use binding::Binding;
use keys::{Keys, LIFETIME};

use crate::process::Process;
use crate::secrets::Secrets;

/// Those of this process: one set for all its servers, each of which binds its tickets to itself.
static KEYS: RwLock<Keys> = RwLock::new(Keys::new());

/// Whether a server of this process needs them.
static ARE_USED: AtomicBool = AtomicBool::new(false);

/// How often it is looked whether a key is over, where no handshake looks.
const TENDING: Duration = Duration::from_secs(10 * 60);

/// Makes tickets, and opens those that were made for the same server, whichever generation made them.
pub(crate) fn ticketer(binding: Binding) -> Arc<dyn ProducesTickets> {
    ARE_USED.store(true, Relaxed);
    Arc::new(Tickets { binding })
}

/// The tickets of one server.
#[derive(Debug)]
struct Tickets {
    binding: Binding,
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// In seconds: what the client is told, and what holds.
    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        let now = clock::now();
        tend(now);
        KEYS.read().unwrap_or_else(PoisonError::into_inner).seal(&self.binding, state, now)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        KEYS.read().unwrap_or_else(PoisonError::into_inner).open(&self.binding, ticket, clock::now())
    }
}

/// Sees to the keys, and to it that a supervisor hears of a new one.
fn tend(now: u64) {
    if !KEYS.read().unwrap_or_else(PoisonError::into_inner).want_tending(now) {
        return;
    }
    KEYS.write().unwrap_or_else(PoisonError::into_inner).tend(now);
    if let Some(process) = Process::current() {
        process.servers.relist();
    }
}

/// Wipes keys that are over, also where nobody shakes hands any more. Never returns.
pub(crate) async fn keep() {
    loop {
        tokio::time::sleep(TENDING).await;
        if ARE_USED.load(Relaxed) {
            tend(clock::now());
        }
    }
}

/// Goes on with the predecessor's keys, on its schedule.
pub(crate) fn inherit(secrets: &Secrets) {
    *KEYS.write().unwrap_or_else(PoisonError::into_inner) = Keys::parse(secrets.bytes());
}

/// The keys, for a successor: those that it will use next, too.
pub(crate) fn heirloom() -> Option<Secrets> {
    if !ARE_USED.load(Relaxed) {
        return None;
    }
    let mut keys = KEYS.write().unwrap_or_else(PoisonError::into_inner);
    keys.tend(clock::now());
    Secrets::new(keys.to_bytes())
}
