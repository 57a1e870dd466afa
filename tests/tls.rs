//! TLS: what is spoken over it, with which certificate, and what a handler learns of it.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{
    App, Authority, Client, Http2, Identity, Mark, Raw, Secure, VERSIONS, example, get, patiently, tool,
    until_busy_over,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

async fn start(words: &[String]) -> (App, SocketAddr) {
    let mut command = Command::new(example("test_secured"));
    command.args(words);
    let app = App::start(command);
    app.wait_for_message(Mark::START, "serving").await;
    let address = app.address().await;
    (app, address)
}

/// A server with one certificate, and who has issued it.
async fn start_one() -> (App, SocketAddr, Authority) {
    let authority = Authority::new();
    let (app, address) = start(&[files(&authority.issue("server", &["localhost"]))]).await;
    (app, address, authority)
}

fn files(identity: &Identity) -> String {
    format!("files={}", identity.pair())
}

async fn ends(client: &mut Client) -> Value {
    serde_json::from_slice::<Value>(&client.get("/ends").await.body).expect("JSON")["tls"].clone()
}

// ---- by whom, in which version

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_spoken_over_both_versions() {
    let (app, address, authority) = start_one().await;
    for version in VERSIONS {
        let secure = Secure::trusting(&authority).version(version);
        let mut client = Client::secure(address, &secure).await;
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        let mut http2 = Http2::connect_over(address, Some(&secure.protocol("h2"))).await;
        for _ in 0..2 {
            assert_eq!(http2.get("/hello").await.expect("an answer").body, "WORLD!");
        }
    }
    app.stop().await;
}

/// Where the client names no protocol, its first bytes tell.
#[tokio::test(flavor = "multi_thread")]
async fn http_2_with_prior_knowledge_needs_no_alpn() {
    let (app, address, authority) = start_one().await;
    let mut http2 = Http2::connect_over(address, Some(&Secure::trusting(&authority))).await;
    assert_eq!(http2.get("/hello").await.expect("an answer").body, "WORLD!");
    app.stop().await;
}

/// What was agreed on counts, and not what is said: HTTP/2 would be answered.
#[tokio::test(flavor = "multi_thread")]
async fn http_1_is_all_that_is_spoken_where_it_was_agreed_on() {
    let (app, address, authority) = start_one().await;
    let secure = Secure::trusting(&authority).protocol("http/1.1");
    let mut stream = secure.connect(address).await.expect("a handshake");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("it reads");
    let mut answer = Vec::new();
    let _ended = patiently(stream.read_to_end(&mut answer)).await;
    assert_eq!(text(&answer), "");
    app.stop().await;
}

/// More than the kernel takes at once in either direction, and back unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_come_through_whole() {
    let (app, address, authority) = start_one().await;
    for version in VERSIONS {
        let mut client = Client::secure(address, &Secure::trusting(&authority).version(version)).await;
        let answer = client.get("/bytes/20000000").await;
        assert!(answer.body.len() == 20_000_000 && answer.body.iter().all(|byte| *byte == 0));
        let body = "x".repeat(1_500_000);
        let head = format!("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send(&(head + &body)).await;
        assert_eq!(client.answer().await.text(), support::promise("/upload", body.as_bytes()));
    }
    app.stop().await;
}

