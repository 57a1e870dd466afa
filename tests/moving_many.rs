//! Thousands of idle connections move at once. How long that takes and what an idle connection costs is
//! printed (`--nocapture`); the figures of a release build count.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::faults::{Point, Points};
use support::{
    App, Client, Line, Mark, declarative, descriptor_limit, example_with, patiently, private_memory, restarts,
};
use tokio::task::JoinSet;

/// Descriptors of a process that are not its connections.
const OTHERS: usize = 200;

/// How many clients connect or ask at the same time: the kernel's queue has room for them.
const AT_ONCE: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn all_idle_connections_live_on() {
    let count = as_many_as_allowed(restarts(1_000, 10_000));
    let app = App::start(patient(declarative()));
    app.wait_for_message(Mark::START, "serving").await;
    let (predecessor, address) = (app.serving_pid(), app.address().await);
    let empty = private_memory(predecessor);
    let connecting = (0..count).map(|_| async move { asked(Client::connect(address).await).await });
    let clients = all_answered_by(predecessor, connecting).await;
    let before = private_memory(predecessor);

    let mark = app.mark();
    let successor = app.restart().await;
    let handed_over = Instant::now();
    assert_eq!(app.exit(predecessor).await.code(), Some(0));
    let gone = handed_over.elapsed();
    let after = private_memory(successor);
    all_answered_by(successor, clients.into_iter().map(asked)).await;

    assert_eq!(moved_of(&app, mark, predecessor).await, count);
    let drained = drained_after(&app, mark).await;
    let each = |memory: u64| memory.saturating_sub(empty) as f64 / count as f64;
    eprintln!(
        "{count} connections: drained {drained:.1?} after `handed over`, {:.1} µs each; gone after \
         {gone:.1?}; {:.1} KiB each before, {:.1} KiB each after",
        drained.as_secs_f64() * 1e6 / count as f64,
        each(before),
        each(after)
    );
    app.stop().await;
}

/// The successor stands still with what it was given, and whoever was not given yet has its requests answered.
#[tokio::test(flavor = "multi_thread")]
async fn those_whose_turn_has_not_come_are_served_meanwhile() {
    const CONNECTIONS: usize = 300;
    /// More can be on their way, or asked to be, at no time.
    const ON_THEIR_WAY: usize = 150;
    let mut command = patient(Command::new(example_with("test_declarative", &["_pause-points"], &[])));
    let points = Points::of(&mut command);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let (predecessor, address) = (app.serving_pid(), app.address().await);
    let connecting = (0..CONNECTIONS).map(|_| async move { asked(Client::connect(address).await).await });
    let clients = all_answered_by(predecessor, connecting).await;

    points.hold(Point::HeardMove);
    app.restart().await;
    points.reached(Point::HeardMove).await;
    let mut asking: JoinSet<_> = clients.into_iter().map(asked).collect();
    for _ in ON_THEIR_WAY..CONNECTIONS {
        let (_client, answering) = patiently(asking.join_next()).await.expect("one").expect("an answer");
        assert_eq!(answering, predecessor);
    }
    let gave_up = |line: &Line| line.message() == Some("no more connections are moved");
    assert!(!app.lines().iter().any(gave_up), "all of them came back");
    points.release(Point::HeardMove);
    assert_eq!(asking.join_all().await.len(), ON_THEIR_WAY);
    assert_eq!(app.exit(predecessor).await.code(), Some(0));
    app.stop().await;
}

/// It would wait an hour for clients that it cannot move.
fn patient(mut command: Command) -> Command {
    command.env("ENDLESS_IDLE_GRACE", "1h");
    command
}

/// Each needs a descriptor here and one of the server's.
fn as_many_as_allowed(wanted: usize) -> usize {
    let allowed = descriptor_limit().saturating_sub(OTHERS);
    if allowed < wanted {
        eprintln!("{allowed} connections instead of {wanted}: the limit of descriptors allows no more");
    }
    wanted.min(allowed)
}

/// Some at a time.
async fn all_answered_by<F>(pid: u32, mut asking: impl Iterator<Item = F>) -> Vec<Client>
where
    F: Future<Output = (Client, u32)> + Send + 'static,
{
    let mut clients = Vec::new();
    loop {
        let some: JoinSet<_> = asking.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return clients;
        }
        for (client, answering) in some.join_all().await {
            assert_eq!(answering, pid);
            clients.push(client);
        }
    }
}

/// With who has answered.
async fn asked(mut client: Client) -> (Client, u32) {
    let answer = client.get("/hello").await;
    assert!(!answer.close);
    let pid = answer.header("x-pid").and_then(|pid| pid.parse().ok());
    (client, pid.expect("it names its process"))
}

/// How many the process has moved, as it says.
async fn moved_of(app: &App, mark: Mark, pid: u32) -> usize {
    let line = app.wait_for_message(mark, "drained").await;
    assert_eq!(line.field("pid"), Some(pid.to_string().as_str()));
    line.field("moved").and_then(|moved| moved.parse().ok()).expect("it says how many")
}

/// Between the two lines.
async fn drained_after(app: &App, mark: Mark) -> Duration {
    let [from, to]: [Line; 2] =
        [app.wait_for_message(mark, "handed over").await, app.wait_for_message(mark, "drained").await];
    to.at.saturating_sub(from.at)
}
