//! The examples do what their first lines and the README say.

mod support;

use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use support::{
    App, Client, Connection, Datagrams, EventSource, Line, Mark, PATIENCE, Said, Secure, WebSocket, example,
    get, patiently, restarts, status, unix_get,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[tokio::test]
async fn hello_says_world() {
    let app = serve_hello();
    let response = get(app.address().await, "/hello").await;
    assert_eq!((response.status, response.text().as_str()), (200, "WORLD!"));
    assert_eq!(get(app.address().await, "/").await.status, 404);
    app.stop().await;
}

#[tokio::test]
async fn hello_begins_with_address_and_pid_and_how_to_restart_and_stop() {
    let app = serve_hello();
    let pid = app.first_pid().to_string();
    app.wait_for(Mark::START, |line| line.text.starts_with("stop:"), PATIENCE).await;
    let lines = app.lines();
    assert_eq!(lines[0].message(), Some("listening"), "{}", lines[0]);
    assert_eq!(lines[0].field("address"), Some(app.address().await.to_string().as_str()));
    assert_eq!(lines[0].field("pid"), Some(pid.as_str()));
    let says = |text: String| lines.iter().any(|line| line.text == text);
    assert!(
        says(format!("restart: kill -HUP {pid}")) && says(format!("stop:    kill -TERM {pid}")),
        "{lines:?}"
    );
    app.stop().await;
}

#[tokio::test]
async fn hello_restarts_and_stops_as_it_says() {
    let app = serve_hello();
    let address = app.address().await;
    let first = advised(&app, "restart: kill -HUP ", Mark::START).await;
    assert_eq!(advised(&app, "stop:    kill -TERM ", Mark::START).await, first);
    let mark = app.mark();
    app.signal(first, Signal::SIGHUP);
    app.wait_for_message(mark, "handed over").await;
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
    assert_eq!(app.exit(first).await.code(), Some(0));

    let serving = restart_until_advised(&app, "stop:    kill -TERM ").await;
    app.signal(serving, Signal::SIGTERM);
    assert_eq!(app.exit(serving).await.code(), Some(0));
    app.ended().await;
}

#[tokio::test]
async fn multi_port_serves_restarts_and_stops_both() {
    let _lock = alone();
    let app = App::start(Command::new(example("multi_port")));
    assert_eq!(sorted(app.addresses(2).await), ["127.0.0.1:4242", "127.0.0.1:4243"]);
    app.wait_for_message(Mark::START, "serving").await;
    let first = app.first_pid();
    both_are_served_by(first).await;

    let second = app.restart().await;
    both_are_served_by(second).await;
    assert_eq!(app.exit(first).await.code(), Some(0));

    let mark = app.mark();
    assert_eq!(app.stop().await.code(), Some(0));
    let cleans_up = "everything in flight is finished: clean up here";
    app.wait_for(mark, |line| line.text == cleans_up, PATIENCE).await;
    for port in [4242, 4243] {
        let refused = Connection::open(SocketAddr::from(([127, 0, 0, 1], port))).await;
        assert!(refused.is_err(), "nobody listens on {port} any more");
    }
}

#[tokio::test]
async fn hooks_report_every_signal_and_what_became_of_it() {
    let _lock = alone();
    let app = anywhere("hooks", Path::new("/"));
    app.wait_for_message(Mark::START, "serving").await;
    let begin = format!("about to accept on {}", app.address().await);
    app.wait_for(Mark::START, |line| line.text.contains(&begin), PATIENCE).await;
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGTSTP] {
        let sender = format!("pre {signal}, sent by Some(Sender {{ pid: {}, ", std::process::id());
        signal_until(&app, signal, |line| line.text.starts_with(&sender)).await;
        let outcome = format!("post {signal}: Nothing");
        signal_until(&app, signal, |line| line.text == outcome).await;
    }
    for signal in [Signal::SIGQUIT, Signal::SIGWINCH, Signal::SIGALRM, Signal::SIGIO, Signal::SIGCONT] {
        let pre = format!("pre {signal}");
        signal_until(&app, signal, |line| line.text == pre).await;
    }
    assert_eq!(get(app.address().await, "/hello").await.text(), "WORLD!");

    let mut successors = Vec::new();
    while successors.len() < MANY {
        let before = app.serving_pid();
        successors.push(app.restart().await);
        assert_eq!(app.exit(before).await.code(), Some(0));
    }
    let says = |line: &Line, text: &dyn Fn(usize, u32) -> String| {
        successors.iter().enumerate().any(|(number, pid)| line.text == text(number, *pid))
    };
    let restarted = |_, pid| format!("post SIGHUP: Restarted {{ pid: {pid} }}");
    app.wait_for(Mark::START, |line| says(line, &restarted), PATIENCE).await;
    let serves = |number, pid| format!("generation {} serves as PID {pid}", number + 1);
    app.wait_for(Mark::START, |line| says(line, &serves), PATIENCE).await;
    let mark = app.mark();
    assert_eq!(app.stop().await.code(), Some(0));
    app.wait_for(mark, |line| line.text.ends_with("everything in flight is finished"), PATIENCE).await;
}

