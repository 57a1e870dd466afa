//! What stands where TLS is not built: handshakes that there are none of.

use std::time::Duration;

use super::Beginning;
use super::info::ConnectInfo;
use super::io::Io;
use super::state::Registered;
use crate::listener::Stream;

/// Nobody has any.
#[derive(Debug)]
pub(crate) enum Handshakes {}

pub(super) async fn begin(
    _stream: Stream,
    _registered: Registered,
    none: &Handshakes,
    _idle_grace: Duration,
    _info: Option<ConnectInfo>,
) -> Option<(Io, Beginning)> {
    match *none {}
}
