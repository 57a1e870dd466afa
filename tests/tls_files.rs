//! The files of certificates: what may be wrong with them when a process starts, and when they are read again.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use support::{App, Authority, Client, Identity, Line, Mark, PATIENCE, Secure, declarative, example, tool};

fn secured(words: &[String]) -> App {
    let mut command = Command::new(example("test_secured"));
    command.args(words);
    App::start(command)
}

async fn serving(app: &App) -> SocketAddr {
    app.wait_for_message(Mark::START, "serving").await;
    app.address().await
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

// ---- at the start

/// The program ends with these words, and status 1.
async fn is_refused(words: &[String], reason: &str) {
    let app = secured(words);
    let line = app.wait_for(Mark::START, |line| line.text.contains("ERROR app: "), PATIENCE).await;
    assert!(line.text.contains(&format!("ERROR app: {reason}")), "{line}\nis not\n{reason}");
    assert_eq!(app.exit(app.first_pid()).await.code(), Some(1));
    assert!(!app.lines().iter().any(|line| line.message() == Some("listening")));
}

/// Whether the program reads them or `serve_tls` does.
async fn files_are_refused(cert: &Path, key: &Path, reason: &str) {
    let pair = format!("{},{}", shown(cert), shown(key));
    is_refused(&[format!("files={pair}")], reason).await;
    is_refused(&[format!("late={pair}")], reason).await;
}

fn written(authority: &Authority, name: &str, label: &str, base64: &str) -> PathBuf {
    let file = authority.path(name);
    let text = format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
    fs::write(&file, text).expect("our folder");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_certificate_is_said_with_its_files_name() {
    let authority = Authority::new();
    let Identity { key, .. } = authority.issue("server", &["localhost"]);
    let missing = authority.path("missing.pem");
    let reason = format!("cannot read {}: no such file or directory pid=", shown(&missing));
    files_are_refused(&missing, &key, &reason).await;
    let folder = authority.path("");
    files_are_refused(&folder, &key, &format!("cannot read {}: is a directory pid=", shown(&folder))).await;
    let reason =
        format!("no certificate in {}: expected PEM, \"-----BEGIN CERTIFICATE-----\" pid=", shown(&key));
    files_are_refused(&key, &key, &reason).await;
    let garbled = written(&authority, "garbled.pem", "CERTIFICATE", "=?=");
    files_are_refused(&garbled, &key, &format!("{} is no well-formed PEM pid=", shown(&garbled))).await;
    let no_der = written(&authority, "no_der.pem", "CERTIFICATE", "AAAA");
    files_are_refused(&no_der, &key, &format!("cannot use the certificate in {}: ", shown(&no_der))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_key_is_said_with_its_files_name() {
    let authority = Authority::new();
    let Identity { cert, .. } = authority.issue("server", &["localhost"]);
    let missing = authority.path("missing.key");
    let reason = format!("cannot read {}: no such file or directory pid=", shown(&missing));
    files_are_refused(&cert, &missing, &reason).await;
    let reason =
        format!("no private key in {}: expected PEM, \"-----BEGIN PRIVATE KEY-----\" pid=", shown(&cert));
    files_are_refused(&cert, &cert, &reason).await;
    let no_key = written(&authority, "no.key", "PRIVATE KEY", "AAAA");
    files_are_refused(&cert, &no_key, &format!("cannot use the private key in {}: ", shown(&no_key))).await;
    for label in ["ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY"] {
        let encrypted = written(&authority, "encrypted.key", label, "Proc-Type: 4,ENCRYPTED\n\nAAAA");
        let reason = format!("the private key in {} is encrypted: expected one without", shown(&encrypted));
        files_are_refused(&cert, &encrypted, &reason).await;
    }
    let other = authority.issue("other", &["localhost"]).key;
    let (key, cert_shown) = (shown(&other), shown(&cert));
    let reason = format!("the private key in {key} does not match the certificate in {cert_shown} pid=");
    files_are_refused(&cert, &other, &reason).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_beside_a_good_certificate_is_said() {
    let authority = Authority::new();
    let server = authority.issue("server", &["localhost"]);
    let (file, roots) = (shown(&server.cert), shown(&authority.path("roots.pem")));
    let beside = |more: String| [format!("files={}", server.pair()), more];
    let sni = |name: &str| beside(format!("sni={name},{}", server.pair()));
    for name in ["example.org", "*.example.org", "*.localhost"] {
        is_refused(&sni(name), &format!("the certificate in {file} is not for {name} pid=")).await;
    }
    let expected = "expected \"example.org\" or \"*.example.org\" pid=";
    is_refused(&sni("a b"), &format!("\"a b\" is no name of a server: {expected}")).await;
    let reason = format!("cannot read {roots}: no such file or directory pid=");
    is_refused(&beside(format!("required={roots}")), &reason).await;
    let own = [format!("own={}", server.pair()), format!("required={}", shown(&authority.root()))];
    is_refused(&own, "a `ServerConfig` of your own says itself what clients present pid=").await;
}

/// They are served with: a clock may be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_out_of_its_time_is_a_warning() {
    let authority = Authority::new();
    let expired = authority.issue_expired("expired", &["localhost"]);
    is_warned_of(&authority, &expired, "the certificate has expired", "since=\"Sat, 01 Feb 2020").await;
    let early = authority.issue_early("early", &["localhost"]);
    is_warned_of(&authority, &early, "the certificate is not valid yet", "until=\"Sat, 01 Jan 4000").await;
}

async fn is_warned_of(authority: &Authority, identity: &Identity, message: &str, date: &str) {
    let app = secured(&[format!("files={}", identity.pair())]);
    let address = serving(&app).await;
    let line = app.wait_for_message(Mark::START, message).await;
    assert!(line.text.starts_with("WARN ") && line.text.contains(date), "{line}");
    assert_eq!(line.field("file"), Some(shown(&identity.cert).as_str()));
    let error = Secure::trusting(authority).connect(address).await.expect_err("not valid").to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    app.stop().await;
}

/// PKCS#8 of ECDSA is what all others are tested with.
#[tokio::test(flavor = "multi_thread")]
async fn keys_come_in_every_form_and_may_be_in_the_certificates_file() {
    for (make, first_line) in [
        ("genrsa -traditional -out key.pem 2048", "-----BEGIN RSA PRIVATE KEY-----"),
        ("ecparam -genkey -noout -name prime256v1 -out key.pem", "-----BEGIN EC PRIVATE KEY-----"),
        ("genpkey -algorithm ed25519 -out key.pem", "-----BEGIN PRIVATE KEY-----"),
    ] {
        let folder = support::shared_folder();
        if !openssl(folder.path(), make) {
            return;
        }
        let extension = "-addext subjectAltName=DNS:localhost -out cert.pem";
        openssl(folder.path(), &format!("req -x509 -key key.pem -subj /CN=localhost {extension}"));
        let [cert, key, both] = ["cert.pem", "key.pem", "both.pem"].map(|name| folder.path().join(name));
        let text = fs::read_to_string(&key).expect("openssl has made it");
        assert!(text.starts_with(first_line), "another form");
        fs::write(&both, fs::read_to_string(&cert).expect("made") + &text).expect("our folder");
        for (cert, key) in [(&cert, &key), (&both, &both)] {
            let app = secured(&[format!("files={},{}", shown(cert), shown(key))]);
            let connect = serving(&app).await;
            openssl(
                folder.path(),
                &format!("s_client -connect {connect} -verify_return_error -CAfile cert.pem"),
            );
            app.stop().await;
        }
    }
}

/// Runs it in this folder; false if the machine lacks it.
#[track_caller]
fn openssl(folder: &Path, arguments: &str) -> bool {
    let Some(openssl) = tool("openssl") else { return false };
    let mut command = Command::new(openssl);
    command.args(arguments.split(' ')).current_dir(folder).stdin(std::process::Stdio::null());
    let output = command.output().expect("openssl can be run");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

// ---- read again

async fn presents(address: SocketAddr, authority: &Authority, identity: &Identity) -> bool {
    let stream = Secure::trusting(authority).connect(address).await.expect("a handshake");
    let presented = stream.get_ref().1.peer_certificates().expect("a certificate");
    presented[0] == identity.der
}

const RELOADED: &str = "certificates reloaded";
const KEPT: &str = "certificates not reloaded, the old ones are kept";

/// What a signal does: new files are for new connections, bad ones change nothing, good ones are taken again.
async fn a_signal_reads_them_again(app: &App, pid: u32, authority: &Authority, first: &Identity) {
    let address = serving(app).await;
    let mut before = Client::secure(address, &Secure::trusting(authority)).await;
    assert_eq!(before.get("/hello").await.text(), "WORLD!");
    assert!(presents(address, authority, first).await);

    let second = authority.issue("server", &["localhost"]);
    let line = signalled(app, pid, RELOADED).await;
    assert_eq!(line.field("files"), Some(shown(&second.cert).as_str()));
    assert!(presents(address, authority, &second).await);

    fs::write(&second.key, "").expect("our folder");
    let line = signalled(app, pid, KEPT).await;
    assert!(line.text.starts_with("ERROR "), "{line}");
    assert!(line.field("reason").is_some_and(|reason| reason.starts_with("no private key in ")), "{line}");
    assert!(presents(address, authority, &second).await);

    let third = authority.issue("server", &["localhost"]);
    signalled(app, pid, RELOADED).await;
    assert!(presents(address, authority, &third).await);
    assert_eq!(before.get("/hello").await.text(), "WORLD!");
}

async fn signalled(app: &App, pid: u32, message: &str) -> Line {
    let mark = app.mark();
    app.signal(pid, Signal::SIGUSR1);
    app.wait_for_message(mark, message).await
}

fn with_options(identity: &Identity, supervise: &str) -> Command {
    let mut command = declarative();
    command.env("ENDLESS_TLS_CERT", &identity.cert).env("ENDLESS_TLS_KEY", &identity.key);
    command.env("ENDLESS_SUPERVISE", supervise);
    command
}

async fn stop(app: &App, supervise: &str) {
    let pid = if supervise == "true" { app.first_pid() } else { app.serving_pid() };
    app.signal(pid, Signal::SIGTERM);
    assert_eq!(app.exit(pid).await.code(), Some(0));
}

/// And the program's own hooks run around it.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_of_the_options_reads_them_again_with_a_supervisor_and_without() {
    for supervise in ["true", "false"] {
        let authority = Authority::new();
        let first = authority.issue("server", &["localhost"]);
        let mut command = with_options(&first, supervise);
        command.env("ENDLESS_TLS_RELOAD", "usr1");
        let app = App::start(command);
        a_signal_reads_them_again(&app, app.first_pid(), &authority, &first).await;
        let mark = app.mark();
        app.signal(app.first_pid(), Signal::SIGUSR1);
        let before =
            app.wait_for(mark, |line| line.text.contains("phase=pre signal=SIGUSR1"), PATIENCE).await;
        let between = app.wait_for_message(before.after(), RELOADED).await;
        app.wait_for(between.after(), |line| line.text.contains("phase=post signal=SIGUSR1"), PATIENCE).await;
        stop(&app, supervise).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_of_the_code_reads_them_again_also_after_a_restart() {
    let authority = Authority::new();
    let first = authority.issue("server", &["localhost"]);
    let app = secured(&[format!("files={}", first.pair()), "reload=SIGUSR1".to_owned()]);
    serving(&app).await;
    let successor = app.restart().await;
    app.exit(app.first_pid()).await;
    a_signal_reads_them_again(&app, successor, &authority, &first).await;
    app.stop().await;
}

/// The code's own call says to its caller too what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn the_code_reads_them_again() {
    let authority = Authority::new();
    let first = authority.issue("server", &["localhost"]);
    let app = secured(&[format!("files={}", first.pair())]);
    let address = serving(&app).await;
    let mut client = Client::secure(address, &Secure::trusting(&authority)).await;
    let second = authority.issue("server", &["localhost"]);
    assert_eq!(client.get("/reload").await.text(), "reloaded");
    assert!(presents(address, &authority, &second).await);
    fs::remove_file(&second.cert).expect("it is there");
    let text = client.get("/reload").await.text();
    assert_eq!(text, format!("tls=true cannot read {}: no such file or directory", shown(&second.cert)));
    app.wait_for_message(Mark::START, KEPT).await;
    assert!(presents(address, &authority, &second).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_there_is_nothing_to_be_read_again() {
    let authority = Authority::new();
    let identity = authority.issue("server", &["localhost"]);
    for from in ["own", "pem"] {
        let app = secured(&[format!("{from}={}", identity.pair()), "reload=usr1".to_owned()]);
        let address = serving(&app).await;
        let mut client = Client::secure(address, &Secure::trusting(&authority)).await;
        let text = client.get("/reload").await.text();
        assert_eq!(text, "tls=true there is no file that the certificates could be read from again");
        signalled(&app, app.first_pid(), "there is no certificate to be read again").await;
        assert!(presents(address, &authority, &identity).await);
        app.stop().await;
    }
}

// ---- and by a successor

/// It reads the files as they are then; bad ones leave the predecessor where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_them_and_with_bad_ones_there_is_none() {
    for supervise in ["true", "false"] {
        let authority = Authority::new();
        let first = authority.issue("server", &["localhost"]);
        let app = App::start(with_options(&first, supervise));
        let address = serving(&app).await;
        let mark = app.mark();
        let other = authority.issue("other", &["localhost"]);
        fs::copy(&other.key, &first.key).expect("our folder");
        app.signal(app.first_pid(), Signal::SIGHUP);
        let line = app.wait_for_message(mark, "restart called off").await;
        assert!(line.text.contains("does not match the certificate in "), "{line}");
        assert!(presents(address, &authority, &first).await);

        let second = authority.issue("server", &["localhost"]);
        let mark = app.mark();
        app.signal(app.first_pid(), Signal::SIGHUP);
        app.wait_for_message(mark, "serving").await;
        assert!(presents(address, &authority, &second).await);
        stop(&app, supervise).await;
    }
}
