//! What a client may cost: how long it is waited for, how much it may say, and what it is told beyond that.

mod support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{
    App, Client, DATA, END_HEADERS, END_STREAM, Frame, H2Client, HEADERS, Mark, RST_STREAM, Resources,
    body_of, example, get, patiently, until_busy,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// What is tested as a limit; long enough for whatever must happen before it.
const LIMIT: Duration = Duration::from_millis(700);

/// [`LIMIT`] as the options spell it.
const LIMIT_TEXT: &str = "700ms";

async fn start(mut command: Command) -> (App, SocketAddr) {
    command.env("ENDLESS_IDLE_GRACE", "200ms");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

/// The declarative program with one option in its environment.
async fn with(variable: &str, value: &str) -> (App, SocketAddr) {
    let mut command = Command::new(example("test_declarative"));
    command.env(variable, value);
    start(command).await
}

/// The same option in the environment, where it is generous, and in the server's code, which wins.
async fn in_code(word: &str, variable: &str) -> (App, SocketAddr) {
    let mut command = Command::new(example("test_builder"));
    command.args(["new=127.0.0.1:0", word]).env(variable, if word.contains("bytes") { "9999" } else { "1h" });
    start(command).await
}

/// How long something takes that must not come before the limit.
async fn not_before_the_limit<T>(since: Instant, what: impl Future<Output = T>) -> T {
    let come = patiently(what).await;
    let took = since.elapsed();
    assert!(took >= LIMIT, "it came after {took:?}, the limit is {LIMIT:?}");
    come
}

// ---- max_header_bytes

/// A head of exactly so many bytes.
fn head_of(bytes: usize) -> String {
    let start = "GET /hello HTTP/1.1\r\nHost: test\r\nX-Filler: ";
    let filler = "x".repeat(bytes - start.len() - 4);
    format!("{start}{filler}\r\n\r\n")
}

async fn assert_max_header_bytes(address: SocketAddr, limit: usize) {
    let mut client = Client::connect(address).await;
    for bytes in [limit - 1, limit] {
        client.send(&head_of(bytes)).await;
        assert_eq!(client.answer().await.status, 200, "{bytes} bytes of {limit}");
    }
    client.send(&head_of(limit + 1)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.close), (431, true), "{} bytes of {limit}", limit + 1);
    client.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_may_have_max_header_bytes_and_not_one_more() {
    for limit in [100, 8192, 20_000] {
        let (app, address) = with("ENDLESS_MAX_HEADER_BYTES", &limit.to_string()).await;
        assert_max_header_bytes(address, limit).await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_may_have_1_mib_by_default() {
    let (app, address) = start(Command::new(example("test_declarative"))).await;
    assert_max_header_bytes(address, 1 << 20).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_sets_max_header_bytes() {
    let (app, address) = in_code("max_header_bytes=300", "ENDLESS_MAX_HEADER_BYTES").await;
    assert_max_header_bytes(address, 300).await;
    app.stop().await;
}

/// The answer reaches a client that goes on sending before it reads: it is not lost to a reset.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_gets_its_431() {
    let (app, address) = with("ENDLESS_MAX_HEADER_BYTES", "1000").await;
    for _ in 0..20 {
        let mut client = Client::connect(address).await;
        client.send("GET /hello HTTP/1.1\r\nHost: test\r\nX-Filler: ").await;
        for _ in 0..20 {
            client.send(&"x".repeat(100_000)).await;
        }
        assert_eq!(client.answer().await.status, 431);
        client.closed().await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_of_http2_has_the_same_limit() {
    let (app, address) = with("ENDLESS_MAX_HEADER_BYTES", "1000").await;
    for (filler, expected) in [(500, b"200"), (1100, b"431")] {
        let mut client = H2Client::open(address).await;
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &head_block("/hello", filler)).await;
        let frames = client.frames_until(|frame| frame.ends(1)).await;
        assert_eq!(&status_of(&frames, 1), expected, "a field of {filler} bytes: {frames:?}");
    }
    app.stop().await;
}

/// A field that was sent once costs its client a byte from then on (RFC 7541, section 6.1), and counts as what it
/// stands for, and 32 bytes (RFC 9113, section 6.5.2).
#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_http2_counts_each_time_it_is_named() {
    let (app, address) = with("ENDLESS_MAX_HEADER_BYTES", "200000").await;
    let mut client = with_a_large_field(address).await;
    for (stream, fields, expected) in [(3, 49, b"200"), (5, 50, b"431")] {
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &naming_it(fields)).await;
        let frames = client.frames_until(|frame| frame.ends(stream)).await;
        assert_eq!(&status_of(&frames, stream), expected, "{fields} fields of 4033 bytes: {frames:?}");
    }
    app.stop().await;
}

/// HPACK bombs: a kilobyte each, and four megabytes when it is unpacked. The service does not hear of them.
#[tokio::test(flavor = "multi_thread")]
async fn heads_of_http2_that_unpack_to_megabytes_are_refused_before_they_do() {
    const BOMBS: u32 = 100;
    let (app, address) = start(Command::new(example("test_declarative"))).await;
    let mut client = with_a_large_field(address).await;
    let before = Resources::of(app.serving_pid());
    for number in 1..=BOMBS {
        client.send(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * number, &naming_it(1000)).await;
    }
    let frames = client.frames_until(|frame| frame.ends(1 + 2 * BOMBS)).await;
    let after = Resources::of(app.serving_pid());
    assert_eq!(&status_of(&frames, 3), b"431");
    let refused = frames.iter().filter(|frame| frame.kind == HEADERS && frame.ends(frame.stream)).count();
    assert_eq!(refused, BOMBS as usize, "each has an answer without a body: {frames:?}");
    assert!(after.peak <= before.peak.max(before.memory + (4 << 10)), "{before}, and then {after}");
    // The one that sent the field, and the one that asks this.
    let status: Value = serde_json::from_slice(&get(address, "/status").await.body).expect("JSON");
    assert_eq!(status["servers"][0]["requests"], 2, "{status}");
    app.stop().await;
}

/// Whose first request has a field of 4001 bytes in name and value, which is to be remembered (RFC 7541,
/// section 6.2.1).
async fn with_a_large_field(address: SocketAddr) -> H2Client {
    let mut client = H2Client::open(address).await;
    // A length of 4000 is 127 + 33 + 30 * 128.
    let field = [b"\x40\x01x\x7f\xa1\x1e".as_slice(), &[b'y'; 4000]].concat();
    let head = [head_block("/hello", 127), field].concat();
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &head).await;
    let frames = client.frames_until(|frame| frame.ends(1)).await;
    assert_eq!(&status_of(&frames, 1), b"200");
    client
}

/// A head that names the field so often: the table's first entry after the static ones.
fn naming_it(times: usize) -> Vec<u8> {
    [b"\x82\x86\x04\x06/hello".as_slice(), &vec![0xbe; times]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_100_header_fields_at_most() {
    let (app, address) = start(Command::new(example("test_declarative"))).await;
    let mut client = Client::connect(address).await;
    for (fields, expected) in [(99, 200), (100, 200), (101, 431)] {
        let more = "X: y\r\n".repeat(fields - 1);
        client.send(&format!("GET /hello HTTP/1.1\r\nHost: test\r\n{more}\r\n")).await;
        assert_eq!(client.answer().await.status, expected, "{fields} fields");
    }
    client.closed().await;
    app.stop().await;
}

/// As one of HTTP/1. A field can cost its client a byte, and the server a hundred.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http2_has_100_header_fields_at_most() {
    let (app, address) = start(Command::new(example("test_declarative"))).await;
    for (fields, expected) in [(100, b"200"), (101, b"431")] {
        let mut client = H2Client::open(address).await;
        let head = [head_block("/hello", 127), b"\0\x01x\x01y".repeat(fields - 1)].concat();
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &head).await;
        let frames = client.frames_until(|frame| frame.ends(1)).await;
        assert_eq!(&status_of(&frames, 1), expected, "{fields} fields: {frames:?}");
    }
    app.stop().await;
}

/// The next one is refused (RFC 9113, section 8.7), until another has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_has_200_requests_at_a_time_at_most() {
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let (app, address) = start(Command::new(example("test_declarative"))).await;
    let mut client = H2Client::open(address).await;
    for number in 0..=200 {
        client.get(1 + 2 * number, "/hang").await;
    }
    let frames = client.frames_until(|frame| frame.kind == RST_STREAM).await;
    let refused = frames.last().expect("it is the awaited one");
    assert_eq!((refused.stream, &refused.payload[..]), (401, &REFUSED_STREAM[..]));
    client.send(RST_STREAM, 0, 1, &CANCEL).await;
    client.get(403, "/hello").await;
    let frames = client.frames_until(|frame| frame.ends(403)).await;
    assert_eq!(body_of(&frames, 403), "WORLD!");
    drop(client);
    app.stop().await;
}

/// GET, http, the path spelled out, and a field of so many bytes (RFC 7541, sections 5.1 and 6.2.2).
fn head_block(path: &str, filler: usize) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x00, 1, b'x', 127]);
    let mut rest = filler - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
    block.extend(vec![b'y'; filler]);
    block
}

