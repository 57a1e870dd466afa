//! A certificate and its private key: where they are from, and what may be wrong with them.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};

use super::provider;
use crate::error::{Error, Result, describe};
use crate::log::event;

/// Where a certificate and its key are from.
#[derive(Clone)]
pub(super) enum Source {
    /// They are read each time.
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    Given(Arc<CertifiedKey>),
}

impl Source {
    pub(super) fn files(certificate: &Path, key: &Path) -> Self {
        Self::Files { certificate: certificate.to_owned(), key: key.to_owned() }
    }

    pub(super) fn given(certificate: &[u8], key: &[u8]) -> Result<Self> {
        let (certificate, key) = (Pem::given(certificate), Pem::given(key));
        certified(&certificate, &key, &provider()).map(|given| Self::Given(Arc::new(given)))
    }

    /// The certificate's file.
    pub(super) fn certificate(&self) -> Option<&Path> {
        match self {
            Self::Files { certificate, .. } => Some(certificate),
            Self::Given(_) => None,
        }
    }

    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>> {
        match self {
            Self::Files { certificate, key } => {
                let (certificate, key) = (Pem::read(certificate)?, Pem::read(key)?);
                certified(&certificate, &key, provider).map(Arc::new)
            }
            Self::Given(given) => Ok(Arc::clone(given)),
        }
    }
}

/// A text, and what it is called.
pub(super) struct Pem<'a> {
    text: Cow<'a, [u8]>,
    name: String,
}

impl<'a> Pem<'a> {
    pub(super) fn given(text: &'a [u8]) -> Self {
        Self { text: text.into(), name: "the given PEM".to_owned() }
    }

    pub(super) fn read(file: &Path) -> Result<Pem<'static>> {
        let name = file.display().to_string();
        match fs::read(file) {
            Ok(text) => Ok(Pem { text: text.into(), name }),
            Err(error) => {
                Err(Error::tls(format!("cannot read {name}: {}", describe(&error)), Some(error.into())))
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// At least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err(self.lacks("certificate", "CERTIFICATE")),
            Ok(certificates) => Ok(certificates),
            Err(_) => Err(self.is_malformed()),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>> {
        match PrivateKeyDer::pem_slice_iter(&self.text).next() {
            Some(Ok(key)) => Ok(key),
            _ if self.is_encrypted() => Err(Error::tls(
                format!("the private key in {} is encrypted: expected one without a passphrase", self.name),
                None,
            )),
            Some(Err(_)) => Err(self.is_malformed()),
            None => Err(self.lacks("private key", "PRIVATE KEY")),
        }
    }

    /// As PKCS#8 (RFC 7468, section 11) and as the older forms (RFC 1421, section 4.6.1.1) say it.
    fn is_encrypted(&self) -> bool {
        let lines = self.text.split(|byte| *byte == b'\n');
        let says_so = |line: &[u8]| line.windows(9).any(|word| word == b"ENCRYPTED");
        lines.filter(|line| line.starts_with(b"-----BEGIN ") || line.starts_with(b"Proc-Type:")).any(says_so)
    }

    fn lacks(&self, what: &str, label: &str) -> Error {
        Error::tls(format!("no {what} in {}: expected PEM, \"-----BEGIN {label}-----\"", self.name), None)
    }

    /// What exactly is not said: it may be a line of a key.
    fn is_malformed(&self) -> Error {
        Error::tls(format!("{} is no well-formed PEM", self.name), None)
    }
}

fn certified(certificate: &Pem<'_>, key: &Pem<'_>, provider: &CryptoProvider) -> Result<CertifiedKey> {
    let chain = certificate.certificates()?;
    let signing = provider.key_provider.load_private_key(key.key()?).map_err(|error| {
        Error::tls(format!("cannot use the private key in {}: {error}", key.name), Some(error.into()))
    })?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        // Not every provider can tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            let (key, certificate) = (&key.name, &certificate.name);
            let message = format!("the private key in {key} does not match the certificate in {certificate}");
            return Err(Error::tls(message, None));
        }
        Err(error) => {
            let message = format!("cannot use the certificate in {}: {error}", certificate.name);
            return Err(Error::tls(message, Some(error.into())));
        }
    }
    warn_of_dates(&certified.cert, &certificate.name);
    Ok(certified)
}

/// Says so of a chain that clients will not accept today. It is served all the same: a clock may be wrong, and to
/// be down is worse.
fn warn_of_dates(chain: &[CertificateDer<'_>], name: &str) {
    match chain.iter().find_map(fault_of_dates) {
        Some(webpki::Error::CertExpired { not_after, .. }) => {
            event!(WARN, "the certificate has expired", file = name, since = date(not_after));
        }
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
            event!(WARN, "the certificate is not valid yet", file = name, until = date(not_before));
        }
        _ => {}
    }
}

/// The dates are what is looked at first, before it turns out that nobody is trusted here.
fn fault_of_dates(certificate: &CertificateDer<'_>) -> Option<webpki::Error> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let usage = KeyUsage::server_auth();
    let fault = parsed.verify_for_usage(&[], &[], &[], UnixTime::now(), usage, None, None).err()?;
    let is_of_dates =
        matches!(fault, webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. });
    is_of_dates.then_some(fault)
}

fn date(time: UnixTime) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}
