//! What goes along with a connection: its place among generations that come and go, the rest of a head's time,
//! and what is said of it.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{App, Client, Mark, Plan, Supervised, declarative, example, status};

/// An upload of ten bytes, of which five were sent.
async fn half_sent(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    client.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst").await;
    client
}

/// The upload is answered by `first`, and what is asked next by `last`.
async fn moves_from(mut client: Client, first: u32, last: u32) {
    client.send("final").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.close), (200, false));
    assert_eq!(answer.header("x-pid"), Some(first.to_string().as_str()));
    assert_eq!(client.get("/hello").await.header("x-pid"), Some(last.to_string().as_str()));
}

/// A generation in between does not wait for the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_skips_generations_that_have_come_and_gone_meanwhile() {
    let app = App::start(declarative());
    let address = app.address().await;
    let first = app.first_pid();
    let client = half_sent(address).await;
    support::until_busy(address, 1, 1).await;
    let second = app.restart().await;
    let third = app.restart().await;
    assert_eq!(app.exit(second).await.code(), Some(0));
    let fourth = app.restart().await;
    assert_eq!(app.exit(third).await.code(), Some(0));
    moves_from(client, first, fourth).await;
    assert_eq!(app.exit(first).await.code(), Some(0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_supervisor_too() {
    let service = Supervised::start(declarative()).await;
    let address = service.address().await;
    let first = service.serving_pid();
    let client = half_sent(address).await;
    support::until_busy(address, 1, 1).await;
    let mut last = first;
    for _ in 0..3 {
        last = service.hang_up().await.expect("nothing is against it");
    }
    moves_from(client, first, last).await;
    service.says(Mark::START, "drained", first).await;
    service.terminate().await;
}

/// Half of a head's time is over when it moves, and is not given again.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_late_is_not_given_more_time_by_a_restart() {
    const TIME: Duration = Duration::from_secs(6);
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_HEADER_TIMEOUT", format!("{}s", TIME.as_secs()));
    let app = App::start(command);
    let begun = Instant::now();
    let mut client = Client::connect(app.address().await).await;
    client.send("GET /hello HTTP/1.1\r\nHo").await;
    tokio::time::sleep(TIME / 2).await;
    let restarted = Instant::now();
    let first = app.first_pid();
    app.restart().await;
    // What was left of it in the predecessor is not what ends its time.
    assert_eq!(app.exit(first).await.code(), Some(0));
    assert_eq!(client.answer().await.status, 408);
    assert!(begun.elapsed() >= TIME, "after {:?}", begun.elapsed());
    assert!(restarted.elapsed() < TIME, "{:?} after the restart", restarted.elapsed());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_status_say_how_many_have_moved() {
    let app = App::start(declarative());
    let address = app.address().await;
    let clients = [Client::connect(address).await, Client::connect(address).await];
    support::until_busy(address, 2, 0).await;
    let first = app.first_pid();
    let successor = app.restart().await;
    assert_eq!(app.exit(first).await.code(), Some(0));
    let drained = app.wait_for_message(Mark::START, "drained").await;
    assert_eq!(drained.field("moved"), Some("2"), "{drained}");
    let taken = app.wait_for_message(Mark::START, "connections taken over").await;
    assert_eq!((taken.field("pid"), taken.field("connections")), (Some(&*successor.to_string()), Some("2")));
    let status = status(address).await;
    assert_eq!(status["servers"][0]["moved"], 2, "{status}");
    drop(clients);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_an_address_that_the_successor_has_not_leaves_as_in_a_stop() {
    let mut command = Command::new(example("test_attributed"));
    command.args(["127.0.0.1:0", "127.0.0.1:0"]);
    let plan = Plan::of(&mut command);
    let app = App::start(command);
    let mut clients = Vec::new();
    for address in app.addresses(2).await {
        let address = address.parse().expect("an address");
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/hello").await.status, 200);
        clients.push((address, client));
    }
    plan.set("only 1");
    let (mark, first) = (app.mark(), app.first_pid());
    let successor = app.restart().await;
    let line = app.wait_for_message(mark, "listening").await;
    let kept: SocketAddr = line.field("address").and_then(|text| text.parse().ok()).expect("an address");
    assert_eq!(app.exit(first).await.code(), Some(0));
    for (address, mut client) in clients {
        match address == kept {
            true => {
                let answer = client.get("/hello").await;
                assert_eq!(answer.header("x-pid"), Some(successor.to_string().as_str()));
            }
            false => client.closed().await,
        }
    }
    app.stop().await;
}
