//! The heads of HTTP/2's frames (RFC 9113, section 4.1), found in what goes over a connection.

pub(super) const LENGTH: usize = 9;

// Types and flags of frames (RFC 9113, section 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: usize,
}

/// How far one direction of a connection is read, or written.
#[derive(Default)]
pub(super) struct Heads {
    bytes: [u8; LENGTH],
    /// How much of the next head has come.
    filled: usize,
    /// How much is to come before it.
    skip: usize,
}

impl Heads {
    /// The first head comes after so many bytes.
    pub(super) fn after(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// How many bytes come before the next head.
    pub(super) fn left_of_payload(&self) -> usize {
        self.skip
    }

    /// The next head that ends in these bytes, of which those behind it are left; without one, none are.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        take(bytes, &mut self.skip);
        let mut missing = LENGTH - self.filled;
        let some = take(bytes, &mut missing);
        self.bytes[self.filled..self.filled + some.len()].copy_from_slice(some);
        self.filled = LENGTH - missing;
        if missing > 0 {
            return None;
        }
        let [a, b, c, kind, flags, ..] = self.bytes;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        (self.filled, self.skip) = (0, length);
        Some(Head { kind, flags, length })
    }
}

/// As much of these bytes as is wanted.
fn take<'a>(bytes: &mut &'a [u8], wanted: &mut usize) -> &'a [u8] {
    let (some, rest) = bytes.split_at(bytes.len().min(*wanted));
    *wanted -= some.len();
    *bytes = rest;
    some
}

#[cfg(test)]
pub(super) fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload).expect("short").to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags, 0, 0, 0, 0];
    bytes.resize(LENGTH + payload, b'x');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_they_are_cut() {
        let frames = [(6, 0, 8), (DATA, 0, 300), (DATA, 0, 0), (HEADERS, 5, 20), (4, 0, 0)];
        let frames = frames.map(|(kind, flags, length)| Head { kind, flags, length });
        let bytes = frames.map(|Head { kind, flags, length }| frame(kind, flags, length)).concat();
        for size in 1..bytes.len() {
            let (mut heads, mut found) = (Heads::default(), Vec::new());
            for mut some in bytes.chunks(size) {
                found.extend(std::iter::from_fn(|| heads.next(&mut some)));
            }
            assert_eq!(found, frames, "in pieces of {size}");
        }
    }
}
