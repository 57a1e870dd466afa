//! A server on a unix socket: its file stays across restarts, goes with a stop, and is never somebody else's.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{App, Mark, PATIENCE, Plan, UnixAnswer, example, patiently, restarts, unix_get, unix_load};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// A folder for a socket, and the programs' working directory.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("app.sock")
    }

    /// What `listen` calls it.
    fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The declarative program on this address, started in the folder.
    fn program(&self, address: &str) -> Command {
        let mut command = Command::new(example("test_declarative"));
        command.env("ENDLESS_LISTEN", address).current_dir(self.0.path());
        command
    }

    async fn start(&self) -> App {
        let app = App::start(self.program(&self.address()));
        app.wait_for_message(Mark::START, "serving").await;
        app
    }

    /// Nothing but the socket: neither a temporary name nor one of another generation.
    fn assert_holds_the_socket_alone(&self) {
        let entries = fs::read_dir(self.0.path()).expect("our own folder").flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["app.sock"]);
    }

    async fn hello(&self) -> UnixAnswer {
        let answer = unix_get(&self.socket(), "/hello").await.expect("it is served");
        assert_eq!((answer.status(), answer.body.as_str()), ("200", "WORLD!"));
        answer
    }

    async fn answering_pid(&self) -> u32 {
        self.hello().await.pid().expect("it names its process")
    }
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).expect("the file is there").ino()
}

