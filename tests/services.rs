//! What a service does wrong stays within its request or its connection, and what the machine lacks passes.

mod support;

use std::process::Command;
use std::time::Duration;

use h2::Reason;
use nix::sys::signal::Signal;
use support::{
    App, Client, Http2, Mark, PATIENCE, Raw, declarative, example, get, imperative, reset, ticks, tool,
    until_busy,
};

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
async fn an_error_on_one_stream_of_http2_leaves_the_others_alone() {
    let erring = async |client: &mut Http2| {
        for _ in 0..2 {
            let answer = client.get("/error").await.expect("an error is answered");
            assert_eq!((answer.status, answer.body.as_str()), (500, ""));
        }
    };
    let app = leaves_other_streams_alone(erring).await;
    let told = app.lines().iter().filter(|line| line.message() == Some("the service failed")).count();
    assert_eq!(told, 2, "one line an error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_on_one_stream_of_http2_leaves_the_others_alone() {
    for path in ["/panic", "/panic_in_body"] {
        leaves_other_streams_alone(async |client| {
            reset(client.get(path).await);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_service_itself_ends_its_connection_alone() {
    let app = App::start(Command::new(example("test_declarative")));
    let address = app.address().await;
    let (mut other, mut other2) = (Client::connect(address).await, Http2::connect(address).await);
    assert_eq!(other.get("/hello").await.text(), "WORLD!");
    let mut client = Client::connect(address).await;
    client.ask("/panic_in_call").await;
    client.broken().await;
    let mut client = Http2::connect(address).await;
    client.get("/panic_in_call").await.expect_err("no answer");
    client.broken().await;

    assert_eq!(other.get("/hello").await.text(), "WORLD!");
    assert_eq!(other2.get("/hello").await.expect("an answer").body, "WORLD!");
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    until_busy(address, 2, 0).await;
    assert_eq!(app.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_during_the_drain_holds_nothing_up() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let app = App::start(Command::new(example("test_declarative")));
        let address = app.address().await;
        let (mut client, mut client2) = (Client::connect(address).await, Http2::connect(address).await);
        client.ask("/panic_when_draining").await;
        let reset_stream = client2.ask("/panic_when_draining").await;
        let other = client2.ask("/until_draining?ms=500").await;
        until_busy(address, 2, 3).await;
        app.signal(app.first_pid(), signal);
        client.broken().await;
        reset(reset_stream.await);
        assert_eq!(other.await.expect("an answer").body, "draining");
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        assert!(!app.lines().iter().any(|line| line.text.contains("Hammer Time")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fails_half_way_cuts_its_connection_alone() {
    let app = App::start(Command::new(example("test_declarative")));
    let address = app.address().await;
    let mut other = Client::connect(address).await;
    other.ask("/until_draining").await;
    let mut raw = Raw::connect(address).await;
    raw.send("GET /error_in_body HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let text = raw.rest().await;
    assert!(
        text.ends_with("\r\n\r\n6\r\npiece\n\r\n"),
        "no end that could be taken for a whole body: {text:?}"
    );

    is_told_of_once(&app, BODY_FAILED).await;
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    until_busy(address, 1, 1).await;
    app.restart().await;
    assert_eq!(other.answer().await.text(), "draining");
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fails_half_way_resets_its_stream_of_http2_alone() {
    let app = leaves_other_streams_alone(async |client| {
        assert_eq!(reset(client.get("/error_in_body").await), Some(Reason::INTERNAL_ERROR));
    })
    .await;
    is_told_of_once(&app, BODY_FAILED).await;
}

const BODY_FAILED: &str = "the body of a response failed";

async fn is_told_of_once(app: &App, message: &str) {
    let line = app.wait_for_message(Mark::START, message).await;
    assert_eq!(line.field("error"), Some("as the client wished"));
    assert!(line.text.starts_with("ERROR "), "{}", line.text);
    assert_eq!(app.lines().iter().filter(|line| line.message() == Some(message)).count(), 1);
}

/// What goes wrong on one stream of a connection leaves another, which is answered in the drain, and those that
/// come.
async fn leaves_other_streams_alone(fault: impl AsyncFnOnce(&mut Http2)) -> App {
    let app = App::start(declarative());
    let mut client = Http2::connect(app.address().await).await;
    let other = client.ask("/until_draining").await;
    fault(&mut client).await;
    assert_eq!(client.get("/hello").await.expect("an answer").body, "WORLD!");
    app.restart().await;
    assert_eq!(other.await.expect("an answer").body, "draining");
    client.closed().await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    app
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
    tries_in_peace(&app).await;

    let mut waiting = clients.pop().expect("sixty");
    clients.clear();
    assert_eq!(waiting.get("/hello").await.text(), "WORLD!");
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    assert_eq!(app.stop().await.code(), Some(0));
}

/// As if the service had taken the reserve, too: whatever asks for a descriptor fails.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_descriptor_the_connections_that_there_are_go_on() {
    let Some(prlimit) = tool("prlimit") else { return };
    let app = App::start(declarative());
    let limit = |to: usize| {
        let (pid, to) = (app.first_pid().to_string(), format!("--nofile={to}:"));
        let set = Command::new(&prlimit).args(["--pid", &pid, &to]).status();
        assert!(set.expect("it can be run").success());
    };
    let mut kept = Client::connect(app.address().await).await;
    assert_eq!(kept.get("/hello").await.text(), "WORLD!");
    limit(1);
    let mut waiting = Client::connect(app.address().await).await;
    tries_in_peace(&app).await;
    assert_eq!(kept.get("/hello").await.text(), "WORLD!");
    limit(1024);
    assert_eq!(waiting.get("/hello").await.text(), "WORLD!");
    assert_eq!(app.stop().await.code(), Some(0));
}

/// The server cannot accept. It says so once, and does nothing but try again now and then.
async fn tries_in_peace(app: &App) {
    const MESSAGE: &str = "cannot accept, trying again";
    let line = app.wait_for_message(Mark::START, MESSAGE).await;
    let error = line.field("error").expect("it says why");
    assert!(error.to_lowercase().contains("too many open files"), "{error}");

    // Time for some more tries.
    let before = ticks(app.first_pid());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = ticks(app.first_pid()) - before;
    assert!(used < 25, "it has used the processor for {used}0 of 500 ms");
    assert_eq!(app.lines().iter().filter(|line| line.message() == Some(MESSAGE)).count(), 1);
}
