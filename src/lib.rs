#![doc = include_str!("../README.md")]

pub use endless_macros::{hook, main};
pub use endless_runtime::{
    Address, Body, Config, ConnectInfo, Draining, Endpoint, Error, Event, Hook, HttpService, HyperService,
    IntoAddress, Listener, Outcome, Phase, Predecessor, Result, Sender, Server, ServerStatus, ServiceFn,
    Serving, Signal, State, Status, bequeath, configure, draining, hold_ready, hyper_service, inherited, pid,
    ready, restart, serve, service_fn, shutdown, status,
};
#[cfg(any(feature = "tls", feature = "tls-ring"))]
pub use endless_runtime::{ClientAuth, Tls, TlsInfo, TlsVersion, serve_tls};

#[doc(hidden)]
pub use endless_runtime::private as __private;

/// The code in the guide compiles.
#[cfg(all(doctest, any(feature = "tls", feature = "tls-ring")))]
#[doc = include_str!("../docs/tls.md")]
struct Guide;
