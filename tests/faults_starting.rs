//! Whatever keeps a successor from starting, the predecessor serves on as if nothing had been asked: the fault
//! table of bad beginnings.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::faults::{
    Ended, FINER_STARTS, Outcome, Point, Row, SAME, SECURE_STARTS, STARTS, Setup, Site, Start, UNPRIVILEGED,
    User, pid_in, run_all, start_badly,
};
use support::{children, get, restarts, tool};

use Outcome::CalledOff;

const NOBODY: [u32; 0] = [];

/// By default one user each, in the whole table both.
#[tokio::test(flavor = "multi_thread")]
async fn every_bad_beginning() {
    let users = [User::Same, User::Unprivileged];
    let both = |start: &Start| users.map(|user| start.row_as(user));
    let rows = match restarts(0, 1) {
        0 => STARTS.iter().map(Start::row).collect(),
        _ => STARTS.iter().chain(FINER_STARTS).flat_map(both).collect(),
    };
    run_all(rows).await;
}

/// By default a few, in the whole table all, with one user each.
#[tokio::test(flavor = "multi_thread")]
async fn every_bad_beginning_over_tls() {
    let whole = restarts(0, 1) == 1;
    let starts = STARTS.iter().chain(FINER_STARTS).chain(SECURE_STARTS).enumerate();
    let chosen = starts.filter(|(number, _)| whole || number % 7 == 6);
    let rows =
        chosen.filter_map(|(number, start)| start.row_over_tls([User::Unprivileged, User::Same][number % 2]));
    run_all(rows.collect()).await;
}

/// The kernel's limit does not hold for root.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_processes() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: a limit of processes would hit those of the test's own user");
        return;
    }
    let Some(_prlimit) = tool("prlimit") else { return };
    let site = Site::open(UNPRIVILEGED).await;
    let spoil = |site: &Site| site.lower_limit("nproc", 1);
    start_badly(site, spoil, CalledOff(&["resource temporarily unavailable"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_failures_leave_nothing_behind() {
    let ways: [fn(&Site); 3] =
        [|site| site.plan.set("exit"), |site| site.plan.set("refuse"), |site| site.ship(b"serve well\n")];
    let rows = [SAME, UNPRIVILEGED].map(|setup| {
        Row::new(format!("{:?}, fifty failures", setup.user), async move {
            let site = Site::open(setup).await;
            let pid = site.app.first_pid();
            for number in 0..50 {
                site.repair();
                ways[number % ways.len()](&site);
                site.app.try_restart().await.expect_err("it cannot take over");
                assert_eq!(children(pid), NOBODY);
            }
            site.repair();
            let at = site.address;
            site.ends(Ended::Served { by: pid, at }).await;
        })
    });
    run_all(rows.into()).await;
}

/// They are one restart, or two if some come after the successor was started.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_in_a_tenth_of_a_second() {
    let rows = (0..restarts(2, 20)).map(|number| {
        let setup = [SAME, UNPRIVILEGED][number % 2];
        Row::new(format!("{:?}, a hundred SIGHUPs", setup.user), hang_up_a_hundred_times(setup))
    });
    run_all(rows.collect()).await;
}

async fn hang_up_a_hundred_times(setup: Setup) {
    let site = Site::open(setup).await;
    let loads = site.load(site.address).await;
    let (mark, first) = (site.app.mark(), site.app.first_pid());
    let pid = Pid::from_raw(i32::try_from(first).expect("a PID fits"));
    for _ in 0..100 {
        // Not through the guard, which looks at all processes before each. It may have ended by now: it is a
        // zombie then, which only the guard reaps.
        kill(pid, Signal::SIGHUP).expect("it is ours");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let line = site.says(mark, first, "handed over").await;
    let mut serving = pid_in(&line, "successor");
    site.says(mark, serving, "serving").await;
    if site.said(first, "restart remembered") > 0 {
        let line = site.says(mark, serving, "handed over").await;
        serving = pid_in(&line, "successor");
        site.says(mark, serving, "serving").await;
    }
    for load in loads {
        load.until_answered_by(serving).await;
        load.stop().await.assert_clean();
    }
    let restarts = site.app.lines().iter().filter(|line| line.message() == Some("restarting")).count();
    assert!(restarts <= 2, "{restarts} restarts");
    let at = site.address;
    site.ends(Ended::Served { by: serving, at }).await;
}

/// While the channel is open and everything is in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_subprocess_of_the_user_in_the_middle_of_a_restart() {
    for (point, setup) in [(Point::HandedOver, SAME), (Point::HeardReady, UNPRIVILEGED)] {
        let site = Site::open(setup).await;
        let (mark, first) = (site.app.mark(), site.app.first_pid());
        let before = get(site.address, "/spawn").await.text();
        site.points.hold(point);
        site.hang_up(first);
        site.points.reached(point).await;

        let found = get(site.address, "/spawn").await.text();
        let count = |listing: &str| listing.matches(" -> ").count();
        assert_eq!(count(&found), count(&before), "{found}\nbefore:\n{before}");
        assert!(!found.contains("socket:") && !found.contains("anon_inode:"), "{found}");
        let line = get(site.address, "/spawn_self").await.text();
        assert!(line.contains(" generation=0 ") && line.ends_with(" predecessor=none"), "{line:?}");

        site.points.release(point);
        let line = site.says(mark, first, "handed over").await;
        let at = site.address;
        site.ends(Ended::Served { by: pid_in(&line, "successor"), at }).await;
    }
}
