//! A handler that blocks its thread: others are served, and restarts done. What sees to that sleeps while
//! nobody is connected.

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use support::{App, Client, Mark, PATIENCE, example, get, patiently, until_busy};

/// Longer than what sees to it ever sleeps.
const A_WHILE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_blocks_its_thread_holds_up_neither_others_nor_a_restart() {
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_WORKER_THREADS", "4").env("ENDLESS_HAMMER_TIME", "1s");
    let app = App::start(command);
    let address = app.address().await;
    let mut other = Client::connect(address).await;
    assert_eq!(other.get("/hello").await.text(), "WORLD!");
    let mut client = Client::connect(address).await;
    client.ask("/spin").await;
    app.wait_for(Mark::START, |line| line.text == "INFO app: stuck in /spin", PATIENCE).await;
    for _ in 0..10 {
        assert_eq!(other.get("/hello").await.text(), "WORLD!");
        assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    }
    let successor = app.restart().await;
    assert_eq!(get(address, "/hello").await.header("x-pid"), Some(successor.to_string().as_str()));
    client.broken().await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_nobody_uses_sleeps() {
    let app = App::start(Command::new(example("test_declarative")));
    let address = app.address().await;
    app.wait_for_message(Mark::START, "serving").await;
    let client = Client::connect(address).await;
    until_busy(address, 1, 0).await;
    drop(client);
    let asleep = async {
        let mut wakings = wakings_of_control(app.serving_pid());
        loop {
            tokio::time::sleep(A_WHILE).await;
            let before = std::mem::replace(&mut wakings, wakings_of_control(app.serving_pid()));
            if before == wakings {
                return;
            }
        }
    };
    patiently(asleep).await;
    assert_eq!(app.stop().await.code(), Some(0));
}

/// How often the control thread has gone to sleep.
fn wakings_of_control(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let statuses = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let control = statuses.into_iter().find(|status| status.starts_with("Name:\tendless\n"));
    let control = control.expect("each process has a control thread");
    let line = control.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("Linux counts them").trim().parse().expect("a number")
}
