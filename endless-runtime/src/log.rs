//! What the process says of itself: `tracing` events with target `endless`, or, where the program has
//! installed no subscriber, the same lines on stderr, so that nothing is silent by default.

use std::fmt::Display;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::dispatcher;
use tracing::subscriber::NoSubscriber;

/// One line: a level, what happened, and the facts of it as fields.
macro_rules! event {
    ($level:ident, $message:literal $(, $field:ident = $value:expr)* $(,)?) => {
        if $crate::log::has_subscriber() {
            ::tracing::event!(target: "endless", ::tracing::Level::$level, $($field = %$value,)* $message);
        } else {
            $crate::log::to_stderr(&$crate::log::line(
                stringify!($level),
                $message,
                &[$((stringify!($field), &$value as &dyn ::std::fmt::Display)),*],
            ));
        }
    };
}
pub(crate) use event;

/// Asked each time: a program may install its subscriber at any moment of its start.
pub(crate) fn has_subscriber() -> bool {
    dispatcher::get_default(|dispatch| !dispatch.is::<NoSubscriber>())
}

pub(crate) fn line(level: &str, message: &str, fields: &[(&str, &dyn Display)]) -> String {
    let mut line = format!("{level} endless: {message}");
    for (name, value) in fields {
        let value = value.to_string();
        if value.is_empty() || value.contains([' ', '"', '\n', '=']) {
            line.push_str(&format!(" {name}={value:?}"));
        } else {
            line.push_str(&format!(" {name}={value}"));
        }
    }
    line
}

/// For how long, in milliseconds, a line may wait until somebody reads a pipe that is full.
const PATIENCE: u8 = 100;

/// One write a line, so that the lines of two generations that share a stderr do not mix. A stderr that is
/// gone, or that nobody reads, must not stop the service, so a failure is dropped.
///
/// Not through std's stderr: whoever is stuck in a write to it holds its lock.
pub(crate) fn to_stderr(line: &str) {
    static STUCK: AtomicBool = AtomicBool::new(false);
    let stderr = io::stderr();
    let patience = if STUCK.load(Relaxed) { PollTimeout::ZERO } else { PollTimeout::from(PATIENCE) };
    let writable = poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)], patience);
    STUCK.store(writable == Ok(0), Relaxed);
    if writable != Ok(0) {
        let _dropped = nix::unistd::write(stderr, format!("{line}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_spaces_is_quoted() {
        let line = line("INFO", "listening", &[("address", &"[::1]:80"), ("reason", &"two words")]);
        assert_eq!(line, "INFO endless: listening address=[::1]:80 reason=\"two words\"");
    }
}
