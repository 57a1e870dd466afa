//! The bytes of one connection: hyper's I/O traits over the accepted stream, with the bytes that were read
//! to choose a protocol given back first, and with the connection's registration, so that the connection
//! counts for as long as anybody, an upgraded handler too, holds its I/O.

use std::future::poll_fn;
use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::farewell::Farewell;
use super::frames::Frames;
use super::pace::{IN_A_ROW, PaceOfHead, WORK_OF_FRAME};
use super::state::{ConnectionState, Registered};
use super::transport::Transport;
use super::turns::{Turn, Turns};
use crate::listener::Stream;

/// How long a client that has sent more than was read may take to close its side after ours. To close while
/// something of the client's is on its way or unread is to reset the connection, and a reset takes the last
/// response from a client that has not read it yet (RFC 9112, section 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// What is no more than this is copied together before it is written: send(2) of one piece costs a tenth less than
/// writev(2) of a head and its body, and most answers are small.
const SMALL: usize = 2048;

/// What hyper has room for when it reads into a new buffer.
const HYPERS_FIRST: usize = 8192;

pub(crate) struct Io {
    stream: TokioIo<Heard>,
    already_read: Bytes,
    hypers_buffer: HypersBuffer,
    /// Our side.
    is_closed: bool,
}

impl Io {
    pub(crate) fn new(stream: impl Into<Transport>, registered: Registered) -> Self {
        Self::of(Heard::new(stream.into(), registered))
    }

    fn of(heard: Heard) -> Self {
        let stream = TokioIo::new(heard);
        let hypers_buffer = HypersBuffer::Unused;
        Self { stream, already_read: Bytes::new(), hypers_buffer, is_closed: false }
    }

    pub(crate) fn state(&self) -> &Arc<ConnectionState> {
        self.stream.inner().registered.state()
    }

