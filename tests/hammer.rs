//! The hammer falls when its time is over, whatever the handlers do, and not before.

mod support;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::{App, Client, Mark, alive, declarative, example, get, imperative, patiently};

const FALL: &str = "[STOP - Hammer Time] Forcefully shutting down";
const HAMMER_TIME: Duration = Duration::from_secs(1);

fn start(mut command: Command, hammer_time: &str) -> App {
    command.env("ENDLESS_HAMMER_TIME", hammer_time);
    App::start(command)
}

/// A client whose request at `path` never ends, known to be in the handler.
async fn stuck(app: &App, path: &str) -> Client {
    let mark = app.mark();
    let mut client = Client::connect(app.address().await).await;
    client.ask(path).await;
    let begun = format!("INFO app: stuck in {path}");
    app.wait_for(mark, |line| line.text == begun, support::PATIENCE).await;
    client
}

/// SIGTERM to a process that is stuck at `path`: it is gone after the hammer time, says so, and exits 0.
async fn falls_on(command: Command, path: &str) {
    let app = start(command, "1s");
    let mut client = stuck(&app, path).await;
    let begun = Instant::now();
    let status = app.stop().await;
    let took = begun.elapsed();
    eprintln!("{path}: gone after {took:?}");
    assert!(took >= HAMMER_TIME, "the hammer fell after {took:?}");
    assert_hammered(&app, status, app.first_pid()).await;
    client.broken().await;
}

/// With one connection open.
async fn assert_hammered(app: &App, status: ExitStatus, pid: u32) {
    assert_eq!(status.code(), Some(0));
    let line = app.wait_for_message(Mark::START, FALL).await;
    assert_eq!(line.field("pid"), Some(pid.to_string().as_str()));
    assert_eq!(line.field("connections"), Some("1"));
}

fn has_fallen(app: &App) -> bool {
    app.lines().iter().any(|line| line.message() == Some(FALL))
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_handler_that_hangs_in_await() {
    falls_on(declarative(), "/hang").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_handler_that_loops() {
    falls_on(declarative(), "/spin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_blocking_task_that_loops() {
    falls_on(declarative(), "/block").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_handler_that_loops_on_the_only_thread() {
    let mut command = declarative();
    command.env("ENDLESS_FLAVOR", "current_thread");
    falls_on(command, "/spin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_attribute_on_a_handler_that_hangs_in_await() {
    falls_on(imperative(), "/hang").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_attribute_on_a_handler_that_loops() {
    falls_on(imperative(), "/spin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_attribute_on_a_blocking_task_that_loops() {
    falls_on(imperative(), "/block").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_predecessor_while_its_successor_serves() {
    for (command, path) in [(declarative(), "/hang"), (declarative(), "/spin"), (imperative(), "/block")] {
        let app = start(command, "1s");
        let address = app.address().await;
        let mut client = stuck(&app, path).await;
        let begun = Instant::now();
        let successor = app.restart().await;
        let status = app.exit(app.first_pid()).await;
        assert!(begun.elapsed() >= HAMMER_TIME, "the hammer fell after {:?}", begun.elapsed());
        assert_hammered(&app, status, app.first_pid()).await;
        client.broken().await;
        let answer = get(address, "/hello").await;
        assert_eq!(answer.header("x-pid"), Some(successor.to_string().as_str()));
        assert_eq!(app.stop().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_waits_until_sigusr2() {
    let app = start(declarative(), "never");
    let mut client = stuck(&app, "/hang").await;
    let mut slow = Client::connect(app.address().await).await;
    slow.ask("/sleep?ms=1500").await;
    support::until_busy(app.address().await, 2, 2).await;

    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGTERM);
    app.wait_for_message(mark, "draining").await;
    assert_eq!(slow.answer().await.text(), "slept 1500");
    assert!(alive(app.first_pid()) && !has_fallen(&app));

    slow.closed().await;
    app.signal(app.first_pid(), Signal::SIGUSR2);
    let status = app.exit(app.first_pid()).await;
    assert_hammered(&app, status, app.first_pid()).await;
    client.broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr2_while_serving_does_nothing() {
    let app = start(declarative(), "1s");
    let address = app.address().await;
    app.wait_for_message(Mark::START, "serving").await;
    app.signal(app.first_pid(), Signal::SIGUSR2);
    app.wait_for_message(Mark::START, "hammer ignored: not draining").await;
    let answer = get(address, "/sleep?ms=1500").await;
    assert_eq!(answer.header("x-pid"), Some(app.first_pid().to_string().as_str()));
    assert!(!has_fallen(&app));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_on_a_second_sigint() {
    let app = start(declarative(), "1h");
    let _client = stuck(&app, "/hang").await;
    app.signal(app.first_pid(), Signal::SIGINT);
    app.wait_for_message(Mark::START, "draining").await;
    assert!(!has_fallen(&app));
    app.signal(app.first_pid(), Signal::SIGINT);
    let status = app.exit(app.first_pid()).await;
    assert_hammered(&app, status, app.first_pid()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_the_hammered_hooks() {
    let app = start(declarative(), "1s");
    let _client = stuck(&app, "/spin").await;
    app.stop().await;
    let told = |line: &support::Line| {
        line.text.contains("hook phase=hammered signal=SIGTERM")
            && line.text.ends_with(r#"outcome="Hammered { connections: 1 }""#)
    };
    app.wait_for(Mark::START, told, support::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn also_when_the_log_is_a_pipe_that_is_full() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut log = Log::new(&folder.path().join("log"));
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 2> "$0""#]).arg(folder.path().join("log"));
        command.arg(example("test_imperative")).arg("127.0.0.1:0");
        let app = start(command, "1s");
        let address = patiently(log.address()).await;
        let mut client = Client::connect(address).await;
        client.ask("/hang").await;
        patiently(log.until("stuck in /hang")).await;
        log.fill();

        let begun = Instant::now();
        app.signal(app.first_pid(), signal);
        let status = app.exit(app.first_pid()).await;
        assert_eq!(status.code(), Some(0));
        assert!(begun.elapsed() >= HAMMER_TIME, "the hammer fell after {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn also_when_the_programs_own_subscriber_is_stuck() {
    let app = start(imperative(), "1s");
    let _client = stuck(&app, "/hang").await;
    get(app.address().await, "/block_the_log").await;
    let begun = Instant::now();
    app.signal(app.first_pid(), Signal::SIGTERM);
    let status = app.exit(app.first_pid()).await;
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() >= HAMMER_TIME, "the hammer fell after {:?}", begun.elapsed());
}

/// A named pipe that this test holds at both ends.
struct Log {
    pipe: File,
    text: String,
}

impl Log {
    fn new(path: &Path) -> Self {
        mkfifo(path, Mode::S_IRWXU).expect("a named pipe can be made");
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        Self { pipe: options.open(path).expect("our own pipe can be opened"), text: String::new() }
    }

    async fn until(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            let mut bytes = [0; 1024];
            match self.pipe.read(&mut bytes) {
                Ok(count) => self.text.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn address(&mut self) -> std::net::SocketAddr {
        self.until(" serving ").await;
        let (_, line) = self.text.split_once("listening address=").expect("listening before serving");
        line.split(' ').next().and_then(|word| word.parse().ok()).expect("an address")
    }

    /// To the last byte.
    fn fill(&mut self) {
        for piece in [4096, 1] {
            while self.pipe.write(&b" ".repeat(piece)).map_err(|error| expect_full(&error)).is_ok() {}
        }
    }
}

fn expect_full(error: &io::Error) {
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
}
