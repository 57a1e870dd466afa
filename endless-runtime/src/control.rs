//! The life of a process: it becomes ready, serves, restarts, drains.
//!
//! One thread of its own with a small runtime of its own decides everything, so that signals are heard and
//! deadlines kept also while the user's handlers block every thread of theirs, and so that no two decisions
//! race. The user's hooks and connections run on the user's runtime.

use std::future::pending;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::unistd::getpid;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::error::{Error, Result, describe};
use crate::hammer::Hammer;
use crate::handover::environment::{self, FromPredecessor};
use crate::handover::launch::Launch;
use crate::handover::predecessor::{Predecessor, Wish};
use crate::handover::successor::{self, Successor};
use crate::log::event;
use crate::pid_file;
use crate::process::{Command, Failure, Process, STOPS, Stage, enter};
use crate::service::BoxFuture;
use crate::signal::hook::{Hooks, Moment};
use crate::signal::{Event, Outcome, Received, Signal, Signals, Tty, ignored_now, unblock};
use crate::sys;

/// What must stand before anything else happens: handlers for signals, and what came from a predecessor.
pub(crate) struct Prepared {
    runtime: Runtime,
    signals: Option<Signals>,
    predecessor: Option<FromPredecessor>,
    launch: Launch,
}

/// What stands already before `main`, in a successor.
struct Early {
    runtime: Runtime,
    signals: Signals,
    predecessor: FromPredecessor,
}

static BEFORE_MAIN: Mutex<Option<io::Result<Early>>> = Mutex::new(None);

/// Called before `main`: catches the signals that came blocked. Does nothing in a process that is no
/// successor.
///
/// It must not look at the hooks: they are collected before `main` too, in no order that could be relied on.
pub(crate) fn prepare_successor() {
    if let Some(from) = environment::take() {
        *BEFORE_MAIN.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepare_early(from));
    }
}

fn prepare_early(predecessor: FromPredecessor) -> io::Result<Early> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let blocked = SigSet::thread_get_mask()?;
    let blocked: Vec<Signal> =
        Signal::ALL.into_iter().filter(|signal| blocked.contains(signal.number())).collect();
    let signals = {
        let _context = runtime.enter();
        Signals::catch(&blocked, predecessor.ignored.clone(), Tty::look())?
    };
    unblock(&blocked)?;
    Ok(Early { runtime, signals, predecessor })
}

/// Prepares the process.
///
/// # Errors
///
/// If the machine is out of descriptors, or does not say what this process runs.
pub(crate) fn prepare(config: &Config, hooks: &Hooks) -> Result<Prepared> {
    let early = BEFORE_MAIN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let prepared = early.transpose().and_then(|early| prepare_now(early, config, hooks));
    prepared.map_err(|error| Error::configuration(format!("cannot start: {}", describe(&error))))
}

fn prepare_now(early: Option<Early>, config: &Config, hooks: &Hooks) -> io::Result<Prepared> {
    let handled = if config.signals { handled(hooks) } else { Vec::new() };
    match early {
        Some(Early { runtime, signals, predecessor }) => {
            handled.iter().try_for_each(|signal| signals.add(*signal))?;
            let launch = Launch::of_this_process(config.program.as_deref(), predecessor.ignored.clone())?;
            Ok(Prepared { runtime, signals: Some(signals), predecessor: Some(predecessor), launch })
        }
        None => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let ignored = ignored_now();
            let signals = {
                let _context = runtime.enter();
                config.signals.then(|| Signals::catch(&handled, ignored.clone(), Tty::look())).transpose()?
            };
            let launch = Launch::of_this_process(config.program.as_deref(), ignored)?;
            Ok(Prepared { runtime, signals, predecessor: None, launch })
        }
    }
}

fn handled(hooks: &Hooks) -> Vec<Signal> {
    Signal::ALL.into_iter().filter(|signal| is_handled(*signal, hooks)).collect()
}

fn is_handled(signal: Signal, hooks: &Hooks) -> bool {
    Signal::ALWAYS.contains(&signal) || hooks.has(signal)
}

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
    // Now, as there may be no thread to be had when it is needed.
    let hammer = Hammer::forge(process).map_err(cannot)?;
    let run = move || {
        let _guard = EndOnPanic;
        let Prepared { runtime, signals, predecessor, launch } = prepared;
        let control = Control::new(process, signals, commands, launch, predecessor, hammer);
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
    arrival: Option<BoxFuture<'static, Option<Predecessor>>>,
    failures: mpsc::UnboundedSender<Failure>,
    /// A predecessor that may still pass a restart on.
    predecessor: Option<BoxFuture<'static, ()>>,
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
}

