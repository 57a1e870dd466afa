//! The command line of `endlessctl`.

use std::io::{self, Write as _};
use std::process::ExitCode;

#[cfg(target_os = "linux")]
use super::orders::carry_out;
use super::words::Request;

const USAGE: &str = "\
usage: endlessctl restart PID                     restart, and wait for the outcome
       endlessctl stop PID                        finish what is in flight, and wait for the end
       endlessctl hammer PID                      end what still drains, now
       endlessctl status PID [--json] [--watch]   show the generations; with --watch, every second
       endlessctl --help | --version

PID is the process to signal, as endless::pid() and the PID file say. The exit status is 0 if it was done, 1
if not, with the reason on stderr, and 2 for a command line that is none of these.
";

/// The exit status for a command line that cannot be understood.
const MISUSED: u8 = 2;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Help,
    Version,
    Ask { request: Request, pid: u32, form: Form },
}

/// How a status is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) json: bool,
    pub(super) watch: bool,
}

/// The whole of `endlessctl`.
pub fn run() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match parse(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(Order::Help) => said(print(USAGE)),
        Ok(Order::Version) => said(print(concat!("endlessctl ", env!("CARGO_PKG_VERSION"), "\n"))),
        Ok(Order::Ask { request, pid, form }) => match carry_out(request, pid, form) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(&reason, 1),
        },
        Err(reason) => fail(&format!("{reason}\n{USAGE}"), MISUSED),
    }
}

#[cfg(not(target_os = "linux"))]
fn carry_out(_request: Request, _pid: u32, _form: Form) -> Result<(), String> {
    Err("this works on Linux only; elsewhere, SIGHUP restarts and SIGTERM stops".to_owned())
}

/// Options may stand anywhere.
fn parse(words: &[&str]) -> Result<Order, String> {
    let (options, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
    if options.iter().any(|option| ["-h", "--help"].contains(option)) || words.first() == Some(&"help") {
        return Ok(Order::Help);
    }
    if options.iter().any(|option| ["-V", "--version"].contains(option)) {
        return Ok(Order::Version);
    }
    let (command, pid) = match words[..] {
        [] => return Err("what is to be done?".to_owned()),
        [command] => return Err(format!("{command} which process?")),
        [command, pid] => (command, pid),
        [_, _, unexpected, ..] => return Err(format!("unexpected {unexpected:?}")),
    };
    let request = Request::named(command).ok_or_else(|| format!("unknown command {command:?}"))?;
    let pid = parse_pid(pid).ok_or_else(|| format!("{pid:?} is no process ID"))?;
    let allowed: &[&str] = if request == Request::Status { &["--json", "--watch"] } else { &[] };
    if let Some(unknown) = options.iter().find(|option| !allowed.contains(option)) {
        return Err(format!("{command} has no option {unknown}"));
    }
    let form = Form { json: options.contains(&"--json"), watch: options.contains(&"--watch") };
    Ok(Order::Ask { request, pid, form })
}

fn parse_pid(text: &str) -> Option<u32> {
    text.parse().ok().filter(|pid| (1..=i32::MAX.unsigned_abs()).contains(pid))
}

/// # Errors
///
/// If nobody reads any more.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn said(printed: io::Result<()>) -> ExitCode {
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(reason: &str, status: u8) -> ExitCode {
    // Whoever does not read it has the status.
    let _unread = writeln!(io::stderr(), "endlessctl: {}", reason.trim_end());
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_may_stand_anywhere() {
        let ask = |request, json| Order::Ask { request, pid: 7, form: Form { json, watch: false } };
        for line in ["status 7 --json", "status --json 7", "--json status 7"] {
            assert_eq!(parse(&line.split(' ').collect::<Vec<_>>()), Ok(ask(Request::Status, true)), "{line}");
        }
        assert_eq!(parse(&["restart", "7"]), Ok(ask(Request::Restart, false)));
        assert_eq!(parse(&["restart", "--help"]), Ok(Order::Help));
        assert_eq!(parse(&["-V"]), Ok(Order::Version));
    }

    #[test]
    fn a_command_line_that_is_none_is_refused() {
        let lines: [&[&str]; 10] = [
            &[],
            &["restart"],
            &["rewind", "7"],
            &["restart", "0"],
            &["restart", "-7"],
            &["restart", "7x"],
            &["restart", "99999999999"],
            &["restart", "7", "8"],
            &["restart", "7", "--json"],
            &["status", "7", "--yaml"],
        ];
        for line in lines {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
