//! The clients of `support` against servers that misbehave: a client that cannot fail proves nothing.

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::hostile::{Base, Round, Slowness, Verdict};
use support::{App, H2Load, Kind, Load, Mark, Report, Running, alive, children, descriptors, fnv1a};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const GOOD: &str = "HTTP/1.1 200 OK\r\nx-pid: 7\r\nx-version: A\r\nContent-Length: 6\r\n\r\nWORLD!";
const NO_THINK: RangeInclusive<Duration> = Duration::ZERO..=Duration::ZERO;

/// Serves each connection with `serve`, in a task of its own.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads one request's head; None at the end of the connection.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Answers each request with the same bytes, and closes after `last` of them.
async fn answering(answer: impl AsRef<str> + Clone + Send + Sync + 'static, last: usize) -> SocketAddr {
    server(move |mut stream| {
        let answer = answer.clone();
        async move {
            for _ in 0..last {
                let Some(_) = head(&mut stream).await else {
                    return;
                };
                stream.write_all(answer.as_ref().as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

fn keep_alive() -> Kind {
    Kind::KeepAlive { think: NO_THINK }
}

/// The first failure must contain these words.
async fn fails_with(running: Running, words: &str) -> Report {
    running.until(|report| report.failed > 0).await;
    let report = running.stop().await;
    let what = &report.failures[0].what;
    assert!(what.contains(words), "{what:?} does not say {words:?}");
    report
}

fn reset(stream: &TcpStream) {
    #[allow(deprecated)] // A linger of zero does not block.
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_has_no_failure() {
    let address = answering(GOOD, usize::MAX).await;
    let running = Load::new(address, Kind::KeepAlive { think: NO_THINK }).connections(4).start();
    running.until_answered(1000).await;
    running.until_answered_by(7).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!(report.requests, report.answered);
    assert_eq!(report.answered_by(7), report.answered);
    assert_eq!(report.versions["A"], report.answered);
    assert_eq!((report.reconnects, report.closed_idle, report.told_to_close, report.moved), (0, 0, 0, 0));
    assert!(report.latencies.percentile(50.0) <= report.latencies.max());
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_connections_that_are_served_and_closed_are_clean() {
    let address = answering(GOOD, 1).await;
    let running = Load::new(address, Kind::Fresh).connections(4).start();
    running.until_answered(500).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!((report.reconnects, report.told_to_close), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_after_the_request_without_an_answer_fails() {
    for kind in [Kind::Fresh, keep_alive()] {
        let address = server(|mut stream| async move { drop(head(&mut stream).await) }).await;
        fails_with(Load::new(address, kind).start(), "closed without an answer").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_after_the_request_fails() {
    let serve = |mut stream: TcpStream| async move {
        drop(head(&mut stream).await);
        reset(&stream);
    };
    fails_with(Load::new(server(serve).await, keep_alive()).start(), "reset by peer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_after_a_whole_answer_with_close_fails() {
    let serve = |mut stream: TcpStream| async move {
        drop(head(&mut stream).await);
        stream.write_all(GOOD.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        reset(&stream);
    };
    fails_with(Load::new(server(serve).await, Kind::Fresh).start(), "(after the answer)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_answer_fails() {
    for cut in [3, 30, GOOD.len() - 1] {
        let address = answering(&GOOD[..cut], 1).await;
        fails_with(Load::new(address, keep_alive()).start(), &format!("closed after {cut} bytes")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_or_malformed_answers_fail() {
    let faults = [
        (GOOD.replace("WORLD!", "WORLD?"), "promised was"),
        (GOOD.replace("200 OK", "503 Unavailable"), "status 503"),
        (GOOD.replace("x-pid: 7\r\n", ""), "no x-pid"),
        (GOOD.replace("x-pid: 7", "x-pid: seven"), "x-pid is no PID"),
        (format!("{GOOD}!"), "surplus bytes"),
        (GOOD.replace("Length: 6", "Length: 5"), "surplus bytes"),
        (GOOD.replace("Length: 6", "Length: +6"), "content-length"),
        (GOOD.replace("HTTP/1.1", "HTTP/1.0"), "status line"),
        (GOOD.replace("x-pid:", "x pid:"), "header line"),
        (GOOD.replace("x-version", "Transfer-Encoding: chunked\r\nx-version"), "with transfer-encoding"),
        (GOOD.replace("Content-Length: 6", "Transfer-Encoding: chunked").replace('!', "\r\n"), "chunk size"),
    ];
    for (answer, words) in faults {
        let address = answering(answer, usize::MAX).await;
        fails_with(Load::new(address, keep_alive()).start(), words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_and_until_close_are_read() {
    let chunked =
        "HTTP/1.1 200 OK\r\nx-pid: 7\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWORL\r\n2\r\nD!\r\n0\r\n\r\n";
    let running = Load::new(answering(chunked, usize::MAX).await, keep_alive()).start();
    running.until_answered(10).await;
    running.stop().await.assert_clean();

    let until_close = "HTTP/1.1 200 OK\r\nx-pid: 7\r\n\r\nWORLD!";
    let running = Load::new(answering(until_close, 1).await, keep_alive()).start();
    running.until_answered(10).await;
    running.stop().await.assert_clean();

    let cut = &chunked[..chunked.len() - 5];
    fails_with(Load::new(answering(cut, 1).await, keep_alive()).start(), "closed after").await;
    let cut = &until_close[..until_close.len() - 1];
    fails_with(Load::new(answering(cut, 1).await, keep_alive()).start(), "promised was").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connect_fails() {
    for kind in [Kind::Fresh, keep_alive(), Kind::Bare { think: NO_THINK }] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let report = fails_with(Load::new(address, kind).start(), "refused").await;
        assert_eq!(report.requests, report.failed);
        assert_eq!(report.answered, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_answer_fails_after_the_patience() {
    let serve = |stream: TcpStream| async move {
        std::future::pending::<()>().await;
        drop(stream)
    };
    let load = Load::new(server(serve).await, keep_alive()).patience(Duration::from_millis(100));
    fails_with(load.start(), "no answer within").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_idle_is_counted_and_no_failure() {
    let think = Duration::from_millis(50)..=Duration::from_millis(60);
    let address = answering(GOOD, 1).await;
    let running = Load::new(address, Kind::KeepAlive { think }).connections(2).start();
    running.until(|report| report.closed_idle > 5).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!(report.closed_idle, report.reconnects);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keep_alive_race_is_a_failure() {
    // Closes just when the next request is about to come: some meet the end idle, some lose their request.
    let serve = |mut stream: TcpStream| async move {
        let Some(_) = head(&mut stream).await else {
            return;
        };
        stream.write_all(GOOD.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let think = Duration::ZERO..=Duration::from_millis(5);
    let running = Load::new(server(serve).await, Kind::KeepAlive { think }).connections(8).start();
    running.until(|report| report.failed > 0 && report.closed_idle > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_while_idle_fails() {
    let serve = |mut stream: TcpStream| async move {
        let Some(_) = head(&mut stream).await else {
            return;
        };
        stream.write_all(GOOD.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        reset(&stream);
    };
    let think = Duration::from_millis(100)..=Duration::from_millis(100);
    fails_with(Load::new(server(serve).await, Kind::KeepAlive { think }).start(), "while idle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_close_is_followed() {
    let address = answering(GOOD.replace("x-version", "Connection: close\r\nx-version"), 1).await;
    let running = Load::new(address, keep_alive()).start();
    running.until(|report| report.told_to_close > 10).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!((report.told_to_close, report.closed_idle), (report.answered, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_moves_is_seen() {
    let serve = |mut stream: TcpStream| async move {
        for pid in 1.. {
            let Some(_) = head(&mut stream).await else {
                return;
            };
            stream.write_all(GOOD.replace("x-pid: 7", &format!("x-pid: {pid}")).as_bytes()).await.unwrap();
        }
    };
    let running = Load::new(server(serve).await, keep_alive()).start();
    running.until_answered(3).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!(report.moved, report.answered - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_connections_that_stay_are_clean() {
    let address = answering(GOOD, usize::MAX).await;
    let think = Duration::from_millis(1)..=Duration::from_millis(20);
    let running = Load::new(address, Kind::Bare { think }).connections(4).start();
    running.until_answered(50).await;
    running.stop().await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_connections_that_the_server_ends_fail() {
    let think = Duration::from_secs(30)..=Duration::from_secs(30);
    let closing = server(|stream| async move { drop(stream) }).await;
    fails_with(Load::new(closing, Kind::Bare { think: think.clone() }).start(), "closed the connection")
        .await;
    let resetting = server(|stream| async move { reset(&stream) }).await;
    fails_with(Load::new(resetting, Kind::Bare { think: think.clone() }).start(), "reset by peer").await;
    let talking = server(|mut stream| async move {
        stream.write_all(b"hi").await.unwrap();
        drop(head(&mut stream).await)
    })
    .await;
    fails_with(Load::new(talking, Kind::Bare { think }).start(), "unasked bytes").await;
}

/// Reads an upload and answers with what it got; `spoil` may change a byte.
async fn upload_server(spoil: bool) -> SocketAddr {
    server(move |mut stream| async move {
        while let Some(head) = head(&mut stream).await {
            let length =
                head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            body[length / 2] ^= u8::from(spoil);
            let text = format!("received {length} {:016x}", fnv1a(&body));
            let answer =
                format!("HTTP/1.1 200 OK\r\nx-pid: 7\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_compared() {
    let kind = Kind::Upload { bytes: 1 << 20 };
    let running = Load::new(upload_server(false).await, kind.clone())
        .connections(2)
        .pace(Duration::from_micros(100))
        .start();
    running.until_answered(4).await;
    running.stop().await.assert_clean();
    fails_with(Load::new(upload_server(true).await, kind.clone()).start(), "promised was").await;
    let cutting = server(|mut stream| async move { drop(head(&mut stream).await) }).await;
    let report = fails_with(Load::new(cutting, kind).start(), "POST /upload").await;
    assert_eq!(report.answered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_are_compared_and_a_stop_waits_for_them() {
    let serve = |mut stream: TcpStream| async move {
        while let Some(head) = head(&mut stream).await {
            assert!(head.starts_with("GET /sleep?ms=200 "));
            tokio::time::sleep(Duration::from_millis(200)).await;
            stream
                .write_all(GOOD.replace("WORLD!", "slept 200").replace(": 6", ": 9").as_bytes())
                .await
                .unwrap();
        }
    };
    let running = Load::new(server(serve).await, Kind::Slow { path: "/sleep?ms=200".to_owned() }).start();
    running.until(|report| report.requests == 1).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!((report.requests, report.answered), (1, 1));
    assert!(report.latencies.percentile(50.0) >= Duration::from_millis(200));
}

#[test]
fn percentiles_are_within_three_percent() {
    let mut latencies = support::Latencies::default();
    (1..=100_000).for_each(|micros| latencies.add(Duration::from_micros(micros)));
    for percent in [0.01, 1.0, 50.0, 99.0, 99.9, 100.0] {
        let exact = percent * 1000.0;
        let found = latencies.percentile(percent).as_micros() as f64;
        assert!(found >= exact && found <= exact * 1.04, "{percent}%: {found} for {exact}");
    }
}

// ---- HTTP/2

/// What an HTTP/2 server does to a connection after some requests.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Never,
    Graceful,
    Abrupt,
    Cut,
    WrongBody,
    HalfBody,
    Refuse,
    Reset,
    Calm,
}

async fn h2_server(end: End, after: usize) -> SocketAddr {
    server(move |stream| serve_h2(stream, end, after)).await
}

async fn serve_h2(stream: TcpStream, end: End, after: usize) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut count = 0;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        count += 1;
        let now = count == after;
        if now && matches!(end, End::Graceful) {
            connection.graceful_shutdown();
        }
        if now && matches!(end, End::Abrupt) {
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
        }
        if now && matches!(end, End::Calm) {
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
        }
        if now && matches!(end, End::Cut) {
            return;
        }
        tokio::spawn(async move {
            if now && matches!(end, End::Refuse | End::Reset) {
                let refuse = end == End::Refuse;
                respond.send_reset(if refuse { h2::Reason::REFUSED_STREAM } else { h2::Reason::CANCEL });
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            let head =
                http::Response::builder().header("x-pid", 7).header("x-version", "A").body(()).unwrap();
            // The client may be gone with the connection.
            let Ok(mut body) = respond.send_response(head, false) else {
                return;
            };
            let text = if now && end == End::WrongBody { "WORLD?" } else { "WORLD!" };
            let cut = now && end == End::HalfBody;
            body.send_data(text.into(), !cut).ok();
            if cut {
                body.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        });
    }
}

fn h2_load(address: SocketAddr) -> Running {
    H2Load::new(address).connections(2).streams(8).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_good_server_has_no_failure() {
    let running = h2_load(h2_server(End::Never, 0).await);
    running.until_answered(1000).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!((report.requests, report.reconnects, report.told_to_close), (report.answered, 0, 0));
    assert_eq!(report.answered_by(7), report.answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_graceful_goaway_loses_nothing() {
    let running = h2_load(h2_server(End::Graceful, 50).await);
    running.until(|report| report.told_to_close > 40).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!(report.requests, report.answered + report.retried);
    assert!(report.reconnects >= 40 && report.closed_idle == 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_streams_of_an_abrupt_goaway_are_lost() {
    let running = h2_load(h2_server(End::Abrupt, 50).await);
    let wanted = "GOAWAY with last stream";
    running.until(|report| report.failures.iter().any(|failure| failure.what.contains(wanted))).await;
    let report = running.stop().await;
    assert_eq!(report.requests, report.answered + report.retried + report.failed, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_streams_above_the_last_id_are_retried_and_the_one_below_is_lost() {
    // The first connection gets four streams, answers none and says that it processed the first; the others
    // are good.
    let first = Arc::new(AtomicBool::new(true));
    let serve = move |mut stream: TcpStream| {
        let is_first = first.swap(false, Ordering::Relaxed);
        async move {
            if !is_first {
                return serve_h2(stream, End::Never, 0).await;
            }
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            let mut streams = 0;
            while streams < 4 {
                let mut header = [0; 9];
                stream.read_exact(&mut header).await.unwrap();
                let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
                stream.read_exact(&mut payload).await.unwrap();
                streams += usize::from(header[3] == 1);
            }
            let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            stream.write_all(&go_away).await.unwrap();
            stream.shutdown().await.unwrap();
            while stream.read(&mut preface).await.is_ok_and(|read| read > 0) {}
        }
    };
    let running = H2Load::new(server(serve).await).streams(4).start();
    running.until(|report| report.failed > 0 && report.answered > 100).await;
    let report = running.stop().await;
    assert_eq!((report.failed, report.retried, report.reconnects), (1, 3, 1), "{report}");
    assert_eq!(report.requests, report.answered + 4, "{report}");
    assert!(report.failures[0].what.contains("stream 1: "), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_refused_stream_is_retried() {
    let running = h2_load(h2_server(End::Refuse, 10).await);
    running.until(|report| report.retried == 2 && report.answered > 100).await;
    let report = running.stop().await;
    report.assert_clean();
    assert_eq!(report.requests, report.answered + report.retried);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_every_other_loss_fails() {
    let faults = [
        (End::Cut, "no GOAWAY"),
        (End::Reset, "stream"),
        (End::WrongBody, "promised was"),
        (End::HalfBody, "stream"),
        (End::Calm, "ENHANCE_YOUR_CALM"),
    ];
    for (end, words) in faults {
        let running = h2_load(h2_server(end, 20).await);
        // The server may be gone, by a reset, before the client reads why; then it is another connection that
        // hears it.
        let says_it = |report: &Report| report.failures.iter().any(|failure| failure.what.contains(words));
        running.until(says_it).await;
        assert!(running.stop().await.failed > 0, "{end:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    fails_with(h2_load(address), "cannot connect").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_goaway_in_small_pieces_is_read() {
    // SETTINGS, then after the first bytes of the client a PING and a GOAWAY (last stream 0), a byte at a
    // time.
    let serve = |mut stream: TcpStream| async move {
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut bytes = [0; 4096];
        assert!(stream.read(&mut bytes).await.unwrap() > 0);
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let go_away = [0, 0, 10, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'o', b'k'];
        for byte in ping.into_iter().chain(go_away) {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    let running = H2Load::new(server(serve).await).start();
    running.until(|report| report.told_to_close > 3).await;
    let report = running.stop().await;
    assert_eq!(report.failed, 0, "{report}");
}

// ---- processes

/// A stand-in for a server in direct mode, in shell: SIGHUP starts a successor, SIGTERM ends it. What `BAD`
/// asks for goes wrong.
const FAKE: &str = r#"
log() { echo "INFO endless: $*" >&2; }
generation=${GENERATION:-0}
draining=
restart() {
    [ -n "$draining" ] && return
    if [ -n "$BAD" ]; then
        log "restart called off pid=$$ reason=\"the successor is \\\"bad\\\", a=b\" generation=$generation"
        return
    fi
    GENERATION=$((generation + 1)) PREDECESSOR=$$ bash -c "$SCRIPT" fake & successor=$!
    draining=1
    log "handed over pid=$$ successor=$successor generation=$generation"
    ${LINGER:+sleep $LINGER}
    log "stopped pid=$$"
    exit 0
}
trap restart HUP
trap 'log "stopped pid=$$"; exit 3' TERM
echo "hello from $$"
if [ "$generation" = 0 ]; then
    log "listening address=127.0.0.1:4242 pid=$$ generation=0"
    log "listening address=unix:/tmp/x pid=$$ generation=0"
else
    log "serving pid=$$ generation=$generation predecessor=$PREDECESSOR"
fi
sleep 1000 >/dev/null 2>&1 & silent=$!
while :; do wait $silent; done
"#;

fn fake(variables: &[(&str, &str)]) -> App {
    let mut command = Command::new("bash");
    command.args(["-c", FAKE, "fake"]).env("SCRIPT", FAKE).envs(variables.iter().copied());
    App::start(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_followed_through_its_restarts() {
    let app = fake(&[]);
    assert_eq!(app.address().await.to_string(), "127.0.0.1:4242");
    assert_eq!(app.addresses(2).await[1], "unix:/tmp/x");
    assert_eq!(app.serving_pid(), app.first_pid());
    assert!(descriptors(app.first_pid()) >= 3);

    let mut served = vec![app.first_pid()];
    for _ in 0..3 {
        let mark = app.mark();
        let successor = app.restart().await;
        let serving = app.wait_for_message(mark, "serving").await;
        assert_eq!(serving.field("pid"), Some(successor.to_string().as_str()));
        assert_eq!(serving.field("predecessor"), Some(served.last().unwrap().to_string().as_str()));
        assert_eq!(app.serving_pid(), successor);
        assert_eq!(app.exit(*served.last().unwrap()).await.code(), Some(0));
        assert!(!alive(*served.last().unwrap()) && alive(successor));
        served.push(successor);
    }
    assert_eq!(app.generations(), served.iter().copied().collect());
    assert!(app.zombies().is_empty());
    assert_eq!(app.stop().await.code(), Some(3));
    assert!(app.lines().iter().any(|line| line.text == format!("hello from {}", served[3])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_called_off_has_a_reason() {
    let app = fake(&[("BAD", "1")]);
    app.address().await;
    let reason = app.try_restart().await.unwrap_err();
    assert_eq!(reason, r#"the successor is \"bad\", a=b"#);
    assert_eq!(app.serving_pid(), app.first_pid());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_ends_all_of_it_the_silent_too() {
    let app = fake(&[("LINGER", "1000")]);
    app.address().await;
    let mark = app.mark();
    let successor = app.restart().await;
    app.wait_for_message(mark, "serving").await;
    let silent = app.children();
    let all = app.processes();
    assert!(
        all.contains(&app.first_pid()) && all.contains(&successor) && !silent.is_empty(),
        "{all:?} {silent:?}"
    );
    let first = app.first_pid();
    drop(app);
    assert!(!all.iter().any(|pid| alive(*pid)), "{all:?}");
    assert!(!children(std::process::id()).contains(&first), "not reaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_found() {
    // `sleep` in the place of the shell never waits for the shell's child, which ends only when it is in that
    // place.
    let child = "until [ $(cat /proc/$$/comm) = sleep ]; do :; done & echo ready; exec sleep 1000";
    let mut command = Command::new("bash");
    command.args(["-c", child]);
    let app = App::start(command);
    app.wait_for(Mark::START, |line| line.text == "ready", support_patience()).await;
    while app.zombies().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.zombies().len(), 1);
    app.signal(app.first_pid(), Signal::SIGKILL);
    assert!(!app.exit(app.first_pid()).await.success());
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "ended without the line")]
async fn waiting_for_a_line_of_a_dead_server_fails_at_once() {
    let app = App::start(Command::new("true"));
    app.wait_for_message(Mark::START, "listening").await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "no living process of this server")]
async fn a_stranger_is_not_signalled() {
    let app = fake(&[]);
    app.signal(std::process::id(), Signal::SIGTERM);
}

fn support_patience() -> Duration {
    Duration::from_secs(60)
}

// ---- tools

#[test]
fn a_tool_is_found_or_named() {
    let mut text = String::new();
    let cat = support::tool("cat").expect("coreutils are installed");
    let mut cat = Command::new(cat)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    cat.stdin.take().unwrap().write_all(b"x").unwrap();
    cat.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(cat.wait().unwrap().success() && text == "x");
}

// ---- how much others are slowed down

/// Rounds with these waits, in microseconds: without an attack, beside one upon somebody else, beside one.
fn slowness(base: Base, rounds: impl IntoIterator<Item = [u64; 3]>) -> Slowness {
    let mut slowness = Slowness::new(base, None);
    for waits in rounds {
        let [without, elsewhere, with] = waits.map(Duration::from_micros);
        slowness.add(Round { without, elsewhere, with });
    }
    slowness
}

#[test]
fn a_wait_of_more_than_twice_its_own_is_too_slow() {
    for (with, verdict) in [(790, Verdict::Holds), (810, Verdict::TooSlow)] {
        assert_eq!(slowness(Base::Without, [[400, 1000, with]; 7]).verdict(), verdict);
    }
    for (with, verdict) in [(1990, Verdict::Holds), (2010, Verdict::TooSlow)] {
        assert_eq!(slowness(Base::Elsewhere, [[400, 1000, with]; 7]).verdict(), verdict);
        assert_eq!(slowness(Base::Elsewhere, [[1000, 400, with]; 7]).verdict(), verdict);
    }
}

#[test]
fn rounds_that_went_badly_by_chance_decide_nothing() {
    let chance = [[400, 400, 4000]; 3];
    assert_eq!(
        slowness(Base::Without, chance.into_iter().chain([[400, 400, 500]; 4])).verdict(),
        Verdict::Holds
    );
    let attack = [[400, 400, 900]; 4];
    assert_eq!(
        slowness(Base::Without, [[400, 400, 400]; 3].into_iter().chain(attack)).verdict(),
        Verdict::TooSlow
    );
}

/// More of them are needed where they disagree, and there is an end to it.
#[test]
fn rounds_are_counted_until_they_agree() {
    assert!(!slowness(Base::Without, [[400, 400, 500]; 6]).is_clear());
    assert!(slowness(Base::Without, [[400, 400, 500]; 7]).is_clear());
    let disagree = |count| (0..count).map(|round| [400, 400, if round % 2 == 0 { 500 } else { 1000 }]);
    assert!(!slowness(Base::Without, disagree(14)).is_clear());
    assert!(slowness(Base::Without, disagree(15)).is_clear());
}

#[test]
fn a_client_that_is_slow_or_unsteady_by_itself_tells_no_more_than_what_holds_all_the_same() {
    assert_eq!(slowness(Base::Without, [[3100, 3100, 6100]; 7]).verdict(), Verdict::Holds);
    let busy = slowness(Base::Without, [[3100, 3100, 9000]; 7]);
    let unsteady =
        slowness(Base::Elsewhere, (0..8).map(|round| [300, if round % 2 == 0 { 300 } else { 900 }, 2000]));
    for slowness in [busy, unsteady] {
        assert!(matches!(slowness.verdict(), Verdict::NotJudged(_)), "{slowness}");
    }
}

#[test]
fn what_is_borne_has_a_bound_too() {
    for (with, borne) in [(790, Verdict::Holds), (1100, Verdict::Borne("reason")), (1300, Verdict::TooSlow)] {
        let mut slowness = Slowness::new(Base::Without, Some((3.0, "reason")));
        let wait = Duration::from_micros;
        (0..7).for_each(|_| {
            slowness.add(Round { without: wait(400), elsewhere: wait(400), with: wait(with) });
        });
        assert_eq!(slowness.verdict(), borne);
    }
}
