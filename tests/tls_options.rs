//! The options of TLS: in the attribute and in the environment, which wins, and what they refuse.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{
    App, Authority, Client, Identity, Mark, PATIENCE, Secure, Source, declarative, example, get, patiently,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

fn program(variables: &[(&str, &str)]) -> Command {
    let mut command = declarative();
    command.envs(variables.iter().copied());
    command
}

fn files<'a>(Identity { cert, key, .. }: &'a Identity) -> [(&'static str, &'a str); 2] {
    let text = |path: &'a std::path::PathBuf| path.to_str().expect("a plain path");
    [("ENDLESS_TLS_CERT", text(cert)), ("ENDLESS_TLS_KEY", text(key))]
}

/// The process ends with status 2, and says why.
async fn is_refused(command: Command, reason: &str) {
    let app = App::start(command);
    let said = |line: &support::Line| line.source == Source::Stderr && line.text.starts_with("error: ");
    let line = app.wait_for(Mark::START, said, PATIENCE).await;
    assert_eq!(line.text, format!("error: {reason}"));
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused() {
    for supervise in ["true", "false"] {
        for (variable, value, reason) in [
            ("ENDLESS_TLS_CERT", "cert.pem", "tls_cert is set without tls_key"),
            ("ENDLESS_TLS_KEY", "key.pem", "tls_key is set without tls_cert"),
            (
                "ENDLESS_TLS_CERT",
                "",
                r#"ENDLESS_TLS_CERT: "" is no path of a file: expected a path such as "/path/to/file""#,
            ),
            (
                "ENDLESS_TLS_RELOAD",
                "SIGHUP",
                "ENDLESS_TLS_RELOAD: SIGHUP restarts the service: expected a signal for hooks alone, such as \
                 \"SIGUSR1\"",
            ),
            (
                "ENDLESS_TLS_RELOAD",
                "usr3",
                r#"ENDLESS_TLS_RELOAD: "usr3" is no signal for hooks: expected "SIGUSR1""#,
            ),
            (
                "ENDLESS_HANDSHAKE_TIMEOUT",
                "0s",
                r#"ENDLESS_HANDSHAKE_TIMEOUT: "0s" is no time-out: expected "60s", "500ms" or "never""#,
            ),
        ] {
            is_refused(program(&[(variable, value), ("ENDLESS_SUPERVISE", supervise)]), reason).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_says_in_its_code_where_it_listens_says_there_how_it_speaks_tls() {
    let mut command = Command::new(example("test_attributed"));
    command.arg("127.0.0.1:0").env("ENDLESS_TLS_CERT", "cert.pem").env("ENDLESS_TLS_KEY", "key.pem");
    let reason = "ENDLESS_TLS_CERT is set, but this program says in its code how it speaks TLS";
    is_refused(command, reason).await;
}

/// With files that cannot be used, main has failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_bad_files_ends_with_status_1() {
    let authority = Authority::new();
    let identity = authority.issue("server", &["localhost"]);
    let missing = authority.path("missing.pem");
    for supervise in ["true", "false"] {
        let mut command = program(&files(&identity));
        command.env("ENDLESS_TLS_KEY", &missing).env("ENDLESS_SUPERVISE", supervise);
        let app = App::start(command);
        let said = |line: &support::Line| line.text.starts_with("error: cannot read ");
        app.wait_for(Mark::START, said, PATIENCE).await;
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(1));
    }
}

/// Each of them speaks TLS.
#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_of_listen_have_the_certificate() {
    let authority = Authority::new();
    let identity = authority.issue("server", &["localhost"]);
    let mut command = program(&files(&identity));
    command.env("ENDLESS_LISTEN", "127.0.0.1:0,127.0.0.1:0").env("ENDLESS_TLS_RELOAD", "SIGUSR1");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let second = authority.issue("server", &["localhost"]);
    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGUSR1);
    app.wait_for_message(mark, "certificates reloaded").await;
    for address in app.addresses(2).await {
        let address = address.parse().expect("an address");
        let stream = Secure::trusting(&authority).connect(address).await.expect("a handshake");
        assert!(stream.get_ref().1.peer_certificates().expect("a certificate")[0] == second.der);
        assert_eq!(get(address, "/hello").await.status, 400);
    }
    app.stop().await;
    let reloads = app.lines().iter().filter(|line| line.message() == Some("certificates reloaded")).count();
    assert_eq!(reloads, 1, "both have the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_sets_handshake_timeout() {
    let authority = Authority::new();
    let identity = authority.issue("server", &["localhost"]);
    let mut command = program(&files(&identity));
    command.env("ENDLESS_HANDSHAKE_TIMEOUT", "700ms");
    let app = App::start(command);
    let address = app.address().await;
    app.wait_for_message(Mark::START, "serving").await;
    let begun = Instant::now();
    let mut silent = patiently(TcpStream::connect(address)).await.expect("it takes connections");
    assert_eq!(patiently(silent.read(&mut [0])).await.expect("no reset"), 0);
    assert!(begun.elapsed() >= Duration::from_millis(700));
    app.stop().await;
}

/// Other time-outs begin behind the handshake, and are said to the client as without TLS.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_time_outs_hold_over_tls() {
    let authority = Authority::new();
    let identity = authority.issue("server", &["localhost"]);
    let mut command = program(&files(&identity));
    command.env("ENDLESS_HEADER_TIMEOUT", "700ms").env("ENDLESS_IDLE_TIMEOUT", "700ms");
    command.env("ENDLESS_MAX_HEADER_BYTES", "10000");
    let app = App::start(command);
    let address = app.address().await;
    app.wait_for_message(Mark::START, "serving").await;
    let secure = Secure::trusting(&authority);
    let mut late = Client::secure(address, &secure).await;
    late.send("GET /hello HTTP/1.1\r\nHo").await;
    let mut long = Client::secure(address, &secure).await;
    long.send(&format!("GET /hello HTTP/1.1\r\nHost: test\r\nx: {}\r\n\r\n", "x".repeat(20_000))).await;
    for (client, status) in [(&mut late, 408), (&mut long, 431)] {
        assert_eq!(client.answer().await.status, status);
        client.closed().await;
    }
    let mut idle = Client::secure(address, &secure).await;
    assert_eq!(idle.get("/hello").await.status, 200);
    idle.closed().await;
    Client::secure(address, &secure).await.closed().await;
    app.stop().await;
}
