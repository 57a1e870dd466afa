//! What a process passes on that nobody may see: it stands in no log, no file and no environment, shows nothing of
//! itself, and is wiped where it is needed no more.
//!
//! To the channel and to a supervisor it is bytes. What they mean knows who has made them, which may be a newer
//! build.

use std::fmt;

use zeroize::Zeroizing;

/// In bytes.
pub(crate) const LONGEST: usize = 4096;

/// Secrets of the generation that serves, for the next one.
///
/// They are wiped when this is dropped; so are the copies that the channel makes of them. What the kernel holds
/// between two ends of a channel is the kernel's, which gives it to nobody else before it is overwritten.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secrets(Zeroizing<Vec<u8>>);

impl Secrets {
    /// `None` if they are longer than anybody's are.
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (bytes.len() <= LONGEST).then_some(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// Goes on with what the predecessor has left.
pub(crate) fn inherit(secrets: Option<Secrets>) {
    #[cfg(feature = "_tls")]
    if let Some(secrets) = secrets {
        crate::tls::tickets::inherit(&secrets);
    }
    #[cfg(not(feature = "_tls"))]
    drop(secrets);
}

/// What a successor of this process gets, if there is anything.
pub(crate) fn heirloom() -> Option<Secrets> {
    #[cfg(feature = "_tls")]
    let secrets = crate::tls::tickets::heirloom();
    #[cfg(not(feature = "_tls"))]
    let secrets = None;
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_them_is_shown() {
        let secrets = Secrets::new(Zeroizing::new(b"abc".to_vec())).expect("they are short");
        assert_eq!(format!("{secrets:?} {secrets:#?}"), "Secrets Secrets");
    }

    #[test]
    fn they_have_a_length() {
        assert!(Secrets::new(Zeroizing::new(vec![7; LONGEST])).is_some());
        assert!(Secrets::new(Zeroizing::new(vec![7; LONGEST + 1])).is_none());
    }
}