#[tokio::test(flavor = "multi_thread")]
async fn across_restarts_the_file_stays_and_no_connection_fails() {
    let folder = Folder::new();
    let app = folder.start().await;
    assert_eq!(app.addresses(1).await, [folder.address()]);
    let before = inode(&folder.socket());
    let load = unix_load(&folder.socket(), 16);
    load.until_answered_by(app.first_pid()).await;
    for _ in 0..restarts(5, 25) {
        let successor = app.restart().await;
        load.until_answered_by(successor).await;
        assert_eq!(inode(&folder.socket()), before);
        folder.assert_holds_the_socket_alone();
    }
    let report = load.stop().await;
    eprintln!("{report}");
    report.assert_clean();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_stays_when_the_predecessor_ends_and_goes_with_a_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = Folder::new();
        let app = folder.start().await;
        let successor = app.restart().await;
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        assert_eq!(folder.answering_pid().await, successor);
        app.signal(successor, signal);
        assert_eq!(app.exit(successor).await.code(), Some(0));
        assert!(!folder.socket().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_goes_with_a_hammered_stop() {
    let folder = Folder::new();
    let mut command = folder.program(&folder.address());
    command.env("ENDLESS_HAMMER_TIME", "500ms");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let socket = folder.socket();
    let hanging = tokio::spawn(async move { unix_get(&socket, "/hang").await });
    app.wait_for(Mark::START, |line| line.text.contains("stuck in /hang"), PATIENCE).await;
    assert_eq!(app.stop().await.code(), Some(0));
    assert!(hanging.await.expect("no panic").is_err());
    assert!(!folder.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_somebody_elses_by_now_is_left_alone() {
    let folder = Folder::new();
    let app = folder.start().await;
    let others = folder.0.path().join("others.sock");
    let _other = UnixListener::bind(&others).expect("our own folder");
    fs::rename(&others, folder.socket()).expect("our own folder");
    let theirs = inode(&folder.socket());
    assert_eq!(app.stop().await.code(), Some(0));
    assert_eq!(inode(&folder.socket()), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_dead_process_left_is_replaced() {
    let folder = Folder::new();
    let dead = folder.start().await;
    dead.signal(dead.first_pid(), Signal::SIGKILL);
    dead.exit(dead.first_pid()).await;
    assert!(folder.socket().exists());

    let app = folder.start().await;
    assert_eq!(folder.answering_pid().await, app.first_pid());
    folder.assert_holds_the_socket_alone();
    app.stop().await;
}

/// The first server has nothing to fear: neither from the one that is refused, nor when that one ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_living_process_is_refused() {
    let folder = Folder::new();
    let app = folder.start().await;
    let before = inode(&folder.socket());
    let second = App::start(folder.program(&folder.address()));
    let words = format!("error: cannot bind {}: address already in use", folder.address());
    second.wait_for(Mark::START, |line| line.text == words, PATIENCE).await;
    assert_eq!(second.exit(second.first_pid()).await.code(), Some(1));

    assert_eq!(folder.answering_pid().await, app.first_pid());
    assert_eq!(inode(&folder.socket()), before);
    folder.assert_holds_the_socket_alone();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_socket_is_refused_and_kept() {
    let folder = Folder::new();
    fs::write(folder.socket(), "notes").expect("our own folder");
    let app = App::start(folder.program(&folder.address()));
    let words = format!("error: cannot bind {}: the path is not a socket's", folder.address());
    app.wait_for(Mark::START, |line| line.text == words, PATIENCE).await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(1));
    assert_eq!(fs::read_to_string(folder.socket()).expect("still there"), "notes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_removed_is_bound_anew_by_the_next_restart() {
    let folder = Folder::new();
    let app = folder.start().await;
    fs::remove_file(folder.socket()).expect("it is there");
    let successor = app.restart().await;
    assert_eq!(folder.answering_pid().await, successor);
    // The predecessor lets its own go, which is another.
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert_eq!(folder.answering_pid().await, successor);

    let before = inode(&folder.socket());
    let third = app.restart().await;
    assert_eq!((folder.answering_pid().await, inode(&folder.socket())), (third, before));
    app.stop().await;
    assert!(!folder.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_path_is_of_the_folder_that_the_program_was_started_in() {
    let folder = Folder::new();
    let app = App::start(folder.program("unix:app.sock"));
    app.wait_for_message(Mark::START, "serving").await;
    assert_eq!(app.addresses(1).await, [folder.address()]);
    assert_eq!(folder.answering_pid().await, app.first_pid());
    let before = inode(&folder.socket());
    let successor = app.restart().await;
    assert_eq!((folder.answering_pid().await, inode(&folder.socket())), (successor, before));
    app.stop().await;
    assert!(!folder.socket().exists());
}

/// The next build may spell the same path otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn another_text_for_the_same_path_keeps_the_socket() {
    let folder = Folder::new();
    let mut command = Command::new(example("test_builder"));
    command.arg("new=unix:app.sock").current_dir(folder.0.path());
    let plan = Plan::of(&mut command);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let before = inode(&folder.socket());
    plan.set(&format!("new={}", folder.address()));
    let successor = app.restart().await;
    assert_eq!((folder.answering_pid().await, inode(&folder.socket())), (successor, before));
    app.stop().await;
    assert!(!folder.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connections_ends_are_the_path_and_a_client_without_a_name() {
    let folder = Folder::new();
    let mut command = folder.program(&folder.address());
    command.env("ENDLESS_CONNECT_INFO", "true");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    for _ in 0..2 {
        let answer = unix_get(&folder.socket(), "/ends").await.expect("it is served");
        let told: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!((&told["local"], &told["remote"]), (&folder.address().into(), &"unix:".into()));
        app.restart().await;
    }
    app.stop().await;
}

/// Fresh, and between two requests.
#[tokio::test(flavor = "multi_thread")]
async fn connections_move_to_the_successor() {
    let folder = Folder::new();
    let app = folder.start().await;
    let mut clients = Vec::new();
    for asks_before in [false, true] {
        let mut stream = UnixStream::connect(folder.socket()).await.expect("it is served");
        if asks_before {
            assert_eq!(asked_of(&mut stream).await, app.first_pid());
        }
        clients.push(stream);
    }
    // Accepted before it, so they are connections of the predecessor's.
    folder.hello().await;
    let successor = app.restart().await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    for stream in &mut clients {
        assert_eq!(asked_of(stream).await, successor);
    }
    app.stop().await;
}

/// Who has answered on this connection.
async fn asked_of(stream: &mut UnixStream) -> u32 {
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("it reads");
    let mut text = String::new();
    while !text.ends_with("WORLD!") {
        let mut bytes = [0; 1024];
        let count = patiently(stream.read(&mut bytes)).await.expect("it answers");
        assert!(count > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
    }
    let pid = text.lines().find_map(|line| line.strip_prefix("x-pid: "));
    pid.and_then(|pid| pid.parse().ok()).expect("it names its process")
}
