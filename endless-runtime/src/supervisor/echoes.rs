//! One signal to a whole group of processes is one signal, however many of them tell of it. The supervisor is
//! always one of the group: what only generations got was meant for each of them.

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
    /// `None` is the supervisor itself.
    got_by: Vec<Option<Pid>>,
}

impl Echoes {
    /// Whether `signal` is a new one: a process that tells of the same one twice has got it twice. `got_by` is
    /// the generation that tells of it, or `None` for the supervisor itself.
    pub(super) fn is_new(&mut self, signal: &Relayed, got_by: Option<Pid>, now: Instant) -> bool {
        self.0.retain(|echo| now.duration_since(echo.at) < SAME);
        let known = |echo: &&mut Echo| {
            let by_supervisor = got_by.is_none() || echo.got_by.contains(&None);
            echo.signal == *signal && by_supervisor && !echo.got_by.contains(&got_by)
        };
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

    const ITSELF: Option<Pid> = None;

    fn generation(pid: i32) -> Option<Pid> {
        Some(Pid::from_raw(pid))
    }

    #[test]
    fn one_to_all_is_one() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        let hangup = signal("SIGHUP", 7);
        assert!(echoes.is_new(&hangup, ITSELF, now));
        assert!(!echoes.is_new(&hangup, generation(2), now));
        assert!(!echoes.is_new(&hangup, generation(3), now));
        assert!(echoes.is_new(&hangup, generation(2), now), "a second one");
        assert!(!echoes.is_new(&hangup, ITSELF, now), "and its echo");
    }

    #[test]
    fn one_to_each_generation_is_as_many() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        assert!(echoes.is_new(&signal("SIGHUP", 7), generation(2), now));
        assert!(echoes.is_new(&signal("SIGHUP", 7), generation(3), now));
    }

    #[test]
    fn another_signal_sender_or_time_is_another_one() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        assert!(echoes.is_new(&signal("SIGHUP", 7), ITSELF, now));
        assert!(echoes.is_new(&signal("SIGTERM", 7), generation(2), now));
        assert!(echoes.is_new(&signal("SIGHUP", 8), generation(2), now));
        assert!(echoes.is_new(&signal("SIGHUP", 7), generation(2), now + SAME));
    }

    #[test]
    fn what_nobody_signed_is_new_each_time() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        let anonymous = Relayed { sender: None, ..signal("SIGHUP", 0) };
        assert!(echoes.is_new(&anonymous, ITSELF, now));
        assert!(echoes.is_new(&anonymous, generation(2), now));
    }
}