/// How far this process is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Going,
    /// A stop was asked for.
    Stopping,
    Draining,
    /// Nothing is in flight any more; only a successor that is being ended may be left.
    Drained,
}

/// A restart that somebody asked for.
struct Wanted {
    event: Event,
    replies: Vec<oneshot::Sender<Result<u32>>>,
}

/// A restart under way.
struct Restart {
    wanted: Wanted,
    call_off: watch::Sender<Option<String>>,
    attempt: BoxFuture<'static, std::result::Result<Successor, String>>,
}

/// Why a drain begins.
enum Cause {
    Stop(Event),
    /// A stop before this process served, while its predecessor does.
    CalledOff(Event),
    Restarted {
        successor: Successor,
        event: Event,
    },
}

impl Control {
    fn new(
        process: &'static Process,
        signals: Option<Signals>,
        commands: mpsc::UnboundedReceiver<Command>,
        launch: Launch,
        from: Option<FromPredecessor>,
        hammer: Hammer,
    ) -> Self {
        let (failures, reported) = mpsc::unbounded_channel();
        let is_successor = from.is_some();
        Self {
            process,
            // One a process, for as long as it lives.
            launch: Box::leak(Box::new(launch)),
            signals,
            commands,
            arrival: Some(Box::pin(arrive(process, from, reported))),
            failures,
            predecessor: None,
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
        }
    }

    /// Ends with the process.
    async fn live(mut self) {
        loop {
            tokio::select! {
                received = next_signal(&mut self.signals) => self.on_signal(received),
                command = self.commands.recv() => self.on_command(command.expect("the process keeps a sender")),
                predecessor = finished(&mut self.arrival) => self.on_arrival(predecessor),
                () = finished(&mut self.predecessor) => self.restart_wanted(self.event(Signal::Hangup), None),
                result = attempted(&mut self.restart) => self.on_restart_end(result).await,
                cause = finished(&mut self.stopping) => self.begin_drain(cause),
                () = finished(&mut self.drain) => self.on_drained(),
                Some(_) = self.hooks.join_next() => self.finish_if_drained(),
            }
        }
    }

    fn event(&self, signal: Signal) -> Event {
        Event { signal: Some(signal), sender: None, generation: self.process.generation(), outcome: None }
    }

    fn on_signal(&mut self, received: Received) {
        let Received { signal, sender, hangup } = received;
        let event = Event { sender, ..self.event(signal) };
        event!(INFO, "received", signal = signal, sender = sender_text(&event), pid = getpid());
        match signal {
            Signal::Hangup if hangup => self.stop(event),
            Signal::Hangup => self.restart_wanted(event, None),
            Signal::Terminate => self.stop(event),
            Signal::Interrupt => self.interrupt(event),
            Signal::User2 => self.hammer_wanted(event),
            other if is_handled(other, &self.process.hooks) => self.run_hooks(event, Outcome::Nothing),
            unhooked => act_by_default(unhooked),
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Restart { reply } => self.restart_wanted(self.event(Signal::Hangup), Some(reply)),
            Command::Catch(signal) => self.catch(signal),
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
    }

    fn on_arrival(&mut self, predecessor: Option<Predecessor>) {
        let of = predecessor
            .as_ref()
            .map_or_else(|| "none".to_owned(), |predecessor| predecessor.pid().to_string());
        let generation = self.process.generation();
        if let Some(path) = &self.process.config.pid_file {
            pid_file::write(path);
        }
        event!(INFO, "serving", pid = getpid(), generation = generation, predecessor = of);
        self.predecessor = predecessor.map(|mut predecessor| -> BoxFuture<'static, ()> {
            Box::pin(async move { predecessor.asks_for_a_restart().await })
        });
        let (process, event) = (self.process, Event { signal: None, ..self.event(Signal::Hangup) });
        self.hooks.spawn(async move { process.hooks.run(Moment::Ready, &event).await });
        if let Some(wanted) = self.again.take() {
            self.begin_restart(wanted);
        }
    }

