//! Starts a program as a socket unit of systemd would: with sockets that are bound already, by a few lines of
//! Python that become the program.

use std::process::Command;

use super::tools::tool;

/// Binds what it is told (`NAME=unix:PATH`, `NAME=HOST:PORT`, `NAME=udp:HOST:PORT`) up to `--`, and passes it on to
/// the words that follow. `LISTEN_PID` is its own, if nothing else is set.
const SCRIPT: &str = r#"
import os, socket, sys
end = sys.argv.index("--")
names, sockets = [], []
for spec in sys.argv[1:end]:
    name, address = spec.split("=", 1)
    kind, rest = address.split(":", 1)
    if kind == "unix":
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind("\0" + rest[1:] if rest.startswith("@") else rest)
        one.listen(16)
    elif kind == "udp":
        host, port = rest.split(":")
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((host, int(port)))
    else:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.bind((kind, int(rest)))
        one.listen(16)
        print("INFO test: passed name=%s address=%s:%d" % ((name,) + one.getsockname()), file=sys.stderr, flush=True)
    names.append(name)
    sockets.append(one)
# Out of the way first, so that no dup2 hits one of them.
high = [os.dup(one.fileno()) for one in sockets]
for place, one in enumerate(high):
    os.dup2(one, 3 + place, inheritable=True)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=":".join(names))
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"#;

/// `program`, started with these sockets; its arguments and its environment may still be added to.
pub(crate) fn activated(program: &std::path::Path, sockets: &[&str]) -> Option<Command> {
    let mut command = Command::new(tool("python3")?);
    command.args(["-c", SCRIPT]).args(sockets).arg("--").arg(program);
    Some(command)
}
