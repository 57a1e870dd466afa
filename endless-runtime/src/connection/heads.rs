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

    /// Tells of each head that is whole.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut begins: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let some = bytes.len().min(LENGTH - self.filled);
            self.bytes[self.filled..self.filled + some].copy_from_slice(&bytes[..some]);
            self.filled += some;
            bytes = &bytes[some..];
            if self.filled == LENGTH {
                let [a, b, c, kind, flags, ..] = self.bytes;
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                (self.filled, self.skip) = (0, length);
                begins(Head { kind, flags, length });
            }
        }
    }
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
            bytes.chunks(size).for_each(|some| heads.pass(some, |head| found.push(head)));
            assert_eq!(found, frames, "in pieces of {size}");
        }
    }
}