    /// Gives back what was read of it elsewhere.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        debug_assert!(self.already_read.is_empty(), "bytes are given back once");
        self.already_read = bytes;
    }

    /// With `read` before what was given back.
    pub(crate) fn with_unread(mut self, read: Bytes) -> Self {
        self.already_read = joined(read, mem::take(&mut self.already_read));
        self.hypers_buffer = HypersBuffer::Unused;
        self
    }

    /// The connection without anything that reads or writes, and what was read of it.
    pub(crate) fn into_parts(self) -> (Transport, Registered, Bytes) {
        let Heard { stream, registered, .. } = self.stream.into_inner();
        (stream, registered, self.already_read)
    }

    /// The bytes that were given back.
    pub(crate) fn given_back(&self) -> &[u8] {
        &self.already_read
    }

    /// From now on, a flood of HTTP/2's frames is read slowly, and what is said is known.
    pub(crate) fn speaks_http2(&mut self) {
        self.state().cannot_move();
        let unread = mem::take(&mut self.already_read);
        self.stream.inner_mut().http2 = Some(Box::new(Http2 { unread, ..Http2::default() }));
    }

    /// Answers with an empty response, in HTTP/1 and in hyper's place, and closes. Nothing else may be half
    /// written.
    pub(crate) async fn refuse(self, status: StatusCode) {
        self.refuse_with(status, "").await;
    }

    /// The same with a text.
    pub(crate) async fn refuse_with(mut self, status: StatusCode, text: &str) {
        let response = last_response(status, text);
        if let Ok(Ok(())) =
            timeout(LINGER, self.stream.inner_mut().stream.write_all(response.as_bytes())).await
        {
            self.close().await;
        }
    }

    /// Closes our side, after what was written, and lingers.
    pub(crate) async fn close(mut self) {
        if let Ok(Ok(())) = timeout(LINGER, poll_fn(|cx| self.poll_close(cx))).await {
            self.linger().await;
        }
    }

    /// Ends a connection on which nothing is half said. Over TLS, that is said too: without close_notify, a client
    /// could not tell this end from one that somebody else has made (RFC 8446, section 6.1).
    pub(crate) async fn part(self) {
        match self.must_say_end() {
            true => self.close().await,
            false => self.linger().await,
        }
    }

    /// Ends it in the middle of an answer: the kernel throws away what was not sent of it, which may be megabytes,
    /// and clients that have begun together are late together.
    pub(crate) async fn cut(self) {
        self.stream.inner().registered.turns().one().await;
    }

    /// Whether its end is something to be said.
    pub(crate) fn must_say_end(&self) -> bool {
        self.stream.inner().stream.must_say_end()
    }

    /// After the end, so that nothing of what was read is kept for as long: it may be as much as a head may have.
    ///
    /// What the client still sends is thrown away; over TLS, nobody makes sense of it any more. Those that linger
    /// take turns of their own, as many in a pause as there are threads: a client that ends one connection after the
    /// other leaves hundreds of them, each with all that was on its way.
    pub(crate) async fn linger(mut self) {
        if self.is_closed && self.state().has_unread() {
            let Heard { stream, registered, http2, .. } = self.stream.inner_mut();
            *http2 = None;
            let _in_time = timeout(LINGER, drain(stream.socket(), registered.lingering())).await;
        }
    }

    /// Reads more before hyper does, and gives it back, too; 0 at the connection's end.
    pub(crate) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.hypers_buffer = HypersBuffer::Unused;
        self.poll_some(cx)
    }

    /// How much of what was read hyper is given for a read with so much room; see [`HypersBuffer`].
    fn at_once(&mut self, room: usize) -> usize {
        let count = self.already_read.len();
        let may_divide = self.may_divide(room);
        let is_divided = may_divide && is_one_head(&self.already_read);
        self.hypers_buffer = match self.hypers_buffer {
            HypersBuffer::Unused => HypersBuffer::Used,
            _ if may_divide && !is_divided => HypersBuffer::Left,
            unchanged => unchanged,
        };
        room.min(if is_divided { count - 1 } else { count })
    }

    /// Whether what comes now, if it is a whole head, is divided. What comes within a request is its body.
    fn may_divide(&self, room: usize) -> bool {
        self.hypers_buffer == HypersBuffer::Used
            && room == HYPERS_FIRST
            && self.state().has_nothing_in_flight()
            && self.stream.inner().http2.is_none()
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().closes();
        if !self.is_closed {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_closed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has closed its side. What it sends instead is kept, and nothing is read behind it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.already_read.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_some(cx))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Reads some, or nothing at the connection's end, without a buffer that would be kept: it is as if it had been
    /// given back.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [const { MaybeUninit::uninit() }; 4096];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(self.stream.inner_mut()).poll_read(cx, &mut buffer))?;
        let read = Bytes::copy_from_slice(buffer.filled());
        let count = read.len();
        self.already_read = joined(mem::take(&mut self.already_read), read);
        Poll::Ready(Ok(count))
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state().reads_with_care() {
            if self.state().is_deaf() {
                return Poll::Ready(Ok(()));
            }
            // Whoever looks whether it can move does so after each poll, and so needs no waker.
            if self.state().holds_back() {
                return Poll::Pending;
            }
            if self.state().looks_for_end() {
                return self.poll_end(cx);
            }
        }
        if self.already_read.is_empty()
            && self.may_divide(buffer.remaining())
            && ready!(self.poll_some(cx))? == 0
        {
            return Poll::Ready(Ok(()));
        }
        if self.already_read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.at_once(buffer.remaining());
        buffer.put_slice(&self.already_read[..count]);
        self.already_read.advance(count);
        if self.already_read.is_empty() {
            self.already_read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.state().writes();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// Hyper flushes when its own buffer is empty, so a flush that is done means that every response that
    /// has ended is with the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.state().flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state().writes();
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

/// The buffer that hyper has read into since the connection was quiet.
///
/// Hyper wants as much room for each read as a new buffer has. While a request is answered it looks for the client's
/// end, with a buffer that the request still has a part of; then it would take a new one each time. With a part of a
/// head in its buffer when it reads again, it makes the buffer twice as large, and has room for a while. So a head that
/// would go into a new buffer is given in two parts. Not the first, as most connections idle after that one, and a
/// buffer for each of those that come at a time is more memory than all that they need while they idle. What is no
/// whole head is not divided: after a part, hyper looks at nothing but the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HypersBuffer {
    Unused,
    Used,
    /// To hyper: what has come was no head alone, and to look at all that comes is work, too.
    Left,
}

/// Whether it ends as a head does, and nowhere before: what comes after a head may be a body, of which hyper is given
/// all that has come.
fn is_one_head(bytes: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    bytes.windows(END.len()).position(|window| window == END).is_some_and(|at| at + END.len() == bytes.len())
}

/// Of both, in memory of their own where there is anything: however short, each may keep a whole buffer.
pub(super) fn joined(first: Bytes, then: Bytes) -> Bytes {
    match (first.is_empty(), then.is_empty()) {
        (true, true) => Bytes::new(),
        (false, true) => first,
        (_, false) => [&first[..], &then[..]].concat().into(),
    }
}

fn last_response(status: StatusCode, text: &str) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let kind = if text.is_empty() { "" } else { "content-type: text/plain\r\n" };
    let length = text.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{kind}content-length: {length}\r\ndate: {date}\r\n\r\n{text}"
    )
}