/// Runs a client to its end.
fn output(program: &Path, arguments: &[&str]) -> Output {
    let run = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    run.unwrap_or_else(|error| panic!("cannot run {program:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_answered() {
    let Some(curl) = tool("curl") else { return };
    let (app, address, authority) = start_one().await;
    let (url, root) = (format!("https://localhost:{}/hello", address.port()), authority.root());
    let root = root.to_str().expect("a plain path");
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        for (protocol, number) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let ours =
                ["-sS", "--max-time", "60", "--cacert", root, "-w", " %{http_version}", &url, protocol];
            let output = output(&curl, &[&ours[..], &version].concat());
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert_eq!(text(&output.stdout), format!("WORLD! {number}"));
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_agrees_on_the_strongest_of_what_it_speaks() {
    let Some(openssl) = tool("openssl") else { return };
    let (app, address, authority) = start_one().await;
    let (connect, root) = (address.to_string(), authority.root());
    let root = root.to_str().expect("a plain path");
    let ours = ["s_client", "-connect", &connect, "-servername", "localhost", "-CAfile", root];
    for (theirs, version, alpn) in [
        (&["-alpn", "http/1.1,h2"][..], "TLSv1.3", "ALPN protocol: h2"),
        (&["-tls1_2", "-alpn", "http/1.1,h2"], "TLSv1.2", "ALPN protocol: h2"),
        (&["-tls1_3", "-alpn", "http/1.1"], "TLSv1.3", "ALPN protocol: http/1.1"),
        (&["-tls1_2"], "TLSv1.2", "No ALPN negotiated"),
    ] {
        let said = text(&output(&openssl, &[&ours[..], theirs].concat()).stdout);
        assert!(said.contains(&format!("New, {version}, Cipher is ")), "{said}");
        assert!(said.contains(alpn) && said.contains("Verification: OK"), "{said}");
    }
    let old = output(&openssl, &[&ours[..], &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]].concat());
    assert!(text(&old.stderr).contains("SSL alert number"), "{}", text(&old.stderr));
    app.stop().await;
}

/// A client that speaks another protocol by ALPN is told so (RFC 7301, section 3.2), and the next is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_fails_ends_with_an_alert_and_without_a_line() {
    let (app, address, authority) = start_one().await;
    let mark = app.mark();
    for _ in 0..3 {
        let refused = Secure::trusting(&authority).protocol("spdy/3").connect(address).await;
        let error = refused.expect_err("no protocol in common").to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    }
    let mut raw = Raw::connect(address).await;
    raw.send("\u{16}\u{3}\u{1}\u{0}\u{4}\u{1}\u{0}\u{0}\u{0}").await;
    let alert = raw.bytes_to_the_end().await;
    assert_eq!(alert.first(), Some(&21), "{alert:?} is no alert");
    let mut client = Client::secure(address, &Secure::trusting(&authority)).await;
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
    assert_eq!(app.mark(), mark, "{:?}", app.lines());
    app.stop().await;
}

/// To close with something of the client's unread would be to reset the connection, and to take from it what it
/// was told.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_reads_why_although_it_has_sent_much_more() {
    let (app, address, authority) = start_one().await;
    let (secure, mut refused) = (Secure::trusting(&authority), Vec::new());
    let much_more = vec![b'x'; 64 << 10];
    for (beginning, told) in [
        (b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 65536\r\n\r\n".to_vec(), &b"HTTP/1.1 400 "[..]),
        // No ClientHello, and a good one of somebody whose protocol is not spoken; of TLS 1.2, where that is
        // found out before anything is said.
        (vec![22, 3, 1, 0, 4, 1, 0, 0, 0], &[21]),
        (hello(secure.clone().version(&TLS12).protocol("spdy/3")).await, &[21]),
    ] {
        let mut raw = Raw::connect(address).await;
        raw.send_bytes(&[beginning, much_more.clone()].concat()).await;
        raw.says_no_more().await;
        refused.push((raw, told));
    }
    until_busy_over(address, Some(&secure), 0, 0).await;
    for (mut raw, told) in refused {
        let said = raw.bytes_to_the_end().await;
        assert!(said.starts_with(told), "{}", said.escape_ascii());
    }
    app.stop().await;
}

/// What a client begins with.
async fn hello(secure: Secure) -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let _handshake = tokio::spawn(async move { secure.over(near).await });
    let mut hello = vec![0; 1 << 16];
    let length = patiently(far.read(&mut hello)).await.expect("a hello");
    hello.truncate(length);
    hello
}

// ---- plain HTTP where TLS is spoken

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_so_and_the_log_says_it_once() {
    let (app, address, authority) = start_one().await;
    for _ in 0..3 {
        let answer = get(address, "/hello").await;
        assert_eq!((answer.status, answer.close), (400, true));
        assert_eq!(answer.text(), "This port speaks TLS: use https.\n");
        assert_eq!(answer.header("content-type"), Some("text/plain"));
    }
    let mut client = Client::secure(address, &Secure::trusting(&authority)).await;
    assert_eq!(client.get("/hello").await.text(), "WORLD!");
    app.stop().await;
    let lines = app.lines();
    let said: Vec<_> = lines.iter().filter(|line| line.text.contains("plain HTTP")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].field("address"), Some("127.0.0.1:0"));
}

// ---- which certificate