    /// Restarts now, or with the one that is under way, or after it.
    fn restart_wanted(&mut self, event: Event, reply: Option<oneshot::Sender<Result<u32>>>) {
        let mut wanted = Wanted { event, replies: reply.into_iter().collect() };
        if self.life != Life::Going {
            event!(WARN, "restart ignored: draining", pid = getpid());
            wanted.answer(|| Err(Error::draining("restart")));
        } else if getpid().as_raw() == 1 {
            let reason =
                "a restart would change PID 1, whose end ends the container; run it with supervise = true";
            event!(WARN, "restart refused", pid = getpid(), reason = reason);
            wanted.answer(|| Err(Error::restart(reason)));
        } else if let Some(restart) =
            self.restart.as_mut().filter(|_| self.process.starting.load(Relaxed) == 0)
        {
            restart.wanted.replies.append(&mut wanted.replies);
        } else if self.restart.is_some() || self.arrival.is_some() {
            event!(INFO, "restart remembered", pid = getpid());
            match &mut self.again {
                Some(again) => again.replies.append(&mut wanted.replies),
                None => self.again = Some(wanted),
            }
        } else {
            self.begin_restart(wanted);
        }
    }

    fn begin_restart(&mut self, wanted: Wanted) {
        event!(INFO, "restarting", pid = getpid(), program = self.launch.program().display());
        let (call_off, called_off) = watch::channel(None);
        let attempt = Box::pin(attempt(self.process, self.launch, wanted.event.clone(), called_off));
        self.restart = Some(Restart { wanted, call_off, attempt });
    }

    async fn on_restart_end(&mut self, result: std::result::Result<Successor, String>) {
        self.process.starting.store(0, Relaxed);
        let Restart { mut wanted, .. } = self.restart.take().expect("it has just ended");
        match result {
            Ok(successor) => {
                let pid = successor.pid();
                let generation = self.process.generation() + 1;
                event!(INFO, "handed over", pid = getpid(), successor = pid, generation = generation);
                wanted.answer(|| Ok(pid));
                self.pass_on(&successor).await;
                let event = wanted.event.with(Outcome::Restarted { pid });
                self.handed_over(successor, event);
            }
            Err(reason) => {
                event!(WARN, "restart called off", pid = getpid(), reason = reason);
                wanted.answer(|| Err(Error::restart(reason.clone())));
                self.run_post_hooks(wanted.event.with(Outcome::NotRestarted { reason }));
                self.after_failure();
            }
        }
    }

    /// What was asked of this process while it handed over is the successor's to do.
    async fn pass_on(&mut self, successor: &Successor) {
        if self.life != Life::Going {
            successor.terminate();
        }
        if let Some(mut again) = self.again.take() {
            successor.restart_again().await;
            again.answer(|| Err(Error::draining("restart")));
        }
    }

    fn handed_over(&mut self, successor: Successor, event: Event) {
        match self.life {
            Life::Going => self.begin_drain(Cause::Restarted { successor, event }),
            Life::Stopping | Life::Draining | Life::Drained => {
                tokio::spawn(successor.ended());
                self.run_post_hooks(event);
                self.finish_if_drained();
            }
        }
    }

    fn after_failure(&mut self) {
        match (self.life, self.again.take()) {
            (Life::Going, Some(again)) => self.begin_restart(again),
            (Life::Going, None) => {}
            (_, again) => {
                self.again = again;
                self.forget_again();
                self.finish_if_drained();
            }
        }
    }

    /// Stops: the hooks, then the drain. A successor that is starting is not wanted any more.
    fn stop(&mut self, event: Event) {
        if self.life != Life::Going {
            event!(INFO, "already draining", pid = getpid());
            return;
        }
        self.life = Life::Stopping;
        STOPS.store(true, Relaxed);
        if self.restart.is_none() {
            self.forget_again();
        }
        // One that does not serve yet never will. A predecessor serves on, and the hooks run there.
        let has_hooks = self.arrival.take().is_none() || !self.is_successor;
        if let Some(restart) = &self.restart {
            restart.call_off.send_replace(Some(format!("stopped by {}", signal_text(&event))));
        }
        let (process, hurry) = (self.process, Arc::clone(&self.hurry));
        self.stopping = Some(Box::pin(async move {
            if !has_hooks {
                return Cause::CalledOff(event);
            }
            let signal = event.signal.unwrap_or(Signal::Terminate);
            process.hooks.run(Moment::Pre(signal), &event).await;
            if signal == Signal::Terminate {
                lame_duck(process.config.lame_duck, &hurry).await;
            }
            Cause::Stop(event)
        }));
    }

