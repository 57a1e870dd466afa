//! Keeps the user's runtime listening while a handler blocks one of its threads.
//!
//! Of tokio's threads one waits for I/O and timers in the place of all. When it takes up what has come, and
//! that is a single task, it wakes no other thread to wait in its place; if that task then blocks, nobody
//! hears of anything any more, although other threads have nothing to do. Any task that is spawned from
//! outside wakes one of them, which waits from then on. The control thread spawns it, because it waits for
//! nobody.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::process::Process;

/// How long others wait at most, because one blocks.
const INTERVAL: Duration = Duration::from_millis(200);

/// Looks while there are connections, and at nothing else: a process that nobody uses sleeps. Ends never.
pub(crate) async fn keep(process: &'static Process) {
    let mut threads = Threads::default();
    loop {
        process.servers.occupied().await;
        sleep(INTERVAL).await;
        if let Some(runtime) = process.hooks.runtime() {
            threads.look_after(&runtime);
        }
    }
}

/// What was last seen of a runtime's threads.
#[derive(Default)]
struct Threads {
    /// How often each has gone to sleep and woken.
    turns: Vec<u64>,
    nudge: Option<JoinHandle<()>>,
}

impl Threads {
    /// Wakes one, if another has been at work ever since this was last asked.
    fn look_after(&mut self, runtime: &Handle) {
        // The one thread of the other flavor has nobody to wait in its place.
        if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
            return;
        }
        let metrics = runtime.metrics();
        let turns: Vec<u64> =
            (0..metrics.num_workers()).map(|thread| metrics.worker_park_unpark_count(thread)).collect();
        // Who sleeps has an odd count.
        let is_busy = self.turns.iter().zip(&turns).any(|(before, now)| before == now && now % 2 == 0);
        self.turns = turns;
        // If all are blocked, the last nudge still waits for them.
        if is_busy && self.nudge.as_ref().is_none_or(JoinHandle::is_finished) {
            self.nudge = Some(runtime.spawn(async {}));
        }
    }
}
