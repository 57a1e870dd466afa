//! The keys that tickets are sealed with, and when which one is.
//!
//! Each has its turn of [`TURN`] seconds, and opens what it has sealed for as long as that may live. The one whose turn
//! comes next is there before it does: whoever has the set, a successor while its predecessor still serves, or a
//! supervisor that has heard of it hours ago, goes on with the same key at the same moment, and nothing has to be
//! agreed on.

use zeroize::Zeroizing;

use super::Binding;
use super::seal::{Key, NAME, SECRET, name_in};

/// For how long a key seals, in seconds.
const TURN: u64 = 6 * 60 * 60;

/// For how long a ticket is good, in seconds.
pub(super) const LIFETIME: u32 = 12 * 60 * 60;

/// The most keys that are taken over: twice those that there can be.
const MOST: usize = 10;

/// A key as it is handed over, in bytes: name, secret, beginning of its turn. A newer build may have more to say of
/// each, behind that.
const RECORD: usize = NAME + SECRET + size_of::<u64>();

/// Those that have been, that is, and that will be.
#[derive(Debug)]
pub(super) struct Keys(Vec<Turn>);

#[derive(Debug)]
struct Turn {
    key: Key,
    begins: u64,
}

impl Keys {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether [`Keys::tend`] has something to do.
    pub(super) fn want_tending(&self, now: u64) -> bool {
        let is_there = |is: fn(&Turn, u64) -> bool| self.0.iter().any(|turn| is(turn, now));
        !is_there(Turn::is_on) || !is_there(Turn::is_to_come) || is_there(Turn::is_over)
    }

    /// Drops keys that are over, and makes those that are missing. Where the system has no random numbers, they stay
    /// missing, and clients get no tickets.
    pub(super) fn tend(&mut self, now: u64) {
        self.0.retain(|turn| !turn.is_over(now) && !turn.is_beyond(now));
        if self.current(now).is_none() {
            self.0.extend(Turn::generate(now));
        }
        let next = self.current(now).map(Turn::ends);
        if !self.0.iter().any(|turn| turn.is_to_come(now)) {
            self.0.extend(next.and_then(Turn::generate));
        }
    }

    /// A ticket of this state; `None` if there is no key or the state is too long.
    pub(super) fn seal(&self, binding: &Binding, state: &[u8], now: u64) -> Option<Vec<u8>> {
        self.current(now)?.key.seal(binding, state, now)
    }

    /// The state in this ticket, if it was made here for this server and is not too old.
    pub(super) fn open(&self, binding: &Binding, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let name = name_in(ticket)?;
        // How long this takes tells something of the name alone, which is there for everybody to read.
        let turn = self.0.iter().find(|turn| turn.key.name() == name).filter(|turn| !turn.is_over(now))?;
        let (state, made) = turn.key.open(binding, ticket)?;
        (now.saturating_sub(made) < LIFETIME.into()).then_some(state)
    }

    /// If the turns of two meet, the one that came later.
    fn current(&self, now: u64) -> Option<&Turn> {
        self.0.iter().filter(|turn| turn.is_on(now)).max_by_key(|turn| turn.begins)
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 + RECORD * self.0.len()));
        bytes.extend((RECORD as u16).to_le_bytes());
        for Turn { key, begins } in &self.0 {
            bytes.extend(key.name());
            bytes.extend(key.secret());
            bytes.extend(begins.to_le_bytes());
        }
        bytes
    }

    /// What was handed over; no key, if it is not what a build of ours hands over.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let Some((length, records)) = bytes.split_first_chunk() else { return Self::new() };
        let length = usize::from(u16::from_le_bytes(*length));
        if length < RECORD || records.len() % length != 0 {
            return Self::new();
        }
        Self(records.chunks_exact(length).take(MOST).filter_map(Turn::parse).collect())
    }
}

impl Turn {
    fn generate(begins: u64) -> Option<Self> {
        Some(Self { key: Key::generate()?, begins })
    }

    fn parse(record: &[u8]) -> Option<Self> {
        let (name, rest) = record.split_first_chunk::<NAME>()?;
        let (secret, rest) = rest.split_at_checked(SECRET)?;
        let begins = u64::from_le_bytes(*rest.first_chunk()?);
        Some(Self { key: Key::new(*name, secret.to_vec().into())?, begins })
    }

    fn ends(&self) -> u64 {
        self.begins.saturating_add(TURN)
    }

    fn is_on(&self, now: u64) -> bool {
        (self.begins..self.ends()).contains(&now)
    }

    fn is_to_come(&self, now: u64) -> bool {
        self.begins > now
    }

    /// Whether nothing that it has sealed is good any more.
    fn is_over(&self, now: u64) -> bool {
        self.ends().saturating_add(LIFETIME.into()) <= now
    }

