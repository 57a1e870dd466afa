//! Programs of others around a service, proxies before it and supervisors above it, under the very text that
//! `docs/deploying.md` shows.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

const GUIDE: &str = include_str!("../../docs/deploying.md");

/// The guide's one block in this language that has `word` in it.
///
/// # Panics
///
/// If there is another number of them.
pub(crate) fn shown(language: &str, word: &str) -> String {
    let opening = format!("\n```{language}\n");
    let blocks = GUIDE.split(&opening).skip(1).filter_map(|begun| begun.split("\n```").next());
    let blocks: Vec<&str> = blocks.filter(|block| block.contains(word)).collect();
    let [block] = blocks[..] else {
        panic!("the guide has {} blocks in {language} with {word}", blocks.len())
    };
    format!("{block}\n")
}

/// The text with this machine's values in the place of those that are shown.
///
/// # Panics
///
/// If one of them is not shown.
pub(crate) fn here(mut text: String, values: &[(&str, &str)]) -> String {
    for (shown, ours) in values {
        assert!(text.contains(shown), "no {shown} in:\n{text}");
        text = text.replace(shown, ours);
    }
    text
}

/// An address for a program that cannot choose its port by itself. It was free just now, and as its host is
/// this process's own among those of the loopback network, nobody else is about to take it.
pub(crate) fn address_of_our_own() -> SocketAddr {
    let host = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() | std::process::id() << 2);
    let listener = TcpListener::bind((host, 0)).expect("all of 127.0.0.0/8 is this machine's");
    listener.local_addr().expect("it is bound")
}
