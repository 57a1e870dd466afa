//! Serving one connection: its protocol found out, its requests answered, its leaving when the drain begins.
//!
//! HTTP/1 and HTTP/2 are told apart here rather than by hyper-util, because how a connection leaves differs
//! between the two and needs hyper's connection at hand.

mod crumbs;
mod farewell;
mod frames;
mod heads;
mod http1;
mod http2;
mod info;
mod io;
mod leaving;
mod moving;
mod pace;
mod patience;
mod refusal;
mod request;
mod state;
mod timer;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use crate::config::Limits;
use crate::service::HttpService;
pub(crate) use crumbs::Crumbs;
pub use info::ConnectInfo;
use io::Io;
pub(crate) use moving::{Arrival, Past};
use patience::Patience;
#[cfg(any(test, fuzzing))]
pub(crate) use refusal::refusal;
use request::Requests;
use state::Awaited;
pub(crate) use state::{Acceptor, Connections, Occupancy, Reading, Registered, Totals};
pub(crate) use timer::Timer;

/// What every HTTP/2 connection with prior knowledge begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the usual first request, so that it is read in one go.
const FIRST_READ: usize = 1024;

/// What a server's connections are served under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// How long a connection stays open when it is asked to leave while idle.
    pub(crate) idle_grace: Duration,
    /// A path that is answered here, and whether the answer is that the service stops.
    pub(crate) readiness: Option<(&'static str, &'static AtomicBool)>,
    /// What a client may cost.
    pub(crate) limits: Limits,
    /// Whether each request carries [`ConnectInfo`] in its extensions.
    pub(crate) connect_info: bool,
}

/// Serves a connection until its end, or until the successor does.
pub(crate) async fn serve<S: HttpService>(arrival: Arrival, service: S, terms: Terms) {
    let Arrival { stream, registered, past } = arrival;
    let info = terms.connect_info.then(|| ConnectInfo::of(&stream));
    let state = Arc::clone(registered.state());
    if !past.unread.is_empty() {
        state.received();
    }
    let mut patience = Patience::new(&state, terms.limits, past.since);
    let mut io = Io::new(stream, registered);
    io.give_back(past.unread);
    let left = async {
        state.leaving().await;
        tokio::time::sleep(terms.idle_grace).await;
    };
    let mut left = pin!(left);
    let protocol = loop {
        if past.http1 {
            break Protocol::Http1;
        }
        let mut first = BytesMut::from(io.take_back());
        let beginning = tokio::select! {
            biased;
            () = state.moving() => Beginning::Moves,
            protocol = find_protocol(&mut io, &mut first) => protocol.map_or(Beginning::Over, Beginning::With),
            late = patience.late() => Beginning::Late(late),
            () = &mut left => Beginning::Over,
        };
        io.give_back(first.freeze());
        match beginning {
            Beginning::With(protocol) => break protocol,
            Beginning::Late(Awaited::Head) => return io.refuse(StatusCode::REQUEST_TIMEOUT).await,
            Beginning::Late(_) | Beginning::Over => return,
            Beginning::Moves => match moving::give(io, Bytes::new(), false, patience.since()).await {
                Some(stays) => io = stays,
                None => return,
            },
        }
    };
    let requests = Requests::new(service, Arc::clone(&state), terms, info);
    match protocol {
        Protocol::Http1 => http1::serve(io, requests, terms, patience).await,
        Protocol::Http2 => http2::serve(io, requests, terms, patience).await,
    }
}

/// What became of the first bytes.
enum Beginning {
    With(Protocol),
    Late(Awaited),
    Over,
    /// Another process is to go on with it.
    Moves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Reads until the first bytes can only be one of the two; `None` if the connection ends before. Cancel safe:
/// what was read is in `first`.
async fn find_protocol(io: &mut Io, first: &mut BytesMut) -> Option<Protocol> {
    first.reserve(FIRST_READ);
    loop {
        if !first.is_empty()
            && let Some(protocol) = protocol_of(first)
        {
            return Some(protocol);
        }
        match io.read_ahead(first).await {
            Ok(0) if first.is_empty() => return None,
            // Hyper says what is wrong with a head that stops short.
            Ok(0) => return Some(Protocol::Http1),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

fn protocol_of(first: &[u8]) -> Option<Protocol> {
    let compared = first.len().min(HTTP2_PREFACE.len());
    if first[..compared] != HTTP2_PREFACE[..compared] {
        Some(Protocol::Http1)
    } else if compared == HTTP2_PREFACE.len() {
        Some(Protocol::Http2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_known_at_the_first_byte_that_differs() {
        assert_eq!(protocol_of(b"G"), Some(Protocol::Http1));
        assert_eq!(protocol_of(b"PUT / HTTP/1.1"), Some(Protocol::Http1));
        assert_eq!(protocol_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), None);
        assert_eq!(protocol_of(HTTP2_PREFACE), Some(Protocol::Http2));
        assert_eq!(protocol_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more"), Some(Protocol::Http2));
    }
}
