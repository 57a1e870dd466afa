//! A service whose PID stays: the process that was started is the supervisor, and the generations are its
//! children.

use std::process::Command;

use nix::sys::signal::Signal;

use super::process::{App, Line, Mark, PATIENCE, SUPERVISE};

/// A supervised service. What `App` can do, this can.
#[derive(Debug)]
pub(crate) struct Supervised(App);

impl std::ops::Deref for Supervised {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

impl Supervised {
    /// Starts it and waits for nothing.
    #[track_caller]
    pub(crate) fn launch(mut command: Command) -> Self {
        command.env(SUPERVISE, "true");
        Self(App::start(command))
    }

    /// Starts it and waits until its first generation serves.
    pub(crate) async fn start(command: Command) -> Self {
        let service = Self::launch(command);
        service.serving(Mark::START).await;
        service
    }

    /// The supervisor's PID.
    pub(crate) fn pid(&self) -> u32 {
        self.first_pid()
    }

    /// The generation that is the next to serve after `mark`; waits until it does.
    pub(crate) async fn serving(&self, mark: Mark) -> u32 {
        number(&self.wait_for_message(mark, "serving").await, "pid")
    }

    /// Kills the generation that serves, and waits for the one that replaces it.
    pub(crate) async fn kill_serving(&self) -> u32 {
        let mark = self.mark();
        self.signal(self.serving_pid(), Signal::SIGKILL);
        self.serving(mark).await
    }

    /// Kills the generation that serves, and waits until it and those that should replace it have died so often.
    pub(crate) async fn dies(&self, times: usize) {
        let mut mark = self.mark();
        self.signal(self.serving_pid(), Signal::SIGKILL);
        for _ in 0..times {
            mark = self.wait_for_message(mark, "the generation has ended: replacing it").await.after();
        }
    }

    /// Sends SIGHUP to the supervisor and waits for the outcome: the successor's PID, once it has said that it
    /// serves, or why there is none.
    pub(crate) async fn hang_up(&self) -> Result<u32, String> {
        let mark = self.mark();
        self.signal(self.pid(), Signal::SIGHUP);
        let is_outcome = |line: &Line| matches!(line.message(), Some("handed over" | "restart called off"));
        let line = self.wait_for(mark, is_outcome, PATIENCE).await;
        match line.message() {
            Some("handed over") => {
                let successor = number(&line, "successor");
                self.says(mark, "serving", successor).await;
                Ok(successor)
            }
            _ => Err(line.field("reason").unwrap_or_default().to_owned()),
        }
    }

    /// Waits for this message of this process.
    pub(crate) async fn says(&self, mark: Mark, message: &str, pid: u32) -> Line {
        let is_it =
            |line: &Line| line.message() == Some(message) && line.field("pid") == Some(&pid.to_string());
        self.wait_for(mark, is_it, PATIENCE).await
    }

    /// Waits for a line with this text.
    pub(crate) async fn hears(&self, mark: Mark, text: &str) -> Line {
        self.wait_for(mark, |line| line.text.contains(text), PATIENCE).await
    }

    /// How many lines of this message there are.
    pub(crate) fn count(&self, message: &str) -> usize {
        self.lines().iter().filter(|line| line.message() == Some(message)).count()
    }

    /// Waits for the supervisor's end, with which everything has ended; its status.
    pub(crate) async fn over(&self) -> Option<i32> {
        let status = self.exit(self.pid()).await.code();
        assert_eq!(self.processes(), [0; 0], "a supervisor leaves nothing running");
        self.all_said().await;
        status
    }

    /// Sends SIGTERM to the supervisor and waits for its end, which must be an orderly one.
    pub(crate) async fn terminate(&self) {
        self.signal(self.pid(), Signal::SIGTERM);
        assert_eq!(self.over().await, Some(0));
    }
}

/// A field that is a number.
fn number(line: &Line, name: &str) -> u32 {
    let value = line.field(name).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no number {name} in {:?}", line.text))
}
