//! The rows of a table, some at a time, each by its name.

use std::pin::Pin;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// So many at a time: they mostly wait.
static PLACES: Semaphore = Semaphore::const_new(3);

/// One row, not yet begun.
pub(crate) struct Row {
    name: String,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Row {
    pub(crate) fn new(name: String, run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name, run: Box::pin(run) }
    }
}

/// Runs the rows; all of them, whichever fail. With the variable `ROW`, only those with these words in their
/// name.
///
/// # Panics
///
/// If a row fails, with the names of all that did.
pub(crate) async fn run_all(mut rows: Vec<Row>) {
    if let Ok(words) = std::env::var("ROW") {
        rows.retain(|row| row.name.contains(&words));
    }
    let count = rows.len();
    let mut running = JoinSet::new();
    for Row { name, run } in rows {
        running.spawn(async move {
            let _place = PLACES.acquire().await.expect("it is never closed");
            let begun = std::time::Instant::now();
            let ended = tokio::spawn(run).await;
            let word = if ended.is_ok() { "held" } else { "FAILED" };
            eprintln!("{:6.2} s, {word}: {name}", begun.elapsed().as_secs_f64());
            ended.is_err().then_some(name)
        });
    }
    let failed: Vec<String> = running.join_all().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{} of {count} rows failed: {failed:#?}", failed.len());
}
