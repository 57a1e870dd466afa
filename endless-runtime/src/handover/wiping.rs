//! Of a secret that has gone over a channel, nothing stays in memory but what somebody has of it on purpose.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use zeroize::Zeroizing;

use super::message::{Hello, Message};
use super::wire::Wire;
use crate::remains::Pattern;
use crate::secrets::{LONGEST, Secrets};

/// Where it can be received.
fn sent(secrets: Secrets) -> UnixStream {
    let (near, far) = UnixStream::pair().expect("a pair");
    let mut sending = Wire::default();
    sending.queue(Message::Hello(Hello::default()));
    sending.queue(Message::Secrets(secrets));
    sending.send(&near).expect("it fits into the kernel's buffer");
    far
}

/// In pieces of `step` bytes at most.
fn received(mut from: UnixStream, step: usize) -> Secrets {
    let (mut slow, last) = UnixStream::pair().expect("a pair");
    let (mut receiving, mut piece) = (Wire::default(), Zeroizing::new(vec![0; step]));
    loop {
        let count = from.read(&mut piece).expect("it has come");
        slow.write_all(&piece[..count]).expect("it fits");
        receiving.read(&last).expect("it has come");
        while let Some(message) = receiving.next().expect("ours") {
            if let Message::Secrets(secrets) = message {
                return secrets;
            }
        }
    }
}

#[test]
fn nothing_of_a_secret_stays_behind() {
    for (seed, step) in [(3, 1), (5, 700), (7, 1 << 16)] {
        let pattern = Pattern::new(seed, LONGEST);
        assert!(!pattern.is_in_memory());
        let far = sent(Secrets::new(pattern.bytes()).expect("they are as long as they may be"));
        assert!(!pattern.is_in_memory(), "where it was sent");
        let come = received(far, step);
        assert_eq!(come.bytes(), &pattern.bytes()[..]);
        assert!(pattern.is_in_memory(), "it was not looked for well");
        drop(come);
        assert!(!pattern.is_in_memory(), "where it was received, in pieces of {step} bytes");
    }
}
