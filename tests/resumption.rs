//! A session that a client has begun with one generation is resumed by those that follow, however they came to be;
//! and by nobody else.

mod support;

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::faults::Points;
use support::{
    App, Authority, Identity, Mark, Plan, Secure, VERSIONS, caught_up, example_with, patiently, restarts,
    supervised, tool,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_rustls::rustls::HandshakeKind::{self, Full, Resumed};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A service that asks its clients for nothing, one that asks them for a certificate, and one that makes its tickets
/// itself.
struct Site {
    app: App,
    authority: Authority,
    points: Points,
    plan: Plan,
    open: SocketAddr,
    asking: SocketAddr,
    own: SocketAddr,
}

impl Site {
    async fn direct() -> Self {
        Self::start(|command| command).await
    }

    async fn supervised() -> Self {
        Self::start(supervised).await
    }

    async fn start(with: impl FnOnce(Command) -> Command) -> Self {
        let authority = Authority::new();
        let Identity { cert, key, .. } = authority.issue("server", &["localhost"]);
        let mut command = Command::new(example_with("test_resuming", &["_pause-points"], &[]));
        command.args([cert, key, authority.root()]).env("ENDLESS_RESPAWN", "100 in 1h");
        let (points, plan) = (Points::of(&mut command), Plan::of(&mut command));
        let app = App::start(with(command));
        let addresses = app.addresses(3).await;
        app.wait_for_message(Mark::START, "serving").await;
        let at = |host| {
            let address =
                addresses.iter().find(|address| address.starts_with(host)).expect("one of the three");
            address.parse().expect("an address")
        };
        let (open, asking, own) = (at("127.0.0.1"), at("127.0.0.2"), at("127.0.0.3"));
        Self { app, authority, points, plan, open, asking, own }
    }

    /// A client that keeps its sessions.
    fn client(&self) -> Secure {
        Secure::trusting(&self.authority).resuming()
    }

    /// One of each version of TLS.
    fn clients(&self) -> [Secure; 2] {
        VERSIONS.map(|version| self.client().version(version))
    }

    /// A client that has a certificate to show.
    fn known_client(&self) -> Secure {
        self.client().presenting(&self.authority.issue("client", &["client"]))
    }

    /// Clients that have been here.
    async fn guests(&self) -> [Secure; 2] {
        let clients = self.clients();
        for client in &clients {
            assert_eq!(visit(client, self.open).await, Full);
        }
        clients
    }

    async fn all_resume(&self, guests: &[Secure]) {
        for guest in guests {
            assert_eq!(visit(guest, self.open).await, Resumed);
        }
    }

    /// Waits until the supervisor knows what the generation that serves has told it.
    async fn has_reported(&self) {
        let serving = self.app.serving_pid();
        caught_up(&self.app, serving, serving).await;
    }

    async fn crash(&self) {
        let mark = self.app.mark();
        self.app.signal(self.app.serving_pid(), Signal::SIGKILL);
        self.app.wait_for_message(mark, "serving").await;
    }
}

/// Asks for something on a new connection: how its session began.
async fn visit(client: &Secure, address: SocketAddr) -> HandshakeKind {
    try_visit(client, address, "/hello")
        .await
        .map(|(kind, text)| {
            assert_eq!(text, "WORLD!");
            kind
        })
        .expect("it is answered, to the end")
}

async fn try_visit(
    client: &Secure,
    address: SocketAddr,
    path: &str,
) -> std::io::Result<(HandshakeKind, String)> {
    let mut stream = client.connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    patiently(stream.read_to_string(&mut answer)).await?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((stream.get_ref().1.handshake_kind().expect("it is done"), body))
}

/// All of them, some at a time; how many of them resumed.
async fn visit_all(clients: &[Secure], address: SocketAddr) -> usize {
    let mut resumed = 0;
    for some in clients.chunks(16) {
        let visits = some.iter().cloned().map(|client| async move { visit(&client, address).await });
        let kinds = visits.collect::<JoinSet<_>>().join_all().await;
        resumed += kinds.into_iter().filter(|kind| *kind == Resumed).count();
    }
    resumed
}

/// Each comes back to each of three generations; some come back to the last one alone.
async fn everybody_resumes(site: Site) {
    let count = restarts(100, 1000);
    let clients = || -> Vec<Secure> { (0..count / 2).flat_map(|_| site.clients()).collect() };
    let (faithful, absent) = (clients(), clients());
    assert_eq!(visit_all(&faithful, site.open).await + visit_all(&absent, site.open).await, 0);
    for _ in 0..3 {
        site.app.restart().await;
        assert_eq!(visit_all(&faithful, site.open).await, faithful.len());
    }
    assert_eq!(visit_all(&absent, site.open).await, absent.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_resumes_across_generations() {
    everybody_resumes(Site::direct().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_resumes_across_generations_of_a_supervisor() {
    everybody_resumes(Site::supervised().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_a_crash() {
    let site = Site::supervised().await;
    let guests = site.guests().await;
    site.crash().await;
    site.all_resume(&guests).await;
    site.app.restart().await;
    site.crash().await;
    site.all_resume(&guests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_outlive_a_supervisor_that_becomes_another_build() {
    let site = Site::supervised().await;
    let guests = site.guests().await;
    site.points.set_version(2);
    let mark = site.app.mark();
    site.app.restart().await;
    site.app.wait_for_message(mark, "the supervisor becomes the build that serves").await;
    // From what it has brought along, as nobody has told it anything since.
    site.crash().await;
    site.all_resume(&guests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_for_twelve_hours() {
    let site = Site::direct().await;
    let (early, late) = (site.guests().await, site.guests().await);
    site.points.set_later(11 * HOUR);
    site.all_resume(&early).await;
    site.app.restart().await;
    site.points.set_later(13 * HOUR);
    for guest in &late {
        assert_eq!(visit(guest, site.open).await, Full);
    }
    // From eleven o'clock.
    site.all_resume(&early).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_took_their_turn_meanwhile_are_handed_over() {
    let site = Site::direct().await;
    site.points.set_later(7 * HOUR);
    let seventh = site.guests().await;
    site.points.set_later(14 * HOUR);
    let guests = site.guests().await;
    site.app.restart().await;
    site.all_resume(&seventh).await;
    site.all_resume(&guests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_took_their_turn_before_a_crash_are_there_after_it() {
    let site = Site::supervised().await;
    // Of its beginnings, in which there are two keys. Then the second takes its turn, and a third is made.
    site.has_reported().await;
    site.points.set_later(7 * HOUR);
    let seventh = site.guests().await;
    site.has_reported().await;
    site.points.set_later(13 * HOUR);
    let guests = site.guests().await;
    site.crash().await;
    site.all_resume(&seventh).await;
    site.all_resume(&guests).await;
}

/// Its ticket says nothing of a certificate, and rustls would believe it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_does_not_lead_past_the_door_of_another_server() {
    let site = Site::direct().await;
    for stranger in site.guests().await {
        try_visit(&stranger, site.asking, "/hello").await.expect_err("it has no certificate");
        assert_eq!(visit(&stranger, site.open).await, Resumed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_does_not_lead_past_the_door_that_the_successor_has_put_up() {
    let site = Site::direct().await;
    let strangers = site.guests().await;
    site.plan.set("asks");
    site.app.restart().await;
    for stranger in strangers {
        try_visit(&stranger, site.open, "/hello").await.expect_err("it has no certificate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_of_one_server_are_none_to_another() {
    let site = Site::direct().await;
    for (from, to) in [(site.open, site.asking), (site.asking, site.open)] {
        let client = site.known_client();
        assert_eq!(visit(&client, from).await, Full);
        assert_eq!(visit(&client, to).await, Full);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_shown_a_certificate_is_known_by_it_when_it_comes_back() {
    let site = Site::direct().await;
    for version in VERSIONS {
        let client = site.known_client().version(version);
        for kind in [Full, Resumed] {
            let visited = try_visit(&client, site.asking, "/certificates").await.expect("it is let in");
            assert_eq!(visited, (kind, "1".to_owned()));
            site.app.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_process_open_nothing() {
    let (site, other) = (Site::direct().await, Site::direct().await);
    // It trusts both.
    let client = site.client().trusting_too(&other.authority);
    assert_eq!(visit(&client, site.open).await, Full);
    assert_eq!(visit(&client, other.open).await, Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_the_users_keeps_its_own_tickets() {
    let site = Site::direct().await;
    let client = site.client();
    assert_eq!(visit(&client, site.own).await, Full);
    assert_eq!(visit(&client, site.own).await, Resumed);
    site.app.restart().await;
    assert_eq!(visit(&client, site.own).await, Full);
    assert_eq!(visit(&client, site.own).await, Resumed);
}

/// `openssl s_client` keeps its session in a file.
struct SClient<'a> {
    site: &'a Site,
    version: &'a str,
}

impl SClient<'_> {
    /// What it says of the session.
    async fn visit(&self, option: &str) -> String {
        let Output { stdout, stderr, .. } = patiently(self.run(option)).await;
        let (said, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(said.contains("WORLD!"), "{said}{complaints}");
        let session = said.lines().find(|line| line.contains(", Cipher is "));
        session.unwrap_or_else(|| panic!("no word of the session: {said}{complaints}")).to_owned()
    }

    async fn run(&self, option: &str) -> Output {
        let mut command = tokio::process::Command::new("openssl");
        command.args([
            "s_client",
            "-ign_eof",
            "-servername",
            "localhost",
            "-connect",
            &self.site.open.to_string(),
        ]);
        command.args([self.version, option]).arg(self.site.authority.path("session"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut client = command.spawn().expect("it is installed");
        let mut stdin = client.stdin.take().expect("it is piped");
        let request = b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        stdin.write_all(request).await.expect("it takes it");
        client.wait_with_output().await.expect("it ends")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_reuses_its_session_across_three_generations() {
    if tool("openssl").is_none() {
        return;
    }
    let site = Site::supervised().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let client = SClient { site: &site, version };
        let said = client.visit("-sess_out").await;
        assert!(said.starts_with("New, TLSv1."), "{said}");
        for _ in 0..3 {
            site.app.restart().await;
            let said = client.visit("-sess_in").await;
            assert!(said.starts_with("Reused, TLSv1."), "{version}: {said}");
        }
    }
}
