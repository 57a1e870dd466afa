//! The connections that are lost with a process: those that it had accepted, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

/// The clients' ports of the connections to `server` that the process has accepted and not closed. Exact only
/// while the process stands still.
pub(crate) fn accepted_by(pid: u32, server: SocketAddr) -> BTreeSet<u16> {
    let sockets = sockets_of(pid);
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel tells its connections");
    let rows = table.lines().skip(1).filter_map(Row::parse);
    rows.filter(|row| row.local == server.port() && sockets.contains(&row.inode))
        .map(|row| row.remote)
        .collect()
}

/// The inodes of a process's sockets; none, if it is gone.
fn sockets_of(pid: u32) -> BTreeSet<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |link: &str| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    links.filter_map(|link| inode(link.to_str()?)).collect()
}

/// A row of `/proc/net/tcp`: the ports of both ends, and the inode, which is 0 while nobody has accepted.
struct Row {
    local: u16,
    remote: u16,
    inode: u64,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let port = |column: &str| u16::from_str_radix(column.split_once(':')?.1, 16).ok();
        Some(Self {
            local: port(columns[1])?,
            remote: port(columns[2])?,
            inode: columns.get(9)?.parse().ok()?,
        })
    }
}
