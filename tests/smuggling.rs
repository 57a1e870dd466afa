//! Messages whose end two readers could see in two places: what the service sees of them, and that nothing
//! that was hidden in one is ever a request of its own.

mod support;

use std::net::SocketAddr;
use std::process::Command;

use support::{App, Mark, example, get, patiently};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What an attacker hides, where somebody might take it for the next request.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
/// Ends the connection, if it has not ended before.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
const LAST_SEEN: &str = "GET /last test 0";
/// The beginning of a head that is to be disputed.
const POST: &str = "POST /disputed HTTP/1.1\r\nHost: test\r\n";
const NO_CHUNKS: &str = "0\r\n\r\n";

// ---- where the body ends

#[tokio::test]
async fn two_lengths_that_differ_are_refused() {
    let mut site = Site::open().await;
    site.refuses(&format!("{POST}Content-Length: 0\r\nContent-Length: {}\r\n\r\n", HIDDEN.len())).await;
    site.refuses(&format!("{POST}Content-Length: {}\r\nContent-Length: 0\r\n\r\n", HIDDEN.len())).await;
}

/// RFC 9112, section 6.3: refused, or taken for one.
#[tokio::test]
async fn two_lengths_that_agree_are_one() {
    let mut site = Site::open().await;
    let length = format!("Content-Length: {}\r\n", HIDDEN.len());
    site.reads(&format!("{POST}{length}{length}\r\n{HIDDEN}"), "POST /disputed test 38").await;
}

