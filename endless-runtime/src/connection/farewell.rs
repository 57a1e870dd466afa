//! What goes out over a connection of HTTP/2 that is about to end: only that tells whether its client takes
//! what it has asked for. What comes in does not: a client may say whatever costs it nothing for ever. And a
//! client that has done something wrong is not told at once.

use std::io::IoSlice;
use std::task::{Context, Poll};
use std::time::Duration;

use super::heads::{CONTINUATION, DATA, GOAWAY, HEADERS, Head, Heads};
use super::state::ConnectionState;
use super::timer::Timer;

/// How long a client waits to be told of an error that ends its connection. What it does wrong on a new one each
/// time is thus limited by how many it has at a time, and not by how fast it can begin them.
const PAUSE: Duration = Duration::from_millis(100);

/// How far what the server says was sent.
#[derive(Default)]
pub(super) struct Farewell {
    heads: Heads,
    /// The frame that is being sent is part of an answer.
    is_answer: bool,
    /// The first says that the server wants to go, the second which streams it still answers (RFC 9113,
    /// section 6.8). The second follows the client's own word that it has seen the first.
    goaways: usize,
    /// Before the server tells of an error.
    pause: Option<Timer>,
}

impl Farewell {
    /// Ready when these may be sent.
    pub(super) fn poll_ready(&mut self, slices: &[IoSlice<'_>], cx: &mut Context<'_>) -> Poll<()> {
        if self.pause.is_none() && !self.is_error(slices) {
            return Poll::Ready(());
        }
        self.pause.get_or_insert_with(|| Timer::after(PAUSE)).poll_over(cx)
    }

    /// Whether they end the connection with an error (RFC 9113, section 5.4.1): its code comes after the last
    /// stream's number.
    fn is_error(&self, slices: &[IoSlice<'_>]) -> bool {
        let (mut heads, mut is_error) = (self.heads.clone(), false);
        for slice in slices {
            heads.pass_on(slice, |head, payload| {
                let code = payload.get(4..8);
                is_error |= head.kind == GOAWAY && code.is_some_and(|code| code != [0; 4]);
            });
        }
        is_error
    }

    pub(super) fn sent(&mut self, bytes: &[u8], state: &ConnectionState) {
        let mut answers = self.is_answer && self.heads.is_in_payload();
        self.heads.pass(bytes, |Head { kind, .. }| {
            self.is_answer = matches!(kind, DATA | HEADERS | CONTINUATION);
            answers |= self.is_answer;
            self.goaways += usize::from(kind == GOAWAY);
        });
        if answers {
            state.answers();
        }
        if self.goaways > 1 {
            state.parts();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;

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
    fn a_connection_parts_with_its_second_goaway() {
        let (mut farewell, state) = (Farewell::default(), ConnectionState::default());
        farewell.sent(&frame(GOAWAY, 0, 8), &state);
        assert!(!state.is_parting());
        farewell.sent(&frame(GOAWAY, 0, 8), &state);
        assert!(state.is_parting());
    }

    /// How long it is put off.
    async fn delay(farewell: &mut Farewell, slices: &[&[u8]]) -> Duration {
        let before = Instant::now();
        let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        poll_fn(|cx| farewell.poll_ready(&slices, cx)).await;
        before.elapsed()
    }

    fn goaway(code: u8) -> Vec<u8> {
        let mut goaway = frame(GOAWAY, 0, 8);
        goaway[13..].copy_from_slice(&[0, 0, 0, code]);
        goaway
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_told_after_a_pause_and_a_farewell_at_once() {
        let (mut farewell, data) = (Farewell::default(), frame(DATA, 0, 300));
        assert_eq!(delay(&mut farewell, &[&data, &goaway(0)]).await, Duration::ZERO);
        farewell.sent(&data[..200], &ConnectionState::default());
        assert_eq!(delay(&mut farewell, &[&data[200..], &goaway(0)]).await, Duration::ZERO);
        let late = delay(&mut farewell, &[&data[200..], &goaway(11)]).await;
        assert!(late >= PAUSE && late < PAUSE * 2, "{late:?}");
        assert_eq!(delay(&mut farewell, &[&goaway(11)]).await, Duration::ZERO, "once is enough");
    }
}
