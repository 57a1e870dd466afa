//! What one server presents: a [`Tls`], with session tickets that are good there alone.

use std::fmt;
use std::sync::{Arc, Mutex};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use super::tickets::{self, Binding};
use super::{Made, Tls};
use crate::lock::lock;

/// One of the servers with this [`Tls`].
pub(crate) struct Presented {
    tls: Tls,
    requested: String,
    occurrence: usize,
    /// What was presented last, and what it was made of.
    last: Mutex<Option<(Arc<Made>, Arc<ServerConfig>)>>,
}

impl Presented {
    /// By the server that was requested with this text, as so many were before it.
    pub(crate) fn new(tls: Tls, requested: String, occurrence: usize) -> Self {
        let presented = Self { tls, requested, occurrence, last: Mutex::default() };
        // Whoever asks what there is to hand over finds that there are tickets, also before the first handshake.
        drop(presented.config());
        presented
    }

    /// What the next connection is served with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let newest = self.tls.newest();
        let mut last = lock(&self.last);
        match &*last {
            Some((made, config)) if Arc::ptr_eq(made, &newest) => Arc::clone(config),
            _ => {
                let config = self.with_tickets(&newest);
                *last = Some((newest, Arc::clone(&config)));
                config
            }
        }
    }

    fn with_tickets(&self, made: &Made) -> Arc<ServerConfig> {
        match made {
            Made::Given(config) => Arc::clone(config),
            Made::Ours { config, asked } => {
                let policy = asked.as_ref().map_or(Vec::new(), |asked| asked.policy());
                let binding = Binding::new(&self.requested, self.occurrence, &policy);
                let mut config = (**config).clone();
                config.ticketer = tickets::ticketer(binding);
                Arc::new(config)
            }
        }
    }

    /// Whether this client may stay: rustls lets a session resume whose client would be let in no more, as its
    /// certificate has expired since, and would do so again and again.
    pub(crate) fn lets_in(&self, session: &ServerConnection) -> bool {
        match &*self.tls.newest() {
            Made::Ours { asked: Some(asked), .. }
                if session.handshake_kind() == Some(HandshakeKind::Resumed) =>
            {
                asked.lets_in(session.peer_certificates())
            }
            _ => true,
        }
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("tls", &self.tls).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::tls::{ClientAuth, provider};

    fn self_signed() -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        (params.self_signed(&key).expect("a certificate"), key)
    }

    fn presented(tls: &Tls, requested: &str, occurrence: usize) -> Presented {
        Presented::new(tls.clone(), requested.to_owned(), occurrence)
    }

    #[test]
    fn a_ticket_is_good_where_it_was_made() {
        let (certificate, key) = self_signed();
        let pem = certificate.pem();
        let tls =
            Tls::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).expect("they belong together");
        let asking = |auth| tls.clone().client_auth(auth).expect("a root");
        let required = asking(ClientAuth::required_by_pem(pem.as_bytes()));
        let optional = asking(ClientAuth::optional_by_pem(pem.as_bytes()));
        let others = asking(ClientAuth::required_by_pem(self_signed().0.pem().as_bytes()));
        let servers = [
            presented(&tls, ":443", 0),
            presented(&tls, ":443", 1),
            presented(&tls, ":444", 0),
            presented(&required, ":443", 0),
            presented(&optional, ":443", 0),
            presented(&others, ":443", 0),
        ];
        for (at, server) in servers.iter().enumerate() {
            let ticket = server.config().ticketer.encrypt(b"state").expect("there is a key");
            let opens = |other: &Presented| other.config().ticketer.decrypt(&ticket).is_some();
            let places: Vec<_> = servers.iter().map(opens).collect();
            assert_eq!(places.iter().filter(|opens| **opens).count(), 1);
            assert!(places[at]);
        }
        // As after a restart.
        let ticket = servers[3].config().ticketer.encrypt(b"state").expect("there is a key");
        let again = asking(ClientAuth::required_by_pem(pem.as_bytes()));
        assert!(presented(&again, ":443", 0).config().ticketer.decrypt(&ticket).is_some());
    }

    #[test]
    fn a_configuration_is_made_once() {
        let (certificate, key) = self_signed();
        let tls =
            Tls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).expect("a pair");
        let server = presented(&tls, ":443", 0);
        assert!(Arc::ptr_eq(&server.config(), &server.config()));
    }

    #[test]
    fn one_of_the_users_own_is_left_alone() {
        let (certificate, key) = self_signed();
        let builder = ServerConfig::builder_with_provider(provider());
        let builder =
            builder.with_safe_default_protocol_versions().expect("both are there").with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config =
            Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair"));
        let server = presented(&Tls::from_config(Arc::clone(&config)), ":443", 0);
        assert!(Arc::ptr_eq(&server.config(), &config));
    }
}
