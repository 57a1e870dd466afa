//! Clients as they are in use: curl, Python's http.client and requests, Node's http.Agent, reqwest. Each
//! asks on one connection, GET and POST in turns, and notices nothing of the restarts. Over TLS, whose connections
//! do not move, each restart costs a client one connection, and no request.

mod support;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use reqwest::Method;
use support::{App, Authority, Mark, example, patiently, restarts, seen, tool};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const PATH: &str = "/asked";

/// In which the connection is idle.
const PAUSE: Duration = Duration::from_millis(10);

/// More than a client sends with the head.
fn body() -> String {
    "some words ".repeat(2000)
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_http_client() {
    let Some(python) = tool("python3") else { return };
    notices_nothing(|url| Asking::script(&python, "with_http_client.py", [url, body()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_requests() {
    let Some(python) = tool("python3") else { return };
    if !has_requests(&python) {
        return;
    }
    notices_nothing(|url| Asking::script(&python, "with_requests.py", [url, body()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_http_agent() {
    let Some(node) = tool("node") else { return };
    notices_nothing(|url| Asking::script(&node, "with_agent.js", [url, body()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl() {
    let Some(curl) = tool("curl") else { return };
    notices_nothing(|url| Asking::curl(&curl, &url, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reqwest() {
    notices_nothing(Asking::reqwest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_ssl() {
    let Some(python) = tool("python3") else { return };
    lose_nothing_over_tls(|url, root| {
        let start = |version: &str| {
            let words = [url.to_owned(), body(), root.to_owned(), version.to_owned()];
            Asking::script(&python, "with_http_client.py", words)
        };
        ["TLSv1_2", "TLSv1_3"].map(start).into()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_over_tls() {
    let Some(curl) = tool("curl") else { return };
    lose_nothing_over_tls(|url, root| {
        let start = |protocol: &str, version: &str| {
            let tls =
                format!("cacert = \"{root}\"\n{protocol}\n{version}\ntls-max = \"{}\"\n", &version[4..]);
            Asking::curl(&curl, url, &tls)
        };
        ["http1.1", "http2"]
            .into_iter()
            .flat_map(|one| ["tlsv1.2", "tlsv1.3"].map(|two| start(one, two)))
            .collect()
    })
    .await;
}

/// A package without a program of its own.
fn has_requests(python: &Path) -> bool {
    let imported = Command::new(python).args(["-c", "import requests"]).stderr(Stdio::null()).status();
    let is_there = imported.is_ok_and(|status| status.success());
    if !is_there {
        let skipped = "skipped: Python's requests (package python3-requests) is not installed";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{skipped}");
        eprintln!("{skipped}");
    }
    is_there
}

async fn notices_nothing(start: impl FnOnce(String) -> Asking) {
    let app = App::start(Command::new(example("test_mirror")));
    app.wait_for_message(Mark::START, "serving").await;
    let asking = start(format!("http://{}{PATH}", app.address().await));
    outlive_restarts(&app, vec![asking], restarts(5, 50), 0).await;
}

/// Several clients at a time, of one service, each with its own version and protocol.
async fn lose_nothing_over_tls(start: impl FnOnce(&str, &str) -> Vec<Asking>) {
    let authority = Authority::new();
    let identity = authority.issue("server", &["127.0.0.1"]);
    let mut command = Command::new(example("test_mirror"));
    command.env("ENDLESS_TLS_CERT", &identity.cert).env("ENDLESS_TLS_KEY", &identity.key);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let root = authority.root();
    let clients =
        start(&format!("https://{}{PATH}", app.address().await), root.to_str().expect("a plain path"));
    outlive_restarts(&app, clients, restarts(3, 50), 1).await;
}

/// A restart may cost each client so many connections.
async fn outlive_restarts(app: &App, mut clients: Vec<Asking>, times: usize, connections: usize) {
    for asking in &mut clients {
        asking.is_answered_by(app.serving_pid()).await;
    }
    for _ in 0..times {
        clients.iter_mut().for_each(|asking| asking.connections += connections);
        let successor = app.restart().await;
        for asking in &mut clients {
            asking.is_answered_by(successor).await;
        }
    }
    for asking in clients {
        let answers = asking.stops().await;
        eprintln!("{answers} answers, {times} restarts");
    }
    app.stop().await;
}

/// A client that asks again and again, and says a line for each answer.
struct Asking {
    lines: mpsc::UnboundedReceiver<String>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), String>>,
    /// The client's, of its last answer.
    port: String,
    /// How many more connections it may open.
    connections: usize,
    answers: usize,
}

type Lines = mpsc::UnboundedSender<String>;

impl Asking {
    /// One of `tests/clients`, which ends when its stdin does.
    fn script<const N: usize>(interpreter: &Path, name: &str, words: [String; N]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
        let mut command = tokio::process::Command::new(interpreter);
        command.arg(script).args(words).stdin(Stdio::piped());
        let end_stdin = |child: &mut Child| {
            child.stdin = None;
            ControlFlow::Continue(())
        };
        Self::process(command, end_stdin, ExitStatus::success)
    }

    /// One process with more to ask than there is time for, and these lines of its configuration for each.
    fn curl(curl: &Path, url: &str, with: &str) -> Self {
        let config = tempfile::NamedTempFile::new().expect("a file can be made");
        std::fs::write(config.path(), curl_config(url, with)).expect("our own file");
        let mut command = tokio::process::Command::new(curl);
        // `-q`: nothing of the user's own configuration.
        command.args(["-q", "--config"]).arg(config.path()).stdin(Stdio::null());
        let kill = move |child: &mut Child| {
            child.start_kill().expect("our own child");
            drop(config);
            // It may stop within a line.
            ControlFlow::Break(())
        };
        Self::process(command, kill, |status| status.code().is_none())
    }

    fn reqwest(url: String) -> Self {
        Self::spawn(async move |lines, mut stop| {
            let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
            while stop.try_recv().is_err() {
                tokio::time::sleep(PAUSE).await;
                for method in [Method::GET, Method::POST] {
                    let line = ask(&client, method, &url).await.map_err(|error| format!("{error:?}"))?;
                    let _nobody_listens = lines.send(line);
                }
            }
            Ok(())
        })
    }

    fn process(
        mut command: tokio::process::Command,
        stop_it: impl FnOnce(&mut Child) -> ControlFlow<()> + Send + 'static,
        is_well: impl FnOnce(&ExitStatus) -> bool + Send + 'static,
    ) -> Self {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self::spawn(async move |lines, mut stop| {
            let mut stop_it = Some(stop_it);
            loop {
                tokio::select! {
                    line = said.next_line() => match line.map_err(|error| error.to_string())? {
                        Some(line) => lines.send(line).unwrap_or_default(),
                        None => break,
                    },
                    _told = &mut stop, if stop_it.is_some() => {
                        if stop_it.take().is_some_and(|stop_it| stop_it(&mut child).is_break()) {
                            break;
                        }
                    }
                }
            }
            let status = child.wait().await.map_err(|error| error.to_string())?;
            if is_well(&status) { Ok(()) } else { Err(status.to_string()) }
        })
    }

    fn spawn<F>(client: impl FnOnce(Lines, oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (sender, lines) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(client(sender, stopped));
        Self { lines, stop: Some(stop), ended, port: String::new(), connections: 1, answers: 0 }
    }

    /// Waits until this process has answered a GET and a POST, and looks at all answers until then.
    async fn is_answered_by(&mut self, pid: u32) {
        let mut answers = 0;
        while answers < 2 {
            match patiently(self.lines.recv()).await {
                Some(line) => answers += u32::from(self.check(&line) == pid),
                None => panic!("the client has ended: {:?}", (&mut self.ended).await),
            }
        }
    }

    /// Whether it is the answer that must come, on a connection that it may have. Who has given it.
    fn check(&mut self, line: &str) -> u32 {
        let mut fields = line.rsplitn(5, ' ');
        let mut field = || fields.next().unwrap_or_else(|| panic!("{line:?}"));
        let [own, port, pid, status, text] = [field(), field(), field(), field(), field()];
        let method = ["GET", "POST"][self.answers % 2];
        let sent = if method == "POST" { body() } else { String::new() };
        assert_eq!((status, text), ("200", seen(method, PATH, &sent, "-").as_str()), "{line:?}");
        assert!(own == port || own == "-", "{line:?}");
        if self.port != port {
            assert!(self.connections > 0, "another connection: {line:?}");
            self.connections -= 1;
            self.port = port.to_owned();
        }
        self.answers += 1;
        pid.parse().expect("a PID")
    }

    /// Tells it to stop, and looks at the rest. How many answers there were in all.
    async fn stops(mut self) -> usize {
        self.stop.take().and_then(|stop| stop.send(()).ok()).expect("it asks on");
        while let Some(line) = patiently(self.lines.recv()).await {
            self.check(&line);
        }
        patiently(self.ended).await.expect("it does not panic").unwrap_or_else(|error| panic!("{error}"));
        self.answers
    }
}

/// Requests in turns at a pace that leaves the connection idle in between, and a line for each answer.
fn curl_config(url: &str, with: &str) -> String {
    let line = "write-out = \" %{http_code} %header{x-pid} %header{x-port} %{local_port}\\n\"\n";
    let (get, post) = (format!("url = \"{url}\"\n{with}{line}"), format!("data-binary = \"{}\"\n", body()));
    let turn = format!("{get}next\n{get}{post}");
    format!("no-buffer\nsilent\nshow-error\nrate = \"100/s\"\n{}", vec![turn; 2000].join("next\n"))
}

async fn ask(client: &reqwest::Client, method: Method, url: &str) -> reqwest::Result<String> {
    let sent = if method == Method::POST { body() } else { String::new() };
    let answer = client.request(method, url).body(sent).send().await?;
    let header = |name: &str| answer.headers()[name].to_str().expect("a number").to_owned();
    let (status, pid, port) = (answer.status().as_u16(), header("x-pid"), header("x-port"));
    Ok(format!("{} {status} {pid} {port} -", answer.text().await?))
}
