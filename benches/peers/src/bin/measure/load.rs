//! As many requests as a server answers over HTTP/1, from two threads that do next to nothing for one.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::{Stream, Way};
use crate::exchange::{self, broken};
use crate::server::Server;

/// Until all connections are in motion.
const RAMP: Duration = Duration::from_millis(20);

/// What was answered in one round.
pub(crate) struct Round {
    pub(crate) answered: f64,
    pub(crate) time: Duration,
    pub(crate) processor_time: Duration,
}

/// A load goes on while it is watched, counts what is answered, and ends when it is told.
pub(crate) struct Progress {
    answered: AtomicU64,
    over: AtomicBool,
}

impl Progress {
    pub(crate) fn count(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

/// What one thread does until its progress is over.
pub(crate) type Work = Box<dyn FnOnce(Arc<Progress>) -> Outcome<()> + Send>;

/// A round of a load that each of these makes on a thread of its own.
pub(crate) fn round(
    server: &Server,
    window: Duration,
    workers: impl IntoIterator<Item = Work>,
) -> Outcome<Round> {
    let start = |work: Work| {
        // Each thread has a count of its own, as they would wait for each other for a common one.
        let progress = Arc::new(Progress { answered: AtomicU64::new(0), over: AtomicBool::new(false) });
        let of_thread = Arc::clone(&progress);
        (progress, std::thread::spawn(move || work(of_thread)))
    };
    let threads: Vec<_> = workers.into_iter().map(start).collect();
    let answered = || threads.iter().map(|(progress, _)| progress.answered.load(Relaxed)).sum::<u64>();
    sleep(RAMP);
    let (begun, count, processor_time) = (Instant::now(), answered(), server.processor_time());
    sleep(window);
    let (time, count) = (begun.elapsed(), answered() - count);
    let processor_time = server.processor_time().saturating_sub(processor_time);
    threads.iter().for_each(|(progress, _)| progress.over.store(true, Relaxed));
    for (_, thread) in threads {
        thread.join().map_err(|_| "the client panicked")??;
    }
    if count == 0 {
        return Err("nothing was answered".into());
    }
    Ok(Round { answered: count as f64, time, processor_time })
}

/// One request in flight on each connection at any time.
pub(crate) fn keep_alive(
    server: &Server,
    path: &'static str,
    connections: usize,
    window: Duration,
) -> Outcome<Round> {
    let mut streams = (0..connections).map(|_| server.way.connect()).collect::<io::Result<Vec<_>>>()?;
    let mut length = 0;
    for stream in &mut streams {
        length = exchange::ask(stream, path)?.0.whole();
    }
    let other_half = streams.split_off(connections / 2);
    let workers = [streams, other_half].map(|mut streams| -> Work {
        Box::new(move |progress| Ok(keep_busy(&mut streams, path, length, &progress)?))
    });
    round(server, window, workers)
}

fn keep_busy(streams: &mut [Stream], path: &str, length: usize, progress: &Progress) -> io::Result<()> {
    let request = exchange::request(path, true);
    let mut answer = vec![0; length.min(256 << 10)];
    streams.iter_mut().try_for_each(|stream| stream.write_all(&request))?;
    while !progress.is_over() {
        for stream in &mut *streams {
            read_answer(stream, &mut answer, length)?;
            progress.count();
            stream.write_all(&request)?;
        }
    }
    // Nothing is left for the next round.
    streams.iter_mut().try_for_each(|stream| read_answer(stream, &mut answer, length))
}

/// Answers to one path are of one length.
fn read_answer(stream: &mut Stream, answer: &mut [u8], length: usize) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let piece = left.min(answer.len());
        let count = stream.read(&mut answer[..piece])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if left == length && !answer.starts_with(b"HTTP/1.1 200") {
            return Err(broken("an answer of another shape"));
        }
        left -= count;
    }
    Ok(())
}

/// Each request on a connection of its own, so many at a time.
pub(crate) fn new_connections(
    server: &Server,
    sessions: Sessions,
    at_a_time: usize,
    window: Duration,
) -> Outcome<Round> {
    let worker = || -> Work {
        let way = match sessions {
            Sessions::New => server.way.clone(),
            Sessions::Resumed => server.way.clone().resuming(),
        };
        Box::new(move |progress| Ok(keep_opening(&way, sessions, at_a_time / 2, &progress)?))
    };
    round(server, window, [worker(), worker()])
}

/// Of TLS, where it is spoken.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Sessions {
    New,
    Resumed,
}

fn keep_opening(way: &Way, sessions: Sessions, at_a_time: usize, progress: &Progress) -> io::Result<()> {
    let request = exchange::request("/hello", false);
    let open = || {
        let mut stream = way.connect()?;
        stream.write_all(&request)?;
        io::Result::Ok(stream)
    };
    let mut streams = (0..at_a_time).map(|_| open()).collect::<io::Result<Vec<_>>>()?;
    let mut answer = Vec::new();
    while !progress.is_over() {
        for stream in &mut streams {
            read_last(stream, &mut answer)?;
            progress.count();
            *stream = open()?;
            if sessions == Sessions::Resumed && !stream.is_resumed() {
                return Err(broken("a session that is not resumed"));
            }
        }
    }
    streams.iter_mut().try_for_each(|stream| read_last(stream, &mut answer))
}

fn read_last(stream: &mut Stream, answer: &mut Vec<u8>) -> io::Result<()> {
    answer.clear();
    stream.read_to_end(answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") || !answer.ends_with(b"WORLD!") {
        return Err(broken("an answer of another shape"));
    }
    Ok(())
}
