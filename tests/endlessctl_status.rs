//! `endlessctl status` shows the generations of a service, with a supervisor and without.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{
    Client, Ctl, PATIENCE, Plan, alive, both_ways, busy, ctl, declarative, patiently, serving, status_when,
    supervised,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// What `--json` shows.
async fn told(pid: u32) -> Value {
    let said = Ctl::begin_with(&["status", "--json", &pid.to_string()]).said().await;
    serde_json::from_str(said.done()).expect("one line of JSON")
}

/// Asks until it is as `wanted`.
async fn told_when(pid: u32, wanted: impl Fn(&Value) -> bool) -> Value {
    patiently(async {
        loop {
            let told = told(pid).await;
            if wanted(&told) {
                return told;
            }
        }
    })
    .await
}

fn states(told: &Value) -> Vec<&str> {
    let generations = told["generations"].as_array().into_iter().flatten();
    generations.filter_map(|generation| generation["state"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_who_serves_with_its_servers() {
    for command in both_ways(declarative) {
        let app = serving(command).await;
        let serving = app.serving_pid();
        let supervisor = (serving != app.first_pid()).then(|| app.first_pid());
        let client = busy(&app, "/hang").await;
        let told =
            told_when(app.first_pid(), |told| told["generations"][0]["servers"][0]["connections"] == 1).await;
        assert_eq!((&told["pid"], &told["supervisor"]), (&app.first_pid().into(), &supervisor.into()));
        assert_eq!((&told["generation"], &told["state"]), (&0.into(), &"serving".into()));
        let generation = &told["generations"][0];
        assert_eq!((&generation["pid"], &generation["answers"]), (&serving.into(), &true.into()));
        assert!(generation["age"].as_f64().is_some_and(|age| age > 0.0), "{told}");
        assert_eq!(generation["hammer_in"], Value::Null);
        let server = &generation["servers"][0];
        assert_eq!(server["address"], app.address().await.to_string());
        assert_eq!((&server["in_flight"], &server["moved"]), (&1.into(), &0.into()));
        assert!(server["requests"].as_u64().is_some_and(|requests| requests > 1), "{told}");
        assert!(client.is_quiet());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_a_line_for_each_generation_and_each_server() {
    for mut command in both_ways(declarative) {
        command.env("ENDLESS_HAMMER_TIME", "7200s");
        let app = serving(command).await;
        let _client = busy(&app, "/hang").await;
        let predecessor = app.serving_pid();
        let successor = app.restart().await;
        let pid = if app.first_pid() == predecessor { successor } else { app.first_pid() };
        let said = ctl("status", pid).await;
        let lines: Vec<Vec<&str>> =
            said.done().lines().map(|line| line.split_whitespace().collect()).collect();
        let line = |start: &[&str]| {
            let found = lines.iter().find(|line| line.starts_with(start));
            found.unwrap_or_else(|| panic!("{start:?} in {}", said.out)).clone()
        };
        let (predecessor, successor) = (predecessor.to_string(), successor.to_string());
        line(&[
            "GENERATION",
            "PID",
            "STATE",
            "AGE",
            "CONNECTIONS",
            "IN",
            "FLIGHT",
            "REQUESTS",
            "MOVED",
            "HAMMER",
            "IN",
        ]);
        assert_eq!(line(&["0", &predecessor, "draining"])[4..6], ["1", "1"]);
        let left = line(&["0", &predecessor, "draining"]).pop().expect("the hammer's time");
        assert!(left.ends_with('m'), "an hour and some minutes: {left}");
        line(&["1", &successor, "serving"]);
        let address = app.address().await.to_string();
        line(&[&successor, &address]);
        if pid == app.first_pid() {
            line(&["supervisor", &pid.to_string()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_a_restart_under_way_and_those_who_drain() {
    for mut command in both_ways(declarative) {
        command.env("ENDLESS_HAMMER_TIME", "never");
        let plan = Plan::of(&mut command);
        let app = serving(command).await;
        let mut clients = vec![busy(&app, "/hang").await];
        let mut pids = vec![app.serving_pid(), app.restart().await];
        clients.push(busy(&app, "/hang").await);
        pids.push(app.restart().await);
        plan.set("wait");
        let pid = if app.first_pid() == pids[0] { pids[2] } else { app.first_pid() };
        let restarting = Ctl::begin("restart", pid);
        let told =
            told_when(pid, |told| states(told) == ["draining", "draining", "restarting", "starting"]).await;
        assert_eq!((&told["generation"], &told["state"]), (&2.into(), &"restarting".into()));
        let told_pids: Vec<u64> = (0..3).filter_map(|at| told["generations"][at]["pid"].as_u64()).collect();
        assert_eq!(told_pids, pids.iter().map(|pid| u64::from(*pid)).collect::<Vec<_>>());
        let predecessors = &told["generations"][2]["predecessors"];
        assert_eq!((&predecessors[0]["pid"], &predecessors[1]["generation"]), (&pids[0].into(), &1.into()));
        plan.set("");
        restarting.said().await.done();
    }
}

/// Over the service's own route, as `endless::status()`.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_knows_its_predecessors_until_they_have_ended() {
    for command in both_ways(declarative) {
        let app = serving(command).await;
        let predecessor = app.serving_pid();
        let mut client: Client = busy(&app, "/until_draining?ms=1000").await;
        app.restart().await;
        let address = app.address().await;
        let known = status_when(address, |status| status["predecessors"][0]["pid"] == predecessor).await;
        assert_eq!(known["predecessors"].as_array().map(Vec::len), Some(1));
        assert_eq!(known["predecessors"][0]["generation"], 0);
        client.answer().await;
        let none = |status: &Value| status["predecessors"].as_array().is_some_and(Vec::is_empty);
        status_when(address, none).await;
        assert!(!alive(predecessor));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_answer_is_shown_as_such() {
    for command in both_ways(declarative) {
        let app = serving(command).await;
        let _client = busy(&app, "/hang").await;
        let predecessor = app.serving_pid();
        let successor = app.restart().await;
        let pid = if app.first_pid() == predecessor { successor } else { app.first_pid() };
        app.signal(predecessor, Signal::SIGSTOP);
        let stopped = told(pid).await;
        let row = &stopped["generations"][0];
        assert_eq!((&row["pid"], &row["answers"]), (&predecessor.into(), &false.into()));
        assert_eq!((&row["state"], &row["generation"]), (&"draining".into(), &0.into()));
        assert!(ctl("status", pid).await.done().contains("draining  not answering"));
        app.signal(predecessor, Signal::SIGCONT);
        told_when(pid, |told| told["generations"][0]["answers"] == true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_is_shown_whose_generation_is_asked() {
    let app = serving(supervised(declarative())).await;
    let told = told(app.serving_pid()).await;
    assert_eq!((&told["pid"], &told["supervisor"]), (&app.first_pid().into(), &app.first_pid().into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_watches_until_the_process_ends() {
    for (command, json) in both_ways(declarative).into_iter().zip([false, true]) {
        let app = serving(command).await;
        let pid = app.first_pid().to_string();
        let arguments = ["status", &*pid, "--watch", "--json"];
        let mut watching = Ctl::begin_with(if json { &arguments } else { &arguments[..3] });
        let output = watching.child().stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let is_frame = |line: &str| line.starts_with('{') || line.starts_with("GENERATION");
        let mut frames = 0;
        while frames < 2 {
            let line =
                patiently(lines.next_line()).await.expect("a pipe can be read").expect("there is more");
            frames += usize::from(is_frame(&line));
            assert!(!line.contains('\x1b'), "no terminal is painted where there is none: {line:?}");
        }
        app.signal(app.first_pid(), Signal::SIGTERM);
        while patiently(lines.next_line()).await.expect("a pipe can be read").is_some() {}
        assert_eq!(watching.said().await.done(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_does_not_keep_who_asks_waiting() {
    let app = serving(declarative()).await;
    let pid = app.first_pid();
    app.signal(pid, Signal::SIGSTOP);
    let said = tokio::time::timeout(PATIENCE, ctl("status", pid)).await.expect("in time");
    assert_eq!(said.failed(), format!("process {pid} does not answer"));
    kill(Pid::from_raw(i32::try_from(pid).expect("a PID")), Signal::SIGCONT).expect("it lives");
}
