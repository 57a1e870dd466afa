//! What a supervised service shows of itself: one PID to signal, and a generation that does what is asked of
//! it.

mod support;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::Duration;

use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::{
    App, Client, Line, Mark, Plan, Supervised, children, declarative, example, freeze, get, patiently,
    status, unix_get,
};

async fn planned() -> (Supervised, Plan) {
    let mut command = declarative();
    let plan = Plan::of(&mut command);
    (Supervised::start(command).await, plan)
}

async fn text(service: &Supervised, path: &str) -> String {
    get(service.address().await, path).await.text()
}

async fn answering(service: &Supervised) -> u32 {
    let answer = get(service.address().await, "/hello").await;
    answer.header("x-pid").and_then(|pid| pid.parse().ok()).expect("it names its process")
}

/// This process, as hooks are told of who has sent a signal.
fn sender() -> String {
    format!("sender={} ", std::process::id())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_pids_are_told_and_one_of_them_stays() {
    let service = Supervised::start(declarative()).await;
    let supervisor = service.pid().to_string();
    for generation in 0..3 {
        let serving = service.serving_pid();
        assert_ne!(serving, service.pid());
        assert_eq!(text(&service, "/pid").await, supervisor);
        let status = status(service.address().await).await;
        assert_eq!(status["pid"], serving);
        assert_eq!(status["supervisor"], service.pid());
        assert_eq!((&status["generation"], &status["state"]), (&generation.into(), &"serving".into()));
        for message in ["listening", "serving"] {
            let line = service.says(Mark::START, message, serving).await;
            assert_eq!(line.field("supervisor"), Some(&*supervisor), "{line}");
            assert_eq!(line.field("generation"), Some(&*generation.to_string()), "{line}");
        }
        service.hang_up().await.expect("nothing is against it");
    }
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_restarts_is_told_of_the_successor_or_why_there_is_none() {
    let (service, plan) = planned().await;
    let first = service.serving_pid();
    plan.set("refuse");
    let refused = text(&service, "/restart").await;
    assert!(refused.starts_with("not restarted: ") && refused.ends_with("as planned"), "{refused}");
    plan.set("exit");
    let broken = text(&service, "/restart").await;
    assert!(broken.ends_with("the successor exited with status 3 before it was ready"), "{broken}");
    assert_eq!(answering(&service).await, first);
    plan.set("");
    let restarted = text(&service, "/restart").await;
    let successor = answering(&service).await;
    assert_eq!(restarted, format!("restarted {successor}"));
    assert_ne!(successor, first);
    service.terminate().await;
}

/// The second one comes too late to be one with the first, and is carried out after it.
#[tokio::test(flavor = "multi_thread")]
async fn two_handlers_that_restart_at_a_time_are_both_answered() {
    let (service, plan) = planned().await;
    let (mark, address) = (service.mark(), service.address().await);
    plan.set("wait");
    let mut clients = [Client::connect(address).await, Client::connect(address).await];
    clients[0].ask("/restart").await;
    let successor = service.hears(mark, "INFO app: waiting").await;
    let successor = successor.text.rsplit_once("pid=").expect("it is named").1.to_owned();
    clients[1].ask("/restart").await;
    service.wait_for_message(mark, "restart remembered").await;
    plan.set("");
    for client in &mut clients {
        assert_eq!(client.answer().await.text(), format!("restarted {successor}"));
    }
    service.says(mark, "handed over", successor.parse().expect("a PID")).await;
    assert_eq!(service.count("handed over"), 2);
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_shuts_down_ends_all() {
    let service = Supervised::start(declarative()).await;
    text(&service, "/shutdown").await;
    assert_eq!(service.over().await, Some(0));
    assert_eq!(service.count("draining"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_a_restart() {
    let (service, plan) = planned().await;
    let mark = service.mark();
    plan.set("wait");
    service.signal(service.pid(), Signal::SIGHUP);
    service.hears(mark, "INFO app: waiting").await;
    assert_eq!(status(service.address().await).await["state"], "restarting");
    plan.set("");
    service.serving(mark).await;
    assert_eq!(status(service.address().await).await["state"], "serving");
    service.terminate().await;
}

// ---- hooks

#[tokio::test(flavor = "multi_thread")]
async fn the_hooks_of_each_signal_run_where_it_is_served_and_know_the_sender_and_the_outcome() {
    let service = Supervised::start(declarative()).await;
    let first = service.serving_pid();
    let mark = service.mark();
    service.signal(service.pid(), Signal::SIGUSR1);
    hook(&service, mark, first, "post", Signal::SIGUSR1, "Nothing").await;
    hook(&service, mark, first, "pre", Signal::SIGUSR1, "").await;

    let mark = service.mark();
    let second = service.hang_up().await.expect("nothing is against it");
    hook(&service, mark, first, "pre", Signal::SIGHUP, "").await;
    let outcome = format!("Restarted {{ pid: {second} }}");
    hook(&service, mark, first, "post", Signal::SIGHUP, &outcome).await;

    let mark = service.mark();
    service.terminate().await;
    hook(&service, mark, second, "pre", Signal::SIGTERM, "").await;
    hook(&service, mark, second, "drained", Signal::SIGTERM, "Stopped").await;
    hook(&service, mark, second, "post", Signal::SIGTERM, "Stopped").await;
    let lines = service.lines();
    let of_the_supervisor = format!("pid={} generation", service.pid());
    assert!(!lines.iter().any(|line| line.text.contains("hook") && line.text.contains(&of_the_supervisor)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hooks_after_sigint_know_how_it_ended() {
    let service = Supervised::start(declarative()).await;
    service.signal(service.pid(), Signal::SIGINT);
    assert_eq!(service.over().await, Some(0));
    hook(&service, Mark::START, service.serving_pid(), "post", Signal::SIGINT, "Stopped").await;
}

/// Waits until this hook has run once; it must have been told all that.
async fn hook(service: &Supervised, mark: Mark, pid: u32, phase: &str, signal: Signal, outcome: &str) {
    let begin = format!("INFO app: hook phase={phase} signal={signal} ");
    let line = service.hears(mark, &begin).await;
    assert!(line.text.contains(&format!("{begin}{}pid={pid} ", sender())), "{line}");
    assert!(line.text.ends_with(&format!("outcome={outcome:?}")), "{line} does not tell {outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_that_failed_the_hooks_know_why() {
    let (service, plan) = planned().await;
    let (mark, serving) = (service.mark(), service.serving_pid());
    plan.set("exit");
    let reason = service.hang_up().await.expect_err("it is broken");
    let outcome = format!("NotRestarted {{ reason: {reason:?} }}");
    hook(&service, mark, serving, "post", Signal::SIGHUP, &outcome).await;
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_calls_the_restart_off() {
    let (service, plan) = planned().await;
    let (mark, serving) = (service.mark(), service.serving_pid());
    plan.set("hang in the hook");
    service.signal(service.pid(), Signal::SIGHUP);
    let line = service.says(mark, "restart called off", serving).await;
    assert!(line.field("reason").is_some_and(|reason| reason.contains("check")), "{line}");
    assert_eq!(children(service.pid()), [serving], "no successor was started");
    assert_eq!(answering(&service).await, serving);
    assert_eq!(service.count("the hooks do not answer: restarting without them"), 0);
    plan.set("");
    service.hang_up().await.expect("nothing is against it");
    service.terminate().await;
}

/// Neither its hooks nor itself can answer. Its connections are lost; those in the queue are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_hangs_is_replaced_without_its_hooks() {
    let mut command = Command::new(example("test_attributed"));
    command.arg("127.0.0.1:0");
    let service = Supervised::start(command).await;
    let (mark, hung) = (service.mark(), service.serving_pid());
    freeze(&service, hung).await;
    let mut waiting = Client::connect(service.address().await).await;
    waiting.ask("/hello").await;
    service.signal(service.pid(), Signal::SIGHUP);
    let successor = service.serving(mark).await;
    service.wait_for_message(mark, "the hooks do not answer: restarting without them").await;
    service.wait_for_message(mark, "the generation that served does not stop accepting: it is ended").await;
    assert_eq!(waiting.answer().await.header("x-pid"), Some(&*successor.to_string()));
    service.terminate().await;
}

// ---- the end

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_first_generation_starts_is_an_orderly_one() {
    for (way, word) in [("build", "building"), ("wait", "waiting")] {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut command = declarative();
            let plan = Plan::of(&mut command);
            plan.set(way);
            let service = Supervised::launch(command);
            service.hears(Mark::START, &format!("INFO app: {word}")).await;
            service.signal(service.pid(), signal);
            assert_eq!(service.over().await, Some(0), "{way} {signal}");
            assert_eq!(service.count("serving"), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_a_dead_generation_is_not_replaced_yet_is_an_orderly_one() {
    let mut command = declarative();
    command.env("ENDLESS_RESPAWN", "1000 in 1h");
    let plan = Plan::of(&mut command);
    let service = Supervised::start(command).await;
    plan.set("exit");
    service.dies(5).await;
    service.terminate().await;
    assert_eq!(service.count("the generation has ended: replacing it"), 5, "it was not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn main_that_fails_after_it_has_served_is_a_death_and_in_the_end_the_status() {
    let (service, plan) = failing("never").await;
    plan.set("fail");
    assert_eq!(service.over().await, Some(1));
    assert_eq!(errors(&service), ["error: as planned, late"]);

    let (service, plan) = failing("5 in 1h").await;
    let mark = service.mark();
    plan.set("fail");
    service.wait_for_message(mark, "the generation has ended: replacing it").await;
    plan.set("");
    service.serving(mark).await;
    plan.set("fail in the end");
    service.signal(service.pid(), Signal::SIGTERM);
    assert_eq!(service.over().await, Some(1));
    assert_eq!(errors(&service).last().map(String::as_str), Some("error: as planned, in the end"));
}

async fn failing(respawn: &str) -> (Supervised, Plan) {
    let mut command = Command::new(example("test_attributed"));
    command.arg("127.0.0.1:0").env("ENDLESS_RESPAWN", respawn);
    let plan = Plan::of(&mut command);
    (Supervised::start(command).await, plan)
}

fn errors(service: &Supervised) -> Vec<String> {
    let lines = service.lines().into_iter().map(|line| line.text);
    lines.filter(|text| text.starts_with("error: ")).collect()
}

// ---- the environment

#[tokio::test(flavor = "multi_thread")]
async fn unsupervised_the_process_that_was_started_serves() {
    let mut command = declarative();
    command.env("ENDLESS_SUPERVISE", "false");
    let app = App::start(command);
    let line = app.wait_for_message(Mark::START, "serving").await;
    assert_eq!(line.field("pid"), Some(&*app.first_pid().to_string()));
    assert_eq!(line.field("supervisor"), None);
    assert!(children(app.first_pid()).is_empty());
    assert_eq!(status(app.address().await).await["supervisor"], serde_json::Value::Null);
    let successor = app.restart().await;
    assert_ne!(successor, app.first_pid());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_does_not_parse_starts_nothing_and_is_said_once() {
    for (name, value) in [("ENDLESS_HAMMER_TIME", "soon"), ("ENDLESS_RESPAWN", "often")] {
        let mut command = declarative();
        command.env(name, value);
        let service = Supervised::launch(command);
        assert_eq!(service.over().await, Some(2));
        let lines: Vec<Line> = service.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].text.starts_with("error: ") && lines[0].text.contains(name), "{}", lines[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_variable_is_warned_of_once() {
    let mut command = declarative();
    command.env("ENDLESS_HAMER_TIME", "1s");
    let service = Supervised::start(command).await;
    let warnings = service.lines().iter().filter(|line| line.text.contains("ENDLESS_HAMER_TIME")).count();
    assert_eq!(warnings, 1);
    service.terminate().await;
}

/// Its stderr is a pipe that is full, and nobody reads: it restarts, replaces and stops all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (fifo, socket) = (folder.path().join("log"), folder.path().join("app.sock"));
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).expect("our own folder");
    // Read too, so that there is a reader; not waiting, which is ours alone, so that it can be filled.
    let mut log =
        File::options().read(true).write(true).custom_flags(O_NONBLOCK).open(&fifo).expect("our own pipe");
    let full = loop {
        if let Err(error) = log.write(&[b'\n'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" 2>\"$1\""]).arg(example("unix_socket")).arg(&fifo);
    command.env("ENDLESS_LISTEN", format!("unix:{}", socket.display()));
    let service = Supervised::launch(command);
    let supervisor = service.pid();

    let served = |others: Vec<u32>| {
        let socket = socket.clone();
        patiently(async move {
            loop {
                let children = children(supervisor);
                if let [serving] = children[..]
                    && !others.contains(&serving)
                    && unix_get(&socket, "/").await.is_ok()
                {
                    return serving;
                }
                wait().await;
            }
        })
    };
    let first = served(vec![]).await;
    service.signal(service.pid(), Signal::SIGHUP);
    let second = served(vec![first]).await;
    service.signal(second, Signal::SIGKILL);
    served(vec![first, second]).await;
    service.terminate().await;
    assert!(!socket.exists());
}

async fn wait() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
