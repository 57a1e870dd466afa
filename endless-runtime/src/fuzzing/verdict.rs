//! What endless may do other than bare hyper: nothing before it is asked to leave, and then no more than to
//! end.

use super::Outcome;
use super::script::Script;
use super::service::Progress;

/// # Panics
///
/// If there is a difference that there may not be.
pub(super) fn compare(script: &Script, bare: &Outcome, ours: &Outcome) {
    let verdict = Verdict { script, bare, ours };
    match script.leaves_at() {
        None => verdict.is_the_same(),
        Some(step) => verdict.leaves(step),
    }
}

struct Verdict<'a> {
    script: &'a Script,
    bare: &'a Outcome,
    ours: &'a Outcome,
}

impl Verdict<'_> {
    fn is_the_same(&self) {
        self.is_the_same_before(self.bare.received.len());
        self.hold(self.bare.requests.len() == self.ours.requests.len(), "the service saw more or less");
        self.hold(self.requests_agree(), "the service saw something else");
        self.hold(self.bare.closed == self.ours.closed, "the connection ended at another moment");
        self.hold(self.ours.is_over == self.bare.is_over, "one connection is over, the other is not");
    }

    fn is_the_same_before(&self, step: usize) {
        for (number, (bare, ours)) in
            self.bare.received.iter().zip(&self.ours.received).take(step).enumerate()
        {
            let same = without_date(bare) == without_date(ours) || self.is_cut_by_hyper(number);
            self.hold(same, &format!("the client got something else during step {number}"));
        }
    }

    /// Hyper closes, or hands the connection over, without waiting until there is room for what it says last. How much
    /// of that the client gets depends on how much it has read by then of the answer before.
    fn is_cut_by_hyper(&self, step: usize) -> bool {
        let [bare, ours] = [self.bare, self.ours].map(|outcome| outcome.received[step].as_str());
        let (cut, whole) = if bare.len() < ours.len() { (bare, ours) } else { (ours, bare) };
        let Some(at) = whole.rfind("HTTP/1.") else { return false };
        let last = &whole[at..];
        let both_end = [self.bare, self.ours].iter().all(|outcome| outcome.closed == Some(step));
        let is_same_before =
            cut.get(..at).is_some_and(|before| without_date(before) == without_date(&whole[..at]));
        let may_be_cut = is_refusal(&last["HTTP/1.".len()..]) || self.hands_over(last);
        both_end && is_same_before && may_be_cut && last.ends_with("\r\n\r\n")
    }

    fn leaves(&self, step: usize) {
        self.is_the_same_before(step);
        self.gives_whole_answers_and_no_other();
        self.says_close_once(step);
        self.ends();
    }

    fn gives_whole_answers_and_no_other(&self) {
        let [bare, ours] =
            [self.bare, self.ours].map(|outcome| without_persistence(&outcome.received.concat()));
        let same = match (bare.strip_prefix(&ours), ours.strip_prefix(&bare)) {
            // What of an answer fits into the pipe before the cut depends on the length of its head.
            (Some(rest), _) => {
                let both_are_cut = self.bare.closed == self.ours.closed && !rest.contains("HTTP/1.");
                rest.is_empty() || rest.starts_with("HTTP/1.") || both_are_cut
            }
            // A head that is none cuts the answer before it, and who leaves does not look at the next head.
            (None, Some(more)) => self.bare.closed.is_some() && !more.contains("HTTP/1."),
            (None, None) => false,
        };
        self.hold(same, "it is something else that the client got");
        self.hold(self.bare.requests.len() >= self.ours.requests.len(), "the service saw more");
        self.hold(self.requests_agree(), "the service saw something else");
        let answerable = self.ours.requests.len().min(answers(&bare).count());
        self.hold(answers(&ours).count() >= answerable, "a request has no answer");
    }

    fn requests_agree(&self) -> bool {
        self.ours.requests.iter().zip(&self.bare.requests).all(|(ours, bare)| ours.agrees_with(bare))
    }

    /// The last answer is the one that says it. One of hyper's own, to a head that is none, says it too.
    fn says_close_once(&self, step: usize) {
        let after = self.ours.received[step..].concat();
        let mut last = answers(&after).filter(|head| !self.hands_over(head));
        let (first, more) = (last.next(), last.next());
        let says_close = |head: &str| match head.starts_with("HTTP/1.0 ") {
            true => !head.contains("\r\nconnection: keep-alive\r\n"),
            false => head.contains("\r\nconnection: close\r\n"),
        };
        // What of hyper's own fits into the pipe at the end is cut for both.
        let is_cut = |head: &str| !head.ends_with("\r\n\r\n") && self.bare.closed == self.ours.closed;
        let is_well = first.is_none_or(|head| says_close(head) || is_cut(head));
        self.hold(is_well, "an answer does not say that it is the last");
        self.hold(more.is_none(), "there is an answer after the last one");
    }

    /// Before the client has closed its side, unless the service still waits for the client.
    fn ends(&self) {
        self.hold(self.ours.is_over, "the connection is not over");
        let client_closes = self.ours.received.len() - 1;
        let in_time = self.ours.closed.is_some_and(|step| step < client_closes);
        let waits = |progress: &Progress| matches!(progress, Progress::Failed(_) | Progress::Reading);
        let may_wait = self.ours.requests.iter().any(|request| waits(&request.progress));
        // After a body with trailers that the client has not asked for, hyper may answer nothing more.
        let hyper_hangs = answers(&self.bare.received.concat()).count() < self.bare.requests.len();
        self.hold(in_time || may_wait || hyper_hangs, "the connection stays open");
    }

    /// Whether this may be an answer after which the connection is no more HTTP's: it says nothing of
    /// persistence, nor does a 101 that nobody has asked for.
    fn hands_over(&self, head: &str) -> bool {
        let tunnels = || self.ours.requests.last().is_some_and(|request| request.is_connect());
        status_is(head, "101") || (head.split(' ').nth(1).is_some_and(is_success) && tunnels())
    }

    fn hold(&self, so: bool, what: &str) {
        let Self { script, bare, ours } = self;
        assert!(so, "{what}\n{script:#?}\nbare: {bare:#?}\nours: {ours:#?}");
    }
}

