//! Addresses as text: what may follow `listen =`.
//!
//! Reading one touches no network and no file: a host name is resolved, a socket made and a systemd name
//! looked up by the runtime.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV6};
use std::path::PathBuf;
use std::str::FromStr;

use super::refusal::Refusal;

/// The accepted spellings, to follow "expected".
pub(super) const ACCEPTED: &str =
    r#""127.0.0.1:4242", "localhost:4242", "[::]:80", ":8080", "unix:/run/app.sock" or "systemd:NAME""#;

/// An address that was spelled well. Its `Display` is the canonical text, which reads back as the same address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AddressText {
    /// `127.0.0.1:4242`, `localhost:4242`, `[::]:80`.
    Tcp {
        /// A name or an IP address; an IPv6 one without its brackets.
        host: String,
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// `:8080`: every interface, IPv4 and IPv6.
    AllInterfaces {
        /// 0 lets the kernel choose.
        port: u16,
    },
    /// `unix:/run/app.sock`.
    Unix(PathBuf),
    /// `systemd:NAME`: what the socket unit's `FileDescriptorName=` says.
    Systemd(String),
}

impl FromStr for AddressText {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let address = match text.split_once(':') {
            Some(("unix", path)) => unix(path),
            Some(("systemd", name)) => systemd(name),
            _ => tcp(text),
        };
        address.map_err(|why| Refusal::expected(text, &format!("address{why}"), ACCEPTED))
    }
}

/// Reads what commas separate; at least one address.
pub(super) fn parse_list(text: &str) -> Result<Vec<AddressText>, Refusal> {
    text.split(',').map(|one| one.trim().parse()).collect()
}

/// The reverse of [`parse_list`].
pub(super) fn join(addresses: &[AddressText]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// What is wrong, to follow "is no address"; empty where the accepted spellings say enough.
type Why = &'static str;

fn unix(path: &str) -> Result<AddressText, Why> {
    match path {
        "" => Err(" (the path is missing)"),
        _ if path.contains(['\0', ',']) => Err(" (NUL and comma cannot be in the path)"),
        _ => Ok(AddressText::Unix(path.into())),
    }
}

/// As systemd.socket(5) limits `FileDescriptorName=`: printable ASCII without a colon, up to 255 characters.
fn systemd(name: &str) -> Result<AddressText, Why> {
    let well_formed = |c: char| (' '..='~').contains(&c) && c != ':' && c != ',';
    match name {
        "" => Err(" (the name is missing)"),
        _ if name.len() <= 255 && name.chars().all(well_formed) => Ok(AddressText::Systemd(name.to_owned())),
        _ => Err(" (systemd allows no such name)"),
    }
}

fn tcp(text: &str) -> Result<AddressText, Why> {
    if text.starts_with('[') {
        return ipv6(text);
    }
    let (host, port) = text.rsplit_once(':').ok_or(" (the port is missing)")?;
    let port = parse_port(port)?;
    match host {
        "" => Ok(AddressText::AllInterfaces { port }),
        _ if is_bare_ipv6(host) => Err(" (an IPv6 address wants brackets)"),
        _ if !is_host(host) => Err(" (the host is malformed)"),
        _ => Ok(AddressText::Tcp { host: host.to_owned(), port }),
    }
}

fn ipv6(text: &str) -> Result<AddressText, Why> {
    let (_, port) = text.rsplit_once("]:").ok_or(" (the port is missing)")?;
    let port = parse_port(port)?;
    let socket: SocketAddrV6 = text.parse().map_err(|_| " (the host is malformed)")?;
    let host = match socket.scope_id() {
        0 => socket.ip().to_string(),
        scope => format!("{}%{scope}", socket.ip()),
    };
    Ok(AddressText::Tcp { host, port })
}

fn parse_port(text: &str) -> Result<u16, Why> {
    match text {
        "" => Err(" (the port is missing)"),
        // `u16` itself would take "+80".
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => Err(" (the port is no number)"),
        _ => text.parse().map_err(|_| " (a port is at most 65535)"),
    }
}

fn is_bare_ipv6(host: &str) -> bool {
    host.contains(':') && host.chars().all(|c| c.is_ascii_hexdigit() || ":.%".contains(c))
}

/// A name in the letters of RFC 1123 (and the underscore that container networks use), or an IPv4 address:
/// names do not end in a number.
fn is_host(host: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    match labels.clone().next_back().is_some_and(numeric) {
        true => host.parse::<Ipv4Addr>().is_ok(),
        false => labels.all(|label| !label.is_empty() && label.chars().all(letter)),
    }
}

impl fmt::Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::AllInterfaces { port } => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<AddressText>().unwrap_err().to_string()
    }

    #[test]
    fn every_spelling_reads_and_prints_as_itself() {
        for text in [
            "127.0.0.1:4242",
            "127.0.0.1:0",
            "localhost:4242",
            "my-host.example.:80",
            "app_1:80",
            "[::]:80",
            "[fe80::1%2]:80",
            ":8080",
            "unix:/run/app.sock",
            "unix:app:1.sock",
            "systemd:http",
        ] {
            let address: AddressText = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn other_spellings_print_canonically() {
        for (text, canonical) in [("[0:0::1]:080", "[::1]:80"), ("localhost:0080", "localhost:80")] {
            let address: AddressText = text.parse().expect(text);
            assert_eq!(address.to_string(), canonical);
        }
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        for (text, why) in [
            ("127.0.0.1", "the port is missing"),
            ("8080", "the port is missing"),
            ("localhost:", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("localhost:65536", "a port is at most 65535"),
            ("localhost:http", "the port is no number"),
            (":+80", "the port is no number"),
            ("::1:80", "an IPv6 address wants brackets"),
            ("::80", "an IPv6 address wants brackets"),
            ("[::g]:80", "the host is malformed"),
            ("256.0.0.1:80", "the host is malformed"),
            ("127.1:80", "the host is malformed"),
            ("http://localhost:80", "the host is malformed"),
            ("*:80", "the host is malformed"),
            ("a..b:80", "the host is malformed"),
            (" localhost:80", "the host is malformed"),
            ("unix:", "the path is missing"),
            ("systemd:", "the name is missing"),
            ("systemd:a:b", "systemd allows no such name"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains(&format!("({why}): expected")), "{refusal}");
        }
    }

    #[test]
    fn a_refusal_shows_the_accepted_spellings() {
        assert_eq!(refusal(""), format!(r#""" is no address (the port is missing): expected {ACCEPTED}"#));
    }

    #[test]
    fn a_list_has_at_least_one_and_no_empty_place() {
        let list = parse_list("localhost:80, :81").unwrap();
        assert_eq!(join(&list), "localhost:80,:81");
        for text in ["", ",", "localhost:80,", ",localhost:80"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }
}
