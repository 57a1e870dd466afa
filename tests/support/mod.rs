//! What the integration tests share: clients that forgive nothing, a guard around a real server process, and
//! ways to build the programs that it runs. Include it with `mod support;`.

// Each test binary compiles this tree for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

mod activation;
mod authority;
mod cargo;
mod client;
mod counts;
mod datagrams;
mod endlessctl;
mod engine;
mod event_source;
pub(crate) mod faults;
mod h2_client;
mod h2_frames;
pub(crate) mod hostile;
mod http1;
mod http2;
mod manager;
mod mirror;
mod moved;
mod pipe;
mod plan;
mod process;
mod programs;
mod random;
mod raw;
mod report;
mod resources;
mod running;
mod script;
mod secure;
mod strict;
mod supervised;
mod systemd;
mod terminal;
mod told;
mod tools;
mod unix;
mod websocket;
mod wire;

pub(crate) use activation::activated;
pub(crate) use authority::{Authority, Identity};
pub(crate) use cargo::{example, example_with, install, shipped};
pub(crate) use client::{Client, get, patiently, status, status_when, until_busy, until_busy_over};
pub(crate) use counts::restarts;
pub(crate) use datagrams::{Datagrams, answer as datagram, connected};
pub(crate) use endlessctl::{Ctl, Visitor, both_ways, ctl, desk_of, serving};
pub(crate) use engine::{address_of_our_own, here, shown};
pub(crate) use event_source::EventSource;
pub(crate) use h2_client::H2Load;
pub(crate) use h2_frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, H2Client, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, body_of, frame,
};
pub(crate) use http1::{Connection, Response};
pub(crate) use http2::{Answer2, Http2, answer, more, reset};
pub(crate) use manager::Manager;
pub(crate) use mirror::{Exchange, Mirror, Talk, seen};
pub(crate) use moved::{SIGNALS, is_stop, lives_on, moves_or_closes, says_close};
pub(crate) use pipe::Pipe;
pub(crate) use plan::Plan;
pub(crate) use process::{
    App, Line, Mark, PATIENCE, Source, alive, children, descriptors, shared_folder, stat_fields,
};
pub(crate) use programs::{declarative, imperative};
pub(crate) use random::Random;
pub(crate) use raw::Raw;
pub(crate) use report::{Failure, Latencies, Report};
pub(crate) use resources::{Resources, descriptor_limit, private_memory, ticks};
pub(crate) use running::Running;
pub(crate) use script::Script;
pub(crate) use secure::{Secure, VERSIONS};
pub(crate) use strict::{Kind, Load, fnv1a, promise};
pub(crate) use supervised::Supervised;
pub(crate) use systemd::{Systemd, documented};
pub(crate) use terminal::Terminal;
pub(crate) use told::{
    answering_pid, busy, caught_up, count, received, restarted, sent_by_another, successor_of, supervised,
    supervisor_of,
};
pub(crate) use tools::tool;
pub(crate) use unix::{UnixAnswer, unix_get, unix_load};
pub(crate) use websocket::{Said, WebSocket};
pub(crate) use wire::{Wire, freeze, thaw};
