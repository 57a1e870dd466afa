//! HTTP/2's frames as bytes (RFC 9113, section 4.1), without any rule about their order.

pub(super) use super::super::h2_frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use super::End;

// Types of frames that no well-behaved client of the tests sends (RFC 9113, section 6).
pub(super) const PRIORITY: u8 = 2;
pub(super) const CONTINUATION: u8 = 9;

/// What a client begins with, given these settings.
pub(super) fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let pairs = settings.iter().flat_map(|(id, value)| {
        let (id, value) = (id.to_be_bytes(), value.to_be_bytes());
        id.into_iter().chain(value)
    });
    let payload: Vec<u8> = pairs.collect();
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// The head of a request by HPACK's static table (RFC 7541, appendix A): method, http, and the path spelled
/// out.
pub(super) fn head(method: Method, path: &str) -> Vec<u8> {
    let mut head = vec![method as u8, 0x86, 0x04];
    head.extend(string(path));
    // The authority, by its name of index 1.
    head.push(0x01);
    head.extend(string("test"));
    head
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Method {
    Get = 0x82,
    Post = 0x83,
}

/// A string of less than 127 bytes (RFC 7541, section 5.2).
fn string(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short string");
    [&[length], text.as_bytes()].concat()
}

/// The numbers that a client gives its streams.
pub(super) fn streams() -> impl Iterator<Item = u32> {
    (1..1 << 31).step_by(2)
}

/// Takes out whole frames of a server, until one is a GOAWAY: its error.
pub(super) fn told_to_go(heard: &mut Vec<u8>) -> Option<End> {
    while let Some(head) = heard.first_chunk::<9>() {
        let (length, kind) = (u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize, head[3]);
        if heard.len() < 9 + length {
            return None;
        }
        let frame: Vec<u8> = heard.drain(..9 + length).collect();
        if let (GOAWAY, Some([_, _, _, _, code @ ..])) = (kind, frame[9..].first_chunk::<8>()) {
            return Some(End::GoAway(u32::from_be_bytes(*code)));
        }
    }
    None
}