/// The status of a response: an entry of the static table, or the digits spelled out.
fn status_of(frames: &[Frame], stream: u32) -> [u8; 3] {
    let head = frames.iter().find(|frame| frame.kind == HEADERS && frame.stream == stream);
    let block = &head.expect("a response").payload;
    match block[0] {
        0x88 => *b"200",
        _ => huffman_or_plain(&block[1..]),
    }
}

/// Three digits after their length: plain, or each as a code of five or six bits (RFC 7541, appendix B).
fn huffman_or_plain(coded: &[u8]) -> [u8; 3] {
    if coded[0] & 0x80 == 0 {
        return coded[1..4].try_into().expect("three digits");
    }
    let mut bits = coded[1..=usize::from(coded[0] & 0x7f)]
        .iter()
        .fold(String::new(), |bits, byte| bits + &format!("{byte:08b}"));
    std::array::from_fn(|_| {
        let long = !bits.starts_with("000");
        let rest = bits.split_off(if long { 6 } else { 5 });
        let code = u8::from_str_radix(&std::mem::replace(&mut bits, rest), 2).expect("bits");
        if long { code - 0x19 + b'3' } else { code + b'0' }
    })
}

// ---- header_timeout

const PART_OF_A_HEAD: &str = "GET /hello HTTP/1.1\r\nHost:";

