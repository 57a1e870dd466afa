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
            for target in living(&pids).iter().chain([&asked]) {
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
    let (mut targets, mut hammered) = (vec![Target::find(pid)?], Vec::new());
    let mut refusal = "not draining".to_owned();
    for _ in 0..DETOURS {
        for target in std::mem::take(&mut targets) {
            match target.ask(Request::Hammer, None) {
                Ok(Answer::Elsewhere { pids }) => targets.extend(living(&pids)),
                Ok(Answer::Ending { .. }) => hammered.push(target),
                Ok(other) => refusal = reason(other),
                Err(failure) if target.pid == pid => return Err(failure),
                // It has finished since it was named.
                Err(_) if !target.lives() => {}
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

/// Those that have not ended since they were named.
fn living(pids: &[u32]) -> Vec<Target> {
    pids.iter().filter_map(|pid| Target::find(*pid).ok()).collect()
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