#[tokio::test]
async fn hooks_call_a_restart_off_while_a_file_says_so() {
    let _lock = alone();
    let app = anywhere("hooks", Path::new("/"));
    app.wait_for_message(Mark::START, "serving").await;
    let refusal = Removed("/tmp/no-restart");
    File::create(refusal.0).expect("a file in /tmp");
    let words = "hook check refused: /tmp/no-restart says no";
    for _ in 0..MANY {
        assert_eq!(app.try_restart().await.expect_err("refused"), words);
    }
    says(&app, Mark::START, &format!("post SIGHUP: NotRestarted {{ reason: {words:?} }}")).await;
    drop(refusal);
    app.restart().await;
    app.stop().await;
}

#[tokio::test]
async fn pid_file_names_whom_to_signal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("endless.pid");
    let named = || fs::read_to_string(&file).expect("the PID file is there").trim().parse::<u32>();
    let app = anywhere("pid_file", folder.path());
    app.wait_for_message(Mark::START, "serving").await;
    assert_eq!(named(), Ok(app.first_pid()));
    let mark = app.mark();
    let successor = app.restart().await;
    app.wait_for_message(mark, "serving").await;
    assert_eq!(named(), Ok(successor));
    assert_eq!(get(app.address().await, "/hello").await.text(), "WORLD!");
    app.stop().await;
    assert!(!file.exists());
}

#[tokio::test]
async fn settings_come_from_the_attribute_and_from_code() {
    let _lock = alone();
    let app = App::start(Command::new(example("settings")));
    app.wait_for_message(Mark::START, "serving").await;
    let [public, admin] = [4242, 4243].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    for address in [public, admin] {
        assert_eq!(get(address, "/ready").await.status, 200);
    }
    assert_eq!(get(public, "/hello").await.text(), "WORLD!");
    assert_eq!(status(admin).await["pid"], app.first_pid());
    let who = get(admin, "/who").await.text();
    assert!(who.starts_with("127.0.0.1:"), "{who}");
    let line = app.wait_for_message(Mark::START, "the server's code overrules an option").await;
    assert_eq!(
        (line.field("option"), line.field("address")),
        (Some("max_connections"), Some("127.0.0.1:4243"))
    );
    app.restart().await;
    assert_eq!(app.stop().await.code(), Some(0));
}

/// Both variables of its first lines, the second of which it refuses before it binds anything.
#[tokio::test]
async fn settings_come_from_the_environment() {
    let _lock = alone();
    let mut command = Command::new(example("settings"));
    command.env("ENDLESS_HAMMER_TIME", "5s").env("ENDLESS_LAME_DUCK", "1s");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    assert_eq!(app.stop().await.code(), Some(0));
    let line = app.wait_for_message(Mark::START, "lame duck").await;
    assert_eq!(line.field("time"), Some("1s"));

    let mut command = Command::new(example("settings"));
    command.env("ENDLESS_HAMMER_TIME", "soon");
    let app = App::start(command);
    let error = r#"error: ENDLESS_HAMMER_TIME: "soon" is no duration: expected "60s", "500ms" or "never""#;
    says(&app, Mark::START, error).await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(2));
}

#[tokio::test]
async fn unix_socket_is_served_in_the_folder_where_it_was_started() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("endless.sock");
    let mut command = Command::new(example("unix_socket"));
    command.current_dir(folder.path());
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    for _ in 0..2 {
        assert_eq!(unix_get(&socket, "/hello").await.expect("it is served").body, "WORLD!");
        app.restart().await;
    }
    app.stop().await;
    assert!(!socket.exists());
}

