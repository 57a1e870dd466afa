//! Hooks: the user's functions, collected from wherever they are declared, and how they are run.

use std::fmt::{self, Display};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use super::{Event, Signal};
use crate::address::Address;
use crate::lock::lock;
use crate::log::{self, event};

/// For how long a hook may run if it does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One use of `#[endless::hook]`.
#[derive(Debug)]
pub struct Registration {
    /// When it runs.
    pub moments: &'static [Moment],
    /// Lower runs first.
    pub order: i32,
    /// For how long it may run.
    pub timeout: Option<Duration>,
    /// The function's name, for logs.
    pub name: &'static str,
    /// Where it is declared.
    pub place: Place,
    /// The function.
    pub call: Call,
}

inventory::collect!(Registration);

/// A point at which hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before a signal's action.
    Pre(Signal),
    /// After it.
    Post(Signal),
    /// Before a server accepts.
    BeforeBegin,
    /// When this generation begins to serve.
    Ready,
    /// When everything in flight is finished.
    Drained,
    /// When the hammer falls.
    Hammered,
}

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pre(signal) => write!(f, "pre {signal}"),
            Self::Post(signal) => write!(f, "post {signal}"),
            Self::BeforeBegin => f.write_str("before_begin"),
            Self::Ready => f.write_str("ready"),
            Self::Drained => f.write_str("drained"),
            Self::Hammered => f.write_str("hammered"),
        }
    }
}

/// Where a hook is declared; the order of those with the same `order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The crate's name.
    pub krate: &'static str,
    /// The file, as the compiler names it.
    pub file: &'static str,
    /// The line of the function.
    pub line: u32,
}

/// What a hook said: nothing, or why not.
pub type HookResult = Result<(), String>;

/// An async hook under way.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = HookResult> + Send + 'a>>;

/// A hook's function, one variant a shape.
#[derive(Clone, Copy)]
pub enum Call {
    /// A plain function.
    Sync(fn(&Event) -> HookResult),
    /// An async function.
    Async(for<'a> fn(&'a Event) -> HookFuture<'a>),
    /// A plain function of an address.
    SyncAddress(fn(&Address) -> HookResult),
    /// An async function of an address.
    AsyncAddress(for<'a> fn(&'a Address) -> HookFuture<'a>),
    /// A function given in code.
    SyncGiven(&'static (dyn Fn(&Event) -> HookResult + Send + Sync)),
    /// An async function given in code.
    AsyncGiven(&'static (dyn for<'a> Fn(&'a Event) -> HookFuture<'a> + Send + Sync)),
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

/// What a hook may return: nothing, or a `Result` whose error can be shown.
#[diagnostic::on_unimplemented(
    message = "a hook cannot return `{Self}`",
    label = "expected nothing or `Result<(), impl Display>`"
)]
pub trait HookReturn {
    #[doc(hidden)]
    fn into_result(self) -> HookResult;
}

impl HookReturn for () {
    fn into_result(self) -> HookResult {
        Ok(())
    }
}

impl<E: Display> HookReturn for Result<(), E> {
    fn into_result(self) -> HookResult {
        self.map_err(|error| error.to_string())
    }
}

/// What the macro passes a hook's return value through.
pub fn hook_result(returned: impl HookReturn) -> HookResult {
    returned.into_result()
}

/// The process's hooks, and the runtime that they run on.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// Held while one runs, so that they run one after the other.
    turn: tokio::sync::Mutex<()>,
    runtime: Mutex<Option<Handle>>,
    /// Those that were given in code.
    given: Mutex<Vec<&'static Registration>>,
}

/// What a hook is called with.
#[derive(Clone, Debug)]
enum Occasion {
    Event(Arc<Event>),
    Address(Arc<Address>),
}

impl Hooks {
    /// Hooks run on the runtime that serves, where the user's own connections and tasks live.
    pub(crate) fn run_on(&self, runtime: Handle) {
        *lock(&self.runtime) = Some(runtime);
    }

