//! What the peers need before they start: programs, configurations, bodies, a directory of their own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::Outcome;
use crate::catalogue::{PEERS, Peer, Program};
use crate::client::Identity;

/// Where Debian installs the sources of Go's packages.
const GOPATH: &str = "/usr/share/gocode";

pub(crate) struct Workshop {
    /// Of this run alone, removed with the guard.
    directory: PathBuf,
    pub(crate) cores: usize,
    /// How many a process may have.
    pub(crate) descriptors: u64,
    /// By the file in `go/`: the program, or why there is none.
    go: BTreeMap<&'static str, Result<PathBuf, String>>,
    /// Of the servers that speak TLS.
    pub(crate) identity: Identity,
}

impl Workshop {
    pub(crate) fn open() -> Outcome<Self> {
        let directory = beside_this_program("peers-run").join(std::process::id().to_string());
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("1k"), [b'x'; 1 << 10])?;
        fs::write(directory.join("1m"), vec![b'x'; 1 << 20])?;
        let go = PEERS.iter().filter_map(|peer| match peer.program {
            Program::Go(name) => Some((name, build_go(&directory, name))),
            _ => None,
        });
        let go = go.collect();
        let identity = Identity::make(&directory)?;
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self { directory, cores, descriptors: raise_descriptors()?, go, identity })
    }

    /// Why it cannot take part.
    pub(crate) fn missing(&self, peer: &Peer) -> Option<String> {
        match peer.program {
            Program::Rust(name) => {
                (!beside_this_program(name).exists()).then(|| format!("{name} is not built"))
            }
            Program::Go(name) => self.go[name].as_ref().err().cloned(),
            Program::Nginx => find("nginx").is_none().then(|| "nginx is not installed".to_owned()),
            Program::Haproxy => find("haproxy").is_none().then(|| "haproxy is not installed".to_owned()),
        }
    }

    pub(crate) fn command(&self, peer: &Peer, http1: SocketAddr, http2: SocketAddr) -> Outcome<Command> {
        let mut command = match peer.program {
            Program::Rust(name) => Command::new(beside_this_program(name)),
            Program::Go(name) => Command::new(self.go[name].as_ref().map_err(String::as_str)?),
            Program::Nginx => {
                let mut command = Command::new(find("nginx").ok_or("not installed")?);
                let errors = self.directory.join("nginx-error.log");
                let file =
                    self.configuration(include_str!("../../../nginx.conf"), "nginx.conf", http1, http2)?;
                command.arg("-e").arg(errors).arg("-c").arg(file);
                return Ok(command);
            }
            Program::Haproxy => {
                let mut command = Command::new(find("haproxy").ok_or("not installed")?);
                let file =
                    self.configuration(include_str!("../../../haproxy.cfg"), "haproxy.cfg", http1, http2)?;
                command.args(["-W", "-f"]).arg(file);
                return Ok(command);
            }
        };
        command.args([http1.to_string(), http2.to_string()]);
        if peer.tls {
            command.arg("--tls").args([&self.identity.certificate, &self.identity.key]);
        }
        command.envs(peer.environment.iter().copied());
        Ok(command)
    }

    fn configuration(
        &self,
        text: &str,
        name: &str,
        http1: SocketAddr,
        http2: SocketAddr,
    ) -> Outcome<PathBuf> {
        // nginx counts what it needs beside connections.
        let connections = self.descriptors - 100;
        let text = text
            .replace("{cores}", &self.cores.to_string())
            .replace("{descriptors}", &self.descriptors.to_string())
            .replace("{connections}", &connections.to_string())
            .replace("{directory}", &self.directory.display().to_string())
            .replace("{http1}", &http1.to_string())
            .replace("{http2}", &http2.to_string());
        let file = self.directory.join(format!("{}-{name}", http1.port()));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// Where a server writes what it has to say.
    pub(crate) fn log(&self, peer: &Peer) -> PathBuf {
        self.directory.join(format!("{}.log", peer.name.replace([' ', ':', ','], "-")))
    }

    /// As the programs tell it, with the names that the document uses.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let locked = ["axum", "ecdysis", "hyper", "tokio"].map(|name| (name.to_owned(), locked(name)));
        let told = [
            ("nginx", "nginx", "-v"),
            ("HAProxy", "haproxy", "-v"),
            ("Go", "go", "version"),
            ("Rust", "rustc", "--version"),
        ];
        let told = told.map(|(name, program, argument)| (name.to_owned(), tell(program, argument)));
        locked.into_iter().chain(told).filter_map(|(name, version)| Some((name, version?))).collect()
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

/// An address that nobody has, out of the range from which the kernel takes the ports of clients.
pub(crate) fn free_address() -> Outcome<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Not where the last run was, which the kernel still remembers.
    let from = (std::process::id() % 1_000) as u16 * 10;
    for _ in 0..10_000 {
        let port = 20_000 + (from + NEXT.fetch_add(1, Relaxed)) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("no port is free".into())
}

fn beside_this_program(name: &str) -> PathBuf {
    std::env::current_exe().expect("this program").with_file_name(name)
}

fn build_go(directory: &Path, name: &str) -> Result<PathBuf, String> {
    let program = directory.join(name);
    let built = Command::new(find("go").ok_or("go is not installed")?)
        .args(["build", "-o"])
        .arg(&program)
        .args([&format!("{name}.go"), "answers.go"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
        .envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("GOFLAGS", "")])
        .env("GOCACHE", directory.with_file_name("go-cache"))
        .output()
        .map_err(|error| error.to_string())?;
    if built.status.success() {
        return Ok(program);
    }
    let complaint = String::from_utf8_lossy(&built.stderr);
    Err(format!("not built: {}", complaint.lines().next().unwrap_or("go says nothing")))
}

/// In `PATH`, and where Debian keeps servers.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|file| file.is_file())
}

fn raise_descriptors() -> Outcome<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // More than anything here needs, if there is no limit.
    let wanted = hard.min(100_000);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}

fn locked(package: &str) -> Option<String> {
    let lock = include_str!("../../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")))?;
    Some(entry.split("version = \"").nth(1)?.split('"').next()?.to_owned())
}

/// The first word with a dot between digits.
fn tell(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(find(program)?).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let words = text.split([' ', '/', '-', '\n']).map(|word| word.trim_start_matches("go"));
    words.map(str::to_owned).find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
}
