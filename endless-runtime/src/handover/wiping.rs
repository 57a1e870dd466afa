//! Of a secret that has gone over a channel, nothing stays in memory but what somebody has of it on purpose.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use zeroize::Zeroizing;

use super::message::{Hello, Message};
use super::wire::Wire;
use crate::remains::Pattern;
use crate::secrets::{LONGEST, Secrets};

/// How much comes before it: where it was read into, it is not among the first bytes, which whoever allocates next would
/// overwrite.
const BEFORE: usize = 100;

/// Where it can be received.
fn sent(secrets: Secrets) -> UnixStream {
    let (near, far) = UnixStream::pair().expect("a pair");
    let mut sending = Wire::default();
    (0..BEFORE).for_each(|_| sending.queue(Message::Hello(Hello::default())));
    sending.queue(Message::Secrets(secrets));
    sending.send(&near).expect("it fits into the kernel's buffer");
    far
}

/// In pieces of `step` bytes at most; none, if the last `missing` bytes do not come.
fn received(mut from: UnixStream, step: usize, missing: usize) -> Option<Secrets> {
    let (mut slow, last) = UnixStream::pair().expect("a pair");
    let (mut receiving, mut piece) = (Wire::default(), Zeroizing::new(vec![0; step]));
    loop {
        let count = from.read(&mut piece).expect("it has come");
        let is_last = count < step;
        slow.write_all(&piece[..if is_last { count - missing } else { count }]).expect("it fits");
        receiving.read(&last).expect("it has come");
        while let Some(message) = receiving.next().expect("ours") {
            if let Message::Secrets(secrets) = message {
                return Some(secrets);
            }
        }
        if is_last {
            return None;
        }
    }
}

/// How it is looked for is chance's as far as memory that is freed is used again, so nothing is allocated in between.
#[test]
fn nothing_of_a_secret_stays_behind() {
    for (seed, step) in [(3, 1), (5, 700), (7, 1 << 16)] {
        let pattern = Pattern::new(seed, LONGEST);
        assert!(!pattern.is_in_memory());
        let far = sent(Secrets::new(pattern.bytes()).expect("they are as long as they may be"));
        assert!(!pattern.is_in_memory(), "where it was sent");
        let come = received(far, step, 0).expect("it has come");
        assert!(pattern.is(come.bytes()));
        drop(come);
        assert!(!pattern.is_in_memory(), "where it was received, in pieces of {step} bytes");
    }
}

#[test]
fn it_is_looked_for_well() {
    let pattern = Pattern::new(9, LONGEST);
    let come = received(sent(Secrets::new(pattern.bytes()).expect("they are short")), 700, 0);
    assert!(come.is_some() && pattern.is_in_memory());
}

/// Its sender has died.
#[test]
fn nothing_of_a_secret_stays_behind_that_has_not_come_to_its_end() {
    let pattern = Pattern::new(13, LONGEST);
    let far = sent(Secrets::new(pattern.bytes()).expect("they are short"));
    assert!(received(far, 1 << 16, 1).is_none());
    assert!(!pattern.is_in_memory());
}
