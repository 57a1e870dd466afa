//! HAProxy before two instances that are restarted in turn, and then stopped and replaced: its clients notice
//! neither, and for no request does it have to try twice.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{
    App, Kind, Load, Mark, PATIENCE, Running, Supervised, address_of_our_own, alive, declarative, get, here,
    patiently, restarts, shown, tool,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

struct Site {
    instances: [(SocketAddr, Supervised); 2],
    haproxy: App,
    address: SocketAddr,
    folder: TempDir,
}

/// As the guide names them.
const NAMES: [&str; 2] = ["one", "two"];

impl Site {
    /// `None` where there is no HAProxy.
    async fn open() -> Option<Self> {
        let program = tool("haproxy")?;
        let folder = TempDir::new().expect("a folder");
        let [one, two] = [address_of_our_own(), address_of_our_own()];
        let instances = [(one, instance(one).await), (two, instance(two).await)];
        let address = address_of_our_own();
        let values = [(":80", address), ("10.0.0.1:4242", one), ("10.0.0.2:4242", two)];
        let haproxy = start(&program, folder.path(), &values);
        let site = Self { instances, haproxy, address, folder };
        site.is_served().await;
        Some(site)
    }

    /// Waits until HAProxy listens.
    async fn is_served(&self) {
        while TcpStream::connect(self.address).await.is_err() {
            assert!(alive(self.haproxy.first_pid()), "HAProxy has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(get(self.address, "/hello").await.text(), "WORLD!");
    }

    async fn restart(&self, which: usize) -> u32 {
        self.instances[which].1.hang_up().await.expect("a restart")
    }

    /// Stops an instance and starts another one in its place; returns who serves there.
    async fn replace(&mut self, which: usize) -> u32 {
        let (name, (address, old)) = (NAMES[which], &self.instances[which]);
        let mark = self.haproxy.mark();
        old.signal(old.pid(), Signal::SIGTERM);
        let down = self.hears(mark, &format!("Server app/{name} is DOWN")).await;
        assert!(down.contains("code: 503"), "HAProxy was not told, it found out: {down}");
        assert_eq!(old.over().await, Some(0));

        let mark = self.haproxy.mark();
        let new = instance(*address).await;
        self.hears(mark, &format!("Server app/{name} is UP")).await;
        let serving = new.serving_pid();
        self.instances[which].1 = new;
        serving
    }

    async fn hears(&self, mark: Mark, text: &str) -> String {
        self.haproxy.wait_for(mark, |line| line.text.contains(text), PATIENCE).await.text
    }

    /// What HAProxy has counted of its instances, added up.
    async fn trouble(&self) -> BTreeMap<&'static str, u64> {
        let table = patiently(statistics(&self.folder.path().join("socket"))).await.expect("HAProxy answers");
        let mut rows = table.trim_start_matches("# ").lines().map(|row| row.split(',').collect::<Vec<_>>());
        let names = rows.next().expect("a head");
        let column = |name: &str| names.iter().position(|it| *it == name).expect("HAProxy counts it");
        let servers: Vec<_> = rows.filter(|row| row[0] == "app" && NAMES.contains(&row[1])).collect();
        assert_eq!(servers.len(), 2, "{table}");
        let number = |row: &Vec<&str>, name| row[column(name)].parse::<u64>().expect("a number");
        TROUBLE.map(|name| (name, servers.iter().map(|row| number(row, name)).sum())).into()
    }
}

/// Connections that failed, answers that failed, tries on the same and on another server, and answers of 5xx.
const TROUBLE: [&str; 5] = ["econ", "eresp", "wretr", "wredis", "hrsp_5xx"];

async fn instance(address: SocketAddr) -> Supervised {
    let mut command = declarative();
    command.env("ENDLESS_LISTEN", address.to_string());
    command.env("ENDLESS_READINESS_PATH", "/ready").env("ENDLESS_LAME_DUCK", "3s");
    Supervised::start(command).await
}

/// Under what the guide shows, below what Debian's own file has.
fn start(program: &Path, folder: &Path, values: &[(&str, SocketAddr); 3]) -> App {
    let own = format!(
        "global\n    log stdout format raw local0 notice\n    stats socket {}\n    maxconn 500\n\
         defaults\n    log global\n    mode http\n    \
         timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n",
        folder.join("socket").display()
    );
    let values = values.map(|(shown, ours)| (shown, ours.to_string()));
    let guides = here(shown("haproxy", "backend"), &values.each_ref().map(|(shown, ours)| (*shown, &**ours)));
    let mut command = Command::new(program);
    command.arg("-db");
    for (name, text) in [("own.cfg", own), ("guides.cfg", guides)] {
        let file = folder.join(name);
        fs::write(&file, text).expect("our own folder can be written");
        command.arg("-f").arg(file);
    }
    App::start(command)
}

async fn statistics(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"show stat\n").await?;
    let mut table = String::new();
    stream.read_to_string(&mut table).await?;
    Ok(table)
}

/// GET and POST, on connections that stay and on new ones.
fn loads(address: SocketAddr) -> [Running; 2] {
    let load = || {
        let think = Duration::ZERO..=Duration::from_millis(20);
        Load::new(address, Kind::Both { think, bytes: 3000 })
    };
    [load().connections(8).staying().start(), load().connections(4).fresh().seed(2).start()]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_or_tried_twice_while_instances_are_restarted_and_replaced() {
    let Some(mut site) = Site::open().await else { return };
    let loads = loads(site.address);
    let answered_by = async |pid| {
        for load in &loads {
            load.until_answered_by(pid).await;
        }
    };
    for _ in 0..restarts(3, 20) {
        for which in [0, 1] {
            answered_by(site.restart(which).await).await;
        }
    }
    for _ in 0..restarts(1, 5) {
        for which in [0, 1] {
            answered_by(site.replace(which).await).await;
        }
    }
    for load in loads {
        let report = load.stop().await;
        eprintln!("{report}");
        report.assert_clean();
    }
    assert_eq!(site.trouble().await, TROUBLE.map(|name| (name, 0)).into());
}
