//! When the hammer falls, the hooks after the signals that led to it run all the same, and are told of it.

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use support::{App, Client, Mark, PATIENCE, example};

#[tokio::test(flavor = "multi_thread")]
async fn those_after_sigterm_when_its_time_is_over() {
    let (app, _client) = stuck("1s").await;
    assert_eq!(app.stop().await.code(), Some(0));
    told_of_the_hammer(&app, Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_after_sigusr2_and_after_the_stop_that_it_ends() {
    let (app, _client) = stuck("never").await;
    app.signal(app.first_pid(), Signal::SIGTERM);
    app.wait_for_message(Mark::START, "draining").await;
    app.signal(app.first_pid(), Signal::SIGUSR2);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    told_of_the_hammer(&app, Signal::SIGUSR2).await;
    told_of_the_hammer(&app, Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_after_sigint_when_a_second_one_ends_it() {
    let (app, _client) = stuck("never").await;
    app.signal(app.first_pid(), Signal::SIGINT);
    app.wait_for_message(Mark::START, "draining").await;
    app.signal(app.first_pid(), Signal::SIGINT);
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    told_of_the_hammer(&app, Signal::SIGINT).await;
}

/// A server with a request that never ends.
async fn stuck(hammer_time: &str) -> (App, Client) {
    let mut command = Command::new(example("test_attributed"));
    command.arg("127.0.0.1:0").env("ENDLESS_HAMMER_TIME", hammer_time);
    let app = App::start(command);
    let mut client = Client::connect(app.address().await).await;
    client.ask("/hang").await;
    app.wait_for(Mark::START, |line| line.text == "INFO app: stuck in /hang", PATIENCE).await;
    (app, client)
}

async fn told_of_the_hammer(app: &App, signal: Signal) {
    let words = format!("hook phase=post signal={signal} pid={} ", app.first_pid());
    let line = app.wait_for(Mark::START, |line| line.text.contains(&words), PATIENCE).await;
    assert!(line.text.ends_with(r#"outcome="Hammered { connections: 1 }""#), "{line}");
}
