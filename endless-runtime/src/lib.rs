//! The runtime of [`endless`](https://docs.rs/endless-server): listeners, handover, drain, signals and hooks.
//!
//! Use the facade, which this crate is a part of and in step with.

mod address;
mod api;
mod awake;
mod bequest;
mod beside;
mod birth;
mod body;
mod config;
mod connection;
mod control;
mod endlessctl;
mod entry;
mod error;
mod future;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod grammar;
mod hammer;
mod handover;
mod listener;
mod lock;
mod log;
mod manager;
mod moving;
mod name;
mod pause;
mod pid_file;
#[doc(hidden)]
pub mod private;
mod process;
#[cfg(all(test, target_os = "linux", not(miri)))]
mod remains;
mod secrets;
mod server;
mod servers;
mod service;
mod signal;
mod supervisor;
mod sys;
#[cfg(feature = "_tls")]
mod tls;

pub use address::{Address, Endpoint, IntoAddress};
pub use api::{
    Draining, Predecessor, ServerStatus, State, Status, configure, draining, hold_ready, pid, ready, restart,
    shutdown, status,
};
pub use bequest::{bequeath, inherited};
pub use body::Body;
pub use config::Config;
pub use connection::ConnectInfo;
pub use error::{Error, Result};
pub use listener::GivenListener as Listener;
#[cfg(feature = "_tls")]
pub use server::serve_tls;
pub use server::{Server, Serving, serve};
pub use service::{HttpService, HyperService, ServiceFn, hyper_service, service_fn};
pub use signal::{Event, Hook, Outcome, Phase, Sender, Signal};
#[cfg(feature = "_tls")]
pub use tls::{ClientAuth, Tls, TlsInfo, TlsVersion};
