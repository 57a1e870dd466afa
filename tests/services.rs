//! What a service does wrong stays within its request or its connection, and what the machine lacks passes.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{App, Client, Mark, PATIENCE, declarative, example, get, imperative};

fn programs() -> [Command; 2] {
    [declarative(), imperative()]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_answered_and_logged_and_the_connection_goes_on() {
    for command in programs() {
        let app = App::start(command);
        let mut client = Client::connect(app.address().await).await;
        for _ in 0..2 {
            let mark = app.mark();
            let answer = client.get("/error").await;
            assert_eq!((answer.status, answer.close), (500, false));
            assert_eq!(answer.text(), "", "what went wrong is not the client's to know");
            let line = app.wait_for_message(mark, "the service failed").await;
            assert_eq!(line.field("error"), Some("as the client wished"));
        }
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_connection_alone() {
    for command in programs() {
        let app = App::start(command);
        let address = app.address().await;
        let mut other = Client::connect(address).await;
        assert_eq!(other.get("/hello").await.text(), "WORLD!");
        let mut client = Client::connect(address).await;
        client.ask("/panic").await;
        client.broken().await;
        app.wait_for(Mark::START, |line| line.text.contains("as the client wished"), PATIENCE).await;
        assert_eq!(other.get("/hello").await.text(), "WORLD!");
        assert_eq!(get(address, "/hello").await.text(), "WORLD!");
        drop(client);
        drop(other);
        assert_eq!(app.stop().await.code(), Some(0), "nothing is counted that is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortage_of_descriptors_is_logged_once_and_survived() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 40; exec "$0""#]).arg(example("test_declarative"));
    let app = App::start(command);
    let address = app.address().await;
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");

    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(Client::connect(address).await);
    }
    let line = app.wait_for_message(Mark::START, "cannot accept, trying again").await;
    let error = line.field("error").expect("it says why");
    assert!(error.to_lowercase().contains("too many open files"), "{error}");

    // Time for some more tries, so that one that were logged again could be seen.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = |line: &&support::Line| line.message() == Some("cannot accept, trying again");
    assert_eq!(app.lines().iter().filter(told).count(), 1);

    let mut waiting = clients.pop().expect("sixty");
    clients.clear();
    assert_eq!(waiting.get("/hello").await.text(), "WORLD!");
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    assert_eq!(app.stop().await.code(), Some(0));
}
