//! A user's own descriptors go from generation to generation: directly, through a supervisor, and past a
//! generation that has crashed.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::faults::{Point, Points};
use support::{
    App, Datagrams, Line, Mark, PATIENCE, Plan, Supervised, alive, busy, connected, datagram, descriptors,
    example, example_with, freeze, get, patiently, restarts, supervised,
};

/// How often it is looked at what sends no message.
const POLL: Duration = Duration::from_millis(5);

fn program() -> Command {
    let mut command = Command::new(example("test_bequest"));
    command.arg("127.0.0.1:0").env("ENDLESS_RESPAWN", "100 in 1h");
    command
}

/// Both ways to run.
fn both_ways() -> [Command; 2] {
    [program(), supervised(program())]
}

/// What a generation has said of its UDP socket.
#[derive(Debug)]
struct Udp {
    address: SocketAddr,
    inherited: bool,
    again: bool,
    pid: u32,
}

/// The next one after `mark` that tells of its socket; waits for it.
async fn told(app: &App, mark: Mark) -> Udp {
    let line = app.wait_for(mark, |line| line.text.starts_with("INFO app: udp "), PATIENCE).await;
    let udp = Udp {
        address: value(&line, "address"),
        inherited: value(&line, "inherited"),
        again: value(&line, "again"),
        pid: value(&line, "pid"),
    };
    assert!(!udp.again, "a name is taken once: {line}");
    udp
}

