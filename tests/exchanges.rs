//! Requests and answers of every shape that the drain meets half-way: they come out as HTTP says, and with
//! them the connection's end, or, after a restart, the successor.

mod support;

use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use http::{HeaderMap, Request};
use nix::sys::signal::Signal;
use support::{
    App, Client, Http2, Mark, Raw, SIGNALS, answer, example, is_stop, moves_or_closes, patiently, says_close,
    until_busy,
};

/// A process whose connections stay open for longer than any test unless they are used.
async fn start() -> (App, SocketAddr) {
    let mut command = Command::new(example("test_declarative"));
    command.env("ENDLESS_IDLE_GRACE", "1h");
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

/// Connections that are about to move, or to be told to leave: their process drains, and has answered on each
/// of them before.
async fn draining<const N: usize>(signal: Signal) -> (App, [Raw; N]) {
    let (app, address) = start().await;
    let mut clients = Vec::new();
    for _ in 0..N {
        let mut raw = Raw::connect(address).await;
        raw.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n").await;
        raw.take("WORLD!").await;
        clients.push(raw);
    }
    let mut told = Client::connect(address).await;
    told.ask("/until_draining").await;
    until_busy(address, N as u64 + 1, 1).await;
    app.signal(app.first_pid(), signal);
    assert_eq!(told.answer().await.close, is_stop(signal));
    moves_or_closes(&app, &mut told, signal).await;
    (app, clients.try_into().expect("N of them"))
}

/// Nothing is left that the process would wait for.
async fn ends(app: &App) {
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(0));
    assert!(!app.lines().iter().any(|line| line.text.contains("Hammer Time")));
}

/// The answer, which says what becomes of the connection, up to its `end`.
async fn answered(app: &App, mut raw: Raw, end: &str, signal: Signal) -> String {
    let text = raw.take(end).await;
    assert_eq!(says_close(&text), is_stop(signal), "{signal} {text:?}");
    moves_or_closes(app, &mut raw.into_client(), signal).await;
    text
}

/// The status line, and the headers in lower case.
fn head_of(text: &str) -> (&str, Vec<String>) {
    let (status, headers) = text.split_once("\r\n").expect("a status line");
    (status, headers.trim_end().lines().map(str::to_lowercase).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_have_none() {
    for signal in SIGNALS {
        let (app, [head, no_content, not_modified]) = draining(signal).await;
        let cases = [
            (head, "HEAD /hello", "HTTP/1.1 200 OK", Some("content-length: 6")),
            (no_content, "GET /empty?status=204", "HTTP/1.1 204 No Content", None),
            (not_modified, "GET /empty?status=304", "HTTP/1.1 304 Not Modified", None),
        ];
        for (mut raw, asked, status, length) in cases {
            raw.send(&format!("{asked} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            let text = answered(&app, raw, "\r\n\r\n", signal).await;
            let (line, headers) = head_of(&text);
            assert_eq!(line, status);
            let lengths = headers.iter().filter(|header| header.starts_with("content-length:"));
            assert_eq!(lengths.map(String::as_str).next(), length, "{asked}: {headers:?}");
        }
        ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_expects_100_continue_gets_it_and_then_the_answer() {
    for signal in SIGNALS {
        let (app, [mut raw]) = draining(signal).await;
        let expects = "Content-Length: 10\r\nExpect: 100-continue";
        raw.send(&format!("POST /upload HTTP/1.1\r\nHost: test\r\n{expects}\r\n\r\n")).await;
        assert_eq!(raw.take("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        raw.send("some bytes").await;
        let text = answered(&app, raw, "received 10 e9d36b0aa96ec9f6", signal).await;
        assert_eq!(head_of(&text).0, "HTTP/1.1 200 OK");
        ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_expects_100_continue_and_is_not_read_gets_the_answer_alone() {
    for signal in SIGNALS {
        let (app, [mut raw]) = draining(signal).await;
        let expects = "Content-Length: 10\r\nExpect: 100-continue";
        raw.send(&format!("POST /empty?status=413 HTTP/1.1\r\nHost: test\r\n{expects}\r\n\r\n")).await;
        // The body may still come, or not: on such a connection nobody finds the next request.
        let text = raw.rest().await;
        assert_eq!(head_of(text).0, "HTTP/1.1 413 Payload Too Large");
        assert_eq!(says_close(text), is_stop(signal), "{text:?}");
        ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_http_1_0_ends_with_its_connection() {
    for signal in SIGNALS {
        let (app, address) = start().await;
        let mut raw = Raw::connect(address).await;
        raw.send("GET /stream?ms=50 HTTP/1.0\r\n\r\n").await;
        raw.until("piece 0\n").await;
        app.signal(app.first_pid(), signal);
        let text = raw.rest().await;
        let pieces = (0..10).map(|piece| format!("piece {piece}\n")).collect::<String>();
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text:?}");
        assert!(text.ends_with(&format!("\r\n\r\n{pieces}")), "{text:?}");
        ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_follow_a_body_that_ends_during_the_drain() {
    for signal in SIGNALS {
        let (app, address) = start().await;
        let mut raw = Raw::connect(address).await;
        let framing = "TE: trailers\r\nTrailer: x-checksum\r\nTransfer-Encoding: chunked";
        raw.send(&format!("POST /trailers HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n")).await;
        raw.send("a\r\nsome bytes\r\n0\r\nx-checksum: 12\r\n\r\n").await;
        raw.take("\r\n\r\nA\r\nsome bytes\r\n").await;
        app.signal(app.first_pid(), signal);
        raw.take("0\r\nx-checksum: 12\r\n\r\n").await;
        // The head was sent before the drain, so that it does not say that this is the last answer.
        raw.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n").await;
        answered(&app, raw, "WORLD!", signal).await;
        ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_http2_follow_a_body_that_ends_during_the_drain() {
    for signal in SIGNALS {
        let (app, address) = start().await;
        let mut client = Http2::connect(address).await;
        let request = Request::post(format!("http://{address}/trailers")).header("te", "trailers").body(());
        let (response, mut out) = client.send(request.expect("a well-formed request"), false).await;
        let trailers = HeaderMap::from_iter([("x-checksum".parse().expect("a name"), 12.into())]);
        out.send_data(Bytes::from("some bytes"), false).expect("the stream is open");
        out.send_trailers(trailers.clone()).expect("the stream is open");
        until_busy(address, 1, 1).await;
        app.signal(app.first_pid(), signal);
        let answer = patiently(answer(response)).await.expect("an answer");
        assert_eq!((answer.body.as_str(), answer.trailers), ("some bytes", Some(trailers)));
        client.closed().await;
        ends(&app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polls_leave_when_the_drain_begins() {
    for signal in SIGNALS {
        let (app, address) = start().await;
        let (mut client, mut client2) = (Client::connect(address).await, Http2::connect(address).await);
        client.ask("/until_draining").await;
        let polls = [client2.ask("/until_draining").await, client2.ask("/until_draining").await];
        until_busy(address, 2, 3).await;
        app.signal(app.first_pid(), signal);
        let answer = client.answer().await;
        assert_eq!((answer.text().as_str(), answer.close), ("draining", is_stop(signal)));
        for poll in polls {
            assert_eq!(poll.await.expect("an answer").body, "draining");
        }
        moves_or_closes(&app, &mut client, signal).await;
        client2.closed().await;
        ends(&app).await;
    }
}
