//! For tests: what of a secret stands in the memory of this process.

use std::fs::File;
use std::io::{BufRead as _, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{LazyLock, Mutex};

use zeroize::Zeroizing;

use crate::lock::lock;

/// Enough bytes not to stand there by chance.
const PART: usize = 16;

/// So much is looked at at a time, in bytes.
const PIECE: usize = 1 << 20;

/// Room for the list of mappings and for a piece of memory. It is there before there is a secret: what is allocated
/// afterwards may come to lie where one was, and overwrite what should be found. And there is one for all tests: while
/// one looks, what it has read of another's secret is in there.
static ROOM: LazyLock<Mutex<(String, Vec<u8>)>> =
    LazyLock::new(|| Mutex::new((String::with_capacity(1 << 20), vec![0; PIECE])));

/// The secret of the test, so that no part of it stands anywhere: each byte is made when it is needed.
#[derive(Clone, Copy)]
pub(crate) struct Pattern {
    seed: u64,
    length: usize,
}

impl Pattern {
    /// Each `seed` makes another one, in each process.
    pub(crate) fn new(seed: u64, length: usize) -> Self {
        LazyLock::force(&ROOM);
        Self { seed: seed << 32 | u64::from(std::process::id()), length }
    }

    /// As SplitMix64 mixes: with less, parts of two secrets are the same.
    fn byte(self, at: usize) -> u8 {
        let mixed = self.seed.wrapping_add((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as u8
    }

    pub(crate) fn bytes(self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.length));
        bytes.extend((0..self.length).map(|at| self.byte(at)));
        bytes
    }

    /// Whether these are its bytes.
    pub(crate) fn is(self, bytes: &[u8]) -> bool {
        bytes.len() == self.length && bytes.iter().enumerate().all(|(at, byte)| *byte == self.byte(at))
    }

    /// Whether a part of it stands in what this process can write.
    pub(crate) fn is_in_memory(self) -> bool {
        let (mappings, piece) = &mut *lock(&ROOM);
        let memory = File::open("/proc/self/mem").expect("Linux");
        mappings.clear();
        let read = File::open("/proc/self/maps").and_then(|mut maps| maps.read_to_string(mappings));
        read.expect("Linux");
        mappings.lines().filter_map(writable).any(|(from, to)| self.is_between(&memory, from, to, piece))
    }

    fn is_between(self, memory: &File, mut from: u64, to: u64, piece: &mut [u8]) -> bool {
        while from < to {
            let bytes = &mut piece[..PIECE.min((to - from) as usize)];
            let is_there = memory.read_exact_at(bytes, from).is_ok();
            // Some of its parts: what is freed loses its first bytes to the allocator.
            let mut parts = (0..self.length - PART).rev().step_by(self.length.div_ceil(8));
            let is_found = is_there && parts.any(|at| self.has_part(bytes, at));
            // Or it would be found in here the next time.
            bytes.fill(0);
            // What has gone since holds nothing.
            if is_found || !is_there {
                return is_found;
            }
            from += bytes.len() as u64;
        }
        false
    }

    fn has_part(self, mut bytes: &[u8], at: usize) -> bool {
        while bytes.skip_until(self.byte(at)).is_ok_and(|count| count > 0) {
            let mut rest = bytes.iter().take(PART).enumerate();
            if bytes.len() >= PART && rest.all(|(by, byte)| *byte == self.byte(at + 1 + by)) {
                return true;
            }
        }
        false
    }
}

/// Where a line of `/proc/self/maps` says that this process can write.
fn writable(mapping: &str) -> Option<(u64, u64)> {
    let (range, rest) = mapping.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    rest.starts_with("rw").then_some((address(from)?, address(to)?))
}