async fn assert_header_timeout(address: SocketAddr) {
    let mut fresh = Client::connect(address).await;
    let mut used = Client::connect(address).await;
    assert_eq!(used.get("/hello").await.status, 200);
    for client in [&mut fresh, &mut used] {
        let since = Instant::now();
        client.send(PART_OF_A_HEAD).await;
        let answer = not_before_the_limit(since, client.answer()).await;
        assert_eq!((answer.status, answer.close), (408, true));
        assert!(answer.header("date").is_some(), "{answer:?}");
        client.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_head_gets_408() {
    let (app, address) = with("ENDLESS_HEADER_TIMEOUT", LIMIT_TEXT).await;
    assert_header_timeout(address).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_sets_header_timeout() {
    let (app, address) = in_code("header_timeout=700", "ENDLESS_HEADER_TIMEOUT").await;
    assert_header_timeout(address).await;
    app.stop().await;
}

/// Both read in one go; the time of a head counts from its first byte, not from the last answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_a_head_does_not_count() {
    let (app, address) = with("ENDLESS_HEADER_TIMEOUT", LIMIT_TEXT).await;
    let mut client = Client::connect(address).await;
    tokio::time::sleep(LIMIT * 2).await;
    assert_eq!(client.get("/hello").await.status, 200, "a silent connection is not a late head");
    tokio::time::sleep(LIMIT * 2).await;
    assert_eq!(client.get("/hello").await.status, 200, "nor is one between two requests");
    let sleep = format!("/sleep?ms={}", LIMIT.as_millis() * 2);
    assert_eq!(client.get(&sleep).await.status, 200, "nor is a slow answer");
    app.stop().await;
}

/// A byte now and then does not buy more time.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_gets_408() {
    let (app, address) = with("ENDLESS_HEADER_TIMEOUT", LIMIT_TEXT).await;
    let mut client = Client::connect(address).await;
    let since = Instant::now();
    client.send(PART_OF_A_HEAD).await;
    while client.is_quiet() {
        assert!(since.elapsed() < support::PATIENCE, "it trickles for ever");
        client.send("x").await;
        tokio::time::sleep(LIMIT / 20).await;
    }
    assert_eq!(not_before_the_limit(since, client.answer()).await.status, 408);
    app.stop().await;
}

/// Pipelined behind a request that is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_head_behind_a_request_gets_408_too() {
    let (app, address) = with("ENDLESS_HEADER_TIMEOUT", LIMIT_TEXT).await;
    let mut client = Client::connect(address).await;
    client.send("GET /sleep?ms=100 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    until_busy(address, 1, 1).await;
    client.send(PART_OF_A_HEAD).await;
    assert_eq!(client.answer().await.text(), "slept 100");
    client.send(" te").await;
    let answer = patiently(client.answer()).await;
    assert_eq!((answer.status, answer.close), (408, true));
    client.closed().await;
    app.stop().await;
}

/// Not even the protocol is known yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_preface_of_http2_gets_408() {
    let (app, address) = with("ENDLESS_HEADER_TIMEOUT", LIMIT_TEXT).await;
    let mut client = Client::connect(address).await;
    let since = Instant::now();
    client.send("PRI * HTTP/2.0\r\n").await;
    assert_eq!(not_before_the_limit(since, client.answer()).await.status, 408);
    client.closed().await;
    app.stop().await;
}

