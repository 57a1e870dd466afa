//! The one error of the public API: opaque, with predicates for what callers decide on.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a server could not be started, or a restart did not happen.
///
/// The message names the object: `cannot bind 127.0.0.1:80: permission denied`. What the operating
/// system said is kept as the [`source`](StdError::source).
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<BoxError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bind,
    Configuration,
    Restart,
    Draining,
    Bequest,
    Tls,
}

impl Error {
    pub(crate) fn bind(address: impl fmt::Display, source: io::Error) -> Self {
        let message = format!("cannot bind {address}: {}", describe(&source));
        Self { kind: Kind::Bind, message, source: Some(source.into()) }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self { kind: Kind::Configuration, message: message.into(), source: None }
    }

    pub(crate) fn restart(reason: impl Into<String>) -> Self {
        Self { kind: Kind::Restart, message: reason.into(), source: None }
    }

    pub(crate) fn draining(what: impl fmt::Display) -> Self {
        let message = format!("cannot {what}: the process is draining");
        Self { kind: Kind::Draining, message, source: None }
    }

    pub(crate) fn bequest(message: impl Into<String>, source: Option<io::Error>) -> Self {
        Self { kind: Kind::Bequest, message: message.into(), source: source.map(Into::into) }
    }

    #[cfg(feature = "_tls")]
    pub(crate) fn tls(message: impl Into<String>, source: Option<BoxError>) -> Self {
        Self { kind: Kind::Tls, message: message.into(), source }
    }

    /// Whether an address could not be bound: in use, not permitted, not on this machine, not resolved.
    pub fn is_bind(&self) -> bool {
        self.kind == Kind::Bind
    }

    /// Whether an option, an address or an environment variable has a value that cannot be used.
    pub fn is_configuration(&self) -> bool {
        self.kind == Kind::Configuration
    }

    /// Whether a restart was asked for and did not happen; the process serves on.
    pub fn is_restart(&self) -> bool {
        self.kind == Kind::Restart
    }

    /// Whether something was asked of a process that accepts nothing new any more.
    pub fn is_draining(&self) -> bool {
        self.kind == Kind::Draining
    }

    /// Whether a descriptor could not be bequeathed: an unusable name, or no descriptor left for a copy.
    pub fn is_bequest(&self) -> bool {
        self.kind == Kind::Bequest
    }

    /// Whether a certificate or its key cannot be used: missing, unreadable, not belonging together.
    pub fn is_tls(&self) -> bool {
        self.kind == Kind::Tls
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// What the operating system said, in lower case and without its number: "permission denied".
pub(crate) fn describe(error: &io::Error) -> String {
    let text = without_number(&error.to_string()).to_owned();
    let mut letters = text.chars();
    match letters.next() {
        // Abbreviations keep their capitals.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text,
    }
}

fn without_number(text: &str) -> &str {
    text.split(" (os error ").next().unwrap_or_default()
}

/// Prints `error: …` and, below it, each source that says something new.
pub(crate) fn print(error: &(dyn StdError + 'static)) {
    let mut text = format!("error: {error}");
    let mut said = error.to_string().to_lowercase();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        // Our own messages already end with what the system said.
        let words = without_number(&words);
        if !said.contains(&words.to_lowercase()) {
            text.push_str(&format!("\n  caused by: {words}"));
            said.push_str(&words.to_lowercase());
        }
        next = source.source();
    }
    crate::log::to_stderr(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_error_names_the_address_and_keeps_its_source() {
        let error = Error::bind("127.0.0.1:80", io::Error::from_raw_os_error(nix::libc::EACCES));
        assert_eq!(error.to_string(), "cannot bind 127.0.0.1:80: permission denied");
        assert!(error.is_bind() && !error.is_configuration());
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn what_the_system_says_is_said_in_its_words() {
        let words = |number| describe(&io::Error::from_raw_os_error(number));
        assert_eq!(words(nix::libc::EAGAIN), "resource temporarily unavailable");
        assert_eq!(words(nix::libc::ENOENT), "no such file or directory");
        assert_eq!(describe(&io::Error::other("TLS is not there")), "TLS is not there");
    }
}
