//! Which certificate a client gets, by the name that it asks for (RFC 6066, section 3).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::identity::Source;
use crate::error::{Error, Result};

/// A name of a server, or `*.` and all names with one label more.
#[derive(Clone, Debug)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let name = Self(text.to_ascii_lowercase());
        match DnsName::try_from(name.sample()) {
            Ok(_) => Ok(name),
            Err(_) => Err(Error::tls(
                format!("{text:?} is no name of a server: expected \"example.org\" or \"*.example.org\""),
                None,
            )),
        }
    }

    /// One that it stands for.
    fn sample(&self) -> String {
        match self.0.strip_prefix("*.") {
            Some(rest) => format!("any.{rest}"),
            None => self.0.clone(),
        }
    }

    /// # Errors
    ///
    /// If no client that asks for this name would accept the certificate.
    fn check(&self, certified: &CertifiedKey, source: &Source) -> Result<()> {
        let sample = ServerName::try_from(self.sample()).ok();
        let parsed = certified.cert.first().and_then(|certificate| EndEntityCert::try_from(certificate).ok());
        let is_for = |(parsed, name): (EndEntityCert<'_>, ServerName<'_>)| {
            parsed.verify_is_valid_for_subject_name(&name).is_ok()
        };
        if parsed.zip(sample).is_some_and(is_for) {
            return Ok(());
        }
        let file = source.certificate().map(|file| file.display().to_string()).unwrap_or_default();
        Err(Error::tls(format!("the certificate in {file} is not for {}", self.0), None))
    }
}

/// A server's certificates.
pub(super) struct Names {
    named: HashMap<String, Arc<CertifiedKey>>,
    /// For everybody else.
    first: Arc<CertifiedKey>,
}

impl Names {
    pub(super) fn load(first: &Source, named: &[(Name, Source)], provider: &CryptoProvider) -> Result<Self> {
        let load = |(name, source): &(Name, Source)| {
            let certified = source.load(provider)?;
            name.check(&certified, source)?;
            Ok((name.0.clone(), certified))
        };
        let first = first.load(provider)?;
        Ok(Self { named: named.iter().map(load).collect::<Result<_>>()?, first })
    }

    fn of(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = || self.named.get(&format!("*.{}", name.split_once('.')?.1));
        self.named.get(&name).or_else(wildcard)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.of(name));
        Some(Arc::clone(named.unwrap_or(&self.first)))
    }
}

/// Nothing of a key.
impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.named.keys()).finish()
    }
}
