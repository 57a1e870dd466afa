//! What the process says of itself: `tracing` events with target `endless`, or, where the program has
//! installed no subscriber, the same lines on stderr, so that nothing is silent by default.

use std::cell::Cell;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, channel, sync_channel};
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

/// The thread that writes lines: what blocks, as a pipe does that nobody reads, then blocks nothing else.
static SCRIBE: OnceLock<SyncSender<Line>> = OnceLock::new();

/// How many lines may wait for a scribe that is stuck; what comes then is dropped.
const WAITING_LINES: usize = 4096;

thread_local! {
    /// Whether not even the program's own subscriber may block this thread.
    static DECIDES: Cell<bool> = const { Cell::new(false) };
}

/// Starts the scribe.
///
/// # Errors
///
/// If the system has no thread for it.
pub(crate) fn hire_scribe() -> io::Result<()> {
    let (lines, received) = sync_channel::<Line>(WAITING_LINES);
    let write = move || received.into_iter().for_each(|line| line());
    thread::Builder::new().name("endless-log".to_owned()).spawn(write)?;
    let _hired_before = SCRIBE.set(lines);
    Ok(())
}

/// From now on, the calling thread hands all its lines to the scribe.
pub(crate) fn never_block_here() {
    DECIDES.set(true);
}

/// A subscriber is called by the thread that has something to say, whose spans it may want to know; all else
/// is the scribe's.
pub(crate) fn emit(line: impl FnOnce() + Send + 'static) {
    match SCRIBE.get() {
        Some(scribe) if DECIDES.get() || !has_subscriber() => {
            let _dropped = scribe.try_send(Box::new(line));
        }
        _ => line(),
    }
}

/// Waits until the lines so far are written, but not for ever: the process may be about to end.
pub(crate) fn flush() {
    let (written, wait) = channel::<()>();
    if let Some(scribe) = SCRIBE.get() {
        let _dropped = scribe.try_send(Box::new(move || drop(written)));
        let _written_or_late: Result<(), RecvTimeoutError> = wait.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Resolves when the lines so far are written, or a little later if the log is stuck: what the user's hooks
/// print then stands where it belongs.
pub(crate) async fn caught_up() {
    let (written, wait) = tokio::sync::oneshot::channel::<()>();
    if let Some(scribe) = SCRIBE.get() {
        let _dropped = scribe.try_send(Box::new(move || drop(written)));
        let _written_or_late = tokio::time::timeout(CATCH_UP_TIMEOUT, wait).await;
    }
}

/// For how long a hook waits for the log.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(100);

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

/// Whether lines that would make this process wait are dropped.
static NEVER_WAITS: AtomicBool = AtomicBool::new(false);

/// From now on, this process, which has one thread, writes to stderr only what can be written at once.
pub(crate) fn never_wait() {
    NEVER_WAITS.store(true, Relaxed);
}

/// A pipe that can take something takes a line of up to a page whole.
fn would_wait() -> bool {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    NEVER_WAITS.load(Relaxed) && matches!(poll(&mut polled, PollTimeout::ZERO), Ok(0))
}

/// One write a line, under std's lock, so that it mixes neither with the lines of another generation that has
/// the same stderr nor with what the program prints. A stderr that is gone must not stop the service, so a
/// failure is dropped.
pub(crate) fn to_stderr(line: &str) {
    if would_wait() {
        return;
    }
    let _dropped = io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_blocks_stops_nobody_and_the_next_ones_come_in_order() {
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
    }

    #[test]
    fn a_field_with_spaces_is_quoted() {
        let line = line("INFO", "listening", &[("address", "[::1]:80"), ("reason", "two words")]);
        assert_eq!(line, "INFO endless: listening address=[::1]:80 reason=\"two words\"");
    }
}
