//! Whatever a successor says on the channel, the predecessor serves on until it has understood that the other
//! one does: the fault table of messages.

mod support;

use support::faults::{Mode, Outcome, Row, Setup, Site, User, run_all, start_badly};

use Outcome::{CalledOff, TakenOver};

const LATE: Outcome = CalledOff(&["the successor was not ready within 5s"]);
const SILENT: Outcome = CalledOff(&["the successor did not confirm within 5s"]);
const CLOSED: Outcome = CalledOff(&["the successor closed the channel before it was ready"]);
const UNASKED: Outcome = CalledOff(&["the successor confirmed before it was told to go"]);

/// What the successor says and does.
#[rustfmt::skip]
const PLANS: &[(&str, Outcome)] = &[
    // What it must say, so that the others fail for what they add or leave out.
    ("take, ready, await go, confirm, serve", TakenOver),
    // Bytes that are no message.
    ("garbage, live", CalledOff(&["the other side sent a message of"])),
    ("half a message, live", LATE),
    ("half a message, close, live", CLOSED),
    ("half a message", CalledOff(&["the successor exited with status 0 before it was ready"])),
    ("take, half a message, close, live", CLOSED),
    ("a length of 4 GB, live", CalledOff(&["the other side sent a message of 4294967295 bytes"])),
    ("no JSON, live", CalledOff(&["the other side sent a message of kind 4 that is malformed"])),
    ("254 descriptors, live", CalledOff(&["the other side sent a message with 254 descriptors"])),
    ("a descriptor that does not come, live", CalledOff(&["descriptors were lost on the way"])),
    ("600 descriptors, live", CalledOff(&["the other side sent a message with 600 descriptors"])),
    ("flood", LATE),
    ("take, ready, no JSON, live", CalledOff(&["the other side sent a message of kind 4 that is malformed"])),
    ("take, ready, garbage, live", CalledOff(&["the other side sent a message of"])),
    ("take, ready, await go, garbage, live", CalledOff(&["the other side sent a message of"])),
    ("take, ready, await go, flood", SILENT),
    // Messages in another order.
    ("take, confirm, ready, await go, live", UNASKED),
    ("take, ready and confirm, live", UNASKED),
    ("take, ready, ready, await go, confirm, serve", TakenOver),
    ("take, what is not its to say, ready, await go, confirm, serve", TakenOver),
    ("take, ready, await go, ready, live", SILENT),
    ("take, repeat oneself", SILENT),
    // No messages.
    ("close, live", CLOSED),
    ("take, close, live", CLOSED),
    ("take, live", LATE),
    ("take, ready, close, live", CalledOff(&["the successor closed the channel at the last moment"])),
    ("take, ready, await go, close, live", CalledOff(&["the successor closed the channel at the last moment"])),
    ("take, ready, await go, live", SILENT),
    ("take, ready, await go", CalledOff(&["at the last moment"])),
    // Other versions.
    ("take, unknown, ready like a newer one, unknown, await go, unknown, confirm, serve", TakenOver),
    ("take, ready like an older one, await go, confirm, serve", TakenOver),
    ("take, ready byte by byte, await go, confirm, serve", TakenOver),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_plan_of_an_impostor() {
    let rows = PLANS.iter().enumerate().map(|(number, (plan, outcome))| {
        let user = [User::Same, User::Unprivileged][number % 2];
        let setup = Setup { ready_timeout: "5s", ..Setup::new(Mode::Direct, user) };
        Row::new(format!("{user:?}, {plan}: {outcome:?}"), deceived(setup, plan, *outcome))
    });
    run_all(rows.collect()).await;
}

async fn deceived(setup: Setup, plan: &str, outcome: Outcome) {
    let spoil = |site: &Site| {
        site.ship_program("test_impostor");
        site.plan.set(plan);
    };
    start_badly(Site::open(setup).await, spoil, outcome).await;
}

/// It can take some of them and no more.
#[tokio::test(flavor = "multi_thread")]
async fn more_descriptors_than_the_predecessor_may_have() {
    let site = Site::open(Setup::new(Mode::Direct, User::Same)).await;
    let spoil = |site: &Site| {
        site.ship_program("test_impostor");
        site.plan.set("600 descriptors, live");
        site.lower_limit("nofile", 300);
    };
    // Whoever is not root may not even send its own while so many are under way.
    let reasons = &["descriptors were lost on the way", "too many references"];
    start_badly(site, spoil, CalledOff(reasons)).await;
}