    /// A turn that is later than the next one is nobody's here: another machine's, or of a clock that is not this one.
    fn is_beyond(&self, now: u64) -> bool {
        self.begins > now.saturating_add(TURN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    #[cfg(all(feature = "tls", target_os = "linux"))]
    use crate::remains::Pattern;

    /// Some moment in the life of a machine.
    const NOW: u64 = 1_000_000;
    const HOUR: u64 = 60 * 60;
    const LIFE: u64 = LIFETIME as u64;

    fn keys() -> Keys {
        let mut keys = Keys::new();
        keys.tend(NOW);
        keys
    }

    fn server() -> Binding {
        Binding::new("127.0.0.1:443", 0, &[])
    }

    fn ticket(keys: &Keys, now: u64) -> Vec<u8> {
        keys.seal(&server(), b"state", now).expect("there is a key")
    }

    fn is_good(keys: &Keys, ticket: &[u8], now: u64) -> bool {
        keys.open(&server(), ticket, now).inspect(|state| assert_eq!(state, b"state")).is_some()
    }

    /// As it goes over a channel.
    fn handed_over(keys: &Keys) -> Keys {
        Keys::parse(&keys.to_bytes())
    }

    #[test]
    fn a_ticket_is_good_for_its_lifetime_whenever_in_a_turn_it_was_made() {
        for made in [NOW, NOW + 1, NOW + TURN - 1] {
            let mut keys = keys();
            let ticket = ticket(&keys, made);
            for now in (made..made + LIFE).step_by(1000).chain([made + LIFE - 1]) {
                keys.tend(now);
                assert!(is_good(&keys, &ticket, now), "{} s after it was made", now - made);
            }
            assert!(!is_good(&keys, &ticket, made + LIFE));
            keys.tend(made + LIFE);
            assert!(!is_good(&keys, &ticket, made + LIFE));
        }
    }

    #[test]
    fn a_key_seals_for_its_turn_and_no_longer() {
        let keys = keys();
        let name = |now| *name_in(&ticket(&keys, now)).expect("it has one");
        assert_eq!(name(NOW), name(NOW + TURN - 1));
        assert_ne!(name(NOW), name(NOW + TURN));
        assert!(keys.seal(&server(), b"state", NOW + 2 * TURN).is_none(), "nobody has seen to the keys");
    }

    /// The one that is handed over is used by both at the same moment, whichever of them serves then.
    #[test]
    fn predecessor_and_successor_turn_at_the_same_time_to_the_same_key() {
        for handed_over_at in [NOW, NOW + TURN - 1] {
            let mut predecessor = keys();
            predecessor.tend(handed_over_at);
            let mut successor = handed_over(&predecessor);
            for now in [NOW + TURN - 1, NOW + TURN, NOW + 2 * TURN - 1] {
                predecessor.tend(now);
                successor.tend(now);
                assert!(is_good(&successor, &ticket(&predecessor, now), now));
                assert!(is_good(&predecessor, &ticket(&successor, now), now));
            }
        }
    }

    #[test]
    fn a_ticket_is_good_across_generations() {
        let mut keys = keys();
        let ticket = ticket(&keys, NOW);
        for generation in 1..5 {
            keys = handed_over(&keys);
            keys.tend(NOW + generation * 2 * HOUR);
            assert!(is_good(&keys, &ticket, NOW + generation * 2 * HOUR));
        }
    }

    #[test]
    fn keys_do_not_pile_up_and_are_not_kept_for_longer_than_their_tickets() {
        let mut keys = keys();
        for now in (NOW..NOW + 500 * HOUR).step_by(1800) {
            keys.tend(now);
            assert!(keys.0.len() <= MOST / 2, "{} keys", keys.0.len());
            assert!(keys.0.iter().all(|turn| now < turn.begins + TURN + LIFE));
            assert!(!keys.want_tending(now));
        }
    }

    #[test]
    fn after_days_without_a_client_there_are_new_keys() {
        let mut keys = keys();
        let old = ticket(&keys, NOW);
        let now = NOW + 1000 * HOUR;
        assert!(keys.want_tending(now));
        assert!(!is_good(&keys, &old, now));
        keys.tend(now);
        assert_eq!(keys.0.len(), 2);
        assert!(is_good(&keys, &ticket(&keys, now + TURN), now + TURN));
    }

    #[test]
    fn what_is_sealed_cannot_be_changed() {
        let keys = keys();
        let ticket = ticket(&keys, NOW);
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert!(!is_good(&keys, &forged, NOW), "byte {at}");
            assert!(!is_good(&keys, &ticket[..at], NOW), "{at} bytes");
        }
        assert!(!is_good(&keys, &[&ticket[..], b"0"].concat(), NOW));
        assert!(is_good(&keys, &ticket, NOW));
    }

    #[test]
    fn a_ticket_of_another_server_or_of_other_keys_is_none() {
        let keys = keys();
        let other = Binding::new("127.0.0.1:443", 0, &[b"required"]);
        let ticket = ticket(&keys, NOW);
        assert!(keys.open(&other, &ticket, NOW).is_none());
        assert!(!is_good(&self::keys(), &ticket, NOW));
        // Of the same name, as of somebody who would have it believed.
        let mut alike = handed_over(&keys);
        for turn in &mut alike.0 {
            let name = *turn.key.name();
            turn.key = Key::new(name, vec![7; SECRET].into()).expect("it is as long as it must be");
        }
        assert!(!is_good(&alike, &ticket, NOW));
    }

    #[test]
    fn of_the_same_state_no_two_tickets_are_alike() {
        let keys = keys();
        assert_ne!(ticket(&keys, NOW), ticket(&keys, NOW));
        assert!(!ticket(&keys, NOW).windows(5).any(|window| window == b"state"));
    }

    #[test]
    fn no_ticket_is_made_of_what_nobody_would_open() {
        let keys = keys();
        let longest = vec![7; 16 * 1024];
        let ticket = keys.seal(&server(), &longest, NOW).expect("there is a key");
        assert_eq!(keys.open(&server(), &ticket, NOW).as_ref(), Some(&longest));
        assert!(keys.seal(&server(), &[longest, vec![7]].concat(), NOW).is_none());
    }

    #[test]
    fn keys_of_another_clock_are_not_used() {
        let mut keys = handed_over(&keys());
        let ticket = ticket(&keys, NOW);
        let now = NOW - 100 * HOUR;
        keys.tend(now);
        assert!(!is_good(&keys, &ticket, now));
        assert_eq!(keys.0.len(), 2);
    }

    #[test]
    fn a_newer_build_may_say_more_of_each_key() {
        let keys = keys();
        let bytes = keys.to_bytes();
        let (length, records) = bytes.split_first_chunk::<2>().expect("a length");
        let mut more = (u16::from_le_bytes(*length) + 3).to_le_bytes().to_vec();
        records.chunks_exact(RECORD).for_each(|record| more.extend([record, b"abc"].concat()));
        assert!(is_good(&Keys::parse(&more), &ticket(&keys, NOW), NOW));
    }

    #[test]
    fn what_is_handed_over_is_bounded() {
        let mut bytes = (RECORD as u16).to_le_bytes().to_vec();
        bytes.extend([7; RECORD * 100]);
        assert_eq!(Keys::parse(&bytes).0.len(), MOST);
        let most = 2 + MOST * RECORD;
        assert!(most <= crate::secrets::LONGEST);
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let next = NOW + TURN;
        let shown =
            format!("Keys([Turn {{ key: Key, begins: {NOW} }}, Turn {{ key: Key, begins: {next} }}])");
        assert_eq!(format!("{:?}", keys()), shown);
    }

    /// The other provider leaves what it has made of a key.
    #[test]
    #[cfg(all(feature = "tls", target_os = "linux"))]
    fn nothing_of_a_key_stays_behind() {
        let pattern = Pattern::new(11, 2 + RECORD);
        let mut bytes = pattern.bytes();
        bytes[..2].copy_from_slice(&(RECORD as u16).to_le_bytes());
        // The name is no secret, and stays.
        bytes[2..][..NAME].fill(0);
        let keys = Keys::parse(&bytes);
        drop(bytes);
        assert!(keys.0.len() == 1 && pattern.is_in_memory(), "it was not looked for well");
        drop(handed_over(&keys));
        drop(keys);
        assert!(!pattern.is_in_memory());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_taken_for_keys(bytes in any_keys(), now in any::<u64>()) {
            let mut keys = Keys::parse(&bytes);
            keys.tend(now);
            // At the end of time there is no turn left.
            if let Some(made) = keys.seal(&server(), b"state", now) {
                prop_assert!(is_good(&keys, &made, now));
            }
        }

        #[test]
        fn any_bytes_are_taken_for_a_ticket(bytes in vec(any::<u8>(), 0..200), is_named in any::<bool>()) {
            let keys = keys();
            let name = is_named.then(|| *keys.0[0].key.name()).into_iter().flatten();
            let bytes: Vec<u8> = name.chain(bytes).collect();
            prop_assert!(keys.open(&server(), &bytes, NOW).is_none());
        }
    }

    fn any_keys() -> impl Strategy<Value = Vec<u8>> {
        let records = vec(vec(any::<u8>(), RECORD), 0..4)
            .prop_map(|records| [&(RECORD as u16).to_le_bytes()[..], &records.concat()].concat());
        prop_oneof![vec(any::<u8>(), 0..200), records]
    }
}
