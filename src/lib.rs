#![doc = include_str!("../README.md")]

pub use endless_macros::{hook, main};
pub use endless_runtime::{
    Address, Body, Config, ConnectInfo, Draining, Endpoint, Error, Event, Hook, HttpService, HyperService,
    IntoAddress, Listener, Outcome, Phase, Predecessor, Result, Sender, Server, ServerStatus, ServiceFn,
    Serving, Signal, State, Status, bequeath, configure, draining, hold_ready, hyper_service, inherited, pid,
    ready, restart, serve, service_fn, shutdown, status,
};

#[doc(hidden)]
pub use endless_runtime::private as __private;
