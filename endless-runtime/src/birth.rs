//! When a process was started: what tells it from a later one that has got its number.

/// The moment, in a unit of the kernel's (field 22 of proc_pid_stat(5)); `None` where nobody tells, and for a
/// process that is gone or only waits to be reaped.
#[cfg(target_os = "linux")]
pub(crate) fn of(pid: u32) -> Option<u64> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn of(_pid: u32) -> Option<u64> {
    None
}

/// Whether the process with this number is still the one that was started then.
pub(crate) fn lives(pid: u32, started: u64) -> bool {
    of(pid) == Some(started)
}

/// The program's name, field 2, is in parentheses and may hold anything, parentheses too.
#[cfg(any(target_os = "linux", test))]
fn parse(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| started.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse(&format!("7 (a) S 1) S {rest}")), Some(4711));
        assert_eq!(parse(&format!("7 (a) Z {rest}")), None, "it has ended");
        assert_eq!(parse("7 (a) S 1 2"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_lives_and_has_another_moment_than_the_first() {
        let (this, first) = (of(std::process::id()), of(1));
        assert!(this.is_some() && first.is_some() && this != first);
        assert!(this.is_some_and(|started| lives(std::process::id(), started) && !lives(1, started)));
    }
}
