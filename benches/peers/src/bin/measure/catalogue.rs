//! Who takes part, and what each can do.

use nix::sys::signal::Signal;

pub(crate) const BARE_HYPER: &str = "bare hyper 1";
pub(crate) const HYPER_OVER_TLS: &str = "bare hyper 1 over TLS";
pub(crate) const AXUM_SERVE: &str = "axum::serve";

pub(crate) struct Peer {
    /// As in the tables.
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Whose figures are 1.00.
    pub(crate) against: &'static str,
    /// Whether it speaks TLS. One that does is measured where that is what makes the difference.
    pub(crate) tls: bool,
    pub(crate) http2: Http2,
    pub(crate) restart: Option<Restart>,
}

pub(crate) enum Program {
    /// A binary of this package.
    Rust(&'static str),
    /// A file in `go/`.
    Go(&'static str),
    Nginx,
    Haproxy,
}

/// Without TLS, to a client that knows it beforehand.
#[derive(PartialEq)]
pub(crate) enum Http2 {
    /// On the address of HTTP/1.
    Shared,
    /// On an address of its own.
    Own,
    No(&'static str),
}

pub(crate) struct Restart {
    pub(crate) signal: Signal,
    pub(crate) to: Addressee,
}

#[derive(PartialEq)]
pub(crate) enum Addressee {
    /// The process that was started, which stays.
    Started,
    /// Whoever answers.
    Serving,
}

impl Peer {
    /// endless itself.
    pub(crate) fn is_ours(&self) -> bool {
        is_ours(self.name)
    }

    pub(crate) fn is_rust(&self) -> bool {
        matches!(self.program, Program::Rust(_))
    }

    /// Can hold memory that it was asked to touch.
    pub(crate) fn can_touch(&self) -> bool {
        matches!(self.program, Program::Rust(_) | Program::Go(_))
    }
}

pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with("endless")
}

const HANGUP_SERVING: Option<Restart> = Some(Restart { signal: Signal::SIGHUP, to: Addressee::Serving });
const HANGUP_STARTED: Option<Restart> = Some(Restart { signal: Signal::SIGHUP, to: Addressee::Started });
const DIRECT: &[(&str, &str)] = &[("ENDLESS_SUPERVISE", "false")];
const TLS_HTTP2: Http2 = Http2::No("it is measured without TLS");
const GO_HTTP2: Http2 = Http2::No("net/http speaks HTTP/2 over TLS only");

pub(crate) static PEERS: [Peer; 14] = [
    Peer {
        name: BARE_HYPER,
        program: Program::Rust("bare_hyper"),
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: Http2::Own,
        restart: None,
    },
    Peer {
        name: "endless, supervised",
        program: Program::Rust("endless_hyper"),
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: Http2::Shared,
        restart: HANGUP_STARTED,
    },
    Peer {
        name: "endless, direct",
        program: Program::Rust("endless_hyper"),
        environment: DIRECT,
        against: BARE_HYPER,
        tls: false,
        http2: Http2::Shared,
        restart: HANGUP_SERVING,
    },
    Peer {
        name: AXUM_SERVE,
        program: Program::Rust("axum_serve"),
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: Http2::Shared,
        restart: None,
    },
    // They restart as the two above, and are not made to do it again.
    Peer {
        name: "endless with axum, supervised",
        program: Program::Rust("endless_axum"),
        environment: &[],
        against: AXUM_SERVE,
        tls: false,
        http2: Http2::Shared,
        restart: None,
    },
    Peer {
        name: "endless with axum, direct",
        program: Program::Rust("endless_axum"),
        environment: DIRECT,
        against: AXUM_SERVE,
        tls: false,
        http2: Http2::Shared,
        restart: None,
    },
    Peer {
        name: HYPER_OVER_TLS,
        program: Program::Rust("bare_hyper_tls"),
        environment: &[],
        against: HYPER_OVER_TLS,
        tls: true,
        http2: TLS_HTTP2,
        restart: None,
    },
    Peer {
        name: "endless over TLS, supervised",
        program: Program::Rust("endless_hyper_tls"),
        environment: &[],
        against: HYPER_OVER_TLS,
        tls: true,
        http2: TLS_HTTP2,
        restart: None,
    },
    Peer {
        name: "endless over TLS, direct",
        program: Program::Rust("endless_hyper_tls"),
        environment: DIRECT,
        against: HYPER_OVER_TLS,
        tls: true,
        http2: TLS_HTTP2,
        restart: None,
    },
    Peer {
        name: "ecdysis with hyper",
        program: Program::Rust("ecdysis_hyper"),
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: Http2::Own,
        restart: HANGUP_SERVING,
    },
    Peer {
        name: "nginx",
        program: Program::Nginx,
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: Http2::Own,
        restart: HANGUP_STARTED,
    },
    Peer {
        name: "HAProxy",
        program: Program::Haproxy,
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: Http2::Own,
        restart: Some(Restart { signal: Signal::SIGUSR2, to: Addressee::Started }),
    },
    Peer {
        name: "Go with tableflip",
        program: Program::Go("tableflip"),
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: GO_HTTP2,
        restart: HANGUP_SERVING,
    },
    Peer {
        name: "Go with grace",
        program: Program::Go("grace"),
        environment: &[],
        against: BARE_HYPER,
        tls: false,
        http2: GO_HTTP2,
        restart: Some(Restart { signal: Signal::SIGUSR2, to: Addressee::Serving }),
    },
];
