//! The life of a process: it becomes ready, serves, restarts, drains.
//!
//! One thread of its own with a small runtime of its own decides everything, so that signals are heard and
//! deadlines kept also while the user's handlers block every thread of theirs, and so that no two decisions
//! race. The user's hooks and connections run on the user's runtime.
//!
//! Here are the thread, its state and its loop; what happens in each part of the life is in the other files.

mod arrival;
mod moving;
mod notices;
mod prepare;
mod restart;
mod stop;
mod supervised;
mod visitors;

use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::unistd::getpid;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::awake;
use crate::endlessctl::Desk;
use crate::error::{Error, Result, describe};
use crate::future::{BoxFuture, finished};
use crate::hammer::Hammer;
use crate::handover::environment::Start;
use crate::handover::launch::Launch;
use crate::handover::taking::Taker;
use crate::log::{self, event};
use crate::process::{Command, Failure, Process};
use crate::signal::hook::Moment;
use crate::signal::{Event, Outcome, Received, Signal, Signals};
use crate::sys;
use arrival::{Arrived, arrive};
use prepare::is_handled;
pub(crate) use prepare::{Prepared, is_started_by_endless, prepare, prepare_successor};
use restart::{Reply, Restart, Wanted, progress};
use stop::{Cause, Life};
use supervised::{Supervised, heard};
use visitors::{open_desk, visited};

/// Starts the control thread.
///
/// # Errors
///
/// If the machine is out of threads.
pub(crate) fn start(
    process: &'static Process,
    prepared: Prepared,
    commands: mpsc::UnboundedReceiver<Command>,
) -> Result<()> {
    let cannot = |error| Error::configuration(format!("cannot start a thread: {}", describe(&error)));
    log::hire_scribe().map_err(cannot)?;
    // Now, as there may be no thread to be had when it is needed.
    let hammer = Hammer::forge(process).map_err(cannot)?;
    let run = move || {
        let _guard = EndOnPanic;
        log::never_block_here();
        let Prepared { runtime, signals, start, launch } = prepared;
        let control = Control::new(process, signals, commands, launch, start, hammer);
        runtime.block_on(control.live());
    };
    thread::Builder::new().name("endless".to_owned()).spawn(run).map(drop).map_err(cannot)
}

/// A process without its control thread hears no signal any more, SIGTERM included: better that it ends.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            sys::exit_now(1);
        }
    }
}

/// The state of a process's life, and what is under way.
struct Control {
    process: &'static Process,
    launch: &'static Launch,
    signals: Option<Signals>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Until this generation serves.
    arrival: Option<BoxFuture<'static, Arrived>>,
    failures: mpsc::UnboundedSender<Failure>,
    /// A predecessor that may still pass a restart on, with those who wait for its outcome.
    predecessor: Option<BoxFuture<'static, Vec<OwnedFd>>>,
    /// Where a supervisor has started this process, until it is gone.
    supervised: Option<Supervised>,
    /// Takes connections over from predecessors that drain.
    taker: Option<Taker>,
    restart: Option<Restart>,
    /// Whether there was a predecessor.
    is_successor: bool,
    /// Asked for while a restart was under way, or this process not ready: one more, however often.
    again: Option<Wanted>,
    /// From the signal to the drain: hooks.
    stopping: Option<BoxFuture<'static, Cause>>,
    /// From the drain to its end.
    drain: Option<BoxFuture<'static, ()>>,
    life: Life,
    interrupts: u32,
    /// Hooks that nothing else waits for; `serve` does not return before they have.
    hooks: JoinSet<()>,
    /// Ends a lame duck's time.
    hurry: Arc<Notify>,
    hammer: Hammer,
    /// Where operators ask.
    desk: Option<AsyncFd<Desk>>,
}

impl Control {
    fn new(
        process: &'static Process,
        signals: Option<Signals>,
        commands: mpsc::UnboundedReceiver<Command>,
        launch: Launch,
        start: Option<Start>,
        hammer: Hammer,
    ) -> Self {
        let (failures, reported) = mpsc::unbounded_channel();
        let is_successor = start.is_some();
        let (supervised, outbox) = Supervised::new();
        let supervised = start.as_ref().is_some_and(|start| start.by_supervisor).then_some(supervised);
        Self {
            process,
            // One a process, for as long as it lives.
            launch: Box::leak(Box::new(launch)),
            signals,
            commands,
            arrival: Some(Box::pin(arrive(process, start, reported, outbox))),
            failures,
            predecessor: None,
            supervised,
            taker: None,
            restart: None,
            is_successor,
            again: None,
            stopping: None,
            drain: None,
            life: Life::Going,
            interrupts: 0,
            hooks: JoinSet::new(),
            hurry: Arc::default(),
            hammer,
            desk: None,
        }
    }