#[tokio::test]
async fn a_length_that_is_no_number_is_refused() {
    let mut site = Site::open().await;
    for length in ["+38", "-1", "", "38, 38", "38,0", "0x26", "3 8", "38;", "18446744073709551617"] {
        site.refuses(&format!("{POST}Content-Length: {length}\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn a_length_beyond_all_that_can_come_is_refused() {
    let mut site = Site::open().await;
    site.refuses_with(431, &format!("{POST}Content-Length: {}\r\n\r\n", u64::MAX)).await;
}

/// RFC 9112, section 6.1: the chunks count, and the connection is closed.
#[tokio::test]
async fn of_a_length_and_chunks_the_chunks_count_and_the_connection_ends() {
    let mut site = Site::open().await;
    let length = format!("Content-Length: {}\r\n", NO_CHUNKS.len() + HIDDEN.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    for headers in [format!("{length}{chunked}"), format!("{chunked}{length}")] {
        let exchange = site.send(&format!("{POST}{headers}\r\n{NO_CHUNKS}{HIDDEN}{LAST}")).await;
        assert_eq!((exchange.statuses, exchange.seen), (vec![200], vec!["POST /disputed test 0".to_owned()]));
    }
}

#[tokio::test]
async fn codings_that_do_not_end_with_chunked_are_refused() {
    let mut site = Site::open().await;
    for coding in ["identity", "chunked, identity", "xchunked", "chunked;q=1", "", "\u{b}chunked"] {
        site.refuses(&format!("{POST}Transfer-Encoding: {coding}\r\n\r\n{NO_CHUNKS}")).await;
    }
    let two = "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n";
    site.refuses(&format!("{POST}{two}\r\n{NO_CHUNKS}")).await;
}

/// A service would be given packed bytes, and another reader could see them packed in another order.
#[tokio::test]
async fn codings_beside_chunked_are_not_implemented() {
    let mut site = Site::open().await;
    let twice = "chunked\r\nTransfer-Encoding: chunked";
    for coding in ["gzip, chunked", "chunked, chunked", ", chunked", "identity, chunked", twice] {
        site.refuses_with(501, &format!("{POST}Transfer-Encoding: {coding}\r\n\r\n{NO_CHUNKS}")).await;
    }
    let empty = format!("{POST}Transfer-Encoding: ChunkeD\r\n\r\n{NO_CHUNKS}");
    site.reads(&empty, "POST /disputed test 0").await;
}

/// To HTTP/1.0, chunks are nothing but a body.
#[tokio::test]
async fn codings_in_http_1_0_are_refused() {
    let mut site = Site::open().await;
    let post = "POST /disputed HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\n";
    site.refuses(&format!("{post}\r\n{NO_CHUNKS}")).await;
    let length = NO_CHUNKS.len() + HIDDEN.len();
    let kept = format!("Connection: keep-alive\r\nContent-Length: {length}\r\n");
    site.refuses(&format!("{post}{kept}\r\n{NO_CHUNKS}")).await;
}

/// A service that leaves a body unread leaves nothing for the next request.
#[tokio::test]
async fn a_body_that_nobody_reads_is_no_request() {
    let mut site = Site::open().await;
    let unread = "POST /unread HTTP/1.1\r\nHost: test\r\n";
    let length = format!("Content-Length: {}\r\n", HIDDEN.len());
    let chunk = format!("{:x}\r\n{HIDDEN}\r\n{NO_CHUNKS}", HIDDEN.len());
    for message in [
        format!("{unread}{length}\r\n{HIDDEN}"),
        format!("{unread}Expect: 100-continue\r\n{length}\r\n{HIDDEN}"),
        format!("{unread}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
    ] {
        site.reads(&message, "POST /unread test unread").await;
    }
    let exchange = site.send(&format!("{unread}Content-Length: 1000\r\n\r\n{HIDDEN}{LAST}")).await;
    assert_eq!(
        (exchange.statuses, exchange.seen),
        (vec![200], vec!["POST /unread test unread".to_owned()]),
        "a body that is cut short ends the connection"
    );
}

/// Methods that rarely have a body may have one.
#[tokio::test]
async fn a_body_of_a_get_is_no_request() {
    let mut site = Site::open().await;
    let get = "GET /disputed HTTP/1.1\r\nHost: test\r\n";
    site.reads(&format!("{get}Content-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()), "GET /disputed test 38")
        .await;
}

// ---- chunks

#[tokio::test]
async fn a_chunks_size_that_is_no_number_fails_the_body() {
    let mut site = Site::open().await;
    for size in ["10000000000000000", "0x5", "-0", "+0", " 0", "", "g", "0 0", "0\n", "0\r"] {
        site.fails_within_the_body(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n{size}\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn a_chunk_that_is_longer_than_its_size_fails_the_body() {
    let mut site = Site::open().await;
    let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
    for chunk in ["5\r\nhelloworld\r\n", "5\r\nhello\n", "5\r\nhello0\r\n"] {
        site.fails_within_the_body(&format!("{chunked}{chunk}{NO_CHUNKS}")).await;
    }
}

#[tokio::test]
async fn a_chunks_extension_ends_with_its_line() {
    let mut site = Site::open().await;
    let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
    for extension in ["a\n", "a\rb", "a=\"\n\"", "\n"] {
        let chunk = format!("5;{extension}\r\nhello\r\n{NO_CHUNKS}");
        site.fails_within_the_body(&format!("{chunked}{chunk}")).await;
    }
    for extension in [";a", ";a=b", " ;a=\"b\"", " "] {
        let chunk = format!("5{extension}\r\nhello\r\n{NO_CHUNKS}");
        site.reads(&format!("{chunked}{chunk}"), "POST /disputed test 5").await;
    }
}

#[tokio::test]
async fn a_trailer_changes_no_length_and_must_be_a_header() {
    let mut site = Site::open().await;
    let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n0\r\n");
    let length = format!("Content-Length: {}\r\n\r\n", LAST.len());
    site.reads(&format!("{chunked}{length}"), "POST /disputed test 0").await;
    for trailer in ["X : y", "X", " X: y", "X: a\r\n b"] {
        site.fails_within_the_body(&format!("{chunked}{trailer}\r\n\r\n")).await;
    }
}

// ---- where a line ends, and what it says

#[tokio::test]
async fn a_header_that_goes_on_in_the_next_line_is_refused() {
    let mut site = Site::open().await;
    site.refuses(&format!("{POST}X: a\r\n b\r\n\r\n")).await;
    site.refuses(&format!("{POST}Transfer-Encoding:\r\n\tchunked\r\n\r\n{NO_CHUNKS}")).await;
    site.refuses("GET /disputed HTTP/1.1\r\n Host: test\r\n\r\n").await;
}

#[tokio::test]
async fn a_return_without_a_line_feed_is_refused() {
    let mut site = Site::open().await;
    site.refuses(&format!("{POST}X: a\rContent-Length: 38\r\n\r\n")).await;
    site.refuses(&format!("{POST}X: a\r\r\n\r\n")).await;
    site.refuses("GET /disputed HTTP/1.1\rHost: test\r\r").await;
}

/// RFC 9112, section 2.2, lets a server take it for the end of a line.
#[tokio::test]
async fn a_line_feed_without_a_return_ends_a_line_of_a_head() {
    let mut site = Site::open().await;
    let length = format!("Content-Length: {}", HIDDEN.len());
    for head in [
        format!("POST /disputed HTTP/1.1\nHost: test\n{length}\n\n"),
        format!("{POST}X: a\n{length}\r\n\r\n"),
        format!("{POST}{length}\r\n\n"),
    ] {
        site.reads(&format!("{head}{HIDDEN}"), "POST /disputed test 38").await;
    }
}

#[tokio::test]
async fn a_headers_name_that_is_none_is_refused() {
    let mut site = Site::open().await;
    let length = HIDDEN.len();
    for header in [
        format!("Content-Length : {length}"),
        format!("Content-Length\t: {length}"),
        format!("Content Length: {length}"),
        format!("Content-Length\0: {length}"),
        format!(": {length}"),
        "Content-Length".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer-Encoding\u{b}: chunked".to_owned(),
    ] {
        site.refuses(&format!("{POST}{header}\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn a_nul_in_a_value_is_refused() {
    let mut site = Site::open().await;
    site.refuses(&format!("{POST}X: a\0b\r\n\r\n")).await;
    site.refuses(&format!("{POST}Content-Length: 38\0\r\n\r\n")).await;
}

#[tokio::test]
async fn a_request_line_that_is_none_is_refused() {
    let mut site = Site::open().await;
    for line in [
        "G@T /disputed HTTP/1.1",
        "G\u{e9}T /disputed HTTP/1.1",
        " /disputed HTTP/1.1",
        " GET /disputed HTTP/1.1",
        "GET\t/disputed HTTP/1.1",
        "GET  /disputed HTTP/1.1",
        "GET /disputed HTTP/1.1 ",
        "GET /disputed  HTTP/1.1",
        "GET /dis\0puted HTTP/1.1",
        "GET /disputed",
        "GET /disputed HTTP/1.2",
        "GET /disputed HTTP/2.0",
        "GET /disputed http/1.1",
        "PRI * HTTP/2.0",
    ] {
        site.refuses(&format!("{line}\r\nHost: test\r\n\r\n")).await;
    }
}

/// Any token is a method; what to do with it is the service's matter.
#[tokio::test]
async fn a_method_that_nobody_knows_reaches_the_service() {
    let mut site = Site::open().await;
    for method in ["FROB", "get", "G.T"] {
        let seen = format!("{method} /disputed test 0");
        site.reads(&format!("{method} /disputed HTTP/1.1\r\nHost: test\r\n\r\n"), &seen).await;
    }
}

// ---- whom it asks

#[tokio::test]
async fn a_request_without_its_one_host_is_refused() {
    let mut site = Site::open().await;
    let get = "GET /disputed HTTP/1.1\r\n";
    for hosts in ["", "Host: test\r\nHost: other\r\n", "Host: test\r\nhost: test\r\n"] {
        site.refuses(&format!("{get}{hosts}\r\n")).await;
    }
    site.refuses("GET /disputed HTTP/1.0\r\nHost: test\r\nHost: test\r\n\r\n").await;
    site.refuses("GET http://test/disputed HTTP/1.1\r\n\r\n").await;
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let mut site = Site::open().await;
    for host in ["te st", "test/path", "user@test", "test?", "test#", "test, other", "t\u{e9}st", "\"test\""]
    {
        site.refuses(&format!("GET /disputed HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn every_form_of_a_host_reaches_the_service() {
    let mut site = Site::open().await;
    for host in ["test:80", "[::1]:80", "", "a-b_c.d~e%20", "127.0.0.1"] {
        let seen = format!("GET /disputed {host} 0");
        site.reads(&format!("GET /disputed HTTP/1.1\r\nHost: {host}\r\n\r\n"), &seen).await;
    }
    let old = "GET /disputed HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let exchange = site.send(&format!("{old}{LAST}")).await;
    assert_eq!(exchange.seen[0], "GET /disputed - 0", "HTTP/1.0 knows no hosts");
}

#[tokio::test]
async fn the_host_of_a_target_is_the_one_that_counts() {
    let mut site = Site::open().await;
    for target in ["http://other:81/disputed", "http://user:secret@other:81/disputed"] {
        let get = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        site.reads(&get, "GET /disputed other:81 0").await;
    }
}

#[tokio::test]
async fn a_target_that_is_no_path_is_refused() {
    let mut site = Site::open().await;
    for target in ["disputed", "test:80", "disputed.html"] {
        site.refuses(&format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    }
    site.reads("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n", "OPTIONS * test 0").await;
}

// ---- which protocol it speaks

/// The preface of HTTP/2 begins a connection, and nothing else.
#[tokio::test]
async fn a_connection_does_not_become_http_2_in_its_middle() {
    let mut site = Site::open().await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let first = "GET /disputed HTTP/1.1\r\nHost: test\r\n";
    let upgrade = "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n";
    for head in [format!("{first}\r\n"), format!("{first}{upgrade}\r\n")] {
        let exchange = site.send(&format!("{head}{preface}{HIDDEN}{LAST}")).await;
        assert_eq!((exchange.statuses[0], exchange.seen), (200, vec!["GET /disputed test 0".to_owned()]));
    }
}

/// A server whose service remembers what it was asked.
struct Site {
    _app: App,
    address: SocketAddr,
    /// How much of it the test has looked at.
    known: usize,
}

/// What came of one connection.
#[derive(Debug)]
struct Exchange {
    statuses: Vec<u16>,
    seen: Vec<String>,
}

impl Site {
    async fn open() -> Self {
        let app = App::start(Command::new(example("test_witness")));
        app.wait_for_message(Mark::START, "serving").await;
        let address = app.address().await;
        Self { _app: app, address, known: 0 }
    }

    /// With status 400 and the end of the connection, before the service sees anything.
    async fn refuses(&mut self, head: &str) {
        self.refuses_with(400, head).await;
    }

    async fn refuses_with(&mut self, status: u16, head: &str) {
        let exchange = self.send(&format!("{head}{HIDDEN}{LAST}")).await;
        assert_eq!((exchange.statuses, exchange.seen), (vec![status], vec![]), "{head:?}");
    }

    /// The service sees the head, and an error in place of the body's end.
    async fn fails_within_the_body(&mut self, message: &str) {
        let exchange = self.send(&format!("{message}{HIDDEN}{LAST}")).await;
        let expected = (vec![400], vec!["POST /disputed test unread".to_owned()]);
        assert_eq!((exchange.statuses, exchange.seen), expected, "{message:?}");
    }

    /// As one message, and the next one after it.
    async fn reads(&mut self, message: &str, seen: &str) {
        let mut exchange = self.send(&format!("{message}{LAST}")).await;
        exchange.statuses.retain(|status| *status != 100);
        assert_eq!(exchange.statuses, [200, 200], "{message:?}");
        assert_eq!(exchange.seen, [seen, LAST_SEEN], "{message:?}");
    }

    /// Sends it all at once and reads to an orderly end.
    async fn send(&mut self, text: &str) -> Exchange {
        let mut stream = patiently(TcpStream::connect(self.address)).await.expect("it takes connections");
        patiently(stream.write_all(text.as_bytes())).await.expect("it reads");
        let mut answers = Vec::new();
        let read = patiently(stream.read_to_end(&mut answers)).await;
        read.unwrap_or_else(|error| panic!("{error} after {text:?}"));
        Exchange { statuses: statuses(&answers), seen: self.seen().await }
    }

    /// What the service has seen since the last look.
    async fn seen(&mut self) -> Vec<String> {
        let all = get(self.address, "/seen").await.text();
        let fresh: Vec<_> = all.lines().skip(self.known).map(str::to_owned).collect();
        self.known += fresh.len();
        fresh
    }
}

/// The answers of this program have bodies in which no status line stands.
fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let heads = text.split("HTTP/1.").skip(1);
    heads.map(|head| head[2..5].parse().expect("a status")).collect()
}
