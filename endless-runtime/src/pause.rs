//! Points of a restart at which a test can stop a process, to do there what in the field happens there once
//! in a million restarts.
//!
//! They exist in builds with the feature `_pause-points` and with debug assertions, and are nothing in all
//! others. The variable `TEST_PAUSE_POINTS` names a folder. While it holds a file with a point's name, the
//! process waits there, and a file `NAME.PID` says that it does. What waits is the thread that decides; the
//! user's runtime goes on.

/// A point of a restart; of the predecessor's side, and then of the successor's, each in its order. Under a
/// supervisor, what the predecessor's side decides is decided there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// A restart was asked for, and no hook has run.
    Asked,
    /// The hooks have agreed, and nothing is started.
    Agreed,
    /// The successor is started, and has been sent nothing.
    Started,
    /// Everything is handed over.
    HandedOver,
    /// The successor has said that it is ready; this process accepts.
    HeardReady,
    /// Nobody accepts.
    Paused,
    /// The successor may accept, and has been told.
    SaidGo,
    /// The successor has confirmed, and this process still has its listeners.
    HeardConfirmed,
    /// The listeners are let go; the drain has not begun.
    LetGo,
    /// The drain has begun.
    Draining,
    /// In the place of all from [`Point::HeardReady`] on, or from where it fails: there will be no successor,
    /// and the one that was started has not been told.
    CallingOff,

    /// A build that a supervisor would become has been given what that one knows, and has not read it.
    Rehearsing,
    /// It has said whether it could be that supervisor, which still hears signals.
    Rehearsed,
    /// A supervisor is about to become another build, and hears nothing any more.
    Becoming,
    /// It is that build, and knows nothing yet.
    Became,
    /// It knows everything, and hears nothing yet.
    Resumed,
    /// A supervisor has asked for a restart, and no hook has run.
    HeardAsk,
    /// A supervisor wants nothing to be accepted; this process accepts.
    HeardPause,
    /// This process accepts nothing, and its supervisor has not heard so yet.
    SaidPaused,

    /// Connections are about to be sent to the successor.
    Giving,
    /// They are sent.
    Gave,
    /// The successor has taken them, and has not been told to keep them.
    HeardTaken,
    /// It has been told, and this process's own are closed.
    SaidCommit,

    /// Before anything else in the successor.
    Born,
    /// The channel is open, and nothing was read from it.
    Met,
    /// What was handed over has come.
    Inherited,
    /// Every server is bound, and nothing was said.
    Bound,
    /// Ready was said.
    SaidReady,
    /// The predecessor does not accept any more.
    HeardGo,
    /// The predecessor knows that this process serves; it does not yet.
    Confirmed,
    /// This process accepts.
    Serving,
    /// Connections have come, and are not taken.
    HeardMove,
    /// They are taken, and the predecessor has been told.
    SaidTaken,
    /// They are this process's, and not served yet.
    HeardCommit,
}

#[cfg(all(feature = "_pause-points", debug_assertions))]
mod real {
    use std::fs;
    use std::path::PathBuf;
    use std::thread::sleep;
    use std::time::Duration;

    use super::Point;

    const LOOK: Duration = Duration::from_millis(1);

    /// Waits while the test wants it.
    pub(crate) fn at(point: Point) {
        let Some(folder) = std::env::var_os("TEST_PAUSE_POINTS").map(PathBuf::from) else { return };
        let (wanted, reached) =
            (folder.join(format!("{point:?}")), folder.join(format!("{point:?}.{}", std::process::id())));
        if !wanted.exists() {
            return;
        }
        fs::write(&reached, "").expect("the test's folder can be written");
        while wanted.exists() {
            sleep(LOOK);
        }
        // The test may have removed its folder.
        let _gone = fs::remove_file(&reached);
    }

    /// Which version of the supervisor this build is to be, as the file `version` in the folder says.
    pub(crate) fn version() -> Option<u32> {
        let folder = std::env::var_os("TEST_PAUSE_POINTS").map(PathBuf::from)?;
        fs::read_to_string(folder.join("version")).ok()?.parse().ok()
    }
}

#[cfg(not(all(feature = "_pause-points", debug_assertions)))]
mod real {
    pub(crate) fn at(_point: super::Point) {}

    pub(crate) fn version() -> Option<u32> {
        None
    }
}

pub(crate) use real::{at, version};
