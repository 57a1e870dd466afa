//! What a handler can learn of the connection that its request came over.

#[cfg(feature = "_tls")]
use std::sync::Arc;

use http::Extensions;

use crate::address::Endpoint;
use crate::listener::Stream;
#[cfg(feature = "_tls")]
use crate::tls::TlsInfo;

/// Both ends of the connection, and what TLS tells of it, in the extensions of each request where the option `connect_info` is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectInfo {
    remote: Endpoint,
    local: Endpoint,
    #[cfg(feature = "_tls")]
    tls: Option<Arc<TlsInfo>>,
}

impl ConnectInfo {
    pub(super) fn of(stream: &Stream) -> Self {
        Self {
            remote: stream.remote().clone(),
            local: stream.local(),
            #[cfg(feature = "_tls")]
            tls: None,
        }
    }

    #[cfg(feature = "_tls")]
    pub(super) fn over(self, tls: TlsInfo) -> Self {
        Self { tls: Some(Arc::new(tls)), ..self }
    }

    /// The client's end. Behind a proxy it is the proxy's.
    pub fn remote(&self) -> &Endpoint {
        &self.remote
    }

    /// This server's end.
    pub fn local(&self) -> &Endpoint {
        &self.local
    }

    /// What the two have agreed on; `None` where TLS is not spoken.
    #[cfg(feature = "_tls")]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_deref()
    }

    pub(super) fn insert_into(&self, extensions: &mut Extensions) {
        #[cfg(feature = "axum")]
        if let Some(remote) = self.remote.tcp() {
            extensions.insert(axum::extract::ConnectInfo(remote));
        }
        extensions.insert(self.clone());
    }
}
