//! The seed's own test: ApacheBench runs while whoever serves is restarted again and again, and ab sees
//! nothing of it. Over TLS as well, both ways to run.

mod support;

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{App, Authority, Line, Mark, Random, descriptor_limit, example, restarts, supervised, tool};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const PAUSE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);

/// For one round of ab; met only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn one_request_a_connection() {
    let Some(ab) = tool("ab") else { return };
    ab_sees_nothing(&ab, Round::plain(&[]), Service::plain().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive() {
    let Some(ab) = tool("ab") else { return };
    ab_sees_nothing(&ab, Round::plain(&["-k"]), Service::plain().await).await;
}

/// Each request begins with a handshake.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_a_connection_over_tls() {
    ab_sees_nothing_over_tls(supervised, &["-f", "TLS1.3"]).await;
    if restarts(0, 1) == 1 {
        ab_sees_nothing_over_tls(|direct| direct, &["-f", "TLS1.2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_over_tls() {
    ab_sees_nothing_over_tls(|direct| direct, &["-k", "-f", "TLS1.2"]).await;
    if restarts(0, 1) == 1 {
        ab_sees_nothing_over_tls(supervised, &["-k", "-f", "TLS1.3"]).await;
    }
}

async fn ab_sees_nothing_over_tls(way: impl FnOnce(Command) -> Command, options: &[&str]) {
    let Some(ab) = tool("ab") else { return };
    ab_sees_nothing(&ab, Round::over_tls(options), Service::over_tls(way).await).await;
}

/// Rounds of ab until enough restarts have completed.
async fn ab_sees_nothing(ab: &Path, round: Round<'_>, service: Service) {
    let Service { app, url, .. } = &service;
    let mut when = service.when();
    let mut generations = vec![app.serving_pid()];
    while generations.len() <= round.restarts {
        let mut ab = Ab::start(ab, &round, url);
        ab.while_restarting(app, &mut generations, &mut when).await;
        ab.ends_well().await;
    }
    // No restart met the last generation, but it must have answered as well.
    Ab::start(ab, &round, url).ends_well().await;
    service.stop(*generations.last().expect("the first")).await;
    each_has_answered(app, &generations).await;
}

/// What is asked.
struct Service {
    app: App,
    url: String,
    is_supervised: bool,
    authority: Option<Authority>,
}

impl Service {
    async fn plain() -> Self {
        Self::start(Command::new(example("hello")), "http", None).await
    }

    async fn over_tls(way: impl FnOnce(Command) -> Command) -> Self {
        let authority = Authority::new();
        let identity = authority.issue("server", &["127.0.0.1"]);
        let mut command = way(Command::new(example("hello")));
        command.env("ENDLESS_TLS_CERT", &identity.cert).env("ENDLESS_TLS_KEY", &identity.key);
        Self::start(command, "https", Some(authority)).await
    }

    async fn start(mut command: Command, scheme: &str, authority: Option<Authority>) -> Self {
        command.env("ENDLESS_LISTEN", "127.0.0.1:0");
        let app = App::start(command);
        let serving = app.wait_for_message(Mark::START, "serving").await;
        let url = format!("{scheme}://{}/hello", app.address().await);
        Self { app, url, is_supervised: serving.field("supervisor").is_some(), authority }
    }

    fn when(&self) -> When {
        match self.authority {
            None => When::AtAnyTime(Random::from_clock()),
            Some(_) => When::WhenAnswered,
        }
    }

    async fn stop(&self, serving: u32) {
        let pid = if self.is_supervised { self.app.first_pid() } else { serving };
        self.app.signal(pid, Signal::SIGTERM);
        assert_eq!(self.app.exit(pid).await.code(), Some(0));
    }
}

async fn each_has_answered(app: &App, generations: &[u32]) {
    for pid in generations {
        let is_its_end = |line: &Line| {
            line.message() == Some("drained") && line.field("pid") == Some(pid.to_string().as_str())
        };
        let line = app.wait_for(Mark::START, is_its_end, Duration::from_secs(60)).await;
        let requests = line.field("requests").and_then(|count| count.parse::<u64>().ok());
        assert!(requests.is_some_and(|count| count > 0), "{pid} has answered nothing: {line}");
    }
}

async fn restart(app: &App, generations: &mut Vec<u32>) {
    let mark = app.mark();
    generations.push(app.restart().await);
    app.wait_for_message(mark, "serving").await;
}

/// The moments of the restarts.
enum When {
    AtAnyTime(Random),
    /// When whoever serves has answered, if that may take its time: a tenth is more than its predecessor has left.
    WhenAnswered,
}

/// What ab is asked to do.
struct Round<'a> {
    requests: usize,
    connections: usize,
    options: &'a [&'a str],
    /// In all rounds together, at the least.
    restarts: usize,
}

impl<'a> Round<'a> {
    /// With a thousand connections as the seed's, if the limit of descriptors allows it.
    fn plain(options: &'a [&'a str]) -> Self {
        let connections = if descriptor_limit() > 1100 { 1000 } else { 200 };
        Self { requests: restarts(10_000, 100_000), connections, options, restarts: restarts(5, 20) }
    }

    fn over_tls(options: &'a [&'a str]) -> Self {
        let (requests, connections) = (restarts(1_000, 20_000), restarts(25, 200));
        Self { requests, connections, options, restarts: restarts(3, 20) }
    }
}