async fn presented(address: SocketAddr, secure: &Secure) -> Vec<u8> {
    let stream = secure.connect(address).await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let first = authority.issue("first", &["localhost", "127.0.0.1"]);
    let exact = authority.issue("exact", &["one.example.org"]);
    let wild = authority.issue("wild", &["*.example.org"]);
    let sni = |name: &str, identity: &Identity| format!("sni={name},{}", identity.pair());
    let words = [files(&first), sni("One.example.org", &exact), sni("*.example.org", &wild)];
    let (app, address) = start(&words).await;
    let secure = Secure::trusting(&authority);
    for (name, identity) in [
        ("localhost", &first),
        ("127.0.0.1", &first),
        ("one.example.org", &exact),
        ("ONE.example.ORG", &exact),
        ("two.example.org", &wild),
    ] {
        let der = presented(address, &secure.clone().asking_for(name)).await;
        assert!(der == identity.der.as_ref(), "another certificate for {name}");
    }
    // Not for a name with two labels more, nor for an unknown one.
    for name in ["a.two.example.org", "example.org", "example.net"] {
        let error =
            secure.clone().asking_for(name).connect(address).await.expect_err("the first").to_string();
        assert!(error.contains("only valid for DnsName(\"localhost\")"), "{error}");
    }
    let mut client = Client::secure(address, &secure.asking_for("two.example.org")).await;
    assert_eq!(ends(&mut client).await["sni"], "two.example.org");
    app.stop().await;
}

/// From bytes, from a configuration of the program's own, and by `serve_tls`.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_come_from_wherever_the_program_has_them() {
    let authority = Authority::new();
    let identity = authority.issue("server", &["localhost"]);
    for from in ["pem", "own", "late"] {
        let (app, address) = start(&[format!("{from}={}", identity.pair())]).await;
        let secure = Secure::trusting(&authority);
        assert!(presented(address, &secure).await == identity.der.as_ref(), "{from}");
        let mut client = Client::secure(address, &secure).await;
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
        // A configuration of its own names no protocol, and so agrees on none.
        let stream = secure.protocol("h2").connect(address).await.expect("a handshake");
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed, (from != "own").then_some(&b"h2"[..]), "{from}");
        app.stop().await;
    }
}

// ---- what a handler learns

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_learns_what_was_agreed_on() {
    let (app, address, authority) = start_one().await;
    for version in VERSIONS {
        let name = if version.version == ProtocolVersion::TLSv1_2 { "TLSv1.2" } else { "TLSv1.3" };
        let secure = Secure::trusting(&authority).version(version).protocol("http/1.1");
        let tls = ends(&mut Client::secure(address, &secure).await).await;
        let expected = serde_json::json!(
            { "version": name, "alpn": "http/1.1", "sni": "localhost", "client_chain": [] }
        );
        assert_eq!(tls, expected);
    }
    app.stop().await;
}

// ---- certificates of clients

/// What a request over a new connection gets; in TLS 1.3, a client learns from its first read that it was refused.
async fn try_ends(address: SocketAddr, secure: &Secure) -> Result<Value, String> {
    let mut client = Client::try_secure(address, secure).await.map_err(|error| error.to_string())?;
    let answer = client.try_get("/ends").await?;
    Ok(serde_json::from_slice::<Value>(&answer.body).expect("JSON")["tls"].clone())
}

fn chain(tls: &Value) -> Vec<Vec<u8>> {
    serde_json::from_value(tls["client_chain"].clone()).expect("bytes")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_present_a_certificate_and_has_none_is_refused() {
    let (authority, another) = (Authority::new(), Authority::new());
    let server = authority.issue("server", &["localhost"]);
    let words = [files(&server), format!("required={}", authority.root().display())];
    let (app, address) = start(&words).await;
    let (ours, theirs) = (authority.issue("client", &[]), another.issue("stranger", &[]));
    for version in VERSIONS {
        let secure = Secure::trusting(&authority).version(version);
        let refused = try_ends(address, &secure).await.expect_err("no certificate");
        assert!(refused.contains("alert"), "{refused}");
        let refused = try_ends(address, &secure.clone().presenting(&theirs)).await.expect_err("a stranger's");
        assert!(refused.contains("alert"), "{refused}");
        let tls = try_ends(address, &secure.presenting(&ours)).await.expect("it is one of ours");
        assert_eq!(chain(&tls), [ours.der.to_vec()]);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_present_a_certificate_is_served_without() {
    let (authority, another) = (Authority::new(), Authority::new());
    let server = authority.issue("server", &["localhost"]);
    let words = [files(&server), format!("optional={}", authority.root().display())];
    let (app, address) = start(&words).await;
    let secure = Secure::trusting(&authority).version(&TLS13);
    assert!(chain(&try_ends(address, &secure).await.expect("it may have none")).is_empty());
    let ours = authority.issue("client", &[]);
    let tls = try_ends(address, &secure.clone().presenting(&ours)).await.expect("it is one of ours");
    assert_eq!(chain(&tls), [ours.der.to_vec()]);
    let theirs = another.issue("stranger", &[]);
    try_ends(address, &secure.presenting(&theirs)).await.expect_err("a stranger's");
    app.stop().await;
}