    /// There will be no further restart.
    fn forget_again(&mut self) {
        if let Some(mut again) = self.again.take() {
            again.answer(|| Err(Error::draining("restart")));
        }
    }

    fn interrupt(&mut self, event: Event) {
        self.interrupts += 1;
        match self.interrupts {
            1 => {
                // Also out of a lame duck's time.
                self.hurry.notify_one();
                self.stop(event);
            }
            _ => self.hammer.strike(event),
        }
    }

    fn hammer_wanted(&mut self, event: Event) {
        match self.life {
            Life::Draining | Life::Drained => {
                let process = self.process;
                let hammer = self.hammer.clone();
                tokio::spawn(async move {
                    process.hooks.run(Moment::Pre(Signal::User2), &event).await;
                    hammer.strike(event);
                });
            }
            Life::Going | Life::Stopping => {
                event!(INFO, "hammer ignored: not draining", pid = getpid());
                self.run_hooks(event, Outcome::Nothing);
            }
        }
    }

    fn begin_drain(&mut self, cause: Cause) {
        let process = self.process;
        let event = match &cause {
            Cause::Stop(event) | Cause::CalledOff(event) | Cause::Restarted { event, .. } => event.clone(),
        };
        // Before anything is said: a log that nobody reads may block.
        self.hammer.raise(process.config.hammer_time, event.clone());
        self.life = Life::Draining;
        if !matches!(cause, Cause::Restarted { .. }) {
            process.servers.let_go(&[]);
        }
        process.servers.leave();
        enter(Stage::Draining);
        event!(
            INFO,
            "draining",
            pid = getpid(),
            cause = signal_text(&event),
            connections = process.servers.connections()
        );
        self.drain = Some(Box::pin(drain(process, cause)));
    }

    fn on_drained(&mut self) {
        event!(INFO, "drained", pid = getpid(), requests = self.process.servers.requests());
        self.life = Life::Drained;
        self.finish_if_drained();
    }

