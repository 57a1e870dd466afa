//! What `endlessctl` does for each of its commands.

use super::client::Target;
use super::command::{Form, print};
use super::table;
use super::words::{Answer, Request};

/// How often somebody may name somebody else to ask.
const DETOURS: usize = 3;

/// Does it, and says so.
///
/// # Errors
///
/// Why it was not done.
pub(super) fn carry_out(request: Request, pid: u32, form: Form) -> Result<(), String> {
    match request {
        Request::Restart => restart(pid),
        Request::Stop => stop(pid),
        Request::Hammer => hammer(pid),
        Request::Status => table::show(pid, form),
    }
}

fn restart(pid: u32) -> Result<(), String> {
    match ask(pid, Request::Restart)? {
        (_, Answer::Restarted { generation, pid }) => {
            say(&format!("restarted: generation {generation}, PID {pid}"));
            Ok(())
        }
        (_, other) => Err(format!("not restarted: {}", reason(other))),
    }
}

fn stop(pid: u32) -> Result<(), String> {
    match ask(pid, Request::Stop)? {
        (asked, Answer::Ending { pids }) => {
            let others = pids.into_iter().filter(|pid| *pid != asked.pid);
            // One that cannot be found has ended.
            let others: Vec<Target> = others.filter_map(|pid| Target::find(pid).ok()).collect();
            for target in others.iter().chain([&asked]) {
                target.ends_within(None);
            }
            say("stopped");
            Ok(())
        }
        (_, other) => Err(format!("not stopped: {}", reason(other))),
    }
}

/// Who does not drain may name those who do, and each of them knows whether that is so.
fn hammer(pid: u32) -> Result<(), String> {
    let (mut pids, mut hammered) = (vec![pid], Vec::new());
    let mut refusal = "it names nobody who drains".to_owned();
    for _ in 0..DETOURS {
        for named in std::mem::take(&mut pids) {
            match ask_once(named, Request::Hammer) {
                Ok((_, Answer::Elsewhere { pids: others })) => pids.extend(others),
                Ok((target, Answer::Ending { .. })) => hammered.push(target),
                Ok((_, other)) => refusal = reason(other),
                Err(failure) if named == pid => return Err(failure),
                Err(failure) => refusal = failure,
            }
        }
    }
    if hammered.is_empty() {
        return Err(format!("not hammered: {refusal}"));
    }
    for target in &hammered {
        target.ends_within(None);
    }
    let pids: Vec<String> = hammered.iter().map(|target| target.pid.to_string()).collect();
    say(&format!("hammered: PID {}", pids.join(", ")));
    Ok(())
}

/// Asks it, or whoever it names; returns who has answered.
fn ask(pid: u32, request: Request) -> Result<(Target, Answer), String> {
    let mut next = pid;
    for _ in 0..DETOURS {
        match ask_once(next, request)? {
            (target, Answer::Elsewhere { pids }) => {
                let nobody = || format!("process {} names nobody to ask", target.pid);
                next = *pids.first().ok_or_else(nobody)?;
            }
            answered => return Ok(answered),
        }
    }
    Err(format!("whoever process {pid} names names somebody else"))
}

fn ask_once(pid: u32, request: Request) -> Result<(Target, Answer), String> {
    let target = Target::find(pid)?;
    let answer = target.ask(request, None)?;
    Ok((target, answer))
}

fn reason(answer: Answer) -> String {
    match answer {
        Answer::Refused { reason } => reason,
        _ => "the answer is one to another question".to_owned(),
    }
}

fn say(text: &str) {
    // It is done, whoever reads that.
    let _unread = print(&format!("{text}\n"));
}
