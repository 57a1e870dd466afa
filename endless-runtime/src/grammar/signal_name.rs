//! The signals a hook can be bound to, and their names.

use super::nearest::nearest;
use super::refusal::Refusal;

/// A signal for hooks.
#[derive(Debug, PartialEq, Eq)]
pub struct SignalRow {
    /// The variant of `endless::Signal`.
    pub variant: &'static str,
    /// The canonical name: `SIGHUP`.
    pub name: &'static str,
}

/// Every signal a hook can be bound to.
pub const SIGNALS: &[SignalRow] = &[
    row("Hangup", "SIGHUP"),
    row("User1", "SIGUSR1"),
    row("User2", "SIGUSR2"),
    row("Interrupt", "SIGINT"),
    row("Terminate", "SIGTERM"),
    row("TerminalStop", "SIGTSTP"),
    row("Quit", "SIGQUIT"),
    row("WindowChange", "SIGWINCH"),
    row("Alarm", "SIGALRM"),
    row("Io", "SIGIO"),
    row("Continue", "SIGCONT"),
];

const fn row(variant: &'static str, name: &'static str) -> SignalRow {
    SignalRow { variant, name }
}

/// Signals that somebody may ask for in vain, and why.
const REFUSED: &[(&[&str], &str)] = &[
    (&["SIGKILL", "SIGSTOP"], "the kernel shows it to no process"),
    (
        &["SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS", "SIGSTKFLT"],
        "it is a fault of the program itself, after which no hook can be trusted to run",
    ),
    (&["SIGABRT", "SIGIOT"], "the process is aborting and does not come back from it"),
    (
        &["SIGCHLD", "SIGCLD"],
        "endless learns from it how successors end, and so does tokio of your own subprocesses",
    ),
    (&["SIGPIPE"], "a connection that broke is an error of the write, not a signal"),
    (&["SIGTTIN", "SIGTTOU"], "the terminal's job control needs it to stop the process"),
    (&["SIGXCPU", "SIGXFSZ"], "it is the kernel's warning of a limit, not a request"),
    (&["SIGPROF", "SIGVTALRM"], "profilers need it for themselves"),
];

/// Finds a signal by its name, with or without `SIG`, in any case.
///
/// # Errors
///
/// A name that is none, or a signal that no hook can be bound to.
pub fn parse(text: &str) -> Result<&'static SignalRow, Refusal> {
    let name = canonical(text);
    SIGNALS.iter().find(|row| row.name == name).ok_or_else(|| refuse(text, &name))
}

/// What the signals do that do something by themselves, hooked or not.
const ACTIONS: &[(&str, &str)] = &[
    ("SIGHUP", "restarts the service"),
    ("SIGTERM", "stops the service"),
    ("SIGINT", "stops the service"),
    ("SIGUSR2", "ends what still drains"),
];

/// Finds a signal that is for hooks alone, and so free for something else.
///
/// # Errors
///
/// As [`parse`], and for a signal that does something by itself.
pub fn parse_free(text: &str) -> Result<&'static SignalRow, Refusal> {
    let row = parse(text)?;
    match ACTIONS.iter().find(|(name, _)| *name == row.name) {
        Some((name, action)) => Err(Refusal::because(format!(
            "{name} {action}: expected a signal for hooks alone, such as \"SIGUSR1\""
        ))),
        None => Ok(row),
    }
}

fn canonical(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    match upper.strip_prefix("SIG") {
        Some(_) => upper,
        None => format!("SIG{upper}"),
    }
}

fn refuse(text: &str, name: &str) -> Refusal {
    if let Some((_, why)) = REFUSED.iter().find(|(names, _)| names.contains(&name)) {
        return Refusal::because(format!("{name} cannot be hooked: {why}"));
    }
    let names = || SIGNALS.iter().map(|row| row.name);
    let accepted = match nearest(name, names()) {
        Some(near) => format!("{near:?}"),
        None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
    };
    Refusal::expected(text, "signal for hooks", &accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn with_or_without_the_prefix_in_any_case() {
        for text in ["SIGHUP", "HUP", "hup", "sighup", "SigHup"] {
            assert_eq!(parse(text).unwrap().variant, "Hangup", "{text}");
        }
        for row in SIGNALS {
            assert_eq!(parse(row.name), Ok(row));
        }
    }

    #[test]
    fn a_signal_that_does_something_is_not_free() {
        assert_eq!(parse_free("usr1").unwrap().name, "SIGUSR1");
        assert_eq!(
            parse_free("hup").unwrap_err().to_string(),
            r#"SIGHUP restarts the service: expected a signal for hooks alone, such as "SIGUSR1""#
        );
        for name in ["SIGTERM", "SIGINT", "SIGUSR2", "SIGKILL", "usr3"] {
            assert!(parse_free(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_typo_is_told_the_nearest_name() {
        assert_eq!(refusal("SIGHPU"), r#""SIGHPU" is no signal for hooks: expected "SIGHUP""#);
        assert_eq!(refusal("usr3"), r#""usr3" is no signal for hooks: expected "SIGUSR1""#);
    }

    #[test]
    fn another_word_is_told_all_names() {
        for text in ["", "SIG", "restart", "1"] {
            assert!(refusal(text).contains("one of SIGHUP, SIGUSR1"), "{text}");
        }
    }

    #[test]
    fn a_signal_that_cannot_be_hooked_says_why() {
        assert_eq!(refusal("kill"), "SIGKILL cannot be hooked: the kernel shows it to no process");
        for (names, why) in REFUSED {
            for name in *names {
                assert!(refusal(name).ends_with(why), "{name}");
            }
        }
    }
}
