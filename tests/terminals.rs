//! A supervised program on a terminal, started from an interactive shell as its user would: its keys, job
//! control, the terminal that goes away, and the ways to make it live on.

mod support;

use nix::sys::signal::Signal;
use support::{
    App, Line, Mark, PATIENCE, Plan, Terminal, answering_pid, busy, caught_up, count, example, patiently,
    received, restarted, sent_by_another, stat_fields, supervised, supervisor_of,
};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// The program, as it is typed: its outputs are the guard's, and not the terminal.
const APP: &str = r#""$APP" >&3 2>&4 3>&- 4>&-"#;

/// An interactive shell on a terminal, and what was typed first.
struct Session {
    app: App,
    terminal: Terminal,
    plan: Plan,
}

impl Session {
    /// Types the line; `None` if a tool is missing.
    fn start(line: &str) -> Option<Self> {
        let mut terminal = Terminal::open();
        let mut command = terminal.bash(&example("test_declarative"))?;
        let plan = Plan::of(&mut command);
        let app = App::start(supervised(command));
        terminal.type_keys(&format!("{line}\n"));
        Some(Self { app, terminal, plan })
    }

    fn type_keys(&mut self, keys: &str) {
        self.terminal.type_keys(keys);
    }

    /// What the shell says of the program that it has waited for.
    async fn status(&mut self) -> String {
        let mark = self.app.mark();
        self.type_keys("echo status=$? >&4\n");
        let is_told = |line: &Line| line.text.starts_with("status=");
        self.app.wait_for(mark, is_told, PATIENCE).await.text
    }

    /// Waits until the shell reads what is typed.
    async fn shell_has_come_back(&mut self) {
        self.status().await;
    }

    /// Nothing is left when the shell has ended, and nothing of the program was left before.
    async fn leave(mut self) {
        self.only_the_shell_is_left().await;
        self.type_keys("exit\n");
        self.app.ended().await;
    }

    async fn only_the_shell_is_left(&self) {
        patiently(until(|| self.app.processes() == [self.app.first_pid()])).await;
    }

    /// Closes the terminal.
    fn close(self) -> (App, Plan) {
        (self.app, self.plan)
    }
}

async fn until(come: impl Fn() -> bool) {
    while !come() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Whether job control has stopped the process.
fn is_stopped(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields[0] == "T")
}

/// How often a generation has said so, whichever it was.
fn count_all(app: &App, message: &str) -> usize {
    app.lines().iter().filter(|line| line.message() == Some(message)).count()
}

async fn hammered(app: &App) {
    app.wait_for(Mark::START, |line| line.text.contains("Hammer Time"), PATIENCE).await;
}

