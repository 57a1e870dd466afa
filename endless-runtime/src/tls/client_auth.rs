//! What a server asks of its clients: certificates of theirs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::identity::Pem;
use crate::error::{BoxError, Error, Result};

/// Certificates that clients present (mutual TLS), and who may have issued them. A request's
/// [`ConnectInfo`](crate::ConnectInfo) tells which.
///
/// For more than that, as lists of what is revoked, make a `rustls::ServerConfig` of your own.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    roots: Roots,
    is_required: bool,
}

#[derive(Clone, Debug)]
enum Roots {
    /// It is read with the certificates of the server, and again with them.
    File(PathBuf),
    Given(Arc<[u8]>),
}

impl ClientAuth {
    /// Who has no certificate issued by one of these roots, a PEM file, gets no connection.
    pub fn required(roots: impl AsRef<Path>) -> Self {
        Self { roots: Roots::File(roots.as_ref().to_owned()), is_required: true }
    }

    /// Who presents a certificate must have it from one of these roots, a PEM file; who presents none is served too.
    pub fn optional(roots: impl AsRef<Path>) -> Self {
        Self { is_required: false, ..Self::required(roots) }
    }

    /// As [`ClientAuth::required`], from PEM in memory.
    pub fn required_by_pem(roots: &[u8]) -> Self {
        Self { roots: Roots::Given(roots.into()), is_required: true }
    }

    /// As [`ClientAuth::optional`], from PEM in memory.
    pub fn optional_by_pem(roots: &[u8]) -> Self {
        Self { is_required: false, ..Self::required_by_pem(roots) }
    }

    /// The file of the roots.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.roots {
            Roots::File(file) => Some(file),
            Roots::Given(_) => None,
        }
    }

    pub(super) fn read(&self, provider: &Arc<CryptoProvider>) -> Result<Asked> {
        let pem = match &self.roots {
            Roots::File(file) => Pem::read(file)?,
            Roots::Given(text) => Pem::given(text),
        };
        let fails = |error: BoxError| {
            Error::tls(format!("cannot use the certificates in {}: {error}", pem.name()), Some(error))
        };
        let (mut roots, mut policy) = (RootCertStore::empty(), vec![vec![u8::from(self.is_required)]]);
        for certificate in pem.certificates()? {
            policy.push(certificate.to_vec());
            roots.add(certificate).map_err(|error| fails(error.into()))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
        let builder = if self.is_required { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build().map_err(|error| fails(error.into()))?;
        Ok(Asked { verifier, policy })
    }
}

/// What a server asks of its clients, as it was read.
pub(super) struct Asked {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Whether it insists, and whom it trusts: what another one would have to have in common with it to let in the
    /// same clients.
    policy: Vec<Vec<u8>>,
}

impl Asked {
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    pub(super) fn policy(&self) -> Vec<&[u8]> {
        self.policy.iter().map(Vec::as_slice).collect()
    }

    /// Whether a client with these certificates would be let in now.
    pub(super) fn lets_in(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        match chain {
            Some([certificate, others @ ..]) => {
                self.verifier.verify_client_cert(certificate, others, UnixTime::now()).is_ok()
            }
            _ => !self.verifier.client_auth_mandatory(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;
    use crate::tls::provider;

    fn root() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root")
    }

    fn issued(root: &CertifiedIssuer<'static, KeyPair>, expires: i32) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new(["client".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(expires, 1, 1);
        let key = KeyPair::generate().expect("a key");
        vec![params.signed_by(&key, root).expect("issued").der().clone()]
    }

    /// rustls asks this of nobody who resumes.
    #[test]
    fn who_comes_back_is_looked_at_again() {
        let root = root();
        let pem = root.pem();
        let required = ClientAuth::required_by_pem(pem.as_bytes()).read(&provider()).expect("a root");
        let optional = ClientAuth::optional_by_pem(pem.as_bytes()).read(&provider()).expect("a root");
        for asked in [&required, &optional] {
            assert!(asked.lets_in(Some(&issued(&root, 4000))));
            assert!(!asked.lets_in(Some(&issued(&root, 2021))), "it has expired");
            assert!(!asked.lets_in(Some(&issued(&self::root(), 4000))), "nobody knows its issuer");
        }
        assert!(optional.lets_in(None));
        assert!(!required.lets_in(None));
    }
}
