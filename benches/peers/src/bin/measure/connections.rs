//! Connections that have been answered once and then say nothing.

use std::io::{self, Write as _};

use crate::client::Stream;
use crate::exchange;
use crate::server::Server;

/// So many are asked before the first answer is read: less than any backlog, and far faster than one after
/// the other.
const AT_A_TIME: usize = 100;

pub(crate) struct Idle {
    streams: Vec<Stream>,
}

impl Idle {
    pub(crate) fn open(server: &Server, count: usize) -> io::Result<Self> {
        let mut streams = Vec::with_capacity(count);
        while streams.len() < count {
            let more = (count - streams.len()).min(AT_A_TIME);
            let mut opened = (0..more).map(|_| server.way.connect()).collect::<io::Result<Vec<_>>>()?;
            for answered in ask(opened.iter_mut()) {
                answered.map_err(|error| {
                    io::Error::other(format!("connection {} of {count}: {error}", streams.len()))
                })?;
            }
            streams.append(&mut opened);
        }
        Ok(Self { streams })
    }

    /// How many the server has closed.
    pub(crate) fn closed(&self) -> usize {
        self.streams.iter().filter(|stream| is_closed(stream)).count()
    }

    /// How many, of those that look open, do not answer.
    pub(crate) fn broken(&mut self) -> usize {
        let mut open: Vec<_> = self.streams.iter_mut().filter(|stream| !is_closed(stream)).collect();
        let answers =
            open.chunks_mut(AT_A_TIME).flat_map(|chunk| ask(chunk.iter_mut().map(|stream| &mut **stream)));
        answers.filter(Result::is_err).count()
    }
}

/// All of them, before any answer is read.
fn ask<'streams>(streams: impl Iterator<Item = &'streams mut Stream>) -> Vec<io::Result<()>> {
    let request = exchange::request("/hello", true);
    let asked: Vec<_> = streams.map(|stream| stream.write_all(&request).map(|()| stream)).collect();
    asked.into_iter().map(|stream| exchange::answer(stream?).map(drop)).collect()
}

fn is_closed(stream: &Stream) -> bool {
    let stream = stream.socket();
    let look = || {
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        seen
    };
    !matches!(look(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// As many as wanted, or fewer where client and server may not have so many descriptors.
pub(crate) fn at_most(wanted: usize, descriptors: u64) -> usize {
    let allowed = descriptors.saturating_sub(500) as usize;
    if wanted <= allowed { wanted } else { 1_000.min(allowed) }
}
