//! Clients that keep their connections and think between their requests notice nothing of a restart: what
//! they ask is answered, on the same connection, by one generation after the other.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{
    App, Client, Kind, Line, Load, Mark, PATIENCE, Report, Running, Supervised, alive, declarative,
    patiently, restarts, until_busy,
};
use tokio::time::{MissedTickBehavior, interval};

/// Of an upload: more than one read of the server's.
const BODY: usize = 20_000;

/// How many clients there are while the generations change every 50 ms.
const HURRIED: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn connections_stay_through_direct_restarts() {
    let app = App::start(declarative());
    connections_stay(&app, async || app.restart().await).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_stay_through_supervised_restarts() {
    let service = Supervised::start(declarative()).await;
    connections_stay(&service, async || service.hang_up().await.expect("nothing is against it")).await;
    service.terminate().await;
}

/// Each generation answers every client once at least before the next restart.
async fn connections_stay(app: &App, restart: impl AsyncFn() -> u32) {
    let (clients, times) = (restarts(40, 200), restarts(5, 100));
    let load = thinking_clients(app, clients, 1000).await;
    all_are_answered_by(&load, clients, app.serving_pid()).await;
    for _ in 0..times {
        let successor = restart().await;
        all_are_answered_by(&load, clients, successor).await;
    }
    let report = load.stop().await;
    eprintln!("{times} restarts: {report}");
    report.assert_all_stayed(clients, times + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_restarts_every_50_ms_lose_nothing() {
    let app = App::start(declarative());
    nothing_is_lost_in_a_hurry(&app, async || app.restart().await).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn supervised_restarts_every_50_ms_lose_nothing() {
    let service = Supervised::start(declarative()).await;
    nothing_is_lost_in_a_hurry(&service, async || service.hang_up().await.expect("nothing is against it"))
        .await;
    service.terminate().await;
}

/// Some clients think for a generation's life, some ask for what takes longer than that.
async fn nothing_is_lost_in_a_hurry(app: &App, restart: impl AsyncFn() -> u32) {
    let thinking = thinking_clients(app, HURRIED, 50).await;
    let slow = Kind::Slow { path: "/sleep?ms=200".to_owned() };
    let waiting = Load::new(app.address().await, slow).connections(HURRIED).start();
    let mut pace = interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..restarts(20, 200) {
        pace.tick().await;
        restart().await;
    }
    let last = app.serving_pid();
    all_are_answered_by(&thinking, HURRIED, last).await;
    waiting.until_answered_by(last).await;
    let (thinking, waiting) = (thinking.stop().await, waiting.stop().await);
    eprintln!("thinking: {thinking}waiting: {waiting}");
    assert_no_connection_ended(&thinking);
    waiting.assert_clean();
}

/// GET and POST in turns, with think times of so many milliseconds at most.
async fn thinking_clients(app: &App, clients: usize, most: u64) -> Running {
    let think = Duration::ZERO..=Duration::from_millis(most);
    let kind = Kind::Both { think, bytes: BODY };
    Load::new(app.address().await, kind).connections(clients).staying().start()
}

/// Waits for that, or for a failure.
async fn all_are_answered_by(load: &Running, clients: usize, pid: u32) {
    load.until(|report| report.failed > 0 || report.has_answered_all(clients, pid)).await;
    load.report_now().assert_clean();
}

fn assert_no_connection_ended(report: &Report) {
    report.assert_clean();
    assert_eq!((report.closed_idle, report.told_to_close, report.reconnects), (0, 0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_predecessor_is_gone_before_its_clients_are() {
    let app = App::start(patient(declarative()));
    let mut clients = idle_clients(&app).await;
    let (predecessor, successor) = (app.serving_pid(), app.restart().await);
    leaves_all_to(&app, &mut clients, predecessor, successor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervised_predecessor_is_gone_before_its_clients_are() {
    let service = Supervised::start(patient(declarative())).await;
    let mut clients = idle_clients(&service).await;
    let predecessor = service.serving_pid();
    let successor = service.hang_up().await.expect("nothing is against it");
    leaves_all_to(&service, &mut clients, predecessor, successor).await;
}

/// It would wait an hour for clients that it cannot move.
fn patient(mut command: Command) -> Command {
    command.env("ENDLESS_IDLE_GRACE", "1h");
    command
}

/// Some that have been answered, and some that have not said a word.
async fn idle_clients(app: &App) -> Vec<Client> {
    let address = app.address().await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = Client::connect(address).await;
        if number % 2 == 0 {
            client.get("/hello").await;
        }
        clients.push(client);
    }
    until_busy(address, 20, 0).await;
    clients
}

async fn leaves_all_to(app: &App, clients: &mut [Client], predecessor: u32, successor: u32) {
    let drained = |line: &Line| {
        line.message() == Some("drained") && line.field("pid") == Some(&predecessor.to_string())
    };
    app.wait_for(Mark::START, drained, PATIENCE).await;
    patiently(gone(predecessor)).await;
    for client in clients {
        assert!(client.is_quiet(), "closed, or told something");
        let answer = client.get("/hello").await;
        let pid = answer.header("x-pid").and_then(|pid| pid.parse().ok());
        assert_eq!((pid, answer.close), (Some(successor), false));
    }
}

/// Whoever has started it reaps it, and may say nothing of one that ends well.
async fn gone(pid: u32) {
    while alive(pid) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
