//! What the service manager is told, where there is one: `sd_notify(3)`.
//!
//! Nothing here can fail or wait, as no service may depend on who watches it. The environment is not changed
//! either: a program's own notices go where they would without endless.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use sd_notify::NotifyState;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::describe;
use crate::lock::lock;
use crate::log::event;

/// How often a manager is told that a stop takes longer than it would wait.
pub(crate) const EXTENSION_INTERVAL: Duration = Duration::from_secs(5);

/// How much longer it is to wait then: a machine may be so busy that some of these are late.
const EXTENSION: u32 = 30_000_000;

/// How soon a manager that does not read is tried again.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// How many notices may wait for it; the oldest is dropped for one more.
const WAITING: usize = 32;

/// As much of a reason as one wants to read in `systemctl status`; systemd drops what is longer than a page.
const LONGEST_STATUS: usize = 500;

static MANAGER: LazyLock<Option<Manager>> = LazyLock::new(Manager::of_environment);

struct Manager {
    socket: Socket,
    address: SockAddr,
    outbox: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    waiting: VecDeque<String>,
    has_failed: bool,
}

/// Something worth to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice<'a> {
    /// This generation serves.
    Serving {
        generation: u64,
        pid: i32,
    },
    /// It does, after an attempt to replace it.
    NotRestarted {
        generation: u64,
        pid: i32,
        reason: &'a str,
    },
    /// A restart has begun.
    Restarting {
        generation: u64,
        pid: i32,
    },
    /// The successor of the main process serves, and is the main process from now on.
    Replaced {
        generation: u64,
        pid: i32,
    },
    /// The one that served has died.
    Replacing {
        generation: u64,
        how: &'a str,
    },
    Stopping,
    /// The stop is not over yet.
    StillStopping,
    /// Whoever serves has just answered.
    Alive,
}

/// Tells it, if there is somebody to be told.
pub(crate) fn tell(notice: Notice<'_>) {
    if let Some(manager) = &*MANAGER {
        manager.tell(notice.text());
    }
}

/// Tells what could not be told before. Whether something still could not.
pub(crate) fn catch_up() -> bool {
    MANAGER.as_ref().is_some_and(Manager::send)
}

/// Whether something is still to be told.
pub(crate) fn is_behind() -> bool {
    MANAGER.as_ref().is_some_and(|manager| !lock(&manager.outbox).waiting.is_empty())
}

/// Whether there is a manager.
pub(crate) fn is_there() -> bool {
    MANAGER.is_some()
}

/// How often it wants to hear from this process that it is alive, if it does: twice as often as it says.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let interval = sd_notify::watchdog_enabled().filter(|_| is_there())? / 2;
    (!interval.is_zero()).then_some(interval)
}

impl Manager {
    fn of_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        Self::of_socket(&name)
            .inspect_err(|error| {
                event!(WARN, "the service manager cannot be told anything", reason = describe(error));
            })
            .ok()
    }

    fn of_socket(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            // As sd_notify(3) spells the NUL of an abstract address.
            [b'@', rest @ ..] => SockAddr::unix(OsStr::from_bytes(&[b"\0", rest].concat()))?,
            _ => SockAddr::unix(name)?,
        };
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, outbox: Mutex::default() })
    }

    fn tell(&self, text: String) {
        let mut outbox = lock(&self.outbox);
        if outbox.waiting.len() == WAITING {
            outbox.waiting.pop_front();
        }
        outbox.waiting.push_back(text);
        drop(outbox);
        self.send();
    }

    /// Whether something is left, as the manager has not read what came before.
    fn send(&self) -> bool {
        let mut outbox = lock(&self.outbox);
        while let Some(text) = outbox.waiting.front() {
            match self.socket.send_to(text.as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if !std::mem::replace(&mut outbox.has_failed, true) => {
                    event!(WARN, "the service manager was not told", reason = describe(&error));
                }
                Ok(_) | Err(_) => {}
            }
            outbox.waiting.pop_front();
        }
        false
    }
}

impl Notice<'_> {
    /// In one message, so that nothing can come in between.
    fn text(self) -> String {
        let status = self.status();
        let status = status.as_deref().map(NotifyState::Status);
        let states = self.states().into_iter().chain(status);
        states.map(|state| format!("{state}\n")).collect()
    }

    fn states(self) -> Vec<NotifyState<'static>> {
        match self {
            Self::Serving { .. } | Self::NotRestarted { .. } => vec![NotifyState::Ready],
            Self::Restarting { .. } => {
                let now = NotifyState::monotonic_usec_now().ok();
                [NotifyState::Reloading].into_iter().chain(now).collect()
            }
            Self::Replaced { pid, .. } => {
                // Until the new main process is known as one, it is not heard.
                let alive = watchdog_interval().map(|_| NotifyState::Watchdog);
                let main = [NotifyState::MainPid(pid.unsigned_abs()), NotifyState::Ready];
                main.into_iter().chain(alive).collect()
            }
            Self::Replacing { .. } => Vec::new(),
            Self::Stopping => vec![NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(EXTENSION)],
            Self::StillStopping => vec![NotifyState::ExtendTimeoutUsec(EXTENSION)],
            Self::Alive => vec![NotifyState::Watchdog],
        }
    }

    fn status(self) -> Option<String> {
        let serves = |generation, pid| format!("generation {generation} serves (PID {pid})");
        match self {
            Self::Serving { generation, pid } | Self::Replaced { generation, pid } => {
                Some(serves(generation, pid))
            }
            Self::NotRestarted { generation, pid, reason } => {
                Some(one_line(&format!("{}; restart called off: {reason}", serves(generation, pid))))
            }
            Self::Restarting { generation, pid } => Some(serves(generation, pid) + "; restarting"),
            Self::Replacing { generation, how } => {
                Some(one_line(&format!("generation {generation} has ended ({how}); replacing it")))
            }
            Self::Stopping => Some("stopping".to_owned()),
            Self::StillStopping | Self::Alive => None,
        }
    }
}

/// What came from elsewhere must not end the line, and so become a message of its own.
fn one_line(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(LONGEST_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up_and_hears_all_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let manager = Manager::of_socket(path.as_os_str()).expect("a socket");
        let mut told = 0;
        while lock(&manager.outbox).waiting.is_empty() {
            manager.tell(told.to_string());
            told += 1;
        }
        manager.tell(told.to_string());
        assert_eq!(lock(&manager.outbox).waiting.len(), 2, "nothing comes before what waits");
        for expected in 0..=told {
            assert_eq!(heard(&socket), expected.to_string());
            manager.send();
        }
        assert!(!manager.send());
    }

    #[test]
    fn a_reason_cannot_say_anything_of_its_own() {
        let notice = Notice::NotRestarted { generation: 1, pid: 2, reason: "no\nMAINPID=1" };
        let status = "STATUS=generation 1 serves (PID 2); restart called off: no MAINPID=1";
        assert_eq!(notice.text(), format!("READY=1\n{status}\n"));
        let reason = "x".repeat(10_000);
        assert!(Notice::NotRestarted { generation: 1, pid: 2, reason: &reason }.text().len() < 4096);
    }

    #[test]
    fn a_socket_may_be_an_abstract_one() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("endless-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        let manager = Manager::of_socket(OsStr::new(&format!("@{name}"))).expect("a socket");
        manager.tell(Notice::Alive.text());
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
    }
}