    /// The runtime that serves, once there is a server.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        lock(&self.runtime).clone()
    }

    pub(crate) fn with(given: &[&'static Registration]) -> Self {
        Self { given: Mutex::new(given.to_vec()), ..Self::default() }
    }

    pub(crate) fn give(&self, hook: &'static Registration) {
        lock(&self.given).push(hook);
    }

    /// Whether anybody wants to know of `signal`.
    pub(crate) fn has(&self, signal: Signal) -> bool {
        [Moment::Pre(signal), Moment::Post(signal)]
            .into_iter()
            .any(|moment| !self.bound_to(moment).is_empty())
    }

    /// Those of one moment in the order in which they run: declared ones before given ones of the same order.
    fn bound_to(&self, moment: Moment) -> Vec<&'static Registration> {
        let given = lock(&self.given);
        let all = declared().iter().chain(given.iter()).copied();
        let mut bound: Vec<_> = all.filter(|hook| hook.moments.contains(&moment)).collect();
        bound.sort_by_key(|hook| hook.order);
        bound
    }

    /// For how long those of one moment may run, all together.
    pub(crate) fn time_of(&self, moment: Moment) -> Duration {
        self.bound_to(moment).iter().map(|hook| hook.timeout.unwrap_or(DEFAULT_TIMEOUT)).sum()
    }

    /// Runs the hooks of `moment` in their order. A failure is logged, and the others run.
    pub(crate) async fn run(&self, moment: Moment, event: &Event) {
        for hook in self.bound_to(moment) {
            if let Err(reason) = self.call(hook, moment, Occasion::Event(Arc::new(event.clone()))).await {
                event!(WARN, "hook failed", moment = moment, hook = hook.name, reason = reason);
            }
        }
    }

    /// Runs the hooks of `moment` in their order until one fails.
    ///
    /// # Errors
    ///
    /// Which one failed, and why.
    pub(crate) async fn ask(&self, moment: Moment, event: &Event) -> HookResult {
        for hook in self.bound_to(moment) {
            if let Err(reason) = self.call(hook, moment, Occasion::Event(Arc::new(event.clone()))).await {
                return Err(format!("hook {} refused: {reason}", hook.name));
            }
        }
        Ok(())
    }

    pub(crate) async fn before_begin(&self, address: &Address) {
        let moment = Moment::BeforeBegin;
        for hook in self.bound_to(moment) {
            if let Err(reason) = self.call(hook, moment, Occasion::Address(Arc::new(address.clone()))).await {
                event!(WARN, "hook failed", moment = moment, hook = hook.name, reason = reason);
            }
        }
    }

    /// Runs the sync hooks of `moment` on the thread that calls: for the hammer, when no runtime can be
    /// relied on any more. The others cannot be.
    pub(crate) fn run_here(&self, moment: Moment, event: &Event) {
        for hook in self.bound_to(moment) {
            let called = match hook.call {
                Call::Sync(call) => catch_unwind(|| call(event)),
                Call::SyncGiven(call) => catch_unwind(AssertUnwindSafe(|| call(event))),
                Call::Async(_) | Call::AsyncGiven(_) | Call::SyncAddress(_) | Call::AsyncAddress(_) => {
                    continue;
                }
            };
            let result = called.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
            if let Err(reason) = result {
                event!(WARN, "hook failed", moment = moment, hook = hook.name, reason = reason);
            }
        }
    }

    async fn call(&self, hook: &'static Registration, moment: Moment, occasion: Occasion) -> HookResult {
        let _turn = self.turn.lock().await;
        log::caught_up().await;
        let runtime = self.runtime().ok_or("no runtime serves yet")?;
        let timeout = hook.timeout.unwrap_or(DEFAULT_TIMEOUT);
        // Tokio panics where the system has no more threads.
        let started = catch_unwind(AssertUnwindSafe(|| start(&runtime, hook.call, occasion)));
        let mut running = Running(started.map_err(|panic| format!("cannot start: {}", panic_text(&*panic)))?);
        match tokio::time::timeout(timeout, &mut running.0).await {
            Ok(Ok(result)) => result,
            Ok(Err(failure)) => Err(describe(failure)),
            Err(_elapsed) => {
                event!(WARN, "hook timed out", moment = moment, hook = hook.name);
                Err(format!("not done within {timeout:?}"))
            }
        }
    }
}

/// A sync hook may block, so it gets a thread where that stops nobody.
fn start(runtime: &Handle, call: Call, occasion: Occasion) -> JoinHandle<HookResult> {
    match (call, occasion) {
        (Call::Sync(call), Occasion::Event(event)) => runtime.spawn_blocking(move || call(&event)),
        (Call::Async(call), Occasion::Event(event)) => runtime.spawn(async move { call(&event).await }),
        (Call::SyncGiven(call), Occasion::Event(event)) => runtime.spawn_blocking(move || call(&event)),
        (Call::AsyncGiven(call), Occasion::Event(event)) => runtime.spawn(async move { call(&event).await }),
        (Call::SyncAddress(call), Occasion::Address(address)) => {
            runtime.spawn_blocking(move || call(&address))
        }
        (Call::AsyncAddress(call), Occasion::Address(address)) => {
            runtime.spawn(async move { call(&address).await })
        }
        (Call::Sync(_) | Call::Async(_) | Call::SyncGiven(_) | Call::AsyncGiven(_), Occasion::Address(_))
        | (Call::SyncAddress(_) | Call::AsyncAddress(_), Occasion::Event(_)) => {
            unreachable!("the macro gives each moment the shape that belongs to it")
        }
    }
}

/// Ends an async hook that nobody waits for any more.
struct Running(JoinHandle<HookResult>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn describe(failure: JoinError) -> String {
    match failure.try_into_panic() {
        Ok(panic) => format!("panicked: {}", panic_text(&*panic)),
        Err(_cancelled) => "its runtime has ended".to_owned(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Every hook that is declared and linked in, in the order in which they run.
fn declared() -> &'static [&'static Registration] {
    static ALL: OnceLock<Vec<&'static Registration>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all: Vec<_> = inventory::iter::<Registration>.into_iter().collect();
        all.sort_by_key(|hook| (hook.order, hook.place));
        all
    })
}
