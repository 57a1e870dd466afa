//! What those who come back after a restart cost the successor, with their sessions and without.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};
use support::{App, Authority, Client, Identity, Secure, example, restarts, tool};
use tokio::task::JoinSet;

/// For how long the successor's time is counted, at the least.
const SECOND: Duration = Duration::from_secs(1);

/// All connect at once, with a session or without, and ask for one thing.
async fn come(clients: &[Secure], address: SocketAddr) {
    let visits = clients.iter().cloned().map(|client| async move {
        let mut client = Client::secure(address, &client).await;
        assert_eq!(client.get("/hello").await.text(), "WORLD!");
    });
    visits.collect::<JoinSet<_>>().join_all().await;
}

/// What the process has computed so far.
fn computed(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 =
        [11, 12].into_iter().map(|at| fields[at].parse::<u64>().expect("proc_pid_stat(5)")).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("there are some");
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// What they cost whom they come back to.
async fn cost(authority: &Authority, identity: &Identity, clients: &[Secure]) -> Duration {
    let Identity { cert, key, .. } = identity;
    let mut command = Command::new(example("test_resuming"));
    command.args([cert, key, &authority.root()]);
    let app = App::start(command);
    let addresses = app.addresses(3).await;
    let open = addresses.iter().find(|address| address.starts_with("127.0.0.1")).expect("one of the three");
    let address = open.parse().expect("an address");
    come(clients, address).await;
    let successor = app.restart().await;
    let (before, since) = (computed(successor), Instant::now());
    come(clients, address).await;
    tokio::time::sleep(SECOND.saturating_sub(since.elapsed())).await;
    computed(successor) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_come_back_with_a_session_cost_less() {
    let authority = Authority::new();
    let count = restarts(20, 1000);
    let mut identities = vec![("ECDSA P-256", authority.issue("server", &["localhost"]))];
    if tool("openssl").is_some() {
        identities.push(("RSA 2048", authority.issue_for(&rsa_key(), "rsa", &["localhost"])));
    }
    for (kind, identity) in &identities {
        let clients = |secure: fn(Secure) -> Secure| -> Vec<Secure> {
            (0..count).map(|_| secure(Secure::trusting(&authority))).collect()
        };
        let with = cost(&authority, identity, &clients(Secure::resuming)).await;
        let without = cost(&authority, identity, &clients(|secure| secure)).await;
        // Of a few it says nothing, and of a key whose signatures cost next to nothing.
        assert!(
            count < 1000 || !kind.starts_with("RSA") || with < without,
            "{with:?}, and {without:?} without"
        );
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        eprintln!(
            "{kind}: {count} clients come back: {with:?} with their sessions, {without:?} without: {ratio:.2} of it"
        );
    }
}

fn rsa_key() -> String {
    let arguments = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let made = Command::new("openssl").args(arguments).output().expect("it is installed");
    String::from_utf8(made.stdout).expect("PEM")
}