fn was_hammered(app: &App) -> bool {
    app.lines().iter().any(|line| line.text.contains("Hammer Time"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_is_one_clean_stop() {
    for _ in 0..support::restarts(3, 50) {
        let Some(mut session) = Session::start(APP) else { return };
        supervisor_of(&session.app).await;
        let mut client = busy(&session.app, "/sleep?ms=500").await;
        session.type_keys(CTRL_C);
        assert_eq!(client.answer().await.text(), "slept 500");
        assert_eq!(session.status().await, "status=0");
        let app = &session.app;
        assert_eq!((count_all(app, "received"), count_all(app, "draining")), (1, 1));
        let line = app.wait_for_message(Mark::START, "received").await;
        assert_eq!((line.field("signal"), line.field("sender")), (Some("SIGINT"), Some("kernel")));
        assert!(!was_hammered(app));
        session.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_hammers() {
    let Some(mut session) = Session::start(APP) else { return };
    supervisor_of(&session.app).await;
    let mut client = busy(&session.app, "/hang").await;
    session.type_keys(CTRL_C);
    session.app.wait_for_message(Mark::START, "draining").await;
    assert!(!was_hammered(&session.app));
    session.type_keys(CTRL_C);
    hammered(&session.app).await;
    client.broken().await;
    assert_eq!(session.status().await, "status=0");
    session.leave().await;
}

/// The predecessor that drains too.
#[tokio::test(flavor = "multi_thread")]
async fn two_ctrl_cs_hammer_every_generation() {
    let Some(mut session) = Session::start(APP) else { return };
    let supervisor = supervisor_of(&session.app).await;
    let (predecessor, mark) = (session.app.serving_pid(), session.app.mark());
    let mut drained = busy(&session.app, "/hang").await;
    session.app.signal(supervisor, Signal::SIGHUP);
    let successor = restarted(&session.app, mark).await;
    let mut served = busy(&session.app, "/hang").await;

    session.type_keys(CTRL_C);
    received(&session.app, mark, Signal::SIGINT, successor).await;
    received(&session.app, mark, Signal::SIGINT, predecessor).await;
    assert!(!was_hammered(&session.app));
    session.type_keys(CTRL_C);
    drained.broken().await;
    served.broken().await;
    assert_eq!(session.status().await, "status=0");
    session.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_the_first_generation_starts_is_a_stop() {
    let Some(mut session) = Session::start("read -r plan; echo \"$plan\" >&4") else { return };
    session.plan.set("build");
    session.type_keys("go\n");
    session.type_keys(&format!("{APP}\n"));
    let is_building = |line: &Line| line.text.contains("app: building");
    session.app.wait_for(Mark::START, is_building, PATIENCE).await;
    session.type_keys(CTRL_C);
    assert_eq!(session.status().await, "status=0");
    assert_eq!(count_all(&session.app, "serving"), 0);
    session.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_while_a_successor_starts_stops_it_too() {
    let Some(mut session) = Session::start(APP) else { return };
    let supervisor = supervisor_of(&session.app).await;
    session.plan.set("build");
    session.app.signal(supervisor, Signal::SIGHUP);
    let is_building = |line: &Line| line.text.contains("app: building");
    session.app.wait_for(Mark::START, is_building, PATIENCE).await;
    session.type_keys(CTRL_C);
    assert_eq!(session.status().await, "status=0");
    let line = session.app.wait_for_message(Mark::START, "restart called off").await;
    assert_eq!(line.field("reason"), Some("stopped by SIGINT"));
    assert_eq!((count_all(&session.app, "serving"), was_hammered(&session.app)), (1, false));
    session.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_z_stops_the_job_and_fg_and_bg_continue_it() {
    let Some(mut session) = Session::start(APP) else { return };
    let supervisor = supervisor_of(&session.app).await;
    let serving = session.app.serving_pid();
    for continued in ["fg\n", "bg\n"] {
        session.type_keys(CTRL_Z);
        patiently(until(|| is_stopped(supervisor) && is_stopped(serving))).await;
        session.shell_has_come_back().await;
        session.type_keys(continued);
        assert_eq!(answering_pid(&session.app).await, serving);
        patiently(until(|| !is_stopped(supervisor))).await;
    }
    let mark = session.app.mark();
    session.app.signal(supervisor, Signal::SIGHUP);
    restarted(&session.app, mark).await;
    session.type_keys("fg\n");
    // Once it has the terminal again: what is typed before is the shell's.
    patiently(until(|| is_in_foreground(supervisor))).await;
    session.type_keys(CTRL_C);
    assert_eq!(session.status().await, "status=0");
    session.leave().await;
}

/// Whether the process is of the group that the terminal's keys are meant for.
fn is_in_foreground(pid: u32) -> bool {
    // Its group, its session, its terminal, and that one's group (proc_pid_stat(5)).
    stat_fields(pid).is_some_and(|fields| fields[2] == fields[5])
}

/// What `kill %1` sends goes to all processes of the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_a_job_is_one_signal() {
    for (signal, messages) in [("TERM", "SIGTERM"), ("INT", "SIGINT")] {
        let Some(mut session) = Session::start(&format!("{APP} &")) else { return };
        supervisor_of(&session.app).await;
        let serving = session.app.serving_pid();
        let mut client = busy(&session.app, "/sleep?ms=500").await;
        session.type_keys(&format!("kill -{signal} %1\n"));
        assert_eq!(client.answer().await.text(), "slept 500");
        session.only_the_shell_is_left().await;
        let line = session.app.wait_for_message(Mark::START, "received").await;
        assert_eq!(line.field("signal"), Some(messages));
        let told =
            ["received", "draining", "already draining"].map(|message| count(&session.app, message, serving));
        assert_eq!((told, was_hammered(&session.app)), ([1, 1, 0], false));
        session.leave().await;
    }
}

/// All that runs on the terminal ends when it is closed, and finishes what is in flight.
async fn closes(line: &str, prepare: impl AsyncFn(&mut Session, u32)) {
    let Some(mut session) = Session::start(line) else { return };
    let supervisor = supervisor_of(&session.app).await;
    let serving = session.app.serving_pid();
    let mut client = busy(&session.app, "/sleep?ms=500").await;
    prepare(&mut session, supervisor).await;
    let (app, _plan) = session.close();
    let line = received(&app, Mark::START, Signal::SIGHUP, serving).await;
    let senders = [Some("kernel".to_owned()), Some(app.first_pid().to_string())];
    assert!(senders.contains(&line.field("sender").map(str::to_owned)), "{line}");
    assert_eq!(client.answer().await.text(), "slept 500");
    app.wait_for_message(Mark::START, "drained").await;
    app.ended().await;
    assert_eq!((count_all(&app, "restarting"), was_hammered(&app)), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_stops_what_is_in_its_foreground() {
    closes(APP, async |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_stops_a_background_job() {
    closes(&format!("{APP} &"), async |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_closes_stops_a_stopped_job() {
    let stop = async |session: &mut Session, supervisor| {
        session.type_keys(CTRL_Z);
        patiently(until(|| is_stopped(supervisor))).await;
    };
    closes(APP, stop).await;
}

/// It lives on without its terminal, and `kill -HUP` by anybody restarts it.
async fn lives_on_and_restarts(line: &str) {
    let Some(mut session) = Session::start(line) else { return };
    let supervisor = supervisor_of(&session.app).await;
    let serving = session.app.serving_pid();
    let mark = session.app.mark();
    session.type_keys(&format!("kill -HUP {supervisor}\n"));
    let successor = restarted(&session.app, mark).await;
    let (app, _plan) = session.close();
    let shell = app.first_pid();
    patiently(until(|| !support::alive(shell))).await;
    caught_up(&app, supervisor, successor).await;
    caught_up(&app, successor, successor).await;
    assert_eq!(answering_pid(&app).await, successor);
    assert_eq!((count(&app, "received", serving), count(&app, "received", successor)), (1, 2));

    let mark = app.mark();
    app.signal(supervisor, Signal::SIGHUP);
    let successor = restarted(&app, mark).await;
    assert_eq!(supervisor_of(&app).await, supervisor);
    sent_by_another(&app, supervisor, Signal::SIGTERM);
    received(&app, mark, Signal::SIGTERM, successor).await;
    app.ended().await;
    assert_eq!(count(&app, "drained", successor), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_it_lives_on_in_the_background() {
    lives_on_and_restarts(&format!("nohup {APP} &")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_setsid_it_lives_on() {
    lives_on_and_restarts(&format!("setsid {APP}")).await;
}

/// The shell cannot be typed into while it waits.
#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_it_lives_on_in_the_foreground() {
    let Some(session) = Session::start(&format!("nohup {APP}")) else { return };
    let supervisor = supervisor_of(&session.app).await;
    let serving = session.app.serving_pid();
    let (app, _plan) = session.close();
    let shell = app.first_pid();
    patiently(until(|| !support::alive(shell))).await;
    caught_up(&app, supervisor, serving).await;
    caught_up(&app, serving, serving).await;
    assert_eq!(count(&app, "received", serving), 2);
    let mark = app.mark();
    sent_by_another(&app, supervisor, Signal::SIGHUP);
    restarted(&app, mark).await;
    sent_by_another(&app, supervisor, Signal::SIGTERM);
    app.ended().await;
}

/// A shell without job control has the SIGINT of what it starts with `&` ignored, and leaves it in its own
/// group.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_background_of_a_script_ctrl_c_does_nothing_and_kill_stops_it() {
    let script = format!("trap \"echo interrupted >&4\" INT; {APP} & wait; wait; wait; wait");
    let Some(mut session) = Session::start(&format!("sh -c '{script}'")) else { return };
    let supervisor = supervisor_of(&session.app).await;
    for _ in 0..2 {
        let (serving, mark) = (session.app.serving_pid(), session.app.mark());
        session.type_keys(CTRL_C);
        session.app.wait_for(mark, |line| line.text == "interrupted", PATIENCE).await;
        caught_up(&session.app, supervisor, serving).await;
        caught_up(&session.app, serving, serving).await;
        assert_eq!(answering_pid(&session.app).await, serving);
        let mark = session.app.mark();
        session.app.signal(supervisor, Signal::SIGHUP);
        restarted(&session.app, mark).await;
    }
    let interrupts = |line: &&Line| line.field("signal") == Some("SIGINT");
    assert_eq!(session.app.lines().iter().filter(interrupts).count(), 0);

    let (serving, mark) = (session.app.serving_pid(), session.app.mark());
    session.app.signal(supervisor, Signal::SIGINT);
    received(&session.app, mark, Signal::SIGINT, serving).await;
    session.leave().await;
}

/// What it has started drains and ends by itself, wherever on the terminal it was.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_the_supervisor_is_killed() {
    for (line, keys) in [(APP.to_owned(), ""), (format!("{APP} &"), ""), (APP.to_owned(), CTRL_Z)] {
        let Some(mut session) = Session::start(&line) else { return };
        let supervisor = supervisor_of(&session.app).await;
        let serving = session.app.serving_pid();
        let mut client = busy(&session.app, "/sleep?ms=500").await;
        session.type_keys(keys);
        patiently(until(|| keys.is_empty() || is_stopped(supervisor) && is_stopped(serving))).await;
        session.app.signal(supervisor, Signal::SIGKILL);
        assert_eq!(client.answer().await.text(), "slept 500");
        assert_eq!(session.app.exit(serving).await.code(), Some(0));
        session.leave().await;
    }
}

/// Not even of what is in the middle of its start.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_the_supervisor_is_killed_while_a_successor_starts() {
    let Some(session) = Session::start(APP) else { return };
    let supervisor = supervisor_of(&session.app).await;
    session.plan.set("build");
    session.app.signal(supervisor, Signal::SIGHUP);
    let is_building = |line: &Line| line.text.contains("app: building");
    session.app.wait_for(Mark::START, is_building, PATIENCE).await;
    session.app.signal(supervisor, Signal::SIGKILL);
    session.leave().await;
}
