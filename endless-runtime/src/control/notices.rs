//! What a process without a supervisor, as the main process of its service, tells the service manager.

use std::sync::atomic::Ordering::Relaxed;

use nix::unistd::getpid;
use tokio::time::sleep;

use super::Control;
use super::stop::Life;
use crate::manager::{self, EXTENSION_INTERVAL, Notice, RETRY_INTERVAL};
use crate::process::Process;

impl Control {
    /// Tells it, unless a supervisor does.
    pub(super) fn tell_manager(&self, notice: Notice<'_>) {
        if self.process.supervisor().is_some() {
            return;
        }
        manager::tell(notice);
        if manager::is_behind() {
            tokio::spawn(async {
                while manager::catch_up() {
                    sleep(RETRY_INTERVAL).await;
                }
            });
        }
    }

    /// Tells that this generation serves, and from now on that it still does. One with a predecessor is the main
    /// process by that one's word, which says the same.
    pub(super) fn tell_serving(&self, has_predecessor: bool) {
        let (generation, pid) = (self.process.generation(), getpid().as_raw());
        match (has_predecessor, self.is_successor) {
            (true, _) => {}
            (false, true) => self.tell_manager(Notice::Replaced { generation, pid }),
            (false, false) => self.tell_manager(Notice::Serving { generation, pid }),
        }
        if self.process.supervisor().is_none() {
            tokio::spawn(keep_alive(self.process));
        }
    }

    /// A manager that was told of a stop does not believe in anything else.
    pub(super) fn tell_not_restarted(&self, reason: &str) {
        let (generation, pid) = (self.process.generation(), getpid().as_raw());
        if self.life == Life::Going {
            self.tell_manager(Notice::NotRestarted { generation, pid, reason });
        }
    }

    pub(super) fn tell_stopping(&self) {
        let never_served = self.is_successor && self.arrival.is_some();
        let is_another = never_served || self.process.succeeded.load(Relaxed);
        if is_another || self.process.supervisor().is_some() || !manager::is_there() {
            return;
        }
        self.tell_manager(Notice::Stopping);
        tokio::spawn(async {
            loop {
                sleep(EXTENSION_INTERVAL).await;
                manager::tell(Notice::StillStopping);
            }
        });
    }
}

/// Lets the runtime that serves answer for this process, again and again, until a successor is to.
async fn keep_alive(process: &'static Process) {
    let Some(interval) = manager::watchdog_interval() else { return };
    while !process.succeeded.load(Relaxed) {
        if let Some(runtime) = process.hooks.runtime() {
            // One that is being shut down answers no more.
            let answered = runtime.spawn(async {}).await.is_ok();
            if answered && !process.succeeded.load(Relaxed) {
                manager::tell(Notice::Alive);
            }
        }
        sleep(interval).await;
    }
}