// ---- idle_timeout

async fn assert_idle_timeout(address: SocketAddr) {
    let since = Instant::now();
    let mut fresh = Client::connect(address).await;
    not_before_the_limit(since, fresh.closed()).await;

    let mut used = Client::connect(address).await;
    for _ in 0..3 {
        assert_eq!(used.get("/hello").await.status, 200);
        tokio::time::sleep(LIMIT / 4).await;
    }
    let since = Instant::now();
    assert_eq!(used.get(&format!("/sleep?ms={}", LIMIT.as_millis() * 2)).await.status, 200);
    not_before_the_limit(since, used.closed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_without_a_word() {
    let (app, address) = with("ENDLESS_IDLE_TIMEOUT", LIMIT_TEXT).await;
    assert_idle_timeout(address).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_sets_idle_timeout() {
    let (app, address) = in_code("idle_timeout=700", "ENDLESS_IDLE_TIMEOUT").await;
    assert_idle_timeout(address).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_http2_is_told_to_leave() {
    let (app, address) = with("ENDLESS_IDLE_TIMEOUT", LIMIT_TEXT).await;
    let mut client = H2Client::open(address).await;
    client.get(1, &format!("/sleep?ms={}", LIMIT.as_millis() * 2)).await;
    let answered = client.frames_until(|frame| frame.ends(1)).await;
    assert_eq!(body_of(&answered, 1), format!("slept {}", LIMIT.as_millis() * 2));
    let since = Instant::now();
    // From the end of the answer, which the client has a moment later than the server.
    let frames = patiently(client.frames()).await;
    assert!(since.elapsed() >= LIMIT / 2, "it idled for {:?}", since.elapsed());
    let last = frames.iter().filter_map(Frame::last_stream).next_back();
    assert_eq!(last, Some((1, 0)), "no error, and the last stream: {frames:?}");
    app.stop().await;
}

/// Only requests count: one that goes on sending PINGs, and does not say that it has seen the server's, is
/// idle.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http2_idles_while_it_pings() {
    let (app, address) = with("ENDLESS_IDLE_TIMEOUT", LIMIT_TEXT).await;
    let since = Instant::now();
    let client = H2Client::open(address).await;
    not_before_the_limit(since, client.ping_until_ended(LIMIT / 20)).await;
    app.stop().await;
}

// ---- read_timeout

const HALF_A_BODY: &str = "POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n01234";

async fn assert_read_timeout(address: SocketAddr) {
    let mut whole = Client::connect(address).await;
    whole.send(&format!("{HALF_A_BODY}56789")).await;
    assert_eq!(whole.answer().await.status, 200);

    let mut half = Client::connect(address).await;
    let since = Instant::now();
    half.send(HALF_A_BODY).await;
    let answer = not_before_the_limit(since, half.answer()).await;
    assert_eq!((answer.status, answer.close), (408, true));
    half.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_body_gets_408() {
    let (app, address) = with("ENDLESS_READ_TIMEOUT", LIMIT_TEXT).await;
    assert_read_timeout(address).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_sets_read_timeout() {
    let (app, address) = in_code("read_timeout=700", "ENDLESS_READ_TIMEOUT").await;
    assert_read_timeout(address).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_gets_408() {
    let (app, address) = with("ENDLESS_READ_TIMEOUT", LIMIT_TEXT).await;
    let mut client = Client::connect(address).await;
    let since = Instant::now();
    client.send("POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    while client.is_quiet() {
        assert!(since.elapsed() < support::PATIENCE, "it trickles for ever");
        client.send("1\r\nx\r\n").await;
        tokio::time::sleep(LIMIT / 20).await;
    }
    let answer = not_before_the_limit(since, client.answer()).await;
    assert_eq!((answer.status, answer.close), (408, true));
    client.closed().await;
    app.stop().await;
}

/// The head counts too: it has half of the time, the body the rest.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_request_begins_with_its_head() {
    let (app, address) = with("ENDLESS_READ_TIMEOUT", LIMIT_TEXT).await;
    let mut head_alone = Client::connect(address).await;
    let since = Instant::now();
    head_alone.send(PART_OF_A_HEAD).await;
    assert_eq!(not_before_the_limit(since, head_alone.answer()).await.status, 408);

    let mut client = Client::connect(address).await;
    let since = Instant::now();
    let (head, rest) = HALF_A_BODY.split_at(20);
    client.send(head).await;
    tokio::time::sleep(LIMIT / 2).await;
    client.send(rest).await;
    assert_eq!(not_before_the_limit(since, client.answer()).await.status, 408);
    app.stop().await;
}

/// What is slow is the answer, and the request is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_not_a_late_request() {
    let (app, address) = with("ENDLESS_READ_TIMEOUT", LIMIT_TEXT).await;
    let mut client = Client::connect(address).await;
    let slow = format!("/sleep?ms={}", LIMIT.as_millis() * 2);
    assert_eq!(client.get(&slow).await.status, 200);
    assert_eq!(client.get("/hello").await.status, 200, "nor is a silent client one");
    app.stop().await;
}

// ---- write_timeout

async fn assert_write_timeout(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/sleep?ms=10").await.status, 200);
    let since = Instant::now();
    client.ask("/hang").await;
    not_before_the_limit(since, client.closed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_never_comes() {
    let (app, address) = with("ENDLESS_WRITE_TIMEOUT", LIMIT_TEXT).await;
    assert_write_timeout(address).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_sets_write_timeout() {
    let (app, address) = in_code("write_timeout=700", "ENDLESS_WRITE_TIMEOUT").await;
    assert_write_timeout(address).await;
    app.stop().await;
}

/// Ten pieces, the last of them after the limit.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_goes_on_too_long_is_cut() {
    let (app, address) = with("ENDLESS_WRITE_TIMEOUT", LIMIT_TEXT).await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.get("/stream?ms=1").await.status, 200);
    let since = Instant::now();
    client.ask(&format!("/stream?ms={}", LIMIT.as_millis() / 5)).await;
    not_before_the_limit(since, client.broken()).await;
    app.stop().await;
}

/// A connection with so small a buffer that the answer stays with the server.
async fn reads_nothing(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(address).await.expect("the server listens")
}

/// Whether the service still makes its answer, or has left it to us in one piece.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_left() {
    let (app, address) = with("ENDLESS_WRITE_TIMEOUT", LIMIT_TEXT).await;
    for (path, in_flight) in [("/pieces/3000", 1), ("/bytes/30000000", 0)] {
        let mut client = reads_nothing(address).await;
        let since = Instant::now();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("sent");
        until_busy(address, 1, in_flight).await;
        not_before_the_limit(since, until_busy(address, 0, 0)).await;
        let mut received = Vec::new();
        let _reset = patiently(client.read_to_end(&mut received)).await;
        assert!(received.len() < 30_000_000, "it was cut");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_stream_of_http2_is_reset_alone() {
    let (app, address) = with("ENDLESS_WRITE_TIMEOUT", LIMIT_TEXT).await;
    let mut client = H2Client::open(address).await;
    let since = Instant::now();
    client.get(1, "/hang").await;
    client.get(3, "/sleep?ms=100").await;
    let reset = |frame: &Frame| frame.kind == RST_STREAM && frame.stream == 1;
    let frames = not_before_the_limit(since, client.frames_until(reset)).await;
    assert_eq!(body_of(&frames, 3), "slept 100");
    client.get(5, "/hello").await;
    let frames = client.frames_until(|frame| frame.ends(5)).await;
    assert_eq!(body_of(&frames, 5), "WORLD!", "the connection goes on");
    app.stop().await;
}

/// It opens no window, so the service's bytes cannot be sent, nor can the stream be seen to be late.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_that_takes_nothing_is_left() {
    let (app, address) = with("ENDLESS_WRITE_TIMEOUT", LIMIT_TEXT).await;
    let mut client = H2Client::open(address).await;
    let since = Instant::now();
    // Pieces beyond the 65,535 bytes that a connection begins with.
    client.get(1, "/pieces/100").await;
    not_before_the_limit(since, client.frames()).await;
    app.stop().await;
}

// ---- what a drain waits for

/// It does not say that it has seen the server's PING, and takes a little of its answer now and then: longer
/// in all than an idle one is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http2_that_takes_little_gets_its_whole_answer_from_a_drain() {
    const PIECE: u32 = 20_000;
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_IDLE_GRACE", "2s");
    let app = App::start(command);
    let mut client = H2Client::open(app.address().await).await;
    client.get(1, &format!("/bytes/{}", 65_535 + 6 * PIECE)).await;
    client.take(65_535).await;
    let mark = app.mark();
    app.signal(app.first_pid(), Signal::SIGTERM);
    app.wait_for_message(mark, "draining").await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.open_windows(1, PIECE).await;
        client.take(PIECE as usize).await;
    }
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
}

/// The service is done with its answer, of which HTTP/2 lets only so much be sent until the client says more.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_http2_gets_its_whole_answer_from_a_drain() {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        let (app, address) = start(Command::new(example("test_declarative"))).await;
        let mut client = H2Client::open(address).await;
        client.get(1, "/bytes/100000").await;
        let received = Cell::new(0);
        let whole_window = |frame: &Frame| {
            received.set(received.get() + if frame.kind == DATA { frame.payload.len() } else { 0 });
            received.get() == 65_535
        };
        let mut frames = client.frames_until(whole_window).await;
        let mark = app.mark();
        app.signal(app.first_pid(), signal);
        app.wait_for_message(mark, "draining").await;
        frames.extend(client.acknowledged().await);
        // Longer than the idle grace, in which nothing of the answer moves.
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.open_windows(1, 1_000_000).await;
        frames.extend(client.frames().await);
        assert_eq!(body_of(&frames, 1).len(), 100_000, "{signal}");
        assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
        if signal == Signal::SIGHUP {
            app.stop().await;
        }
    }
}