    /// Ends with the process.
    async fn live(mut self) {
        tokio::spawn(awake::keep(self.process));
        self.desk = open_desk();
        #[cfg(feature = "_tls")]
        tokio::spawn(crate::tls::tickets::keep());
        loop {
            tokio::select! {
                // What was asked before is done before: a hook's signal is caught before its server serves.
                biased;
                received = next_signal(&mut self.signals) => self.on_signal(received),
                command = self.commands.recv() => self.on_command(command.expect("the process keeps a sender")),
                arrived = finished(&mut self.arrival) => self.on_arrival(arrived),
                heard = heard(&mut self.supervised) => self.on_heard(heard),
                waiting = finished(&mut self.predecessor) => self.restart_passed_on(waiting),
                progress = progress(&mut self.restart) => {
                    self.hear_what_came().await;
                    self.on_progress(progress).await;
                }
                cause = finished(&mut self.stopping) => self.begin_drain(cause),
                () = finished(&mut self.drain) => self.on_drained(),
                Some(_) = self.hooks.join_next() => self.finish_if_drained(),
                // The last: however many come, they keep nothing else waiting.
                visits = visited(&mut self.desk) => self.on_visits(visits),
            }
        }
    }

    /// What was asked for before the hooks agreed to a restart is one with it. What was asked for before it
    /// had its outcome was asked for during it: a SIGTERM is meant for the successor too, and a SIGHUP must
    /// not find that this process drains.
    async fn hear_what_came(&mut self) {
        // No time at all, but the runtime looks at its descriptors before it says that it is over.
        while let Ok(received) = timeout(Duration::ZERO, next_signal(&mut self.signals)).await {
            self.on_signal(received);
        }
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(command);
        }
        self.attend();
    }

    fn event(&self, signal: Signal) -> Event {
        Event { signal: Some(signal), sender: None, generation: self.process.generation(), outcome: None }
    }

    fn on_signal(&mut self, received: Received) {
        if self.relay(received) {
            return;
        }
        let Received { signal, sender, hangup, .. } = received;
        let event = Event { sender, ..self.event(signal) };
        match signal {
            Signal::Hangup if !hangup => {
                event!(INFO, "received", signal = signal, sender = sender_text(&event), pid = getpid());
                self.restart_wanted(event, Vec::new());
            }
            _ => self.act(event),
        }
    }

    /// Does what a signal asks for, whoever got it.
    fn act(&mut self, event: Event) {
        let Some(signal) = event.signal else { return };
        event!(INFO, "received", signal = signal, sender = sender_text(&event), pid = getpid());
        match signal {
            Signal::Hangup => self.stop(event),
            Signal::Terminate => self.stop(event),
            Signal::Interrupt => self.interrupt(event),
            Signal::User2 => self.hammer_wanted(event),
            other if is_handled(other, &self.process.hooks) => self.run_hooks(event, Outcome::Nothing),
            unhooked => act_by_default(unhooked),
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Restart { reply } if self.supervisor().is_some() => {
                self.request(Signal::Hangup, Some(reply));
            }
            Command::Restart { reply } => {
                self.restart_wanted(self.event(Signal::Hangup), vec![Reply::Task(reply)]);
            }
            Command::Catch(signal) => self.catch(signal),
            Command::Shutdown if self.supervisor().is_some() => self.request(Signal::Terminate, None),
            Command::Shutdown => self.stop(self.event(Signal::Terminate)),
            // Once this generation serves, nobody waits for it any more.
            Command::Failed(failure) => drop(self.failures.send(failure)),
        }
    }

    fn catch(&self, signal: Signal) {
        let Some(signals) = &self.signals else { return };
        if let Err(error) = signals.add(signal) {
            event!(ERROR, "cannot catch a signal", signal = signal, error = error);
        }
        self.process.servers.relist();
    }

    fn run_hooks(&mut self, event: Event, outcome: Outcome) {
        let process = self.process;
        let Some(signal) = event.signal else { return };
        self.hooks.spawn(async move {
            process.hooks.run(Moment::Pre(signal), &event).await;
            process.hooks.run(Moment::Post(signal), &event.with(outcome)).await;
        });
    }

    fn run_post_hooks(&mut self, event: Event) {
        let process = self.process;
        let Some(signal) = event.signal else { return };
        self.hooks.spawn(async move { process.hooks.run(Moment::Post(signal), &event).await });
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> Received {
    match signals {
        Some(signals) => signals.next().await,
        None => pending().await,
    }
}

/// For a signal that was caught for a hook of the predecessor's build.
pub(crate) fn act_by_default(signal: Signal) {
    // The kernel lets no default action end the first process of a container, and the emulation would.
    if getpid().as_raw() == 1 {
        return;
    }
    if let Err(error) = signal_hook::low_level::emulate_default_handler(signal.number() as i32) {
        event!(WARN, "cannot act on a signal", signal = signal, error = error);
    }
}

fn signal_text(event: &Event) -> String {
    event.signal.map_or_else(String::new, |signal| signal.to_string())
}

fn sender_text(event: &Event) -> String {
    event.sender.map_or_else(|| "kernel".to_owned(), |sender| sender.pid.to_string())
}
