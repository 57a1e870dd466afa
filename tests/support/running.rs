//! A load under way: its connections' tasks and the report that they fill.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::report::Report;

/// How long `Running::until` waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Dropping it ends the load at once, in the middle of its requests.
#[derive(Debug)]
pub(crate) struct Running {
    tally: Tally,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// `spawn` starts the load's tasks; each ends soon after the flag becomes true, its request finished.
    pub(crate) fn start(spawn: impl FnOnce(&mut JoinSet<()>, &Tally, &Stop)) -> Self {
        let tally = Tally::new();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        spawn(&mut tasks, &tally, &Stop(stopped));
        Self { tally, stop, tasks }
    }

    /// What has been seen so far.
    pub(crate) fn report_now(&self) -> Report {
        self.tally.lock().clone()
    }

    /// Waits until the report is as `wanted`, looking at it after each change.
    ///
    /// # Panics
    ///
    /// After 60 s, with the report.
    pub(crate) async fn until(&self, wanted: impl Fn(&Report) -> bool) {
        let come = async {
            loop {
                let changed = self.tally.0.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if wanted(&self.tally.lock()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(PATIENCE, come).await.is_err() {
            panic!("what the test waits for did not come within {PATIENCE:?}: {}", self.report_now());
        }
    }

    /// Waits until the process `pid` has answered at least one request.
    pub(crate) async fn until_answered_by(&self, pid: u32) {
        self.until(|report| report.answered_by(pid) > 0).await;
    }

    /// Waits for `count` more answers than there are now, whoever gives them.
    pub(crate) async fn until_answered(&self, count: u64) {
        let goal = self.tally.lock().answered + count;
        self.until(|report| report.answered >= goal).await;
    }

    /// Begins no further request, lets those in flight finish, and reports.
    pub(crate) async fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a task of the load does not panic");
        }
        self.report_now()
    }
}

/// Tells a connection's task to end.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Sleeps for `time`; false if told to stop meanwhile.
    pub(crate) async fn sleep(&mut self, time: Duration) -> bool {
        if time.is_zero() {
            return !self.is_set();
        }
        tokio::time::timeout(time, self.set()).await.is_err()
    }

    /// Ends when told to stop; a load that was dropped counts as told.
    pub(crate) async fn set(&mut self) {
        self.0.wait_for(|stop| *stop).await.map(drop).unwrap_or_default();
    }
}

/// The report in the making, shared by the connections of a load.
#[derive(Debug, Clone)]
pub(crate) struct Tally(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    since: Instant,
    report: Mutex<Report>,
    changed: Notify,
}

impl Tally {
    fn new() -> Self {
        Self(Arc::new(Shared { since: Instant::now(), report: Mutex::default(), changed: Notify::new() }))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
        self.0.changed.notify_waiters();
    }

    pub(crate) fn fail(&self, what: String) {
        let at = self.0.since.elapsed();
        self.update(|report| report.fail(at, what));
    }

    // A predicate of a test that panicked under the lock leaves a whole report: updates are single additions.
    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
