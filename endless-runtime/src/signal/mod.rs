//! Signals: which there are, how they come in, and the hooks that run around what they do.

mod event;
pub(crate) mod given;
pub(crate) mod hook;
mod stream;

use std::fmt;
use std::str::FromStr;

use nix::sys::signal::Signal as Number;

pub use event::{Event, Outcome, Phase, Sender};
pub use given::Hook;
pub(crate) use stream::{Judge, Received, Signals, ignored_now, set_of, unblock};

use crate::error::Error;
use crate::grammar::signal_name;

/// A signal that endless acts on or that hooks can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `SIGHUP`: restart; a shutdown if the terminal went away.
    Hangup,
    /// `SIGUSR1`: hooks only.
    User1,
    /// `SIGUSR2`: hammer, while draining.
    User2,
    /// `SIGINT`: drain and exit; a second one hammers.
    Interrupt,
    /// `SIGTERM`: drain and exit.
    Terminate,
    /// `SIGTSTP`: hooks only; without a hook the process is stopped, as usual.
    TerminalStop,
    /// `SIGQUIT`: hooks only; without a hook the process dumps core, as usual.
    Quit,
    /// `SIGWINCH`: hooks only.
    WindowChange,
    /// `SIGALRM`: hooks only; without a hook the process ends, as usual.
    Alarm,
    /// `SIGIO`: hooks only; without a hook the process ends, as usual.
    Io,
    /// `SIGCONT`: hooks only.
    Continue,
}

impl Signal {
    /// Handled whether hooked or not. The rest keeps its default action until a hook is bound to it.
    pub(crate) const ALWAYS: [Self; 5] =
        [Self::Hangup, Self::User1, Self::User2, Self::Interrupt, Self::Terminate];

    /// What a terminal sends to all processes that it is in the foreground of.
    pub(crate) const OF_TERMINALS: [Self; 5] =
        [Self::Hangup, Self::Interrupt, Self::Quit, Self::TerminalStop, Self::WindowChange];

    pub(crate) const ALL: [Self; 11] = [
        Self::Hangup,
        Self::User1,
        Self::User2,
        Self::Interrupt,
        Self::Terminate,
        Self::TerminalStop,
        Self::Quit,
        Self::WindowChange,
        Self::Alarm,
        Self::Io,
        Self::Continue,
    ];

    pub(crate) fn number(self) -> Number {
        match self {
            Self::Hangup => Number::SIGHUP,
            Self::User1 => Number::SIGUSR1,
            Self::User2 => Number::SIGUSR2,
            Self::Interrupt => Number::SIGINT,
            Self::Terminate => Number::SIGTERM,
            Self::TerminalStop => Number::SIGTSTP,
            Self::Quit => Number::SIGQUIT,
            Self::WindowChange => Number::SIGWINCH,
            Self::Alarm => Number::SIGALRM,
            Self::Io => Number::SIGIO,
            Self::Continue => Number::SIGCONT,
        }
    }

    pub(crate) fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.number() as i32 == number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number().as_str())
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// With or without `SIG`, in any case.
    ///
    /// # Errors
    ///
    /// For a name that is no signal or none that can be hooked; the message names the nearest, or says why
    /// not.
    fn from_str(text: &str) -> Result<Self, Error> {
        let row = signal_name::parse(text).map_err(|refusal| Error::configuration(refusal.to_string()))?;
        Ok(Self::ALL
            .into_iter()
            .find(|signal| signal.number().as_str() == row.name)
            .expect("the grammar's signals are these"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_is_found_by_the_name_that_it_shows() {
        for signal in Signal::ALL {
            assert_eq!(signal.to_string().parse::<Signal>().expect("its own name"), signal);
            assert_eq!(Signal::from_number(signal.number() as i32), Some(signal));
        }
        assert_eq!("hup".parse::<Signal>().expect("no prefix, lower case"), Signal::Hangup);
        assert!("SIGKILL".parse::<Signal>().is_err());
    }

    #[test]
    fn the_grammar_names_the_variants_as_they_are() {
        for row in signal_name::SIGNALS {
            let signal: Signal = row.name.parse().expect("a signal");
            assert_eq!(format!("{signal:?}"), row.variant);
        }
    }
}
