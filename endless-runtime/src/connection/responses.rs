//! How many responses of each status a connection has had, counted without a lock and without a counter that
//! connections share.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::StatusCode;

/// Responses by status.
pub(crate) type ByStatus = BTreeMap<u16, u64>;

/// How many statuses have their place at hand; nearly all connections see fewer.
const AT_HAND: usize = 4;

/// A slot's upper bits are the status that it counts, the lower ones how often; 0 is one that is free.
const STATUS_SHIFT: u32 = 48;

/// One connection's. The first status that is new to it takes the first free slot, so it is found again by a
/// look at one number.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    slots: [AtomicU64; AT_HAND],
    more: OnceLock<Box<Self>>,
}

impl Responses {
    /// Also from several tasks at a time, as the responses of HTTP/2 are.
    pub(crate) fn count(&self, status: StatusCode) {
        match self.slots.iter().find(|slot| is_for(slot, status.as_u16())) {
            Some(slot) => drop(slot.fetch_add(1, Relaxed)),
            None => self.more.get_or_init(Box::default).count(status),
        }
    }

    pub(crate) fn add_to(&self, sum: &mut ByStatus) {
        for slot in &self.slots {
            let value = slot.load(Relaxed);
            let count = value & ((1 << STATUS_SHIFT) - 1);
            if count > 0 {
                *sum.entry((value >> STATUS_SHIFT) as u16).or_default() += count;
            }
        }
        if let Some(more) = self.more.get() {
            more.add_to(sum);
        }
    }
}

/// Whether the slot counts this status, from now on if it was free.
fn is_for(slot: &AtomicU64, status: u16) -> bool {
    let key = u64::from(status) << STATUS_SHIFT;
    let counted = match slot.load(Relaxed) {
        0 => claim(slot, key),
        counted => counted,
    };
    counted >> STATUS_SHIFT == u64::from(status)
}

/// Takes a slot that was free, unless another task has been faster; returns whose it is.
fn claim(slot: &AtomicU64, key: u64) -> u64 {
    match slot.compare_exchange(0, key, Relaxed, Relaxed) {
        Ok(_) => key,
        Err(taken) => taken,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn sum(responses: &Responses) -> Vec<(u16, u64)> {
        let mut sum = ByStatus::new();
        responses.add_to(&mut sum);
        sum.into_iter().collect()
    }

    #[test]
    fn each_status_has_its_own_count() {
        let responses = Responses::default();
        assert_eq!(sum(&responses), []);
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::OK] {
            responses.count(status);
        }
        assert_eq!(sum(&responses), [(200, 2), (404, 1)]);
    }

    #[test]
    fn there_is_room_for_every_status_that_there_is() {
        let responses = Responses::default();
        let all = || (100..=999).map(|number| StatusCode::from_u16(number).expect("a status"));
        all().for_each(|status| responses.count(status));
        all().rev().for_each(|status| responses.count(status));
        assert!(sum(&responses).into_iter().eq((100..=999).map(|number| (number, 2))));
    }

    #[test]
    fn a_slot_that_another_task_has_just_taken_is_that_ones() {
        let slot = AtomicU64::new(0);
        let [first, late] = [200, 404].map(|status| status << STATUS_SHIFT);
        assert_eq!(claim(&slot, first), first);
        slot.fetch_add(1, Relaxed);
        assert_eq!(claim(&slot, late), first + 1);
        assert_eq!(claim(&slot, first), first + 1);
    }

    #[test]
    fn none_is_lost_of_those_that_come_at_the_same_time() {
        let responses = Responses::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in (200..300).cycle().take(1000) {
                        responses.count(StatusCode::from_u16(number).expect("a status"));
                    }
                });
            }
        });
        assert!(sum(&responses).into_iter().eq((200..300).map(|number| (number, 40))));
    }
}