fn value<T: std::str::FromStr>(line: &Line, name: &str) -> T {
    let mut words = line.text.split(' ').filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    words.next().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// Waits until the first generation serves.
async fn started(command: Command) -> (App, Udp) {
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let udp = told(&app, Mark::START).await;
    assert!(!udp.inherited, "from nobody");
    (app, udp)
}

/// Waits until the successor serves and nobody else is left.
async fn restart(app: &App) -> Udp {
    let (mark, predecessor) = (app.mark(), app.serving_pid());
    let successor = app.restart().await;
    app.wait_for_message(mark, "serving").await;
    gone(predecessor).await;
    let udp = told(app, mark).await;
    assert_eq!(udp.pid, successor);
    udp
}

async fn gone(pid: u32) {
    patiently(async {
        while alive(pid) {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
}

/// Waits until nobody has the port any more.
async fn free(address: SocketAddr) {
    patiently(async {
        while UdpSocket::bind(address).is_err() {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
}

/// The process that keeps its PID, if there is one.
fn supervisor(app: &App) -> Option<u32> {
    (app.serving_pid() != app.first_pid() && alive(app.first_pid())).then_some(app.first_pid())
}

async fn stop(app: &App) {
    app.signal(app.serving_pid(), Signal::SIGTERM);
    app.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_answers_every_datagram_through_all_restarts() {
    let plain = || {
        let mut command = Command::new(example("test_bequest_plain"));
        command.arg("127.0.0.1:0");
        command
    };
    for command in both_ways().into_iter().chain([plain()]) {
        let (app, first) = started(command).await;
        let datagrams = Datagrams::start(first.address).await;
        datagrams.until_answered_by(first.pid).await;
        let count = restarts(5, 50);
        for _ in 0..count {
            let udp = restart(&app).await;
            assert!(udp.inherited && udp.address == first.address, "{udp:?}");
            datagrams.until_answered_by(udp.pid).await;
        }
        let answers = datagrams.stop().await;
        assert_eq!(answers.len(), count + 1, "each generation has answered");
        eprintln!("{} datagrams through {count} restarts", answers.values().sum::<u64>());
        stop(&app).await;
        free(first.address).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_is_killed_leaves_what_it_has_bequeathed_and_what_waits_in_there() {
    let service = Supervised::start(program()).await;
    let first = told(&service, Mark::START).await;
    for _ in 0..restarts(3, 20) {
        let dying = service.serving_pid();
        freeze(&service, dying).await;
        let client = connected(first.address).await;
        for number in 0..16_u64 {
            client.send(number.to_string().as_bytes()).await.expect("somebody has the port");
        }
        let mark = service.mark();
        let respawned = service.kill_serving().await;
        let udp = told(&service, mark).await;
        assert_eq!((udp.inherited, udp.address, udp.pid), (true, first.address, respawned));
        for number in 0..16 {
            assert_eq!(datagram(&client).await, (respawned, number + 1, number));
        }
        service.hang_up().await.expect("nothing is against it");
    }
    service.terminate().await;
    free(first.address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_fails_changes_nothing() {
    for mut command in both_ways() {
        let plan = Plan::of(&mut command);
        let (app, first) = started(command).await;
        let datagrams = Datagrams::start(first.address).await;
        datagrams.until_answered_by(first.pid).await;
        for way in ["exit", "panic", "fail"] {
            plan.set(way);
            app.try_restart().await.expect_err("it fails");
        }
        plan.set("");
        let udp = restart(&app).await;
        assert!(udp.inherited && udp.address == first.address, "{udp:?}");
        datagrams.until_answered_by(udp.pid).await;
        let answers = datagrams.stop().await;
        assert_eq!(answers.len(), 2, "nobody but the first and the last one has answered: {answers:?}");
        stop(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bequeathed_under_a_name_again_takes_the_place_of_what_was() {
    for command in both_ways() {
        let (app, first) = started(command).await;
        let replaced = get(app.address().await, "/replace").await.text();
        let replaced: SocketAddr = replaced.parse().expect("an address");
        assert_ne!(replaced, first.address);
        for _ in 0..2 {
            let udp = restart(&app).await;
            assert!(udp.inherited && udp.address == replaced, "{udp:?}");
            free(first.address).await;
        }
        stop(&app).await;
    }
}

/// The supervisor hears of it while the generation serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_is_killed_leaves_what_it_has_bequeathed_last() {
    let service = Supervised::start(program()).await;
    let first = told(&service, Mark::START).await;
    let replaced = get(service.address().await, "/replace").await.text();
    // As soon as the supervisor has it, nobody but the first generation has the other one.
    let client = connected(replaced.parse().expect("an address")).await;
    client.send(b"1").await.expect("it is bound");
    datagram(&client).await;
    patiently(async {
        while !holds(service.pid(), first.pid, &replaced) {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    let mark = service.mark();
    service.kill_serving().await;
    let udp = told(&service, mark).await;
    assert!(udp.inherited && udp.address.to_string() == replaced, "{udp:?}");
    free(first.address).await;
    service.terminate().await;
}

/// Whether the supervisor has the socket that the generation has there.
fn holds(supervisor: u32, generation: u32, address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    let local = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string(format!("/proc/{generation}/net/udp")).expect("it lives");
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&local)).expect("it is bound");
    let inode = row[9];
    let target = format!("socket:[{inode}]");
    let entries = std::fs::read_dir(format!("/proc/{supervisor}/fd")).expect("it lives").flatten();
    let mut links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.any(|link| link.to_str() == Some(&target))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_successor_does_not_take_is_closed_when_it_serves() {
    for mut command in both_ways() {
        let plan = Plan::of(&mut command);
        let (app, first) = started(command).await;
        plan.set("leave");
        let mark = app.mark();
        let second = restart(&app).await;
        assert!(!second.inherited && second.address != first.address, "{second:?}");
        let line = app.wait_for_message(mark, "bequest not taken: it is closed").await;
        assert_eq!(line.field("name"), Some("udp"));
        free(first.address).await;
        assert_eq!(get(app.address().await, "/inherited").await.text(), "false");
        plan.set("");
        let third = restart(&app).await;
        assert!(third.inherited && third.address == second.address, "{third:?}");
        stop(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_message_carries_are_inherited_too() {
    for mut command in both_ways() {
        command.env("APP_MANY", "300");
        let (app, _) = started(command).await;
        let mut mark = app.mark();
        restart(&app).await;
        inherited_many(&app, mark).await;
        if supervisor(&app).is_some() {
            mark = app.mark();
            app.signal(app.serving_pid(), Signal::SIGKILL);
            inherited_many(&app, mark).await;
            app.wait_for_message(mark, "serving").await;
        }
        stop(&app).await;
    }
}

async fn inherited_many(app: &App, mark: Mark) {
    let line = app.wait_for(mark, |line| line.text.starts_with("INFO app: many "), PATIENCE).await;
    assert_eq!(value::<usize>(&line, "inherited"), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_do_not_become_more_with_restarts() {
    for command in both_ways() {
        let (app, first) = started(command).await;
        let datagrams = Datagrams::start(first.address).await;
        let mut early = Vec::new();
        for number in 0..restarts(20, 100) {
            let serving = restart(&app).await.pid;
            datagrams.until_answered_by(serving).await;
            if number < 5 {
                early.push(open(&app));
            }
        }
        datagrams.stop().await;
        // The channel to a predecessor that has just ended may still be open.
        let most = early.into_iter().max();
        patiently(async {
            while Some(open(&app)) > most {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        stop(&app).await;
    }
}

/// In the generation that serves and its supervisor together.
fn open(app: &App) -> usize {
    descriptors(app.serving_pid()) + supervisor(app).map_or(0, descriptors)
}

/// Of a listener that is open and that nobody accepts from, the clients would wait for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_drains_holds_nothing_open() {
    for mut command in both_ways() {
        command.env("ENDLESS_HAMMER_TIME", "never");
        let (app, first) = started(command).await;
        let _endless_drain = busy(&app, "/hang").await;
        app.signal(app.serving_pid(), Signal::SIGTERM);
        free(first.address).await;
        assert!(alive(first.pid));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_says_what_is_wrong_with_which_name() {
    let (app, first) = started(program()).await;
    let address = app.address().await;
    let words = |length| {
        format!("cannot bequeath under a name of {length} bytes: expected 1 to 255 bytes (is_bequest: true)")
    };
    for (length, answer) in [(0, words(0)), (1, "bequeathed".to_owned()), (256, words(256))] {
        assert_eq!(get(address, &format!("/bequeath/{length}")).await.text(), answer);
    }
    assert_eq!(
        get(address, "/bequeath_at_the_limit").await.text(),
        "cannot bequeath udp: too many open files (is_bequest: true)"
    );
    assert_eq!(restart(&app).await.address, first.address, "what was there before is still there");
    stop(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_becomes_a_newer_build_keeps_what_it_has() {
    let mut command = Command::new(example_with("test_bequest", &["_pause-points"], &[]));
    command.arg("127.0.0.1:0");
    let points = Points::of(&mut command);
    let service = Supervised::start(command).await;
    let first = told(&service, Mark::START).await;
    points.set_version(9);
    service.hang_up().await.expect("nothing is against it");
    service.wait_for_message(Mark::START, "the supervisor becomes the build that serves").await;
    let mark = service.mark();
    service.kill_serving().await;
    let udp = told(&service, mark).await;
    assert!(udp.inherited && udp.address == first.address, "{udp:?}");
    service.terminate().await;
    free(first.address).await;
}

// ---- a successor that waits for what its predecessor leaves

/// It is started, and its predecessor or supervisor stands still before it says a word.
struct Waiting {
    app: App,
    points: Points,
    first: Udp,
    holder: u32,
    successor: u32,
}

impl Waiting {
    async fn of(program: &str, supervise: &str) -> Self {
        let mut command = Command::new(example_with(program, &["_pause-points"], &[]));
        command.arg("127.0.0.1:0").env("ENDLESS_SUPERVISE", supervise);
        let points = Points::of(&mut command);
        let (app, first) = started(command).await;
        points.hold(Point::Started);
        let mark = app.mark();
        app.signal(app.serving_pid(), Signal::SIGHUP);
        let holder = points.reached(Point::Started).await;
        let asks = app.wait_for(mark, |line| line.text.starts_with("INFO app: asking "), PATIENCE).await;
        Self { app, points, first, holder, successor: value(&asks, "pid") }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_whose_predecessor_dies_waits_no_longer() {
    for program in ["test_bequest", "test_bequest_plain"] {
        let Waiting { app, points: _points, first, holder, successor } = Waiting::of(program, "false").await;
        let mark = app.mark();
        app.signal(holder, Signal::SIGKILL);
        let udp = told(&app, mark).await;
        assert_eq!((udp.inherited, udp.pid), (false, successor));
        app.wait_for_message(mark, "serving").await;
        let client = connected(udp.address).await;
        client.send(b"1").await.expect("it is bound");
        assert_eq!(datagram(&client).await.0, successor);
        free(first.address).await;
        stop(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_is_stopped_waits_no_longer() {
    for program in ["test_bequest", "test_bequest_plain"] {
        let Waiting { app, points, first, successor, .. } = Waiting::of(program, "false").await;
        let mark = app.mark();
        app.signal(successor, Signal::SIGTERM);
        let udp = told(&app, mark).await;
        assert_eq!((udp.inherited, udp.pid), (false, successor));
        gone(successor).await;
        points.release(Point::Started);
        app.wait_for_message(mark, "restart called off").await;
        let udp = restart(&app).await;
        assert!(udp.inherited && udp.address == first.address, "{udp:?}");
        stop(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_whose_supervisor_dies_waits_no_longer() {
    let Waiting { app, points: _points, holder, successor, .. } = Waiting::of("test_bequest", "true").await;
    assert_eq!(holder, app.first_pid());
    app.signal(holder, Signal::SIGKILL);
    assert_eq!(app.exit(successor).await.code(), Some(1));
    app.ended().await;
}
