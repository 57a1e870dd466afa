//! Signals where there is a supervisor: whoever gets them, they do what they do once.

mod support;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use support::faults::{Point, Points, has_slept};
use support::{
    App, Line, Mark, PATIENCE, Plan, Wire, alive, answering_pid, busy, caught_up, count, declarative,
    example, example_with, install, patiently, received, restarted, sent_by_another, supervised,
    supervisor_of, tool,
};

/// A supervised program that serves.
struct Site {
    app: App,
    supervisor: u32,
    plan: Plan,
}

impl Site {
    async fn open(command: Command) -> Self {
        let mut command = supervised(command);
        let plan = Plan::of(&mut command);
        let app = App::start(command);
        let supervisor = supervisor_of(&app).await;
        assert_eq!(supervisor, app.first_pid());
        // It has heard that the first generation serves: a point of a restart is none of that one's.
        patiently(has_slept(supervisor)).await;
        Self { app, supervisor, plan }
    }

    fn serving(&self) -> u32 {
        self.app.serving_pid()
    }

    /// Sends it, by a process of its own.
    fn send(&self, pid: u32, signal: Signal) {
        sent_by_another(&self.app, pid, signal);
    }

    /// Waits for the end of a generation that has drained, which its supervisor reaps.
    async fn drains(&self, pid: u32) {
        let gone = async {
            while alive(pid) || !self.app.zombies().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patiently(gone).await;
    }

    /// The supervisor's own end, after which nobody is left. It says so if a generation did not end well.
    async fn ends_with(&self, status: i32) {
        assert_eq!(self.app.exit(self.supervisor).await.code(), Some(status));
        self.app.ended().await;
        let is_bad = |line: &Line| line.message() == Some("a generation has ended while it drained");
        assert!(!self.app.lines().iter().any(is_bad));
    }

    async fn stop(&self) {
        self.send(self.supervisor, Signal::SIGTERM);
        self.ends_with(0).await;
    }

    fn was_hammered(&self) -> bool {
        self.app.lines().iter().any(|line| line.text.contains("Hammer Time"))
    }

    /// How often one of the program's hooks ran for this signal.
    fn hooks(&self, phase: &str, signal: Signal) -> usize {
        let words = format!("hook phase={phase} signal={signal} ");
        self.app.lines().iter().filter(|line| line.text.contains(&words)).count()
    }
}

/// To the supervisor, and to the generation that serves.
async fn to_both(check: impl AsyncFn(&Site, u32)) {
    let site = Site::open(declarative()).await;
    check(&site, site.supervisor).await;
    let site = Site::open(declarative()).await;
    check(&site, site.serving()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sighup_to_either_is_a_restart() {
    to_both(async |site, pid| {
        let (serving, mark) = (site.serving(), site.app.mark());
        site.app.signal(pid, Signal::SIGHUP);
        let line = received(&site.app, mark, Signal::SIGHUP, serving).await;
        assert_eq!(line.field("sender"), Some(std::process::id().to_string().as_str()));
        let successor = restarted(&site.app, mark).await;
        site.drains(serving).await;
        assert!(alive(successor) && alive(site.supervisor));
        site.stop().await;
        assert_eq!(site.hooks("pre", Signal::SIGHUP), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_and_a_sigint_to_either_are_a_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        to_both(async |site, pid| {
            let serving = site.serving();
            let mut client = busy(&site.app, "/sleep?ms=500").await;
            site.app.signal(pid, signal);
            assert_eq!(client.answer().await.text(), "slept 500");
            site.ends_with(0).await;
            let told = ["received", "draining", "already draining"];
            assert_eq!(told.map(|message| count(&site.app, message, serving)), [1, 1, 0]);
            assert_eq!((site.hooks("post", signal), site.was_hammered()), (1, false));
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigint_to_either_hammers() {
    to_both(async |site, pid| {
        let mut client = busy(&site.app, "/hang").await;
        site.send(pid, Signal::SIGINT);
        site.app.wait_for_message(Mark::START, "draining").await;
        assert!(!site.was_hammered());
        site.send(pid, Signal::SIGINT);
        client.broken().await;
        site.ends_with(0).await;
        assert!(site.was_hammered());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigusr1_to_either_runs_its_hooks_once_and_sigusr2_is_ignored() {
    to_both(async |site, pid| {
        let serving = site.serving();
        site.send(pid, Signal::SIGUSR2);
        site.app.wait_for_message(Mark::START, "hammer ignored: not draining").await;
        caught_up(&site.app, pid, serving).await;
        let told = ["received", "hammer ignored: not draining"];
        assert_eq!(told.map(|message| count(&site.app, message, serving)), [2, 1]);
        assert_eq!(answering_pid(&site.app).await, serving);
        site.stop().await;
        assert_eq!((site.hooks("pre", Signal::SIGUSR1), site.hooks("post", Signal::SIGUSR1)), (1, 1));
    })
    .await;
}

/// While a stop drains.
#[tokio::test(flavor = "multi_thread")]
async fn a_sigusr2_to_either_hammers_a_drain() {
    to_both(async |site, pid| {
        let mut client = busy(&site.app, "/hang").await;
        site.send(site.supervisor, Signal::SIGTERM);
        site.app.wait_for_message(Mark::START, "draining").await;
        site.send(pid, Signal::SIGUSR2);
        client.broken().await;
        site.ends_with(0).await;
        assert!(site.was_hammered());
    })
    .await;
}

/// A program with a name that no other has, in the one folder that knows it.
struct Named {
    site: Site,
    name: String,
    _folder: tempfile::TempDir,
}

impl Named {
    async fn open(number: usize) -> Self {
        let folder = support::shared_folder();
        // The kernel keeps 15 bytes of it.
        let name = format!("app{}-{number}", std::process::id());
        let path = folder.path().join(&name);
        install(&example("test_declarative"), &path);
        Self { site: Site::open(Command::new(path)).await, name, _folder: folder }
    }

    /// Runs `pkill` or its like; returns what it prints.
    fn by_name(&self, tool: &std::path::Path, options: &[&str]) -> String {
        let output =
            Command::new(tool).args(options).args(["-x", &self.name]).output().expect("it can be run");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sighup_by_name_is_one_restart_or_two() {
    let Some(pkill) = tool("pkill") else { return };
    let named = Named::open(1).await;
    let (site, rounds) = (&named.site, support::restarts(5, 50));
    for _ in 0..rounds {
        let mark = site.app.mark();
        named.by_name(&pkill, &["-HUP"]);
        restarted(&site.app, mark).await;
    }
    site.stop().await;
    let lines = site.app.lines();
    let restarts = lines.iter().filter(|line| line.message() == Some("handed over")).count();
    assert!((rounds..=2 * rounds).contains(&restarts), "{restarts} restarts in {rounds} rounds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigint_and_a_sigterm_by_name_are_one_stop() {
    let Some(pkill) = tool("pkill") else { return };
    for number in 0..support::restarts(3, 50) {
        for signal in ["-INT", "-TERM"] {
            let named = Named::open(2 + number).await;
            let (site, serving) = (&named.site, named.site.serving());
            let mut client = busy(&site.app, "/sleep?ms=500").await;
            named.by_name(&pkill, &[signal]);
            assert_eq!(client.answer().await.text(), "slept 500");
            site.ends_with(0).await;
            let told = ["received", "draining", "already draining"];
            assert_eq!(told.map(|message| count(&site.app, message, serving)), [1, 1, 0]);
            assert!(!site.was_hammered());
        }
    }
}

/// One that replaces a dead one runs an open file, whose number would be its name.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_replaces_a_dead_one_is_found_by_name_too() {
    let (Some(pkill), Some(pgrep)) = (tool("pkill"), tool("pgrep")) else { return };
    let named = Named::open(1000).await;
    let (site, dead, mark) = (&named.site, named.site.serving(), named.site.app.mark());
    site.app.signal(dead, Signal::SIGKILL);
    site.app.wait_for_message(mark, "serving").await;
    let serving = answering_pid(&site.app).await;
    assert_eq!(named.by_name(&pgrep, &[]), format!("{}\n{serving}\n", site.supervisor));
    let mark = site.app.mark();
    named.by_name(&pkill, &["-HUP"]);
    restarted(&site.app, mark).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigint_to_the_group_is_one_stop() {
    for _ in 0..support::restarts(3, 50) {
        let mut command = declarative();
        command.process_group(0);
        let site = Site::open(command).await;
        let mut client = busy(&site.app, "/sleep?ms=500").await;
        let group = Pid::from_raw(i32::try_from(site.supervisor).expect("a PID fits"));
        killpg(group, Signal::SIGINT).expect("the group is there");
        assert_eq!(client.answer().await.text(), "slept 500");
        site.ends_with(0).await;
        assert!(!site.was_hammered());
    }
}

/// A process that is slow to be told of what all were sent, and drains meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_generation_gets_late_is_no_second_one() {
    // Within how long the same is the same; a busy machine may need more tries.
    const SAME: Duration = Duration::from_secs(1);
    loop {
        let site = Site::open(declarative()).await;
        let serving = site.serving();
        let mut client = busy(&site.app, "/hang").await;
        let begin = Instant::now();
        site.app.signal(site.supervisor, Signal::SIGINT);
        site.app.wait_for_message(Mark::START, "draining").await;
        site.app.signal(serving, Signal::SIGINT);
        caught_up(&site.app, serving, serving).await;
        if begin.elapsed() < SAME {
            assert!(!site.was_hammered() && client.is_quiet());
            site.send(site.supervisor, Signal::SIGINT);
            client.broken().await;
            return site.ends_with(0).await;
        }
    }
}

/// A predecessor that drains, with a request in flight.
async fn draining(path: &str) -> (Site, u32, u32, support::Client) {
    let site = Site::open(declarative()).await;
    let predecessor = site.serving();
    let client = busy(&site.app, path).await;
    let mark = site.app.mark();
    site.send(site.supervisor, Signal::SIGHUP);
    let successor = restarted(&site.app, mark).await;
    site.app.wait_for_message(mark, "draining").await;
    (site, predecessor, successor, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_that_drains_takes_a_stop_and_the_hammer_for_itself_alone() {
    for signals in
        [&[Signal::SIGTERM, Signal::SIGUSR2][..], &[Signal::SIGUSR2], &[Signal::SIGINT, Signal::SIGINT]]
    {
        let (site, predecessor, successor, mut client) = draining("/hang").await;
        for signal in signals {
            let mark = site.app.mark();
            site.app.signal(predecessor, *signal);
            received(&site.app, mark, *signal, predecessor).await;
        }
        client.broken().await;
        site.drains(predecessor).await;
        caught_up(&site.app, site.supervisor, successor).await;
        assert_eq!(answering_pid(&site.app).await, successor);
        assert_eq!(
            (count(&site.app, "received", successor), count(&site.app, "draining", successor)),
            (1, 0)
        );
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_that_drains_ignores_sighup() {
    let (site, predecessor, successor, mut client) = draining("/sleep?ms=1000").await;
    let mark = site.app.mark();
    site.app.signal(predecessor, Signal::SIGHUP);
    let line = site.app.wait_for_message(mark, "restart ignored: draining").await;
    assert_eq!(line.field("pid"), Some(predecessor.to_string().as_str()));
    assert_eq!(client.answer().await.text(), "slept 1000");
    site.drains(predecessor).await;
    caught_up(&site.app, site.supervisor, successor).await;
    assert_eq!(answering_pid(&site.app).await, successor);
    site.stop().await;
    assert_eq!(site.hooks("pre", Signal::SIGHUP), 1);
}

/// A stop of the whole is one of those that drain too; the second SIGINT hammers them all.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigint_hammers_the_predecessors_that_drain_too() {
    let (site, predecessor, successor, mut drained) = draining("/hang").await;
    let mut served = busy(&site.app, "/hang").await;
    site.send(site.supervisor, Signal::SIGINT);
    received(&site.app, Mark::START, Signal::SIGINT, successor).await;
    assert!(!site.was_hammered() && drained.is_quiet());
    site.send(site.supervisor, Signal::SIGINT);
    drained.broken().await;
    served.broken().await;
    site.ends_with(0).await;
    assert!(!alive(predecessor));
}

/// It was meant for who served, and comes when another does.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_the_predecessor_while_it_is_replaced_is_not_lost() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let mut command = Command::new(example_with("test_declarative", &["_pause-points"], &[]));
        let points = Points::of(&mut command);
        let site = Site::open(command).await;
        let predecessor = site.serving();
        let mark = site.app.mark();
        points.hold(Point::HeardConfirmed);
        site.send(site.supervisor, Signal::SIGHUP);
        assert_eq!(points.reached(Point::HeardConfirmed).await, site.supervisor);
        let Some(wire) = Wire::to(predecessor) else { return };
        site.send(predecessor, signal);
        wire.predecessor_has_unread().await;
        points.release(Point::HeardConfirmed);

        let first = site.app.wait_for_message(mark, "handed over").await;
        if signal == Signal::SIGHUP {
            restarted(&site.app, first.after()).await;
            site.stop().await;
        } else {
            site.ends_with(0).await;
        }
    }
}

/// `pkill` finds one that starts too.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_starts_passes_on_what_it_gets() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        let site = Site::open(declarative()).await;
        site.plan.set("build");
        let mark = site.app.mark();
        site.send(site.supervisor, Signal::SIGHUP);
        let is_building = |line: &Line| line.text.contains("app: building");
        let line = site.app.wait_for(mark, is_building, PATIENCE).await;
        let successor = line.text.rsplit_once('=').and_then(|(_, pid)| pid.parse().ok()).expect("its PID");
        site.send(successor, signal);
        if signal == Signal::SIGHUP {
            site.app.wait_for_message(mark, "restart remembered").await;
            site.plan.set("");
            let first = site.app.wait_for_message(mark, "handed over").await;
            restarted(&site.app, first.after()).await;
            site.stop().await;
        } else {
            let line = site.app.wait_for_message(mark, "restart called off").await;
            assert_eq!(line.field("reason"), Some(format!("stopped by {signal}").as_str()));
            site.ends_with(0).await;
        }
    }
}

const HOOKS_ALONE: [Signal; 5] =
    [Signal::SIGTSTP, Signal::SIGQUIT, Signal::SIGWINCH, Signal::SIGALRM, Signal::SIGCONT];

#[tokio::test(flavor = "multi_thread")]
async fn a_hooked_signal_to_either_runs_its_hooks_once() {
    let site = Site::open(Command::new(example("test_hooked"))).await;
    let serving = site.serving();
    for pid in [site.supervisor, serving] {
        for signal in HOOKS_ALONE {
            let (mark, before) = (site.app.mark(), site.hooks("pre", signal));
            site.send(pid, signal);
            received(&site.app, mark, signal, serving).await;
            caught_up(&site.app, pid, serving).await;
            let words = format!("hook phase=pre signal={signal} ");
            site.app.wait_for(mark, |line| line.text.contains(&words), PATIENCE).await;
            assert_eq!(site.hooks("pre", signal), before + 1);
        }
    }
    assert_eq!(answering_pid(&site.app).await, serving);
    site.stop().await;
}

/// After a restart too: the supervisor learns of hooks from the generation that serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_only_the_successor_has_a_hook_for_runs_it() {
    let folder = support::shared_folder();
    let path = folder.path().join("app");
    install(&example("test_declarative"), &path);
    let site = Site::open(Command::new(&path)).await;
    install(&example("test_hooked"), &path);
    let mark = site.app.mark();
    site.send(site.supervisor, Signal::SIGHUP);
    let successor = restarted(&site.app, mark).await;
    for pid in [site.supervisor, successor] {
        let mark = site.app.mark();
        site.send(pid, Signal::SIGQUIT);
        let is_hook = |line: &Line| line.text.contains("hook phase=pre signal=SIGQUIT ");
        let line = site.app.wait_for(mark, is_hook, PATIENCE).await;
        assert!(line.text.ends_with(&format!(" pid={successor}")), "{line}");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unhooked_signal_that_is_ignored_by_default_does_nothing_to_either() {
    to_both(async |site, pid| {
        let serving = site.serving();
        for signal in [Signal::SIGWINCH, Signal::SIGCONT] {
            site.send(pid, signal);
        }
        caught_up(&site.app, pid, serving).await;
        assert_eq!((answering_pid(&site.app).await, count(&site.app, "received", serving)), (serving, 1));
        site.stop().await;
    })
    .await;
}

/// A generation that it ends is replaced, as if it had died of anything else.
#[tokio::test(flavor = "multi_thread")]
async fn an_unhooked_signal_ends_whom_it_is_sent_to() {
    for signal in [Signal::SIGQUIT, Signal::SIGALRM] {
        if is_ignored_here(signal) {
            eprintln!("skipped: {signal} is ignored by whoever started the tests, and so by what they start");
            continue;
        }
        let site = Site::open(declarative()).await;
        let (serving, mark) = (site.serving(), site.app.mark());
        site.send(serving, signal);
        let line = site.app.wait_for_message(mark, "the generation has ended: replacing it").await;
        assert_eq!(line.field("how"), Some(format!("was killed by {signal}").as_str()));
        site.app.wait_for_message(mark, "serving").await;
        let serving = answering_pid(&site.app).await;

        site.send(site.supervisor, signal);
        let end = site.app.exit(site.supervisor).await;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(signal as i32));
        assert_eq!(site.app.exit(serving).await.code(), Some(0));
        site.app.ended().await;
    }
}

/// As a shell does with SIGQUIT of what it starts in the background.
fn is_ignored_here(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect("it is told");
    let ignored = u64::from_str_radix(ignored, 16).expect("a number");
    ignored >> (signal as i32 - 1) & 1 == 1
}

/// Nobody could reach them any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_is_killed_leaves_generations_that_drain() {
    let (site, predecessor, successor, mut drained) = draining("/sleep?ms=1000").await;
    let mut served = busy(&site.app, "/sleep?ms=1000").await;
    site.app.signal(site.supervisor, Signal::SIGKILL);
    let reason = "the supervisor is lost: this process ends";
    for pid in [predecessor, successor] {
        let pid = pid.to_string();
        let told = |line: &Line| line.message() == Some(reason) && line.field("pid") == Some(&pid);
        site.app.wait_for(Mark::START, told, PATIENCE).await;
    }
    for client in [&mut drained, &mut served] {
        assert_eq!(client.answer().await.text(), "slept 1000");
    }
    for pid in [predecessor, successor] {
        assert_eq!(site.app.exit(pid).await.code(), Some(0));
    }
    patiently(site.app.ended()).await;
    assert!(!site.was_hammered());
}
