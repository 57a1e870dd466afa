//! Clients as they are in use: curl, Python's http.client and requests, Node's http.Agent, reqwest. Each
//! asks on one connection, GET and POST in turns, and notices nothing of the restarts.

mod support;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use reqwest::Method;
use support::{App, Mark, example, patiently, restarts, seen, tool};
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
    notices_nothing(|url| Asking::script(&python, "with_http_client.py", url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_requests() {
    let Some(python) = tool("python3") else { return };
    if !has_requests(&python) {
        return;
    }
    notices_nothing(|url| Asking::script(&python, "with_requests.py", url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_http_agent() {
    let Some(node) = tool("node") else { return };
    notices_nothing(|url| Asking::script(&node, "with_agent.js", url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl() {
    let Some(curl) = tool("curl") else { return };
    notices_nothing(|url| Asking::curl(&curl, &url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reqwest() {
    notices_nothing(Asking::reqwest).await;
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
    let mut asking = start(format!("http://{}{PATH}", app.address().await));
    asking.is_answered_by(app.serving_pid()).await;
    let times = restarts(5, 50);
    for _ in 0..times {
        let successor = app.restart().await;
        asking.is_answered_by(successor).await;
    }
    let answers = asking.stops().await;
    eprintln!("{answers} answers, {times} restarts");
    app.stop().await;
}

/// A client that asks again and again, and says a line for each answer.
struct Asking {
    lines: mpsc::UnboundedReceiver<String>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), String>>,
    /// The client's, from its first answer on.
    port: Option<String>,
    answers: usize,
}

type Lines = mpsc::UnboundedSender<String>;

impl Asking {
    /// One of `tests/clients`, which ends when its stdin does.
    fn script(interpreter: &Path, name: &str, url: String) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
        let mut command = tokio::process::Command::new(interpreter);
        command.arg(script).args([url, body()]).stdin(Stdio::piped());
        let end_stdin = |child: &mut Child| {
            child.stdin = None;
            ControlFlow::Continue(())
        };
        Self::process(command, end_stdin, ExitStatus::success)
    }

    /// One process with more to ask than there is time for.
    fn curl(curl: &Path, url: &str) -> Self {
        let config = tempfile::NamedTempFile::new().expect("a file can be made");
        std::fs::write(config.path(), curl_config(url)).expect("our own file");
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
        Self { lines, stop: Some(stop), ended, port: None, answers: 0 }
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

    /// Whether it is the answer that must come, on the one connection. Who has given it.
    fn check(&mut self, line: &str) -> u32 {
        let mut fields = line.rsplitn(5, ' ');
        let mut field = || fields.next().unwrap_or_else(|| panic!("{line:?}"));
        let [own, port, pid, status, text] = [field(), field(), field(), field(), field()];
        let method = ["GET", "POST"][self.answers % 2];
        let sent = if method == "POST" { body() } else { String::new() };
        assert_eq!((status, text), ("200", seen(method, PATH, &sent, "-").as_str()), "{line:?}");
        assert!(own == port || own == "-", "{line:?}");
        assert_eq!(self.port.get_or_insert_with(|| port.to_owned()), port, "another connection: {line:?}");
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
fn curl_config(url: &str) -> String {
    let line = "write-out = \" %{http_code} %header{x-pid} %header{x-port} %{local_port}\\n\"\n";
    let (get, post) = (format!("url = \"{url}\"\n{line}"), format!("data-binary = \"{}\"\n", body()));
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