fn is_success(status: &str) -> bool {
    status.starts_with('2')
}

fn status_is(head: &str, status: &str) -> bool {
    head.split(' ').nth(1) == Some(status)
}

/// The heads that follow no other of the same request: 100 comes before one.
fn answers(text: &str) -> impl Iterator<Item = &str> {
    let heads = text.match_indices("HTTP/1.").map(|(at, _)| &text[at..]);
    let heads = heads.map(|head| head.find("\r\n\r\n").map_or(head, |end| &head[..end + 4]));
    heads.filter(|head| !status_is(head, "100"))
}

/// Hyper says what it refuses by itself in the version of the last request, and a connection that was quiet in
/// between has forgotten that.
pub(super) fn without_date(text: &str) -> String {
    let refused = |text: String, status: &str| {
        let (old, new) =
            (format!("HTTP/1.0 {status}\r\n"), format!("HTTP/1.1 {status}\r\nconnection: close\r\n"));
        text.replace(&old, &new)
    };
    REFUSALS.into_iter().fold(without(text, &["date: "]), refused)
}

/// Of hyper's own.
const REFUSALS: [&str; 2] = ["400 Bad Request", "431 Request Header Fields Too Large"];

/// Also without hyper's own answers to heads that are none, which it may put into the middle of the body
/// before them, or cut.
fn without_persistence(text: &str) -> String {
    let text = without(text, &["date: ", "connection: close\r\n", "connection: keep-alive\r\n"]);
    let Some((before, refusal)) = text.rsplit_once("HTTP/1.").filter(|(_, last)| is_refusal(last)) else {
        return text;
    };
    format!("{before}{}", refusal.split_once("\r\n\r\n").map_or("", |(_head, after)| after))
}

fn is_refusal(head: &str) -> bool {
    REFUSALS.iter().any(|status| head.get(2..).is_some_and(|rest| rest.starts_with(status)))
}

fn without(text: &str, beginnings: &[&str]) -> String {
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !beginnings.iter().any(|beginning| line.starts_with(beginning))).collect()
}
