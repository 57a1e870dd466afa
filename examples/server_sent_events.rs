//! Server-sent events whose stream ends when the drain begins: an `EventSource` asks again by itself, over the same
//! connection if it keeps it, and says which event was its last, and the successor goes on after it.
//!
//! ```text
//! cargo run --example server_sent_events    # the first lines say the PID
//! curl -N localhost:4242/ticks              # ends at a restart; an EventSource would go on with:
//! curl -N localhost:4242/ticks -H 'Last-Event-ID: 17000000000'
//! kill -HUP PID
//! ```

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::{Router, routing::get};
use futures_util::{Stream, StreamExt as _, stream};

/// Short, since the successor already accepts when a stream ends.
const RECONNECT: Duration = Duration::from_millis(10);

#[endless::main(listen = "127.0.0.1:4242")]
async fn main() -> Router {
    Router::new().route("/ticks", get(ticks))
}

/// Event N is the N-th tenth of a second since 1970, which every generation knows; a service with events of
/// its own keeps the last ones where the successor finds them.
async fn ticks(headers: HeaderMap) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let first = last.map_or_else(now, |last| last.saturating_add(1));
    let ticks = stream::unfold(first, |tick| async move {
        while now() < tick {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let event = Event::default().id(tick.to_string()).retry(RECONNECT).data("tick");
        Some((Ok(event), tick.saturating_add(1)))
    });
    Sse::new(ticks.take_until(endless::draining()))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis() / 100).unwrap_or_default()
}
