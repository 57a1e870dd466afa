//! Hooks run around what signals do, in their order, wherever they are declared, and a failing one calls off
//! a restart alone.

mod support;

use nix::sys::signal::Signal;
use support::{App, Client, Line, Mark, PATIENCE, Plan, declarative, get, imperative};

/// A program that looks at the plan, once it serves.
async fn start_with_plan() -> (App, Plan) {
    let mut command = declarative();
    let plan = Plan::of(&mut command);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    (app, plan)
}

/// The next line that a hook of the program wrote for this signal.
async fn hook(app: &App, mark: Mark, phase: &str, signal: Signal) -> Line {
    let words = format!("hook phase={phase} signal={signal} ");
    app.wait_for(mark, |line| line.text.contains(&words), PATIENCE).await
}

fn is_of(line: &Line, name: &str, value: impl std::fmt::Display) -> bool {
    line.text.contains(&format!(" {name}={value} "))
}

fn position(app: &App, wanted: impl Fn(&Line) -> bool) -> usize {
    app.lines().iter().position(wanted).expect("the line is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn around_a_restart_they_run_in_the_predecessor_and_see_the_outcome() {
    let app = App::start(declarative());
    app.wait_for_message(Mark::START, "serving").await;
    let successor = app.restart().await;
    let pre = hook(&app, Mark::START, "pre", Signal::SIGHUP).await;
    let post = hook(&app, Mark::START, "post", Signal::SIGHUP).await;
    for line in [&pre, &post] {
        assert!(is_of(line, "pid", app.first_pid()) && is_of(line, "generation", 0), "{line}");
        assert!(is_of(line, "sender", std::process::id()), "{line}");
    }
    assert!(pre.text.ends_with(r#" outcome="""#), "{pre}");
    assert!(post.text.ends_with(&format!(r#" outcome="Restarted {{ pid: {successor} }}""#)), "{post}");

    let at = |line: &Line| position(&app, |other| other.text == line.text);
    let handed_over = position(&app, |line| line.message() == Some("handed over"));
    assert!(at(&pre) < handed_over && handed_over < at(&post));
    app.stop().await;
}

/// The restart is called off with a reason that ends with these words, the post hook sees it, and the service
/// goes on.
async fn refuses(plan_text: &str, words: &str) {
    let (app, plan) = start_with_plan().await;
    plan.set(plan_text);
    let mark = app.mark();
    let reason = app.try_restart().await.expect_err("refused");
    assert_eq!(reason, format!("hook check refused: {words}"));
    let post = hook(&app, mark, "post", Signal::SIGHUP).await;
    assert!(post.text.contains("NotRestarted { reason: ") && post.text.contains(words), "{post}");
    let me = app.first_pid().to_string();
    assert_eq!(get(app.address().await, "/hello").await.header("x-pid"), Some(me.as_str()));
    assert_eq!(app.generations().len(), 1, "no successor was started");

    plan.set("");
    app.restart().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_calls_a_restart_off() {
    refuses("refuse", "as planned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_calls_a_restart_off() {
    refuses("panic in the hook", "panicked: as planned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_calls_a_restart_off() {
    refuses("hang in the hook", "not done within 2s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_before_a_shutdown_does_not_stop_it() {
    let (app, plan) = start_with_plan().await;
    plan.set("refuse the stop");
    assert_eq!(app.stop().await.code(), Some(0));
    let line = app.wait_for_message(Mark::START, "hook failed").await;
    assert_eq!((line.field("hook"), line.field("moment")), (Some("both"), Some("pre SIGTERM")));
    assert_eq!(line.field("reason"), Some("as planned"));
    let post = hook(&app, Mark::START, "post", Signal::SIGTERM).await;
    assert!(post.text.ends_with(r#" outcome="Stopped""#), "{post}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_before_a_signal_without_an_action_changes_nothing() {
    let (app, plan) = start_with_plan().await;
    plan.set("refuse the stop");
    app.signal(app.first_pid(), Signal::SIGUSR1);
    app.wait_for_message(Mark::START, "hook failed").await;
    hook(&app, Mark::START, "post", Signal::SIGUSR1).await;
    assert_eq!(get(app.address().await, "/hello").await.text(), "WORLD!");
    app.stop().await;
}

/// `pre = ["usr1", "SIGTERM"]` and `post = ["SIGHUP", "SIGTERM", "SIGINT"]`.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_a_list_of_signals_runs_for_each() {
    for (signal, hooked_before) in [(Signal::SIGTERM, true), (Signal::SIGINT, false)] {
        let app = App::start(declarative());
        app.wait_for_message(Mark::START, "serving").await;
        app.signal(app.first_pid(), signal);
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        let post = hook(&app, Mark::START, "post", signal).await;
        assert!(is_of(&post, "sender", std::process::id()), "{post}");
        assert!(post.text.ends_with(r#" outcome="Stopped""#), "{post}");
        let before = format!("hook phase=pre signal={signal} ");
        assert_eq!(app.lines().iter().any(|line| line.text.contains(&before)), hooked_before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_sig_is_the_same_signal() {
    let app = App::start(declarative());
    app.wait_for_message(Mark::START, "serving").await;
    app.signal(app.first_pid(), Signal::SIGUSR1);
    hook(&app, Mark::START, "pre", Signal::SIGUSR1).await;
    let post = hook(&app, Mark::START, "post", Signal::SIGUSR1).await;
    assert!(post.text.ends_with(r#" outcome="Nothing""#), "{post}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_after_a_stop_are_done_before_main_returns() {
    let app = App::start(imperative());
    app.wait_for_message(Mark::START, "serving").await;
    assert_eq!(app.stop().await.code(), Some(0));
    let written = |words: &str| position(&app, |line| line.text.contains(words));
    assert!(written("app: stopped") < written("app: returned"));
}

/// `order` first, then the crate, the file and the line; sync or async makes no difference.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_module_and_in_a_dependency_they_run_in_their_order() {
    let app = App::start(declarative());
    app.wait_for_message(Mark::START, "serving").await;
    for _ in 0..3 {
        let mark = app.mark();
        app.signal(app.first_pid(), Signal::SIGUSR1);
        hook(&app, mark, "post", Signal::SIGUSR1).await;
    }
    let order = [
        "library_first",
        "library_plain",
        "in_the_root",
        "module_first",
        "module_second",
        "module_late",
        "library_last",
    ];
    let lines = app.lines();
    let ran: Vec<_> =
        lines.iter().filter_map(|line| line.text.strip_prefix("INFO app: ordered hook=")).collect();
    assert_eq!(ran, [order, order, order].concat());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_points_of_a_life_come_in_their_order() {
    let app = App::start(declarative());
    let address = app.address().await;
    app.wait_for(Mark::START, |line| line.text.contains("hook phase=ready "), PATIENCE).await;
    let mut slow = Client::connect(address).await;
    slow.ask("/sleep?ms=300").await;
    support::until_busy(address, 1, 1).await;
    app.restart().await;
    slow.answer().await;
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));

    let me = app.first_pid();
    let begin = app.wait_for(Mark::START, |line| line.text.contains("before begin"), PATIENCE).await;
    assert_eq!(begin.text, format!("INFO app: before begin address={address} requested=127.0.0.1:0"));
    let ready = position(&app, |line| line.text.contains("hook phase=ready ") && is_of(line, "pid", me));
    let drained = position(&app, |line| line.text.contains("hook phase=drained ") && is_of(line, "pid", me));
    let begin = position(&app, |line| line.text == begin.text);
    assert!(begin < ready && ready < drained);
    let told = &app.lines()[drained];
    assert!(told.text.contains("signal=SIGHUP") && told.text.contains("Restarted"), "{told}");
    app.stop().await;
}
