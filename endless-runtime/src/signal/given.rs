//! Hooks that are given in code, where the attribute's are declared.

use std::future::Future;
use std::pin::Pin;

use super::hook::{Call, HookFuture, HookReturn, Moment, Place, Registration};
use super::{Event, Phase, Signal};

/// A function that can be a hook: sync or async, of nothing or of `&Event`, returning nothing or
/// `Result<(), impl Display>`. A closure that takes the event names its type: `|event: &Event| …`.
///
/// Implemented for all that fit; `Shape` tells the four apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a hook",
    label = "expected a function of nothing or of `&Event`",
    note = "a closure names its argument's type: `|event: &endless::Event| …`"
)]
pub trait Hook<Shape>: Send + Sync + 'static {
    #[doc(hidden)]
    fn into_call(self) -> Call;
}

/// `fn()`.
#[derive(Debug)]
pub enum Plain {}

/// `fn(&Event)`.
#[derive(Debug)]
pub enum OfEvent {}

/// `async fn()`.
#[derive(Debug)]
pub enum Async {}

/// `async fn(&Event)`.
#[derive(Debug)]
pub enum AsyncOfEvent {}

impl<F, R> Hook<Plain> for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: HookReturn,
{
    fn into_call(self) -> Call {
        Call::SyncGiven(Box::leak(Box::new(move |_: &Event| self().into_result())))
    }
}

impl<F, R> Hook<OfEvent> for F
where
    F: Fn(&Event) -> R + Send + Sync + 'static,
    R: HookReturn,
{
    fn into_call(self) -> Call {
        Call::SyncGiven(Box::leak(Box::new(move |event: &Event| self(event).into_result())))
    }
}

impl<F, Fut> Hook<Async> for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HookReturn> + Send + 'static,
{
    fn into_call(self) -> Call {
        given_async(move |_| {
            let future = self();
            Box::pin(async { future.await.into_result() })
        })
    }
}

impl<F> Hook<AsyncOfEvent> for F
where
    F: for<'a> OfEventAsync<'a> + Send + Sync + 'static,
{
    fn into_call(self) -> Call {
        given_async(move |event| self.begin(event))
    }
}

/// Says of a closure that it takes a borrow of any length, which inference would not find out.
fn given_async(call: impl for<'a> Fn(&'a Event) -> HookFuture<'a> + Send + Sync + 'static) -> Call {
    Call::AsyncGiven(Box::leak(Box::new(call)))
}

/// A function whose future may borrow the event: the future's type depends on the borrow, which a bound on
/// `Fn` alone cannot say.
#[doc(hidden)]
pub trait OfEventAsync<'a> {
    fn begin(&self, event: &'a Event) -> HookFuture<'a>;
}

impl<'a, F, Fut> OfEventAsync<'a> for F
where
    F: Fn(&'a Event) -> Fut,
    Fut: Future<Output: HookReturn> + Send + 'a,
{
    fn begin(&self, event: &'a Event) -> HookFuture<'a> {
        let future: Pin<Box<Fut>> = Box::pin(self(event));
        Box::pin(async { future.await.into_result() })
    }
}

/// Makes a registration of a hook, which lives as long as the process.
pub(crate) fn register<Shape, F: Hook<Shape>>(
    phase: Phase,
    signal: Signal,
    hook: F,
) -> &'static Registration {
    Box::leak(Box::new(registration(phase, signal, hook)))
}

/// The same for one that runs before all others of its moment.
#[cfg(feature = "_tls")]
pub(crate) fn register_first<Shape, F: Hook<Shape>>(
    phase: Phase,
    signal: Signal,
    hook: F,
) -> &'static Registration {
    Box::leak(Box::new(Registration { order: i32::MIN, ..registration(phase, signal, hook) }))
}

fn registration<Shape, F: Hook<Shape>>(phase: Phase, signal: Signal, hook: F) -> Registration {
    let moment = match phase {
        Phase::Pre => Moment::Pre(signal),
        Phase::Post => Moment::Post(signal),
    };
    Registration {
        moments: Box::leak(Box::new([moment])),
        order: 0,
        timeout: None,
        name: std::any::type_name::<F>(),
        place: Place { krate: "", file: "", line: 0 },
        call: hook.into_call(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<Shape>(hook: impl Hook<Shape>) -> Call {
        hook.into_call()
    }

    async fn borrows(event: &Event) -> Result<(), String> {
        tokio::task::yield_now().await;
        Err(event.generation().to_string())
    }

    #[tokio::test]
    async fn every_shape_is_a_hook() {
        let event = Event { signal: None, sender: None, generation: 7, outcome: None };
        let sync = [
            accepts(|| ()),
            accepts(|| Err::<(), _>("7")),
            accepts(|event: &Event| Err::<(), _>(event.generation())),
            accepts(|_event: &Event| {}),
        ];
        let results = sync.map(|call| match call {
            Call::SyncGiven(call) => call(&event),
            _ => panic!("another shape"),
        });
        let refused = Err("7".to_owned());
        assert_eq!(results, [Ok(()), refused.clone(), refused.clone(), Ok(())]);
        for (call, expected) in [
            (accepts(borrows), refused.clone()),
            (accepts(|| async {}), Ok(())),
            (accepts(async || Err::<(), _>(7)), refused),
        ] {
            let Call::AsyncGiven(call) = call else { panic!("another shape") };
            assert_eq!(call(&event).await, expected);
        }
    }
}
