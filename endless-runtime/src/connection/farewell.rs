//! What goes out over a connection of HTTP/2 that is about to end: only that tells whether its client takes
//! what it has asked for. What comes in does not: a client may say whatever costs it nothing for ever.
//!
//! It is also where the streams are seen that the server resets, for [`super::frames`].

use super::heads::{CONTINUATION, DATA, GOAWAY, HEADERS, Head, Heads, RST_STREAM};
use super::state::ConnectionState;

/// How far what the server says was sent.
#[derive(Default)]
pub(super) struct Farewell {
    heads: Heads,
    /// The frame that is being sent is part of an answer.
    is_answer: bool,
    /// The first says that the server wants to go, the second which streams it still answers (RFC 9113,
    /// section 6.8). The second follows the client's own word that it has seen the first.
    goaways: usize,
}

impl Farewell {
    /// Returns how many streams are reset in these bytes.
    pub(super) fn sent(&mut self, mut bytes: &[u8], state: &ConnectionState) -> usize {
        let mut resets = 0;
        let mut answers = self.is_answer && self.heads.left_of_payload() > 0;
        while let Some(Head { kind, .. }) = self.heads.next(&mut bytes) {
            self.is_answer = matches!(kind, DATA | HEADERS | CONTINUATION);
            answers |= self.is_answer;
            self.goaways += usize::from(kind == GOAWAY);
            resets += usize::from(kind == RST_STREAM);
        }
        if answers {
            state.answers();
        }
        if self.goaways > 1 {
            state.parts();
        }
        resets
    }
}

#[cfg(test)]
mod tests {
    use super::super::heads::frame;
    use super::*;

    const PING: u8 = 6;

    #[test]
    fn pings_that_are_answered_are_no_answers() {
        let (mut farewell, state) = (Farewell::default(), ConnectionState::default());
        farewell.sent(&frame(PING, 1, 8), &state);
        assert!(!state.take_answers());
        farewell.sent(&frame(DATA, 0, 300)[..200], &state);
        assert!(state.take_answers());
        farewell.sent(&[b'x'; 109], &state);
        assert!(state.take_answers(), "the rest of a frame is one too");
        farewell.sent(&frame(PING, 1, 8), &state);
        assert!(!state.take_answers());
    }

    #[test]
    fn resets_are_counted_as_they_begin() {
        let (mut farewell, state) = (Farewell::default(), ConnectionState::default());
        let bytes = [frame(RST_STREAM, 0, 4), frame(PING, 1, 8), frame(RST_STREAM, 0, 4)].concat();
        assert_eq!([&bytes[..12], &bytes[12..]].map(|some| farewell.sent(some, &state)), [1, 1]);
    }

    #[test]
    fn a_connection_parts_with_its_second_goaway() {
        let (mut farewell, state) = (Farewell::default(), ConnectionState::default());
        farewell.sent(&frame(GOAWAY, 0, 8), &state);
        assert!(!state.is_parting());
        farewell.sent(&frame(GOAWAY, 0, 8), &state);
        assert!(state.is_parting());
    }
}
