//! What a handler can learn of the connection that its request came over.

use http::Extensions;

use crate::address::Endpoint;
use crate::listener::Stream;

/// Both ends of the connection, in the extensions of each request where the option `connect_info` is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectInfo {
    remote: Endpoint,
    local: Endpoint,
}

impl ConnectInfo {
    pub(super) fn of(stream: &Stream) -> Self {
        Self { remote: stream.remote().clone(), local: stream.local() }
    }

    /// The client's end. Behind a proxy it is the proxy's.
    pub fn remote(&self) -> &Endpoint {
        &self.remote
    }

    /// This server's end.
    pub fn local(&self) -> &Endpoint {
        &self.local
    }

    pub(super) fn insert_into(&self, extensions: &mut Extensions) {
        #[cfg(feature = "axum")]
        if let Some(remote) = self.remote.tcp() {
            extensions.insert(axum::extract::ConnectInfo(remote));
        }
        extensions.insert(self.clone());
    }
}
