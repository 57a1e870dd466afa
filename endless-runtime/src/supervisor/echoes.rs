//! One signal to a whole group of processes is one signal, however many of them tell of it.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::handover::message::Relayed;

/// Within which time the same from the same sender is the same one.
const SAME: Duration = Duration::from_secs(1);

/// What came in the last moments, and to whom.
#[derive(Debug, Default)]
pub(super) struct Echoes(Vec<Echo>);

#[derive(Debug)]
struct Echo {
    signal: Relayed,
    at: Instant,
    got_by: Vec<Pid>,
}

impl Echoes {
    /// Whether `signal` is a new one: a process that tells of the same one twice has got it twice.
    pub(super) fn is_new(&mut self, signal: &Relayed, got_by: Pid, now: Instant) -> bool {
        self.0.retain(|echo| now.duration_since(echo.at) < SAME);
        let known = |echo: &&mut Echo| echo.signal == *signal && !echo.got_by.contains(&got_by);
        // Who sent it is not known: there is nothing to recognise it by.
        match self.0.iter_mut().find(known).filter(|_| signal.sender.is_some()) {
            Some(echo) => {
                echo.got_by.push(got_by);
                false
            }
            None => {
                self.0.push(Echo { signal: signal.clone(), at: now, got_by: vec![got_by] });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &str, sender: u32) -> Relayed {
        Relayed { name: name.to_owned(), sender: Some((sender, 0)) }
    }

    #[test]
    fn one_to_all_is_one() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        let hangup = signal("SIGHUP", 7);
        assert!(echoes.is_new(&hangup, Pid::from_raw(1), now));
        assert!(!echoes.is_new(&hangup, Pid::from_raw(2), now));
        assert!(!echoes.is_new(&hangup, Pid::from_raw(3), now));
        assert!(echoes.is_new(&hangup, Pid::from_raw(1), now), "a second one");
        assert!(!echoes.is_new(&hangup, Pid::from_raw(2), now), "and its echo");
    }

    #[test]
    fn another_signal_sender_or_time_is_another_one() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        assert!(echoes.is_new(&signal("SIGHUP", 7), Pid::from_raw(1), now));
        assert!(echoes.is_new(&signal("SIGTERM", 7), Pid::from_raw(2), now));
        assert!(echoes.is_new(&signal("SIGHUP", 8), Pid::from_raw(2), now));
        assert!(echoes.is_new(&signal("SIGHUP", 7), Pid::from_raw(2), now + SAME));
    }

    #[test]
    fn what_nobody_signed_is_new_each_time() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        let anonymous = Relayed { sender: None, ..signal("SIGHUP", 0) };
        assert!(echoes.is_new(&anonymous, Pid::from_raw(1), now));
        assert!(echoes.is_new(&anonymous, Pid::from_raw(2), now));
    }
}