/// The certificate is made once, read again upon the signal, and by a successor.
#[tokio::test(flavor = "multi_thread")]
async fn tls_makes_itself_a_certificate_and_reads_it_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cert = folder.path().join("target/example-tls/cert.pem");
    let app = anywhere("tls", folder.path());
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    let first = fs::read(&cert).expect("it was made");
    says_world_securely(address, &cert).await;
    app.restart().await;
    assert_eq!(fs::read(&cert).expect("it is there"), first);
    says_world_securely(address, &cert).await;

    fs::remove_file(&cert).expect("it is there");
    let successor = app.restart().await;
    says_world_securely(address, &cert).await;
    assert_ne!(fs::read(&cert).expect("it was made"), first);
    let mark = app.mark();
    app.signal(successor, Signal::SIGUSR1);
    app.wait_for_message(mark, "certificates reloaded").await;
    says_world_securely(address, &cert).await;
    app.stop().await;
}

async fn says_world_securely(address: SocketAddr, cert: &Path) {
    let mut client = Client::secure(address, &Secure::trusting_file(cert)).await;
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_https_sends_everybody_to_https() {
    let _lock = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(example("http_and_https"));
    command.current_dir(folder.path());
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let [plain, secure] = [4242, 4243].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    for _ in 0..2 {
        let mut client = Client::connect(plain).await;
        client.send("GET /hello?really HTTP/1.1\r\nHost: localhost:4242\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 308);
        assert_eq!(answer.header("location"), Some("https://localhost:4243/hello?really"));
        says_world_securely(secure, &folder.path().join("target/example-https/cert.pem")).await;
        app.restart().await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_answers_all_that_was_said_before_its_close_frame() {
    let app = anywhere("websocket", Path::new("/"));
    let address = app.address().await;
    let echoes: Vec<_> = (0..8).map(|_| Echo::start(address)).collect();
    for _ in 0..restarts(3, 25) {
        for echo in &echoes {
            echo.goes_on().await;
        }
        let predecessor = app.serving_pid();
        app.restart().await;
        assert_eq!(app.exit(predecessor).await.code(), Some(0));
    }
    for echo in echoes {
        echo.goes_on().await;
        assert!(echo.stop().await >= restarts(3, 25), "one that was never closed was never restarted");
    }
    app.stop().await;
    assert!(!app.lines().iter().any(|line| line.text.contains("Hammer Time")));
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_closes_quiet_sockets_at_a_restart_and_at_a_stop() {
    let app = anywhere("websocket", Path::new("/"));
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let mut socket = WebSocket::connect(app.address().await, "/echo").await;
        socket.say("hello").await;
        assert_eq!(socket.hear().await, Said::Text("hello".to_owned()));
        let predecessor = app.serving_pid();
        app.signal(predecessor, signal);
        assert_eq!(socket.hear().await, Said::Close(GOING_AWAY));
        socket.closed().await;
        assert_eq!(app.exit(predecessor).await.code(), Some(0));
    }
}

/// The source asks again on the connection that it has, which is the successor's; at a stop, the last answer on
/// it says so.
#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_are_neither_lost_nor_doubled() {
    let mut command = Command::new(example("server_sent_events"));
    command.env("ENDLESS_LISTEN", "127.0.0.1:0").env("ENDLESS_IDLE_GRACE", "1h");
    let app = App::start(command);
    let mut source = EventSource::open(app.address().await, "/ticks").await;
    for _ in 0..restarts(3, 25) {
        source.hear().await;
        let predecessor = app.serving_pid();
        app.restart().await;
        assert!(!source.hear_to_the_end().await);
        assert_eq!(app.exit(predecessor).await.code(), Some(0));
        source.ask().await;
    }
    source.hear().await;
    let last = app.serving_pid();
    app.signal(last, Signal::SIGTERM);
    assert!(!source.hear_to_the_end().await);
    source.ask().await;
    assert!(source.hear_to_the_end().await, "a process that stops answers its connections for the last time");
    assert_eq!(app.exit(last).await.code(), Some(0));
    let first = source.heard[0];
    assert!(source.heard.iter().copied().eq((first..).take(source.heard.len())), "{:?}", source.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_answers_every_datagram_through_restarts() {
    let _lock = alone();
    let app = anywhere("udp", Path::new("/"));
    app.wait_for_message(Mark::START, "serving").await;
    let datagrams = Datagrams::start(SocketAddr::from(([127, 0, 0, 1], 4244))).await;
    let mut serving = app.first_pid();
    for _ in 0..restarts(3, 25) {
        datagrams.until_answered_by(serving).await;
        serving = app.restart().await;
        assert_eq!(get(app.address().await, "/hello").await.text(), "WORLD!");
    }
    datagrams.until_answered_by(serving).await;
    assert_eq!(datagrams.stop().await.len(), restarts(3, 25) + 1);
    assert_eq!(app.stop().await.code(), Some(0));
}

/// A restart is a reset of its counters, and another generation.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_what_status_tells() {
    let _lock = alone();
    let app = App::start(Command::new(example("prometheus")));
    app.wait_for_message(Mark::START, "serving").await;
    let [public, admin] = [4242, 4243].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    for generation in 0..2 {
        for (path, status) in [("/hello", 200), ("/hello", 200), ("/nowhere", 404)] {
            assert_eq!(get(public, path).await.status, status);
        }
        let scraped = get(admin, "/metrics").await;
        let kind = scraped.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        let text = scraped.text();
        for line in [
            &format!("endless_generation {generation}"),
            r#"endless_requests_total{server="127.0.0.1:4242"} 3"#,
            r#"endless_responses_total{server="127.0.0.1:4242",code="200"} 2"#,
            r#"endless_responses_total{server="127.0.0.1:4242",code="404"} 1"#,
            r#"endless_connections{server="127.0.0.1:4243"} 1"#,
            r#"endless_in_flight{server="127.0.0.1:4243"} 1"#,
            "# TYPE endless_requests counter",
            "# EOF",
        ] {
            assert!(text.lines().any(|written| written == line), "no {line} in\n{text}");
        }
        app.restart().await;
    }
    assert_eq!(app.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_hyper_is_restarted_and_stopped() {
    let app = anywhere("plain_hyper", Path::new("/"));
    for _ in 0..2 {
        let mut client = Client::connect(app.address().await).await;
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        client.send("POST /hello HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nsome").await;
        let predecessor = app.serving_pid();
        app.restart().await;
        client.send(" bytes").await;
        assert_eq!(client.answer().await.text(), "some bytes");
        client.closed().await;
        assert_eq!(app.exit(predecessor).await.code(), Some(0));
    }
    assert_eq!(get(app.address().await, "/").await.status, 404);
    assert_eq!(app.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tower_layers_hold_before_and_after_a_restart() {
    let _lock = alone();
    let app = App::start(Command::new(example("tower_layers")));
    let address = app.address().await;
    for _ in 0..2 {
        assert_eq!(get(address, "/sleep?ms=1").await.text(), "slept 1\n");
        assert_eq!(get(address, "/sleep?ms=60000").await.status, 504);
        // On a machine that is slow enough, the third comes when the first is gone.
        patiently(async { while !one_of_three_is_sent_away(address).await {} }).await;
        app.restart().await;
    }
    assert_eq!(app.stop().await.code(), Some(0));
}

async fn one_of_three_is_sent_away(address: SocketAddr) -> bool {
    let asked = || get(address, "/sleep?ms=60000");
    let (a, b, c) = tokio::join!(asked(), asked(), asked());
    let mut statuses = [a.status, b.status, c.status];
    statuses.sort();
    assert!(matches!(statuses, [503 | 504, 504, 504]), "{statuses:?}");
    statuses[0] == 503
}

/// RFC 6455, section 7.4.1.
const GOING_AWAY: u16 = 1001;

/// A socket on which numbers are said all the time, three at once. When it is closed, the next one goes on
/// after the last number that was answered.
struct Echo {
    answered: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    /// How many sockets were closed.
    closed: JoinHandle<usize>,
}

impl Echo {
    fn start(address: SocketAddr) -> Self {
        let ((count, answered), (stop, stopped)) = (watch::channel(0), watch::channel(false));
        let closed = tokio::spawn(async move {
            let mut closed = 0;
            let mut socket = WebSocket::connect(address, "/echo").await;
            while !*stopped.borrow() {
                if three(&mut socket, &count).await == Said::Close(GOING_AWAY) {
                    let next = WebSocket::connect(address, "/echo").await;
                    std::mem::replace(&mut socket, next).closed().await;
                    closed += 1;
                }
            }
            closed
        });
        Self { answered, stop, closed }
    }

    /// Waits until ten more are answered.
    async fn goes_on(&self) {
        let mut answered = self.answered.clone();
        let goal = *answered.borrow() + 10;
        patiently(answered.wait_for(|count| *count >= goal)).await.expect("it has not ended");
    }

    async fn stop(self) -> usize {
        self.stop.send_replace(true);
        patiently(self.closed).await.expect("no panic")
    }
}

/// Says the next three numbers; returns the last answer.
async fn three(socket: &mut WebSocket, answered: &watch::Sender<u64>) -> Said {
    let numbers = (1..=3).map(|more| (*answered.borrow() + more).to_string()).collect::<Vec<_>>();
    for number in &numbers {
        socket.say(number).await;
    }
    let mut said = Said::Text(String::new());
    for number in numbers {
        said = socket.hear().await;
        if said == Said::Close(GOING_AWAY) {
            break;
        }
        assert_eq!(said, Said::Text(number));
        answered.send_modify(|count| *count += 1);
    }
    said
}

/// So often that one of its lines comes whole: what the example writes by `eprintln!` is a write a piece, and
/// endless and the other generation write to the same stderr.
const MANY: usize = 20;

/// Sends the signal again until such a line has come.
async fn signal_until(app: &App, signal: Signal, wanted: impl Fn(&Line) -> bool) {
    for _ in 0..MANY {
        let mark = app.mark();
        app.signal(app.serving_pid(), signal);
        let come = app.wait_for(mark, &wanted, PATIENCE);
        if tokio::time::timeout(Duration::from_secs(1), come).await.is_ok() {
            return;
        }
    }
    panic!("{signal} was sent {MANY} times, and no such line has come");
}

/// Restarts until such advice of a successor's has come whole; returns its PID.
async fn restart_until_advised(app: &App, advice: &str) -> u32 {
    for _ in 0..MANY {
        let mark = app.mark();
        let successor = app.restart().await;
        let text = format!("{advice}{successor}");
        if tokio::time::timeout(Duration::from_secs(1), says(app, mark, &text)).await.is_ok() {
            return successor;
        }
    }
    panic!("{MANY} restarts, and no successor has advised {advice:?}");
}

/// A file that is not there afterwards, whatever happens.
struct Removed(&'static str);

impl Drop for Removed {
    fn drop(&mut self) {
        fs::remove_file(self.0).ok();
    }
}

/// Waits for a line that is exactly this.
async fn says(app: &App, mark: Mark, text: &str) -> Line {
    app.wait_for(mark, |line| line.text == text, PATIENCE).await
}

/// The ports of `multi_port`, `prometheus`, `settings` and `udp` and the file of `hooks` are fixed, so tests
/// of these wait for each other.
fn alone() -> Flock<File> {
    let file = File::create(env::temp_dir().join("endless-multi-port.lock")).expect("a temporary file");
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("the lock can be taken")
}

async fn both_are_served_by(pid: u32) {
    let hello = get(SocketAddr::from(([127, 0, 0, 1], 4242)), "/hello").await;
    assert_eq!((hello.status, hello.text().as_str()), (200, "WORLD!"));
    let status = status(SocketAddr::from(([127, 0, 0, 1], 4243))).await;
    assert_eq!(status["pid"], pid, "{status}");
    let servers = status["servers"].as_array().expect("a list of servers");
    let hellos = servers.iter().find(|server| server["address"] == "127.0.0.1:4242").expect("it is listed");
    assert_eq!(hellos["requests"], 1, "the same process has answered on both ports: {status}");
}

fn serve_hello() -> App {
    anywhere("hello", Path::new("/"))
}

/// The example on any port, in this folder.
fn anywhere(name: &str, folder: &Path) -> App {
    let mut command = Command::new(example(name));
    command.env("ENDLESS_LISTEN", "127.0.0.1:0").current_dir(folder);
    App::start(command)
}

/// The PID in the first line after `mark` that begins with `advice`.
async fn advised(app: &App, advice: &str, mark: Mark) -> u32 {
    let line = app.wait_for(mark, |line| line.text.starts_with(advice), PATIENCE).await;
    line.text[advice.len()..].parse().unwrap_or_else(|_| panic!("no PID in {line}"))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
