//! Whatever a predecessor says on the channel, its successor serves if nobody else does and ends if it is not
//! wanted or cannot understand: the fault table of messages, from the other side.

mod support;

use std::process::Command;

use support::faults::{Row, pid_in, run_all};
use support::{App, Line, Mark, Plan, example_with, get};

use End::{Ends, Serves, ServesAnew};

/// What becomes of the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the listener that it got; of this generation.
    Serves(u64),
    /// With one of its own.
    ServesAnew,
    /// With status 1 and a line that has these words.
    Ends(&'static str),
}

/// What the predecessor says and does; at the end of its plan it dies.
const PLANS: &[(&str, End)] = &[
    ("hello, a listener, complete, await ready, go, live", Serves(5)),
    // It dies.
    ("hello", ServesAnew),
    ("half a message", ServesAnew),
    ("hello, a listener", Serves(5)),
    ("hello, a listener, half a message", Serves(5)),
    ("hello, a listener, complete", Serves(5)),
    ("hello, a listener, complete, await ready", Serves(5)),
    ("hello, a listener, complete, await ready, half a message", Serves(5)),
    ("hello, a listener, complete, await ready, go", Serves(5)),
    // It cannot be understood.
    ("garbage, live", Ends("the other side sent a message of")),
    ("hello, garbage, live", Ends("the other side sent a message of")),
    ("a length of 4 GB, live", Ends("the other side sent a message of 4294967295 bytes")),
    ("254 descriptors, live", Ends("the other side sent a message with 254 descriptors")),
    ("a descriptor that does not come, live", Ends("descriptors were lost on the way")),
    ("a listener without its descriptor, live", Ends("with 0 descriptors for 1")),
    ("600 descriptors, live", Ends("the other side sent a message with 600 descriptors")),
    ("hello, a listener, complete, await ready, garbage, live", Ends("the other side sent a message of")),
    // It has changed its mind.
    ("call off, live", Ends("as planned")),
    ("hello, a listener, complete, call off, live", Ends("as planned")),
    ("hello, a listener, complete, await ready, call off, live", Ends("as planned")),
    // It says what it should not, or not yet.
    ("hello, a listener, complete, go, await ready, go, live", Serves(5)),
    ("hello, confirm, ready, a listener, complete, ready, await ready, confirm, go, live", Serves(5)),
    ("hello, a listener, complete, await ready, go, go, call off, garbage, live", Serves(5)),
    // Other versions.
    (
        "unknown, hello like a newer one, unknown, a listener, complete, await ready, unknown, go, live",
        Serves(5),
    ),
    ("hello like an older one, a listener, complete, await ready, go, live", Serves(1)),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_plan_of_an_impostor() {
    let rows = PLANS.iter().map(|(plan, end)| Row::new(format!("{plan}: {end:?}"), led_on(plan, *end)));
    run_all(rows.collect()).await;
}

async fn led_on(words: &str, end: End) {
    let program = |name| example_with(name, &["_pause-points"], &[]);
    let mut command = Command::new(program("test_impostor"));
    command.arg(program("test_declarative"));
    let plan = Plan::of(&mut command);
    plan.set(words);
    let app = App::start(command);
    match end {
        Serves(_) | ServesAnew => {
            let line = app.wait_for_message(Mark::START, "serving").await;
            let (successor, address) = (pid_in(&line, "pid"), app.address().await);
            let given = format!("INFO app: gave address={address}");
            let was_given = app.lines().iter().any(|line| line.text == given);
            assert_eq!(end, if was_given { Serves(generation_in(&line)) } else { ServesAnew });
            let answer = get(address, "/hello").await;
            assert_eq!(answer.header("x-pid"), Some(successor.to_string().as_str()));
            app.restart().await;
            assert_eq!(app.exit(successor).await.code(), Some(0));
        }
        Ends(words) => {
            let line = app.wait_for_message(Mark::START, "called off").await;
            assert!(line.field("reason").is_some_and(|reason| reason.contains(words)), "{line}");
            let successor = pid_in(&line, "pid");
            assert_eq!(app.exit(successor).await.code(), Some(1));
        }
    }
}

fn generation_in(line: &Line) -> u64 {
    line.field("generation").and_then(|generation| generation.parse().ok()).expect("a generation")
}
