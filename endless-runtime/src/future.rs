//! Futures that are kept until they are done.

use std::future::{Future, pending};
use std::pin::Pin;

/// A boxed future that can be sent between threads.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The future in `slot`, which is empty afterwards; never, if it is empty. Cancel safe: it stays there until it
/// is done.
pub(crate) async fn finished<T>(slot: &mut Option<BoxFuture<'_, T>>) -> T {
    match slot {
        Some(future) => {
            let value = future.await;
            *slot = None;
            value
        }
        None => pending().await,
    }
}
