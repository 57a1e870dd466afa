//! The points of a restart at which the runtime lets a test stop it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::client::patiently;
use crate::support::process::shared_folder;

// The runtime's own file, so that there is one list.
#[path = "../../../endless-runtime/src/pause.rs"]
mod pause;
pub(crate) use pause::Point;

/// How often the folder is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Two processes at rest at the same moment of a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) predecessor: Point,
    /// `None` while there is no successor.
    pub(crate) successor: Option<Point>,
}

impl Step {
    /// Whether connections wait in the kernel's queue: the predecessor accepts no more, and the successor not
    /// yet.
    pub(crate) fn nobody_accepts(self) -> bool {
        let has_paused =
            matches!(self.predecessor, Point::Paused | Point::SaidGo | Point::HeardConfirmed | Point::LetGo);
        let will_open = matches!(self.successor, Some(Point::SaidReady | Point::HeardGo | Point::Confirmed));
        has_paused && will_open
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.successor {
            Some(successor) => write!(f, "{:?}/{successor:?}", self.predecessor),
            None => write!(f, "{:?}", self.predecessor),
        }
    }
}

/// Where a server's processes are stopped.
#[derive(Debug)]
pub(crate) struct Points {
    folder: TempDir,
}

impl Points {
    /// Of a program that was built with `_pause-points`.
    pub(crate) fn of(program: &mut Command) -> Self {
        let points = Self { folder: shared_folder() };
        program.env("TEST_PAUSE_POINTS", points.folder.path());
        points
    }

    /// From now on, a process that comes to this point stops there.
    pub(crate) fn hold(&self, point: Point) {
        fs::write(self.folder.path().join(format!("{point:?}")), "").expect("our own folder can be written");
    }

    pub(crate) fn release(&self, point: Point) {
        fs::remove_file(self.folder.path().join(format!("{point:?}"))).expect("it was held");
    }

    /// Which version the supervisor of what is started from now on has.
    pub(crate) fn set_version(&self, version: u32) {
        fs::write(self.folder.path().join("version"), version.to_string())
            .expect("our own folder can be written");
    }

    /// The process that has come to this point; waits for it.
    #[track_caller]
    pub(crate) fn reached(&self, point: Point) -> impl Future<Output = u32> {
        patiently(async move {
            loop {
                if let Some(pid) = self.waiting_at(point) {
                    return pid;
                }
                tokio::time::sleep(POLL).await;
            }
        })
    }

    fn waiting_at(&self, point: Point) -> Option<u32> {
        let prefix = format!("{point:?}.");
        let entries = fs::read_dir(self.folder.path()).expect("our own folder can be read").flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).next()
    }
}
