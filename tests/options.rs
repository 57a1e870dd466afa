//! Options that the attribute, the environment and code set, each through a real process.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{
    App, Client, Line, Mark, PATIENCE, Plan, declarative, example, example_with, get, imperative, install,
    tool, until_busy,
};
use tempfile::TempDir;

/// Longer than any test: what happens within it does not happen because it is over.
const LONG: &str = "1h";

/// The declarative program with these variables in its environment.
fn program(environment: &[(&str, &str)]) -> Command {
    let mut command = declarative();
    command.envs(environment.iter().copied());
    command
}

/// The program that is put together in code, from these words.
fn builder(words: &[&str]) -> Command {
    let mut command = Command::new(example("test_builder"));
    command.args(words);
    command
}

async fn start(command: Command) -> (App, SocketAddr) {
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

/// Restarts; the successor has said that it serves, and the predecessor has told all its connections to
/// leave.
async fn restart(app: &App) -> u32 {
    let mark = app.mark();
    let successor = app.restart().await;
    let pid = successor.to_string();
    let serves = |line: &Line| line.message() == Some("serving") && line.field("pid") == Some(&pid);
    app.wait_for(mark, serves, PATIENCE).await;
    app.wait_for_message(mark, "draining").await;
    successor
}

fn said(app: &App, message: &str) -> usize {
    app.lines().iter().filter(|line| line.message() == Some(message)).count()
}

fn pid_of(answer: &support::Response) -> u32 {
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

// ---- pid_file

/// A folder for a PID file.
struct PidFile(TempDir);

impl PidFile {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("app.pid")
    }

    fn of(&self, mut command: Command) -> Command {
        command.env("ENDLESS_PID_FILE", self.path());
        command
    }

    fn read(&self) -> String {
        fs::read_to_string(self.path()).expect("the PID file is there")
    }

    fn assert_names(&self, pid: u32) {
        assert_eq!(self.read(), format!("{pid}\n"));
        let files = fs::read_dir(self.0.path()).expect("our own folder").count();
        assert_eq!(files, 1, "nothing temporary is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pid_file_names_who_serves_and_is_replaced_whole() {
    let file = PidFile::new();
    let (app, _) = start(file.of(program(&[]))).await;
    file.assert_names(app.first_pid());
    let mut before = File::open(file.path()).expect("it is there");

    let successor = restart(&app).await;
    file.assert_names(successor);
    let mut text = String::new();
    before.read_to_string(&mut text).expect("it can still be read");
    assert_eq!(text, format!("{}\n", app.first_pid()), "whoever has the old one open reads the old one");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pid_file_is_not_written_before_ready() {
    let file = PidFile::new();
    let mut command = file.of(Command::new(example("test_imperative")));
    command.args(["127.0.0.1:0", "127.0.0.1:0"]);
    let plan = Plan::of(&mut command);
    plan.set("late");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "listening").await;
    assert!(!file.path().exists());
    plan.set("");
    app.wait_for_message(Mark::START, "serving").await;
    file.assert_names(app.first_pid());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pid_file_survives_a_successor_that_fails() {
    let file = PidFile::new();
    let mut command = file.of(program(&[]));
    let plan = Plan::of(&mut command);
    let (app, _) = start(command).await;
    plan.set("error");
    app.try_restart().await.expect_err("as planned");
    file.assert_names(app.first_pid());
    app.stop().await;
}

/// The successor writes it while the predecessor ends: there must be no moment at which the one removes what
/// the other has just written, so what a predecessor finds in it does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn the_pid_file_is_not_the_predecessors_to_remove() {
    let file = PidFile::new();
    let (app, address) = start(file.of(program(&[]))).await;
    let mut slow = Client::connect(address).await;
    slow.ask("/until_draining").await;
    until_busy(address, 1, 1).await;
    let mut held = Client::connect(address).await;
    held.ask("/sleep?ms=1000").await;
    until_busy(address, 2, 2).await;
    restart(&app).await;
    slow.answer().await;
    let text = format!("{}\n", app.first_pid());
    fs::write(file.path(), &text).expect("our own file");
    held.answer().await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert_eq!(file.read(), text);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pid_file_is_there_after_every_restart() {
    let file = PidFile::new();
    let (app, _) = start(file.of(program(&[]))).await;
    for _ in 0..support::restarts(10, 100) {
        let before = app.serving_pid();
        let successor = restart(&app).await;
        assert_eq!(app.exit(before).await.code(), Some(0));
        file.assert_names(successor);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pid_file_is_removed_by_a_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let file = PidFile::new();
        let (app, _) = start(file.of(program(&[]))).await;
        let successor = restart(&app).await;
        file.assert_names(successor);
        app.signal(successor, signal);
        assert_eq!(app.exit(successor).await.code(), Some(0));
        assert!(!file.path().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pid_file_is_removed_by_the_hammer() {
    let file = PidFile::new();
    let (app, address) = start(file.of(program(&[("ENDLESS_HAMMER_TIME", "500ms")]))).await;
    let mut hanging = Client::connect(address).await;
    hanging.ask("/hang").await;
    until_busy(address, 1, 1).await;
    assert_eq!(app.stop().await.code(), Some(0));
    app.wait_for(Mark::START, |line| line.text.contains("Hammer Time"), PATIENCE).await;
    assert!(!file.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_file_that_names_another_process_is_left_alone() {
    for hammered in [false, true] {
        let file = PidFile::new();
        let (app, address) = start(file.of(program(&[("ENDLESS_HAMMER_TIME", "500ms")]))).await;
        fs::write(file.path(), "1\n").expect("our own file");
        let mut client = Client::connect(address).await;
        if hammered {
            client.ask("/hang").await;
            until_busy(address, 1, 1).await;
        }
        app.stop().await;
        assert_eq!(file.read(), "1\n");
    }
}

// ---- program

#[tokio::test(flavor = "multi_thread")]
async fn another_program_can_be_the_successor() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let variant = |version| example_with("test_declarative", &[], &[("APP_VERSION", version)]);
    install(&variant("A"), &folder.path().join("a"));
    fs::create_dir(folder.path().join("next")).expect("our own folder");
    install(&variant("B"), &folder.path().join("next/b"));
    for named in [folder.path().join("next/b"), PathBuf::from("next/b")] {
        let mut command = Command::new(folder.path().join("a"));
        command.env("ENDLESS_PROGRAM", named).current_dir(folder.path());
        let (app, address) = start(command).await;
        assert_eq!(get(address, "/hello").await.header("x-version"), Some("A"));
        // Of B too, the successor is B.
        for _ in 0..2 {
            let successor = app.restart().await;
            let answer = get(address, "/hello").await;
            assert_eq!((answer.header("x-version"), pid_of(&answer)), (Some("B"), successor));
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_missing_calls_the_restart_off() {
    let (app, address) = start(program(&[("ENDLESS_PROGRAM", "/nowhere/app")])).await;
    let reason = app.try_restart().await.expect_err("there is none");
    assert_eq!(reason, "cannot start /nowhere/app: no such file or directory");
    assert_eq!(pid_of(&get(address, "/hello").await), app.first_pid());
    app.stop().await;
}

// ---- lame_duck and readiness_path

/// Two servers with `/ready`.
async fn start_ready(lame_duck: &str) -> (App, Vec<SocketAddr>) {
    let app = App::start(program(&[
        ("ENDLESS_LISTEN", "127.0.0.1:0,127.0.0.1:0"),
        ("ENDLESS_READINESS_PATH", "/ready"),
        ("ENDLESS_LAME_DUCK", lame_duck),
        ("ENDLESS_IDLE_GRACE", LONG),
    ]));
    app.wait_for_message(Mark::START, "serving").await;
    let addresses = app.addresses(2).await;
    (app, addresses.iter().map(|address| address.parse().expect("an address")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readiness_path_is_answered_on_every_server_and_nothing_else_is() {
    let (app, addresses) = start_ready("0s").await;
    for address in addresses {
        for path in ["/ready", "/ready?from=balancer"] {
            let answer = get(address, path).await;
            assert_eq!((answer.status, answer.header("x-pid")), (200, None), "{path}: not by the service");
        }
        for path in ["/ready/", "/readyx", "/"] {
            assert_eq!(get(address, path).await.status, 404, "{path}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_readiness_path_it_is_the_services() {
    let (app, address) = start(program(&[])).await;
    let answer = get(address, "/ready").await;
    assert_eq!((answer.status, pid_of(&answer)), (404, app.first_pid()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_duck_serves_on_and_says_that_it_stops() {
    let (app, addresses) = start_ready(LONG).await;
    app.signal(app.first_pid(), Signal::SIGTERM);
    app.wait_for_message(Mark::START, "lame duck").await;
    for address in &addresses {
        assert_eq!(get(*address, "/ready").await.status, 503);
        let answer = get(*address, "/hello").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "WORLD!"));
        let mut client = Client::connect(*address).await;
        assert!(!client.get("/hello").await.close, "it is not told to leave yet");
        assert_eq!(client.get("/ready").await.status, 503);
    }
    app.signal(app.first_pid(), Signal::SIGHUP);
    app.wait_for_message(Mark::START, "restart ignored: draining").await;
    assert_eq!(said(&app, "draining"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lame_ducks_time_is_over_by_itself() {
    let (app, addresses) = start_ready("1s").await;
    let mut slow = Client::connect(addresses[0]).await;
    slow.ask("/until_draining").await;
    until_busy(addresses[0], 1, 1).await;
    let begun = Instant::now();
    app.signal(app.first_pid(), Signal::SIGTERM);
    assert_eq!(slow.answer().await.text(), "draining");
    assert!(begun.elapsed() >= Duration::from_secs(1), "drained after {:?}", begun.elapsed());
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_cuts_a_lame_ducks_time_short_and_hammers_nobody() {
    let (app, addresses) = start_ready(LONG).await;
    let mut slow = Client::connect(addresses[0]).await;
    slow.ask("/sleep?ms=1000").await;
    until_busy(addresses[0], 1, 1).await;
    app.signal(app.first_pid(), Signal::SIGTERM);
    app.wait_for_message(Mark::START, "lame duck").await;
    app.signal(app.first_pid(), Signal::SIGINT);
    app.wait_for_message(Mark::START, "draining").await;
    assert_eq!(slow.answer().await.text(), "slept 1000");
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert!(!app.lines().iter().any(|line| line.text.contains("Hammer Time")));
}

/// SIGINT has no lame duck's time; what it leaves open is told all the same.
#[tokio::test(flavor = "multi_thread")]
async fn every_stop_is_told_by_the_readiness_path() {
    for (lame_duck, signal) in [("0s", Signal::SIGTERM), (LONG, Signal::SIGINT)] {
        let (app, addresses) = start_ready(lame_duck).await;
        let mut client = Client::connect(addresses[0]).await;
        assert_eq!(client.get("/ready").await.status, 200);
        app.signal(app.first_pid(), signal);
        app.wait_for_message(Mark::START, "draining").await;
        let answer = client.get("/ready").await;
        assert_eq!((answer.status, answer.close), (503, true));
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        assert_eq!(said(&app, "lame duck"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_none_of_the_readiness_paths_business() {
    let (app, addresses) = start_ready(LONG).await;
    let mut client = Client::connect(addresses[0]).await;
    assert_eq!(client.get("/ready").await.status, 200);
    restart(&app).await;
    for address in &addresses {
        assert_eq!(get(*address, "/ready").await.status, 200);
    }
    let answer = client.get("/ready").await;
    assert_eq!(
        (answer.status, answer.close),
        (200, false),
        "the predecessor drains, the service does not stop"
    );
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert_eq!(said(&app, "lame duck"), 0);
}

// ---- max_connections

/// As many clients as there may be, each of which has been answered, and one more, which has asked.
async fn full(address: SocketAddr, most: usize) -> (Vec<Client>, Client) {
    let mut clients = Vec::new();
    for _ in 0..most {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        clients.push(client);
    }
    let mut waiting = Client::connect(address).await;
    waiting.ask("/hello").await;
    // Time enough for it to be accepted, if it were.
    assert_eq!(clients[0].get("/sleep?ms=300").await.text(), "slept 300");
    assert!(waiting.is_quiet());
    let status: Value = serde_json::from_slice(&clients[0].get("/status").await.body).expect("JSON");
    assert_eq!(status["servers"][0]["connections"], most, "{status}");
    (clients, waiting)
}

fn at_most(most: &str, idle_grace: &str) -> Command {
    program(&[("ENDLESS_MAX_CONNECTIONS", most), ("ENDLESS_IDLE_GRACE", idle_grace)])
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_waits_until_another_leaves() {
    let (app, address) = start(at_most("2", "0s")).await;
    let (mut clients, mut waiting) = full(address, 2).await;
    clients.pop();
    assert_eq!(waiting.answer().await.text(), "WORLD!");
    assert_eq!(clients[0].get("/hello").await.text(), "WORLD!");

    // And again: what left is not counted twice, nor is what came.
    let mut next = Client::connect(address).await;
    next.ask("/hello").await;
    assert_eq!(waiting.get("/sleep?ms=300").await.text(), "slept 300");
    assert!(next.is_quiet());
    drop(waiting);
    assert_eq!(next.answer().await.text(), "WORLD!");
    drop((clients, next));
    assert_eq!(app.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_restarted_and_the_successor_serves_who_waited() {
    let (app, address) = start(at_most("2", LONG)).await;
    let (mut clients, mut waiting) = full(address, 2).await;
    let successor = restart(&app).await;
    assert_eq!(pid_of(&waiting.answer().await), successor);
    // Those that move are taken, however many there are.
    for client in &mut clients {
        let answer = client.get("/hello").await;
        assert_eq!((pid_of(&answer), answer.close), (successor, false));
    }
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    drop((clients, waiting));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_stopped_and_serves_who_waited_first() {
    let (app, address) = start(at_most("2", "500ms")).await;
    let (mut clients, mut waiting) = full(address, 2).await;
    app.signal(app.first_pid(), Signal::SIGTERM);
    let answer = waiting.answer().await;
    assert_eq!((answer.text().as_str(), answer.close), ("WORLD!", true));
    for client in &mut clients {
        client.closed().await;
    }
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_code_says_wins_over_the_environment_and_a_line_says_so() {
    let mut command = builder(&["new=127.0.0.1:0", "max_connections=1"]);
    command.env("ENDLESS_MAX_CONNECTIONS", "5").env("ENDLESS_IDLE_GRACE", "0s");
    let (app, address) = start(command).await;
    let line = app.wait_for_message(Mark::START, "the server's code overrules an option").await;
    assert_eq!(line.field("option"), Some("max_connections"));
    assert_eq!(line.field("address"), Some("127.0.0.1:0"));
    let (clients, mut waiting) = full(address, 1).await;
    drop(clients);
    assert_eq!(waiting.answer().await.text(), "WORLD!");
    drop(waiting);
    app.stop().await;
    assert_eq!(said(&app, "the server's code overrules an option"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_code_says_overrules_nothing() {
    let mut command = builder(&["new=127.0.0.1:0", "max_connections=1"]);
    command.env("ENDLESS_IDLE_GRACE", "0s");
    let (app, address) = start(command).await;
    drop(full(address, 1).await);
    app.stop().await;
    assert_eq!(said(&app, "the server's code overrules an option"), 0);
}

// ---- backlog

/// How many connections may wait, as the kernel tells; `None` without the tool that asks it.
fn backlog(address: SocketAddr) -> Option<u32> {
    let filter = format!("sport = :{}", address.port());
    let output = Command::new(tool("ss")?).args(["-Hltn", &filter]).output().expect("ss can be run");
    let text = String::from_utf8(output.stdout).expect("ss writes text");
    let waiting = text.split_whitespace().nth(2).and_then(|column| column.parse().ok());
    Some(waiting.unwrap_or_else(|| panic!("ss says {text:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_is_the_kernels_or_the_environments() {
    let limit = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux tells it");
    let default = limit.trim().parse::<u32>().expect("a number").min(4096);
    for (environment, expected) in [(&[][..], default), (&[("ENDLESS_BACKLOG", "7")], 7)] {
        let (app, address) = start(program(environment)).await;
        for _ in 0..2 {
            let Some(backlog) = backlog(address) else { return };
            assert_eq!(backlog, expected);
            restart(&app).await;
        }
        app.stop().await;
    }
}

/// Of a listener that was inherited with another one, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_is_what_the_successors_code_says() {
    let mut command = builder(&["new=127.0.0.1:0", "backlog=9"]);
    command.env("ENDLESS_BACKLOG", "7");
    let plan = Plan::of(&mut command);
    let (app, address) = start(command).await;
    let Some(before) = backlog(address) else { return };
    assert_eq!(before, 9);
    plan.set("backlog=11");
    restart(&app).await;
    assert_eq!(backlog(address), Some(11));
    app.stop().await;
}

// ---- connect_info

/// What the service learns of the connection that it is asked over, and the client's own end.
async fn ends(address: SocketAddr) -> (Value, SocketAddr) {
    let mut client = Client::connect(address).await;
    let answer = client.get("/ends").await;
    let me = client.local().expect("it is connected");
    (serde_json::from_slice(&answer.body).expect("JSON"), me)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_a_connection_are_told_if_asked_for() {
    let builder = builder(&["new=127.0.0.1:0", "connect_info"]);
    for command in [program(&[("ENDLESS_CONNECT_INFO", "true")]), builder] {
        let (app, address) = start(command).await;
        for _ in 0..2 {
            let (told, me) = ends(address).await;
            assert_eq!(
                (&told["remote"], &told["local"]),
                (&me.to_string().into(), &address.to_string().into())
            );
            assert_eq!(told["axum"], Value::Null, "only with the feature");
            restart(&app).await;
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_of_a_connection_if_not_asked_for() {
    let axum = Command::new(example_with("test_declarative", &["axum"], &[]));
    for command in [program(&[]), program(&[("ENDLESS_CONNECT_INFO", "false")]), axum] {
        let (app, address) = start(command).await;
        let (told, _) = ends(address).await;
        assert_eq!(told, serde_json::json!({ "remote": null, "local": null, "tls": null, "axum": null }));
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn axums_own_connect_info_is_there_with_the_feature() {
    let mut command = Command::new(example_with("test_declarative", &["axum"], &[]));
    command.env("ENDLESS_CONNECT_INFO", "true");
    let (app, address) = start(command).await;
    let (told, me) = ends(address).await;
    assert_eq!((&told["axum"], &told["remote"]), (&me.to_string().into(), &me.to_string().into()));
    app.stop().await;
}

// ---- flavor and worker_threads

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_is_the_one_that_is_asked_for() {
    for (name, value, told) in [
        ("ENDLESS_WORKER_THREADS", "3", "MultiThread 3"),
        ("ENDLESS_FLAVOR", "current_thread", "CurrentThread 1"),
    ] {
        let (app, address) = start(program(&[(name, value)])).await;
        assert_eq!(get(address, "/runtime").await.text(), told);
        restart(&app).await;
        assert_eq!(get(address, "/runtime").await.text(), told);
        app.stop().await;
    }
}

// ---- the environment's mistakes

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_variable_is_warned_of_with_the_nearest() {
    let (app, address) = start(program(&[
        ("ENDLESS_HAMMER_TIM", "1s"),
        ("ENDLESS_max_connections", "1"),
        ("ENDLESS_ZZZ", "1"),
    ]))
    .await;
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    let warning = "unknown environment variable";
    let mut warned: Vec<_> = app
        .lines()
        .iter()
        .filter(|line| line.message() == Some(warning))
        .map(|line| (line.field("name").map(str::to_owned), line.field("nearest").map(str::to_owned)))
        .collect();
    warned.sort();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        warned,
        [
            (text("ENDLESS_HAMMER_TIM"), text("ENDLESS_HAMMER_TIME")),
            (text("ENDLESS_ZZZ"), None),
            (text("ENDLESS_max_connections"), text("ENDLESS_MAX_CONNECTIONS")),
        ]
    );
    // The predecessor's own variable is none that somebody has misspelled.
    restart(&app).await;
    assert_eq!(said(&app, warning), 6);
    app.stop().await;
}

/// It ends with this status and says this.
async fn refuses(command: Command, status: i32, words: &str) {
    let app = App::start(command);
    app.wait_for(Mark::START, |line| line.text.contains(words), PATIENCE).await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(status));
    assert_eq!(said(&app, "listening"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_value_ends_the_start_and_names_its_variable_and_what_is_accepted() {
    for (name, value, expected) in [
        ("HAMMER_TIME", "soon", r#""60s", "500ms" or "never""#),
        ("LAME_DUCK", "never", r#""60s" or "500ms""#),
        ("READINESS_PATH", "ready", r#""/ready""#),
        ("MAX_CONNECTIONS", "0", "a whole number from 1 up"),
        ("BACKLOG", "many", "a whole number from 1 up"),
        ("CONNECT_INFO", "yes", "true or false"),
        ("PID_FILE", "", r#""/path/to/file""#),
        ("PROGRAM", "", ""),
        ("LISTEN", "localhost", ""),
    ] {
        let name = format!("ENDLESS_{name}");
        let words = format!("error: {name}: {value:?} is no ");
        let app = App::start(program(&[(&name, value)]));
        let line = app.wait_for(Mark::START, |line| line.text.starts_with(&words), PATIENCE).await;
        assert!(line.text.contains("expected ") && line.text.contains(expected), "{line}");
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(2), "{name}");
        assert_eq!(said(&app, "listening"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_to_listen_is_refused_where_the_code_says_it() {
    let words = "ENDLESS_LISTEN is set, but this program says in its code where it listens";
    let mut attribute = Command::new(example("multi_port"));
    attribute.env("ENDLESS_LISTEN", "127.0.0.1:0");
    refuses(attribute, 2, &format!("error: {words}")).await;
    let mut plain = imperative();
    plain.env("ENDLESS_LISTEN", "127.0.0.1:0");
    refuses(plain, 1, words).await;
}
