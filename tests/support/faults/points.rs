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

/// The processes of a server at rest at the same moment of a restart. One that has no point there waits for the
/// others, or does not exist.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    pub(crate) supervisor: Option<Point>,
    pub(crate) predecessor: Option<Point>,
    pub(crate) successor: Option<Point>,
}

impl Step {
    pub(crate) const fn new(
        supervisor: Option<Point>,
        predecessor: Option<Point>,
        successor: Option<Point>,
    ) -> Self {
        Self { supervisor, predecessor, successor }
    }

    /// Each once: two processes may stop at the same one.
    pub(crate) fn points(self) -> Vec<Point> {
        let mut points: Vec<Point> =
            [self.successor, self.predecessor, self.supervisor].into_iter().flatten().collect();
        points.dedup();
        points
    }

    pub(crate) fn has(self, point: Point) -> bool {
        self.points().contains(&point)
    }

    /// Whether connections wait in the kernel's queue: the predecessor accepts no more, and the successor not
    /// yet.
    pub(crate) fn nobody_accepts(self) -> bool {
        let paused = [Point::SaidPaused, Point::Paused, Point::SaidGo, Point::HeardConfirmed, Point::LetGo];
        let will_open = matches!(self.successor, Some(Point::SaidReady | Point::HeardGo | Point::Confirmed));
        paused.into_iter().any(|point| self.has(point)) && will_open
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [self.supervisor, self.predecessor, self.successor].into_iter().flatten();
        f.write_str(&all.map(|point| format!("{point:?}")).collect::<Vec<_>>().join("/"))
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

    /// By how much it is later than it is, from now on, to those whose hours are to be over.
    pub(crate) fn set_later(&self, by: Duration) {
        fs::write(self.folder.path().join("later"), by.as_secs().to_string())
            .expect("our own folder can be written");
    }

    /// The process that has come to this point; waits for it.
    #[track_caller]
    pub(crate) fn reached(&self, point: Point) -> impl Future<Output = u32> {
        self.reached_by(point, |_| true)
    }

    /// The process of those `wanted` that has come to this point; waits for it.
    #[track_caller]
    pub(crate) fn reached_by(&self, point: Point, wanted: impl Fn(u32) -> bool) -> impl Future<Output = u32> {
        patiently(async move {
            loop {
                if let Some(pid) = self.waiting_at(point).into_iter().find(|pid| wanted(*pid)) {
                    return pid;
                }
                tokio::time::sleep(POLL).await;
            }
        })
    }

    fn waiting_at(&self, point: Point) -> Vec<u32> {
        let prefix = format!("{point:?}.");
        let entries = fs::read_dir(self.folder.path()).expect("our own folder can be read").flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect()
    }
}
