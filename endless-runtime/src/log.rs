//! What the process says of itself: `tracing` events with target `endless`, or, where the program has
//! installed no subscriber, the same lines on stderr, so that nothing is silent by default.

use std::cell::OnceCell;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::dispatcher;
use tracing::subscriber::NoSubscriber;

/// One line: a level, what happened, and the facts of it as fields.
macro_rules! event {
    ($level:ident, $message:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        // All values before any name: a field may have the name of a variable that a later value uses.
        let ($($field,)*) = ($(::std::string::ToString::to_string(&$value),)*);
        $crate::log::emit(move || {
            if $crate::log::has_subscriber() {
                ::tracing::event!(target: "endless", ::tracing::Level::$level, $($field = %$field,)* $message);
            } else {
                $crate::log::to_stderr(&$crate::log::line(
                    stringify!($level),
                    $message,
                    &[$((stringify!($field), &*$field)),*],
                ));
            }
        });
    }};
}
pub(crate) use event;

type Line = Box<dyn FnOnce() + Send>;

thread_local! {
    /// Where the lines of this thread go; out at once, if nowhere.
    static SCRIBE: OnceCell<Sender<Line>> = const { OnceCell::new() };
}

/// Has the lines of the calling thread written by another one, in their order: a subscriber that blocks, as
/// one does whose pipe nobody reads, then stops no decision.
///
/// # Errors
///
/// If the system has no thread for it.
pub(crate) fn hire_scribe() -> io::Result<()> {
    let (lines, received) = channel::<Line>();
    let write = move || received.into_iter().for_each(|line| line());
    thread::Builder::new().name("endless-log".to_owned()).spawn(write)?;
    SCRIBE.with(|scribe| scribe.set(lines).expect("a thread hires once"));
    Ok(())
}

pub(crate) fn emit(line: impl FnOnce() + Send + 'static) {
    match SCRIBE.with(|scribe| scribe.get().cloned()) {
        // A scribe whose subscriber has panicked is gone, and its lines with it.
        Some(scribe) => drop(scribe.send(Box::new(line))),
        None => line(),
    }
}

/// Waits until the lines of the calling thread are written, but not for ever: the process may be about to end.
pub(crate) fn flush() {
    let (written, wait) = channel::<()>();
    emit(move || drop(written));
    let _written_or_late: Result<(), RecvTimeoutError> = wait.recv_timeout(FLUSH_TIMEOUT);
}

/// For how long an ending process waits for its log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Asked each time: a program may install its subscriber at any moment of its start.
pub(crate) fn has_subscriber() -> bool {
    dispatcher::get_default(|dispatch| !dispatch.is::<NoSubscriber>())
}

pub(crate) fn line(level: &str, message: &str, fields: &[(&str, &str)]) -> String {
    let mut line = format!("{level} endless: {message}");
    for (name, value) in fields {
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
    fn a_line_that_blocks_stops_nobody_and_the_next_ones_come_in_order() {
        let decides = || {
            hire_scribe().expect("a thread");
            let (release, blocked) = channel::<()>();
            let (write, read) = channel();
            emit(move || blocked.recv().expect("released"));
            for number in 0..3 {
                let write = write.clone();
                emit(move || write.send(number).expect("read"));
            }
            assert!(read.try_recv().is_err(), "the first line still blocks");
            release.send(()).expect("blocked");
            flush();
            assert_eq!(read.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        };
        thread::spawn(decides).join().expect("no panic");
    }

    #[test]
    fn a_field_with_spaces_is_quoted() {
        let line = line("INFO", "listening", &[("address", "[::1]:80"), ("reason", "two words")]);
        assert_eq!(line, "INFO endless: listening address=[::1]:80 reason=\"two words\"");
    }
}