    /// Nothing is left behind: `serve` returns when a successor that was called off is gone too.
    fn finish_if_drained(&self) {
        if self.life == Life::Drained && self.restart.is_none() && self.hooks.is_empty() {
            self.process.clean_up();
            enter(Stage::Finished);
        }
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

impl Wanted {
    fn answer(&mut self, answer: impl Fn() -> Result<u32>) {
        for reply in self.replies.drain(..) {
            // Whoever asked may not wait for the answer.
            let _unheard = reply.send(answer());
        }
    }
}

/// Becomes the generation that serves: receives what a predecessor hands over, waits until every server is
/// bound, and accepts once nobody else does. Returns the predecessor that is still there.
async fn arrive(
    process: &'static Process,
    from: Option<FromPredecessor>,
    failures: mpsc::UnboundedReceiver<Failure>,
) -> Option<Predecessor> {
    let mut predecessor = match from.map(Predecessor::meet) {
        Some(Ok(predecessor)) => Some(predecessor),
        Some(Err(error)) => end(&describe(&error)),
        None => None,
    };
    let listeners = match &mut predecessor {
        Some(predecessor) => match predecessor.estate().await {
            Ok(estate) => {
                process.set_generation(estate.generation.saturating_add(1));
                estate.listeners
            }
            Err(reason) => end(&reason),
        },
        None => Vec::new(),
    };
    process.servers.inherit(listeners);
    let predecessor = take_over(process, predecessor, failures).await;
    process.servers.open();
    enter(Stage::Serving);
    predecessor
}

async fn take_over(
    process: &'static Process,
    mut predecessor: Option<Predecessor>,
    mut failures: mpsc::UnboundedReceiver<Failure>,
) -> Option<Predecessor> {
    let claimed = loop {
        tokio::select! {
            (claimed, removed) = process.servers.ready() => {
                for note in removed {
                    event!(
                        WARN, "inherited listener not claimed: it counts as removed",
                        address = note.local, requested = note.requested,
                        hint = "call endless::hold_ready() to register servers later"
                    );
                }
                break claimed;
            }
            wish = next_wish(&mut predecessor) => match wish {
                Wish::End(reason) => end(&reason),
                Wish::Gone => predecessor = None,
                // Not ready yet, whatever it says.
                Wish::Go => {}
            },
            Some(Failure { reason, told }) = failures.recv() => {
                if let Some(predecessor) = &mut predecessor {
                    predecessor.report_failure(reason).await;
                }
                drop(told);
            }
        }
    };
    let mut waiting = predecessor?;
    waiting.report_ready(claimed).await;
    let wish = tokio::select! {
        biased;
        Some(Failure { reason, told }) = failures.recv() => {
            waiting.report_failure(reason).await;
            drop(told);
            // Main is about to end this process; until then it must not take over.
            pending().await
        }
        wish = waiting.wish() => wish,
    };
    match wish {
        Wish::Go => {
            waiting.confirm().await;
            Some(waiting)
        }
        Wish::End(reason) => end(&reason),
        Wish::Gone => None,
    }
}

/// Ends a successor that its predecessor does not want any more, or that cannot understand it.
fn end(reason: &str) -> ! {
    event!(WARN, "called off", pid = getpid(), reason = reason);
    sys::exit_now(1)
}

async fn next_wish(predecessor: &mut Option<Predecessor>) -> Wish {
    match predecessor {
        Some(predecessor) => predecessor.wish().await,
        None => pending().await,
    }
}

/// Asks the hooks, then replaces this process.
async fn attempt(
    process: &'static Process,
    launch: &'static Launch,
    event: Event,
    called_off: watch::Receiver<Option<String>>,
) -> std::result::Result<Successor, String> {
    tokio::select! {
        biased;
        reason = reason_of(called_off.clone()) => return Err(reason),
        asked = process.hooks.ask(Moment::Pre(Signal::Hangup), &event) => asked?,
    }
    let (generation, timeout) = (process.generation(), process.config.ready_timeout);
    let started = |pid| process.starting.store(pid, Relaxed);
    let blocked = if process.config.signals { handled(&process.hooks) } else { Vec::new() };
    successor::replace(
        launch,
        &blocked,
        &process.servers,
        generation,
        timeout,
        reason_of(called_off),
        started,
    )
    .await
}

async fn reason_of(mut called_off: watch::Receiver<Option<String>>) -> String {
    let reason = called_off.wait_for(Option::is_some).await.map(|reason| reason.clone());
    match reason {
        Ok(reason) => reason.unwrap_or_default(),
        // Nobody can call it off any more.
        Err(_) => pending().await,
    }
}

/// Waits for what is in flight; the hooks see the outcome before `serve` returns.
async fn drain(process: &'static Process, cause: Cause) {
    let (event, stopped) = match cause {
        Cause::CalledOff(_) => return process.servers.emptied().await,
        Cause::Stop(event) => (event, true),
        Cause::Restarted { successor, event } => {
            tokio::spawn(watch_over(successor));
            process.hooks.run(Moment::Post(Signal::Hangup), &event).await;
            (event, false)
        }
    };
    process.servers.emptied().await;
    let event = if stopped { event.with(Outcome::Stopped) } else { event };
    process.hooks.run(Moment::Drained, &event).await;
    if stopped {
        process.hooks.run(Moment::Post(event.signal.unwrap_or(Signal::Terminate)), &event).await;
    }
}

/// Goes on accepting, while whoever watches the readiness path sends no more clients.
async fn lame_duck(time: Duration, hurry: &Notify) {
    if time.is_zero() {
        return;
    }
    event!(INFO, "lame duck", pid = getpid(), time = format!("{time:?}"));
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = hurry.notified() => {}
    }
}

/// A successor that ends while its predecessor still drains is reaped; nobody serves then, and the log says
/// so.
async fn watch_over(successor: Successor) {
    let pid = successor.pid();
    let ended = successor.ended().await;
    event!(WARN, "the successor has ended while its predecessor still drains", successor = pid, how = ended);
}

/// The future in `slot`, which is empty afterwards. Cancel safe: it stays there until it is done.
async fn finished<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => {
            let value = future.await;
            *slot = None;
            value
        }
        None => pending().await,
    }
}

async fn attempted(restart: &mut Option<Restart>) -> std::result::Result<Successor, String> {
    match restart {
        Some(restart) => restart.attempt.as_mut().await,
        None => pending().await,
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> Received {
    match signals {
        Some(signals) => signals.next().await,
        None => pending().await,
    }
}

/// For a signal that was caught for a hook of the predecessor's build.
fn act_by_default(signal: Signal) {
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
