//! A restart that goes wrong at the worst moment: whoever was not told to go answers nothing, and the
//! predecessor loses nothing and serves on.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use nix::sys::signal::Signal;
use support::{
    App, Client, Kind, Line, Load, Mark, PATIENCE, Plan, Running, Script, Wire, alive, children, example,
    freeze, restarts, thaw,
};

const ANY: &str = "127.0.0.1:0";
const NOBODY: [u32; 0] = [];
/// What the predecessor sees of a successor that was stopped, by how long its main takes to end.
const STOPPED: [&str; 2] = [
    "the successor exited with status 0 before it was ready",
    "the successor closed the channel before it was ready",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_bind() {
    for name in ["test_imperative", "test_attributed"] {
        let mut command = program(name, &[ANY]);
        let plan = Plan::of(&mut command);
        let (_listener, taken) = taken();
        let site = Site::open(command).await;
        plan.set(&format!("also {taken}"));
        site.every_restart_fails(&format!("cannot bind {taken}: address already in use")).await;
        plan.set("");
        site.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_bind_where_listen_says_it() {
    let mut command = Command::new(example("test_declarative"));
    let (_listener, taken) = taken();
    let lines = format!(r#"[ -e "$SCRIPT_GATE" ] || export ENDLESS_LISTEN={ANY},{taken}"#);
    let script = Script::before(&mut command, &lines);
    let site = Site::open(command).await;
    site.every_restart_fails(&format!("cannot bind {taken}: address already in use")).await;
    script.open_gate();
    site.close().await;
}

/// It has one listener of two, and main comes to the second only after the signal.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_is_stopped_while_it_starts() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (site, plan) = Site::with_two_servers().await;
        let mark = site.app.mark();
        plan.set("late");
        let successor = site.successor_listens().await;
        site.app.signal(successor, signal);
        site.wait_for_message_of(successor, "drained").await;
        site.load.until_answered(64).await;
        plan.set("");
        let reason = site.called_off(mark).await;
        assert!(STOPPED.contains(&reason.as_str()), "{reason}");
        let hooks = site.hooks_of(successor);
        assert!(hooks.is_empty(), "none of them was its to run: {hooks:?}");
        site.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn main_fails_after_its_last_server_was_bound() {
    let (site, plan) = Site::with_two_servers().await;
    let mark = site.app.mark();
    plan.set("late");
    let successor = site.successor_listens().await;
    let Some(wire) = Wire::to(successor) else { return };

    // The predecessor is stopped when the successor says that it is ready, and wakes when it is gone.
    freeze(&site.app, site.app.first_pid()).await;
    plan.set("");
    wire.predecessor_has_unread().await;
    plan.set("fail");
    assert_eq!(site.app.exit(successor).await.code(), Some(1));
    // It is not the predecessor that is to fail.
    plan.set("");
    thaw(&site.app, site.app.first_pid());

    let reason = site.called_off(mark).await;
    assert!(reason.ends_with(": as planned, late"), "{reason}");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_without_descriptors_for_all_listeners() {
    let mut command = program("test_imperative", &[ANY; 40]);
    let script = Script::before(&mut command, r#"[ -e "$SCRIPT_GATE" ] || ulimit -n 30"#);
    let site = Site::open(command).await;
    site.every_restart_fails("descriptors were lost on the way").await;
    script.open_gate();
    site.close().await;
}

/// It is stopped between its "ready" and the predecessor's "go".
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_never_confirms() {
    let (site, plan) = Site::with_two_servers().await;
    let (mark, first) = (site.app.mark(), site.app.first_pid());
    plan.set("late");
    let successor = site.successor_listens().await;
    let Some(wire) = Wire::to(successor) else { return };

    freeze(&site.app, first).await;
    plan.set("");
    wire.predecessor_has_unread().await;
    freeze(&site.app, successor).await;
    thaw(&site.app, first);
    wire.successor_has_unread().await;
    // Nobody accepts now.
    let mut waiting = Client::connect(site.address).await;
    waiting.ask("/hello").await;
    assert_eq!(waiting.answer().await.header("x-pid"), Some(first.to_string().as_str()));
    assert!(!alive(successor), "two have accepted at a time");

    assert_eq!(site.called_off(mark).await, "the successor did not confirm within 5s");
    site.close().await;
}

fn program(name: &str, addresses: &[&str]) -> Command {
    let mut command = Command::new(example(name));
    command.args(addresses);
    command
}

/// Somebody else's port, and its address.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind(ANY).expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

/// A server under load that only its first generation may answer until the site is closed.
struct Site {
    app: App,
    address: SocketAddr,
    load: Running,
}

impl Site {
    async fn open(command: Command) -> Self {
        let app = App::start(command);
        app.wait_for_message(Mark::START, "serving").await;
        let address = first_address(&app).await;
        let load = Load::new(address, Kind::Fresh).connections(16).start();
        load.until_answered(32).await;
        Self { app, address, load }
    }

    /// With a plan that can hold the second one back.
    async fn with_two_servers() -> (Self, Plan) {
        let mut command = program("test_attributed", &[ANY, ANY]);
        let plan = Plan::of(&mut command);
        (Self::open(command).await, plan)
    }

    /// Restarts, and waits until the successor has the first of its listeners.
    async fn successor_listens(&self) -> u32 {
        let mark = self.app.mark();
        self.app.signal(self.app.first_pid(), Signal::SIGHUP);
        let line = self.app.wait_for_message(mark, "listening").await;
        line.field("pid").and_then(|pid| pid.parse().ok()).expect("the line names the process")
    }

    async fn wait_for_message_of(&self, pid: u32, message: &str) {
        let pid = pid.to_string();
        let told = |line: &Line| line.message() == Some(message) && line.field("pid") == Some(&pid);
        self.app.wait_for(Mark::START, told, PATIENCE).await;
    }

    /// Why there is no successor. By now it is gone and reaped, and the predecessor answers.
    async fn called_off(&self, mark: Mark) -> String {
        let line = self.app.wait_for_message(mark, "restart called off").await;
        assert_eq!(line.field("pid"), Some(self.app.first_pid().to_string().as_str()));
        assert_eq!(children(self.app.first_pid()), NOBODY);
        self.load.until_answered(64).await;
        line.field("reason").expect("a reason").to_owned()
    }

    async fn every_restart_fails(&self, words: &str) {
        for _ in 0..restarts(10, 25) {
            let reason = self.app.try_restart().await.expect_err("it cannot take over");
            assert!(reason.contains(words), "{reason}");
            self.load.until_answered(64).await;
        }
    }

    fn hooks_of(&self, pid: u32) -> Vec<String> {
        let lines = self.app.lines().into_iter().map(|line| line.text);
        lines.filter(|line| line.contains("hook phase=") && line.contains(&format!(" pid={pid} "))).collect()
    }

    /// Nothing was lost, nobody but the first generation has answered, and nothing is left that stands in the
    /// way of the next restart.
    async fn close(self) {
        let Self { app, load, .. } = self;
        let before = load.report_now();
        assert!(before.pids.keys().eq([&app.first_pid()]), "a stranger has answered: {before}");
        let successor = app.restart().await;
        load.until_answered_by(successor).await;
        let report = load.stop().await;
        report.assert_clean();
        assert!(report.pids.len() == 2, "a stranger has answered: {report}");
        assert_eq!(app.stop().await.code(), Some(0));
    }
}

/// Of the server that was registered first.
async fn first_address(app: &App) -> SocketAddr {
    let status = support::status(app.address().await).await;
    let address = status["servers"][0]["address"].as_str().expect("text");
    address.parse().expect("an address")
}
