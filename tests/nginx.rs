//! nginx with a pool of connections before a service that is restarted again and again. It does not try a
//! POST twice, so what its clients see is whether the pool lives through.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{
    App, Kind, Load, Running, Supervised, address_of_our_own, alive, declarative, get, here, restarts, shown,
    status, tool,
};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// One process, in the foreground, in its own folder, with what the guide leaves to Debian's `nginx.conf`.
fn start(program: &Path, folder: &Path, values: [(&str, String); 2]) -> App {
    let folder_of = |name: &str| format!("{name}_temp_path {}/{name};", folder.display());
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(folder_of).concat();
    let guides = here(shown("nginx", "upstream"), &values.each_ref().map(|(shown, ours)| (*shown, &**ours)));
    let text = format!(
        "daemon off; master_process off; pid {}/pid; error_log stderr info; events {{}}\n\
         http {{ access_log off; {folders}\n{guides} }}\n",
        folder.display(),
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).expect("our own folder can be written");
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).args(["-e", "stderr"]).arg("-c").arg(file);
    App::start(command)
}

async fn is_served(nginx: &App, address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        assert!(alive(nginx.first_pid()), "nginx has ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(get(address, "/hello").await.text(), "WORLD!");
}

/// Small bodies and large ones, on connections that stay and on new ones.
fn loads(address: SocketAddr) -> [Running; 3] {
    let both = || Kind::Both { think: Duration::ZERO..=Duration::from_millis(20), bytes: 3000 };
    let load = |kind, seed| Load::new(address, kind).connections(8).seed(seed);
    [
        load(both(), 1).start(),
        load(Kind::Upload { bytes: 30_000 }, 2).start(),
        load(both(), 3).fresh().start(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn its_pool_lives_through_restarts_and_no_post_is_lost() {
    let Some(program) = tool("nginx") else { return };
    let service = Supervised::start(declarative()).await;
    let (upstream, address) = (service.address().await, address_of_our_own());
    let folder = TempDir::new().expect("a folder");
    let values = [("127.0.0.1:4242", upstream.to_string()), ("listen 80;", format!("listen {address};"))];
    let nginx = start(&program, folder.path(), values);
    is_served(&nginx, address).await;

    let loads = loads(address);
    for _ in 0..restarts(5, 50) {
        let successor = service.hang_up().await.expect("a restart");
        for load in &loads {
            load.until_answered_by(successor).await;
        }
        let moved = status(upstream).await["servers"][0]["moved"].as_u64();
        assert!(moved > Some(0), "nothing of the pool has come to {successor}");
    }
    for load in loads {
        let report = load.stop().await;
        eprintln!("{report}");
        report.assert_clean();
    }
    service.terminate().await;
}
