//! One key, and what is sealed with it.
//!
//! A ticket is the key's name, a nonce, what is sealed, and its tag, as RFC 5077 section 4 recommends; sealed is the
//! time of its making and rustls's state.

use std::fmt;

#[cfg(feature = "tls")]
use aws_lc_rs as provider;
#[cfg(not(feature = "tls"))]
use ring as provider;

use provider::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use provider::digest::{Context, SHA256};
use provider::rand::{SecureRandom as _, SystemRandom};
use zeroize::{Zeroize as _, Zeroizing};

use super::Binding;

/// In bytes, each.
pub(super) const NAME: usize = 16;
pub(super) const SECRET: usize = 32;
const TAG: usize = 16;
const TIME: usize = size_of::<u64>();

/// The longest state that is sealed, in bytes: a client's certificates are in it. Nobody is made to open more.
const LONGEST: usize = 16 * 1024;

/// A key, and the name by which its tickets say that it is theirs.
///
/// aws-lc-rs wipes what it has made of the secret when that is dropped; ring, which cannot, leaves it in memory that is
/// freed.
pub(super) struct Key {
    name: [u8; NAME],
    /// Apart, as what is moved leaves a copy behind.
    secret: Zeroizing<Vec<u8>>,
    sealing: LessSafeKey,
}

impl Key {
    /// A new one; `None` where the system has no random numbers.
    pub(super) fn generate() -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME], Zeroizing::new(vec![0; SECRET]));
        let random = SystemRandom::new();
        random.fill(&mut name).and_then(|()| random.fill(&mut secret)).ok()?;
        Self::new(name, secret)
    }

    /// `None` if it is not a secret of [`SECRET`] bytes.
    pub(super) fn new(name: [u8; NAME], secret: Zeroizing<Vec<u8>>) -> Option<Self> {
        let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).ok()?);
        Some(Self { name, secret, sealing })
    }

    pub(super) fn name(&self) -> &[u8; NAME] {
        &self.name
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The ticket of this state, made at this time.
    ///
    /// Its nonce is a random one: of the tickets that a key seals before another takes its turn, 2³² at the very
    /// most, no two have the same.
    pub(super) fn seal(&self, binding: &Binding, state: &[u8], time: u64) -> Option<Vec<u8>> {
        if state.len() > LONGEST {
            return None;
        }
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + TIME + state.len() + TAG);
        ticket.extend(self.name);
        ticket.extend(nonce);
        ticket.extend(time.to_le_bytes());
        ticket.extend(state);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut ticket[NAME + NONCE_LEN..];
        match self.sealing.seal_in_place_separate_tag(nonce, self.about(binding), sealed) {
            Ok(tag) => ticket.extend(tag.as_ref()),
            Err(_) => {
                ticket.zeroize();
                return None;
            }
        }
        Some(ticket)
    }

    /// The state in the ticket and the time of its making, if this key has sealed it for this server.
    pub(super) fn open(&self, binding: &Binding, ticket: &[u8]) -> Option<(Vec<u8>, u64)> {
        let (_name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        if sealed.len() > TIME + LONGEST + TAG {
            return None;
        }
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.sealing.open_in_place(nonce, self.about(binding), &mut sealed).ok()?;
        let (time, state) = plain.split_first_chunk()?;
        Some((state.to_vec(), u64::from_le_bytes(*time)))
    }

    /// What is not in a ticket's seal, and cannot be other than it was all the same.
    fn about(&self, binding: &Binding) -> Aad<[u8; NAME + 32]> {
        let mut about = [0; NAME + 32];
        about[..NAME].copy_from_slice(&self.name);
        about[NAME..].copy_from_slice(binding.bytes());
        Aad::from(about)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The name of the key that the ticket says it was sealed with.
pub(super) fn name_in(ticket: &[u8]) -> Option<&[u8; NAME]> {
    ticket.first_chunk()
}

/// A hash of all parts; where one ends and the next begins counts too.
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
