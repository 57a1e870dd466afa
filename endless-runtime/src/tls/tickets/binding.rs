//! What a ticket is good for.

use super::seal;

/// The server that a ticket was made for, and what that server asks of its clients, as a hash.
///
/// Who resumes a session shows no certificate, and rustls takes what the ticket says for what was shown. So a ticket
/// of a server that asks for none must open nothing on one that does (CVE-2025-23419 in other servers), be it another
/// server of this process or the same one after a restart. Nor is a client that was told to go to one server by
/// somebody in between to be let on another one with other certificates. New certificates of the same server change
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding([u8; 32]);

impl Binding {
    /// A server is known by its address as it was requested and how many have the same before it, which is how its
    /// listener is inherited too. `clients` says what it asks of its clients: whom it trusts, and whether it insists.
    pub(crate) fn new(requested: &str, occurrence: usize, clients: &[&[u8]]) -> Self {
        let occurrence = (occurrence as u64).to_le_bytes();
        Self(seal::digest([requested.as_bytes(), &occurrence].into_iter().chain(clients.iter().copied())))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_it_makes_another() {
        let others = [
            Binding::new(":443", 0, &[]),
            Binding::new(":443", 1, &[]),
            Binding::new(":4430", 0, &[]),
            Binding::new(":443", 0, &[b""]),
            Binding::new(":443", 0, &[b"ab"]),
            Binding::new(":443", 0, &[b"a", b"b"]),
        ];
        for (at, one) in others.iter().enumerate() {
            assert_eq!(others.iter().position(|other| other == one), Some(at));
        }
    }
}