/// ApacheBench under way.
struct Ab {
    child: Child,
    requests: usize,
    /// How many tenths of its requests it has completed.
    tenths: watch::Receiver<usize>,
    /// All that it said of its progress, for a failure.
    said: JoinHandle<String>,
}

impl Ab {
    fn start(program: &Path, round: &Round, url: &str) -> Self {
        let mut command = tokio::process::Command::new(program);
        command.args(["-n", &round.requests.to_string(), "-c", &round.connections.to_string()]);
        command.args(round.options).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("ab can be run");
        let (count, tenths) = watch::channel(0);
        let said = tokio::spawn(follow(child.stderr.take().expect("stderr is piped"), count));
        Self { child, requests: round.requests, tenths, said }
    }

    /// Restarts as long as there is a load: after ab's first tenth, so that whoever serves has answered, and
    /// until its last but one, so that whoever takes over has something to answer.
    async fn while_restarting(&mut self, app: &App, generations: &mut Vec<u32>, when: &mut When) {
        match when {
            When::AtAnyTime(random) => {
                self.completed(1).await;
                loop {
                    tokio::select! {
                        biased;
                        () = self.completed(9) => return,
                        () = sleep(random.duration(&PAUSE)) => {}
                    }
                    restart(app, generations).await;
                }
            }
            When::WhenAnswered => {
                let mut next = 1;
                while next < 9 {
                    self.completed(next).await;
                    if self.tenths.has_changed().is_err() {
                        return;
                    }
                    restart(app, generations).await;
                    // The one under way may be the predecessor's.
                    next = *self.tenths.borrow() + 2;
                }
            }
        }
    }

    /// Waits until ab has completed so many tenths of its requests, or has ended.
    async fn completed(&mut self, tenths: usize) {
        let completed = self.tenths.wait_for(|completed| *completed >= tenths);
        // An error means that it says nothing any more; what it means, its status will tell.
        let _ended = timeout(PATIENCE, completed).await.expect("ab goes on");
    }

    /// Lets ab end, and reads its report.
    async fn ends_well(mut self) {
        let mut stdout = self.child.stdout.take().expect("stdout is piped");
        let mut report = String::new();
        let read = timeout(PATIENCE, stdout.read_to_string(&mut report)).await.expect("ab ends");
        read.expect("ab's report is UTF-8");
        let status = self.child.wait().await.expect("ab is our child");
        let said = self.said.await.expect("following it does not panic");
        assert!(status.success(), "{status}\n{report}\n{said}");
        assert_eq!(number(&report, "Complete requests"), Some(self.requests), "{report}\n{said}");
        assert_eq!(number(&report, "Failed requests"), Some(0), "{report}\n{said}");
        assert_eq!(number(&report, "Non-2xx responses"), None, "{report}\n{said}");
    }
}

/// Counts ab's lines of progress, one for each tenth of the requests. Returns all lines.
async fn follow(stderr: ChildStderr, tenths: watch::Sender<usize>) -> String {
    let mut lines = BufReader::new(stderr).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.expect("ab's words are UTF-8") {
        if line.starts_with("Completed ") {
            tenths.send_modify(|completed| *completed += 1);
        }
        said = said + &line + "\n";
    }
    said
}

/// The number in a line `NAME:   NUMBER` of ab's report.
fn number(report: &str, name: &str) -> Option<usize> {
    let line = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}