/// Reads until the client has closed its side.
async fn drain(stream: &mut Stream, turns: &Arc<Turns>) {
    loop {
        let mut read = 0;
        while read < IN_A_ROW {
            match poll_fn(|cx| poll_dropped(stream, cx)).await {
                Ok(count @ 1..) => read += count,
                _ended => return,
            }
        }
        // Whose turn would come too late is not kept until then.
        if turns.takes() > LINGER {
            return;
        }
        turns.one().await;
    }
}

fn poll_dropped(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut dropped = [const { MaybeUninit::uninit() }; IN_A_ROW / 4];
    let mut buffer = ReadBuf::uninit(&mut dropped);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// A connection's stream, and its registration.
struct Heard {
    stream: Transport,
    registered: Registered,
    head: PaceOfHead,
    http2: Option<Box<Http2>>,
    /// How much was read since others had their turn.
    in_a_row: usize,
    turn: Turn,
    /// The same of what was written, maybe by another task.
    written_in_a_row: usize,
    write_turn: Turn,
}

impl Heard {
    fn new(stream: Transport, registered: Registered) -> Self {
        Self {
            stream,
            registered,
            head: PaceOfHead::default(),
            http2: None,
            in_a_row: 0,
            turn: Turn::default(),
            written_in_a_row: 0,
            write_turn: Turn::default(),
        }
    }

    /// Ready with how much work may be read before others have their turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.poll_slowed_down(cx).is_pending() {
            self.in_a_row = 0;
            return Poll::Pending;
        }
        let Self { registered, turn, in_a_row, .. } = self;
        ready!(turn.poll_come(registered.turns(), cx));
        let Some(left) = IN_A_ROW.checked_sub(*in_a_row).filter(|left| *left > 0) else {
            *in_a_row = 0;
            turn.queue(registered.turns(), cx);
            return Poll::Pending;
        };
        Poll::Ready(left)
    }

    fn poll_slowed_down(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(http2) = &mut self.http2 {
            return http2.frames.poll_ready(cx);
        }
        if !self.head.is_slowed_down() {
            return Poll::Ready(());
        }
        let pace = self.head.of(self.registered.state().head());
        pace.map_or(Poll::Ready(()), |pace| pace.poll_ready(self.registered.turns(), cx))
    }

    /// So many bytes were received, and so many frames in them.
    fn received(&mut self, bytes: usize, frames: usize) {
        self.in_a_row += bytes + frames * WORK_OF_FRAME;
        let state = self.registered.state();
        if bytes > 0 {
            state.received();
        }
        if self.http2.is_none()
            && let Some(pace) = self.head.of(state.head())
        {
            pace.read(bytes);
        }
    }

    /// Ready when something may be written.
    fn poll_write_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { registered, write_turn, written_in_a_row, .. } = self;
        ready!(write_turn.poll_come(registered.turns(), cx));
        if *written_in_a_row >= IN_A_ROW {
            *written_in_a_row = 0;
            write_turn.queue(registered.turns(), cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// So much of these was sent.
    fn sent(&mut self, count: usize, slices: &[io::IoSlice<'_>]) {
        self.written_in_a_row += count;
        let Some(http2) = &mut self.http2 else { return };
        let (mut left, mut resets) = (count, 0);
        for slice in slices {
            let some = left.min(slice.len());
            resets += http2.farewell.sent(&slice[..some], self.registered.state());
            left -= some;
        }
        http2.frames.sent(count, resets);
    }
}

/// No more at a time than in a turn. What is asked for is rarely so much.
fn poll_some_of(
    stream: &mut Transport,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    match buffer.remaining() <= IN_A_ROW {
        true => Pin::new(stream).poll_read(cx, buffer),
        false => Pin::new(&mut stream.take(IN_A_ROW as u64)).poll_read(cx, buffer),
    }
}

/// What is known of a connection that speaks HTTP/2.
#[derive(Default)]
struct Http2 {
    frames: Frames,
    farewell: Farewell,
    /// What hyper is given before anything that comes now.
    unread: Bytes,
}

impl Http2 {
    /// Reads what is no more than so much work, however short its frames are; what more of it has come is left for
    /// the next turn. Ready with how many frames it is.
    fn poll_read(
        &mut self,
        stream: &mut Transport,
        work: usize,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let most = work.div_ceil(WORK_OF_FRAME);
        if self.unread.is_empty() {
            let before = buffer.filled().len();
            ready!(poll_some_of(stream, cx, buffer))?;
            let mut left = &buffer.filled()[before..];
            let frames = self.frames.received(&mut left, most);
            self.unread = Bytes::copy_from_slice(left);
            buffer.set_filled(buffer.filled().len() - self.unread.len());
            return Poll::Ready(Ok(frames));
        }
        let room = buffer.remaining().min(self.unread.len());
        let mut left = &self.unread[..room];
        let frames = self.frames.received(&mut left, most);
        let taken = room - left.len();
        buffer.put_slice(&self.unread.split_to(taken));
        Poll::Ready(Ok(frames))
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let work = ready!(self.poll_turn(cx));
        let before = buffer.filled().len();
        let Self { stream, http2, .. } = &mut *self;
        let read = match http2 {
            Some(http2) => http2.poll_read(stream, work, cx, buffer),
            None => poll_some_of(stream, cx, buffer).map_ok(|()| 0),
        };
        let Poll::Ready(frames) = read else {
            // What is written before it is asked for again is the answer to what has come.
            (self.in_a_row, self.written_in_a_row) = (0, 0);
            return Poll::Pending;
        };
        self.received(buffer.filled().len() - before, frames?);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_turn(cx));
        let written = match slices {
            [bytes] => Pin::new(&mut self.stream).poll_write(cx, bytes),
            _ if slices.iter().map(|slice| slice.len()).sum::<usize>() > SMALL => {
                Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
            }
            _ => {
                let mut bytes = [const { MaybeUninit::uninit() }; SMALL];
                let mut whole = ReadBuf::uninit(&mut bytes);
                slices.iter().for_each(|slice| whole.put_slice(slice));
                Pin::new(&mut self.stream).poll_write(cx, whole.filled())
            }
        };
        let Poll::Ready(result) = written else {
            self.written_in_a_row = 0;
            return Poll::Pending;
        };
        let sent = result?;
        self.sent(sent, slices);
        Poll::Ready(Ok(sent))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::Waker;

    use tokio::io::DuplexStream;
    use tokio::time::Instant;

    use super::super::HTTP2_PREFACE;
    use super::super::heads::{DATA, END_STREAM, LENGTH, RST_STREAM, frame};
    use super::super::pace::PAUSE;
    use super::super::state::Connections;
    use super::*;
    use crate::lock::lock;

    fn heard(server: DuplexStream) -> Heard {
        let registered = Connections::new(Arc::default()).admit();
        Heard::new(Stream::in_memory(server).into(), registered)
    }

    /// Notes how much room there is for each read.
    struct Rooms {
        io: Io,
        noted: Arc<Mutex<Vec<usize>>>,
    }

    impl Read for Rooms {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            lock(&self.noted).push(buffer.remaining());
            Pin::new(&mut self.io).poll_read(cx, buffer)
        }
    }

    impl Write for Rooms {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.io).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn hyper_keeps_its_buffer_from_one_request_to_the_next() {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
        let (mut client, server) = tokio::io::duplex(1024);
        let mut io = Io::of(heard(server));
        io.give_back(Bytes::from_static(REQUEST));
        let noted = Arc::default();
        let rooms = Rooms { io, noted: Arc::clone(&noted) };
        let service = hyper::service::service_fn(async |_| {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        });
        let served =
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(rooms, service));
        for _ in 0..1000 {
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                assert_ne!(client.read_buf(&mut answer).await.expect("an answer"), 0);
            }
            client.write_all(REQUEST).await.expect("there is room");
        }
        served.abort();
        let rooms = lock(&noted);
        let into_new = rooms.iter().filter(|room| **room == HYPERS_FIRST).count();
        assert!(rooms.len() > 1000 && into_new < 30, "{into_new} of {}", rooms.len());
    }

    #[tokio::test]
    async fn a_body_that_ends_as_a_head_does_is_not_divided() {
        const BYTES: &[u8] = b"one\r\n\r\n";
        let (mut client, server) = tokio::io::duplex(1024);
        let mut io = Io::of(heard(server));
        io.give_back(Bytes::from_static(BYTES));
        assert_eq!(hyper_reads(&mut io).await, BYTES);
        let body = io.state().request_begins();
        client.write_all(BYTES).await.expect("there is room");
        assert_eq!(hyper_reads(&mut io).await, BYTES);
        drop(body);
        client.write_all(BYTES).await.expect("there is room");
        assert_eq!(hyper_reads(&mut io).await, &BYTES[..BYTES.len() - 1], "a head is");
    }

    #[test]
    fn only_what_is_one_head_is_divided() {
        for (bytes, is_one) in [
            ("GET / HTTP/1.1\r\nhost: test\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nhost: test\r\n", false),
            ("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nbody\r\n\r\n", false),
            ("\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_one_head(bytes.as_bytes()), is_one, "{bytes:?}");
        }
    }

    /// Once, into a buffer as hyper has it at first.
    async fn hyper_reads(io: &mut Io) -> Vec<u8> {
        hyper_reads_up_to(HYPERS_FIRST, io).await
    }

    async fn hyper_reads_up_to(room: usize, io: &mut Io) -> Vec<u8> {
        let mut bytes = vec![0; room];
        let mut buffer = hyper::rt::ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, buffer.unfilled())).await.expect("no error");
        buffer.filled().to_vec()
    }

    /// Until it has to wait.
    fn read_in_a_row(heard: &mut Heard) -> usize {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut bytes, mut read) = (vec![0; 4 * IN_A_ROW], 0);
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *heard).poll_read(cx, &mut buffer) {
                Poll::Ready(result) => result.expect("no error"),
                Poll::Pending => return read,
            }
            read += buffer.filled().len();
        }
    }

    /// With nobody else, the next is given as soon as it was looked for others.
    async fn turns_are_given() {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn others_have_their_turn_while_one_is_written_to() {
        let (client, server) = tokio::io::duplex(10 * IN_A_ROW);
        let mut heard = heard(server);
        for _ in 0..3 {
            assert_eq!(written_in_a_row(&mut heard), IN_A_ROW);
            assert_eq!(written_in_a_row(&mut heard), 0);
            turns_are_given().await;
        }
        drop(client);
    }

    /// Until it has to wait.
    fn written_in_a_row(heard: &mut Heard) -> usize {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut written = 0;
        while let Poll::Ready(count) = Pin::new(&mut *heard).poll_write(cx, &[b'x'; IN_A_ROW / 8]) {
            written += count.expect("no error");
        }
        written
    }

    #[tokio::test]
    async fn who_waits_for_the_next_request_in_between_needs_no_turn() {
        let (client, server) = tokio::io::duplex(10 * IN_A_ROW);
        let mut heard = heard(server);
        for _ in 0..5 {
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut heard).poll_write(cx, &[b'x'; IN_A_ROW]).is_ready());
            assert_eq!(read_in_a_row(&mut heard), 0);
        }
        drop(client);
    }

    #[tokio::test]
    async fn a_small_answer_is_whole_however_much_of_it_there_is_room_for() {
        for room in 1..10 {
            let (mut client, server) = tokio::io::duplex(room);
            let mut heard = heard(server);
            let (head, body) = (*b"head", *b"body");
            let answer = async {
                let mut written = 0;
                while written < 8 {
                    let head = &head[written.min(4)..];
                    let slices = [io::IoSlice::new(head), io::IoSlice::new(&body[written.max(4) - 4..])];
                    written += heard.write_vectored(&slices).await.expect("there is a client");
                }
                drop(heard);
            };
            let mut come = Vec::new();
            let (read, ()) = tokio::join!(client.read_to_end(&mut come), answer);
            read.expect("no error");
            assert_eq!(come, b"headbody", "with room for {room} bytes");
        }
    }

    /// As much as this, or a turn's end more; as much as it was.
    async fn read_in_turns(heard: &mut Heard, most: usize) -> usize {
        let mut read = 0;
        while read < most {
            let some = read_in_a_row(heard);
            turns_are_given().await;
            if some == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            read += some;
        }
        read
    }

    #[tokio::test]
    async fn others_have_their_turn_while_one_sends() {
        let (mut client, server) = tokio::io::duplex(10 * IN_A_ROW);
        client.write_all(&[0; 10 * IN_A_ROW]).await.expect("there is room");
        let mut heard = heard(server);
        let _body = heard.registered.state().request_begins();
        for _ in 0..9 {
            assert_eq!(read_in_a_row(&mut heard), IN_A_ROW);
            assert_eq!(read_in_a_row(&mut heard), 0);
            turns_are_given().await;
        }
    }

    /// Whose preface was read.
    async fn heard_http2(server: DuplexStream) -> Heard {
        let mut io = Io::of(heard(server));
        io.give_back(Bytes::from_static(HTTP2_PREFACE));
        io.speaks_http2();
        assert_eq!(hyper_reads(&mut io).await, HTTP2_PREFACE);
        io.stream.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_frames_is_read_slowly_unless_its_client_takes_bytes() {
        let ping = frame(6, 0, 8);
        for (sent, pause) in [(0, 100), (256 * 150, 0)] {
            let (mut client, server) = tokio::io::duplex(10 * IN_A_ROW);
            let mut heard = heard_http2(server).await;
            client.write_all(&ping.repeat(300)).await.expect("there is room");
            let before = Instant::now();
            let read = read_in_turns(&mut heard, 201 * ping.len()).await;
            heard.write_all(&vec![0; sent]).await.expect("there is room");
            read_in_turns(&mut heard, 300 * ping.len() - read).await;
            client.write_all(&ping).await.expect("there is room");
            read_in_turns(&mut heard, ping.len()).await;
            let paused = before.elapsed().as_millis();
            assert!((pause..pause + 10).contains(&paused), "{paused} ms after {sent} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_makes_the_server_reset_streams_is_read_slowly() {
        let (mut client, server) = tokio::io::duplex(10 * IN_A_ROW);
        let mut heard = heard_http2(server).await;
        heard.write_all(&frame(RST_STREAM, 0, 4).repeat(100)).await.expect("there is room");
        let ping = frame(6, 0, 8);
        client.write_all(&ping).await.expect("there is room");
        let before = Instant::now();
        read_in_turns(&mut heard, ping.len()).await;
        let paused = before.elapsed().as_millis();
        assert!((100..110).contains(&paused), "{paused} ms");
    }

    #[tokio::test]
    async fn others_have_their_turn_after_so_many_frames_however_short() {
        for payload in [0, 20] {
            let frame = frame(DATA, END_STREAM, payload);
            let (mut client, server) = tokio::io::duplex(10 * IN_A_ROW);
            let mut heard = heard_http2(server).await;
            client.write_all(&frame.repeat(500)).await.expect("there is room");
            for _ in 0..3 {
                let count = read_in_a_row(&mut heard) / frame.len();
                assert!((120..=IN_A_ROW / WORK_OF_FRAME).contains(&count), "{count} of {payload} bytes");
                assert_eq!(read_in_a_row(&mut heard), 0);
                turns_are_given().await;
            }
        }
    }

    #[tokio::test]
    async fn frames_that_were_read_before_take_their_turns_however_they_are_given() {
        let bytes = [HTTP2_PREFACE, &frame(DATA, 0, 0).repeat(200)].concat();
        let turn = HTTP2_PREFACE.len() + IN_A_ROW / WORK_OF_FRAME * LENGTH;
        for room in [1, HTTP2_PREFACE.len(), HYPERS_FIRST] {
            let (_client, server) = tokio::io::duplex(1);
            let mut io = Io::of(heard(server));
            io.give_back(bytes.clone().into());
            io.speaks_http2();
            let mut read = 0;
            while read < turn * 9 / 10 {
                read += hyper_reads_up_to(room, &mut io).await.len();
            }
            assert!(read <= turn, "{read} by {room}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_head_is_read_slowly_and_what_follows_is_not() {
        let (mut client, server) = tokio::io::duplex(10 * IN_A_ROW);
        client.write_all(&[0; 10 * IN_A_ROW]).await.expect("there is room");
        let mut heard = heard(server);
        for _ in 0..3 {
            assert_eq!(read_in_a_row(&mut heard), IN_A_ROW);
            assert_eq!(read_in_a_row(&mut heard), 0);
            tokio::time::sleep(PAUSE - Duration::from_millis(2)).await;
            assert_eq!(read_in_a_row(&mut heard), 0);
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(read_in_a_row(&mut heard), 0);
            turns_are_given().await;
        }
        assert_eq!(read_in_a_row(&mut heard), IN_A_ROW);
        let _body = heard.registered.state().request_begins();
        for _ in 0..5 {
            turns_are_given().await;
            assert_eq!(read_in_a_row(&mut heard), IN_A_ROW);
        }
    }

    /// Ours is closed, and the client has sent what nobody reads.
    fn closed(server: DuplexStream) -> Io {
        let heard = heard(server);
        heard.registered.state().received();
        let mut io = Io::of(heard);
        io.is_closed = true;
        io
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_thrown_away_is_read_slowly() {
        let (client, server) = tokio::io::duplex(IN_A_ROW);
        let (sent, ()) = tokio::join!(sends(client), closed(server).linger());
        let pauses = (LINGER.as_millis() / PAUSE.as_millis()) as usize;
        assert!((pauses / 2 * IN_A_ROW..=(pauses + 2) * IN_A_ROW).contains(&sent), "{sent}");
    }

    /// So many that are closed, of one process, each with a client that goes on sending.
    fn many_closed(count: usize) -> (Vec<DuplexStream>, Vec<Io>) {
        let connections = Connections::new(Arc::default());
        let pairs = (0..count).map(|_| {
            let (client, server) = tokio::io::duplex(IN_A_ROW);
            let registered = connections.admit();
            registered.state().received();
            let mut io = Io::new(Stream::in_memory(server), registered);
            io.is_closed = true;
            (client, io)
        });
        pairs.unzip()
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_linger_throw_away_no_more_than_one_does() {
        const COUNT: usize = 50;
        let (clients, servers) = many_closed(COUNT);
        let sent: Vec<_> = clients.into_iter().map(|client| tokio::spawn(sends(client))).collect();
        let servers: Vec<_> = servers.into_iter().map(|server| tokio::spawn(server.linger())).collect();
        for server in servers {
            server.await.expect("no panic");
        }
        let mut all = 0;
        for sent in sent {
            all += sent.await.expect("no panic");
        }
        let pauses = (LINGER.as_millis() / PAUSE.as_millis()) as usize;
        // Each has what it began with, and what waits when it ends.
        assert!((pauses / 2 * IN_A_ROW..=(pauses + 2 * COUNT) * IN_A_ROW).contains(&all), "{all}");
    }

    async fn sends(mut client: DuplexStream) -> usize {
        let mut sent = 0;
        while client.write_all(&[0; IN_A_ROW]).await.is_ok() {
            sent += IN_A_ROW;
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_have_its_turn_too_late_is_not_kept_until_then() {
        let in_time = (LINGER.as_millis() / PAUSE.as_millis()) as usize;
        let (clients, servers) = many_closed(3 * in_time);
        let before = Instant::now();
        let _clients: Vec<_> = clients.into_iter().map(|client| tokio::spawn(sends(client))).collect();
        let servers = servers.into_iter().map(|server| {
            tokio::spawn(async move {
                server.linger().await;
                before.elapsed()
            })
        });
        let mut at_once = 0;
        for server in servers.collect::<Vec<_>>() {
            at_once += usize::from(server.await.expect("no panic") < PAUSE);
        }
        assert!((2 * in_time - 2..=2 * in_time).contains(&at_once), "{at_once}");
    }

    #[tokio::test]
    async fn who_is_cut_waits_for_its_turn() {
        let (_client, server) = tokio::io::duplex(1);
        let mut cut = Box::pin(Io::of(heard(server)).cut());
        assert!(cut.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        turns_are_given().await;
        assert!(cut.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_waits_for_the_client_and_not_for_long() {
        for (pause, waited) in [(300, 300), (5000, LINGER.as_millis())] {
            let (client, server) = tokio::io::duplex(IN_A_ROW);
            let before = Instant::now();
            let leaves = async {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                drop(client);
            };
            tokio::select! {
                () = closed(server).linger() => {}
                () = async { leaves.await; std::future::pending().await } => {}
            }
            assert_eq!(before.elapsed().as_millis().abs_diff(waited) / 2, 0);
        }
    }
}
