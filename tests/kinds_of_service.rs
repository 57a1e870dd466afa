//! Every kind of service that a user may bring is restarted and stopped without a loss: axum, a plain
//! function, hyper's own, and stacks of tower layers that let a request wait for its turn.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use support::{
    App, Client, H2Load, Http2, Kind, Load, Mark, SIGNALS, example, get, is_stop, moves_or_closes, restarts,
    until_busy,
};

const KINDS: [&str; 5] = ["axum", "function", "hyper", "limited", "buffered"];
/// Those that work on two requests at a time.
const LIMITED: [&str; 2] = ["limited", "buffered"];

/// Two that fill it, and three that wait until the drain has begun.
const ASKED: [&str; 5] = ["/until_draining?ms=500", "/until_draining", "/hello", "/hello", "/hello"];

/// The service of this kind, and the plain one beside it.
async fn start(kind: &str) -> (App, SocketAddr, SocketAddr) {
    let mut command = Command::new(example("test_kinds"));
    command.arg(kind);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let mut addresses = app.addresses(2).await;
    addresses.sort();
    let address = |at: usize| addresses[at].parse().expect("an address of TCP");
    let (service, plain) = (address(0), address(1));
    (app, service, plain)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_restarted_without_a_loss() {
    for kind in KINDS {
        let (app, address, _) = start(kind).await;
        let think = Duration::ZERO..=Duration::from_millis(20);
        let loads = [
            Load::new(address, Kind::Fresh).connections(2).start(),
            Load::new(address, Kind::KeepAlive { think }).connections(4).start(),
            Load::new(address, Kind::Upload { bytes: 100_000 }).connections(2).start(),
            H2Load::new(address).connections(2).streams(4).start(),
        ];
        let mut generations = vec![app.first_pid()];
        for _ in 0..restarts(2, 25) {
            generations.push(app.restart().await);
            for load in &loads {
                load.until_answered_by(*generations.last().expect("there are two")).await;
            }
        }
        for load in loads {
            let report = load.stop().await;
            eprintln!("{kind}: {report}");
            report.assert_clean();
        }
        assert_eq!(app.stop().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_finishes_what_is_in_flight() {
    for (kind, signal) in KINDS.into_iter().flat_map(|kind| SIGNALS.map(|signal| (kind, signal))) {
        let (app, address, plain) = start(kind).await;
        let mut client = Client::connect(address).await;
        client.ask("/until_draining?ms=500").await;
        until_busy(plain, 1, 1).await;
        app.signal(app.first_pid(), signal);
        let answer = client.answer().await;
        assert_eq!((answer.text().as_str(), answer.close), ("draining", is_stop(signal)), "{kind} {signal}");
        assert_eq!(answer.header("x-pid"), Some(app.first_pid().to_string().as_str()));
        moves_or_closes(&app, &mut client, signal).await;
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_its_turn_is_answered() {
    for (kind, signal) in LIMITED.into_iter().flat_map(|kind| SIGNALS.map(|signal| (kind, signal))) {
        let (app, address, plain) = start(kind).await;
        let mut clients = Vec::new();
        for path in ASKED {
            let mut client = Client::connect(address).await;
            client.ask(path).await;
            clients.push(client);
            until_busy(plain, clients.len() as u64, clients.len() as u64).await;
        }
        app.signal(app.first_pid(), signal);
        for mut client in clients {
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.close), (200, is_stop(signal)), "{kind} {signal}");
            assert_eq!(answer.header("x-pid"), Some(app.first_pid().to_string().as_str()));
            moves_or_closes(&app, &mut client, signal).await;
        }
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_one_connection_of_http2_is_answered() {
    for (kind, signal) in LIMITED.into_iter().flat_map(|kind| SIGNALS.map(|signal| (kind, signal))) {
        let (app, address, plain) = start(kind).await;
        let mut client = Http2::connect(address).await;
        let mut answers = Vec::new();
        for path in ASKED {
            answers.push(client.ask(path).await);
            until_busy(plain, 1, answers.len() as u64).await;
        }
        app.signal(app.first_pid(), signal);
        for answer in answers {
            let answer = answer.await.unwrap_or_else(|error| panic!("{kind} {signal}: {error}"));
            assert_eq!((answer.status, &answer.headers["x-pid"]), (200, &app.first_pid().into()));
        }
        client.closed().await;
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_it_waits_leaves_its_turn_to_others() {
    for kind in LIMITED {
        let (app, address, plain) = start(kind).await;
        let (mut one, mut other) = (Client::connect(address).await, Client::connect(address).await);
        for client in [&mut one, &mut other] {
            client.ask("/until_draining").await;
        }
        until_busy(plain, 2, 2).await;
        let mut leaving = Http2::connect(address).await;
        let mut waiting = Client::connect(address).await;
        let (first, second) = (leaving.ask("/hello").await, leaving.ask("/hello").await);
        until_busy(plain, 4, 4).await;
        waiting.ask("/hello").await;
        until_busy(plain, 4, 5).await;
        drop((first, second));
        leaving.leave();
        until_busy(plain, 3, 3).await;
        drop(one);
        assert_eq!(waiting.answer().await.text(), "WORLD!", "{kind}");
        assert_eq!(app.stop().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_before_it_is_called_answers_500() {
    for kind in ["never ready", "waits to be never ready"] {
        let (app, address, _) = start(kind).await;
        let mut client = Client::connect(address).await;
        for _ in 0..2 {
            let mark = app.mark();
            let answer = client.get("/hello").await;
            assert_eq!((answer.status, answer.text().as_str(), answer.close), (500, "", false));
            let line = app.wait_for_message(mark, "the service failed").await;
            assert_eq!(line.field("error"), Some("not today"));
        }
        app.restart().await;
        assert_eq!(get(address, "/hello").await.status, 500);
        assert_eq!(app.stop().await.code(), Some(0));
    }
}
