//! Listeners that came from the predecessor, until a server of this process claims them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::absolute;

use serde::{Deserialize, Serialize};

use super::Bound;
use super::unix::SocketFile;
use crate::grammar::AddressText;

/// What is said of a listener when it is handed over.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct ListenerNote {
    /// The address as it was configured.
    pub(crate) requested: String,
    /// How many servers before it were configured with the same text.
    pub(crate) occurrence: usize,
    /// What is bound.
    pub(crate) local: String,
    /// For a unix socket, which file is its own.
    #[serde(default)]
    pub(crate) file: Option<SocketFile>,
}

impl ListenerNote {
    /// What is bound, unless it is a unix socket.
    fn local_socket(&self) -> Option<SocketAddr> {
        self.local.parse().ok()
    }

    /// Whether binding `wanted` needs what it is bound to, and more or less than that.
    pub(crate) fn overlaps(&self, wanted: SocketAddr) -> bool {
        self.local_socket().is_some_and(|local| {
            let either = covers(wanted.ip(), local.ip()) || covers(local.ip(), wanted.ip());
            wanted.port() == local.port() && wanted != local && either
        })
    }

    /// Whether `text`, which may mean any of `candidates`, leads to it.
    fn is_bound_to(&self, text: &AddressText, candidates: &[SocketAddr]) -> bool {
        match (text, &self.file) {
            (AddressText::Unix(path), Some(file)) => absolute(path).is_ok_and(|path| path == file.path),
            // What takes IPv4 alone is less than it asks for.
            (AddressText::AllInterfaces { .. }, _)
                if self.local_socket().is_some_and(|local| local.is_ipv4()) =>
            {
                false
            }
            _ => self.local_socket().is_some_and(|local| candidates.contains(&local)),
        }
    }
}

/// Whether a socket on `all` takes what is for `one`: IPv6's takes IPv4 too.
fn covers(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

/// The listeners of the predecessor, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    note: ListenerNote,
    /// `None` once somebody has asked for it.
    socket: Option<OwnedFd>,
    claimed: bool,
}

impl Inheritance {
    pub(crate) fn new(listeners: Vec<(ListenerNote, OwnedFd)>) -> Self {
        let items =
            listeners.into_iter().map(|(note, socket)| Item { note, socket: Some(socket), claimed: false });
        Self { items: items.collect() }
    }

    /// Claims by configured address: `localhost:80` keeps its listener whatever the name resolves to now, and
    /// of several `127.0.0.1:0` each keeps its own.
    pub(crate) fn claim_configured(&mut self, requested: &str, occurrence: usize) -> Option<Bound> {
        self.take(|note| note.requested == requested && note.occurrence == occurrence)
    }

    /// Claims by bound address: another text that means the same, `127.0.0.1:80` for `localhost:80`. One that
    /// `is_spoken_for` by its configured address is left for that server.
    pub(crate) fn claim_bound(
        &mut self,
        text: &AddressText,
        candidates: &[SocketAddr],
        is_spoken_for: impl Fn(&ListenerNote) -> bool,
    ) -> Option<Bound> {
        self.take(|note| note.is_bound_to(text, candidates) && !is_spoken_for(note))
    }

    /// A unix socket whose file is gone cannot be reached by anybody any more: it counts as removed, and
    /// whoever asks for it binds anew.
    fn take(&mut self, wanted: impl Fn(&ListenerNote) -> bool) -> Option<Bound> {
        let item = self.items.iter_mut().find(|item| item.socket.is_some() && wanted(&item.note))?;
        let socket = item.socket.take()?;
        let file = item.note.file.clone();
        item.claimed = file.as_ref().is_none_or(SocketFile::is_in_place);
        item.claimed.then_some(Bound { socket, file })
    }

    /// What came, whether claimed or not.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &ListenerNote> {
        self.items.iter().map(|item| &item.note)
    }

    pub(crate) fn unclaimed(&self) -> impl Iterator<Item = &ListenerNote> {
        self.items.iter().filter(|item| item.socket.is_some()).map(|item| &item.note)
    }

    /// Which of them, by their place in the predecessor's list, were claimed.
    pub(crate) fn claimed(&self) -> Vec<usize> {
        let numbered = self.items.iter().enumerate();
        numbered.filter(|(_, item)| item.claimed).map(|(number, _)| number).collect()
    }

    /// Closes this process's copies of what nobody claimed.
    pub(crate) fn give_up_unclaimed(&mut self) {
        self.items.retain(|item| item.claimed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inheritance(notes: &[(&str, usize, &str)]) -> Inheritance {
        let listeners = notes.iter().map(|(requested, occurrence, local)| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a descriptor").into();
            let note = ListenerNote {
                requested: requested.to_string(),
                occurrence: *occurrence,
                local: local.to_string(),
                file: None,
            };
            (note, socket)
        });
        Inheritance::new(listeners.collect())
    }

    #[test]
    fn several_of_the_same_text_keep_their_own() {
        let mut inheritance =
            inheritance(&[("127.0.0.1:0", 0, "127.0.0.1:40001"), ("127.0.0.1:0", 1, "127.0.0.1:40002")]);
        assert!(inheritance.claim_configured("127.0.0.1:0", 1).is_some());
        assert_eq!(inheritance.claimed(), [1]);
        assert!(inheritance.claim_configured("127.0.0.1:0", 1).is_none(), "claimed once");
        assert!(inheritance.claim_configured("127.0.0.1:0", 2).is_none(), "a third is new");
        assert_eq!(inheritance.unclaimed().count(), 1);
    }

    #[test]
    fn another_text_claims_what_is_bound_to_the_same_address() {
        let mut inheritance = inheritance(&[("localhost:80", 0, "127.0.0.1:80")]);
        let candidates = ["[::1]:80".parse().expect("v6"), "127.0.0.1:80".parse().expect("v4")];
        let text = "127.0.0.1:80".parse().expect("an address");
        assert!(inheritance.claim_bound(&text, &candidates, |_| true).is_none(), "spoken for");
        assert!(inheritance.claim_bound(&text, &candidates, |_| false).is_some());
    }

    #[test]
    fn an_unspecified_address_overlaps_those_of_its_families() {
        for (wanted, bound, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::1]:80", "[::]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("0.0.0.0:81", "127.0.0.1:80", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("127.0.0.1:80", "127.0.0.1:80", false),
        ] {
            let inheritance = inheritance(&[("any", 0, bound)]);
            let note = inheritance.notes().next().expect("one");
            assert_eq!(note.overlaps(wanted.parse().expect("an address")), expected, "{wanted} {bound}");
        }
    }
}
