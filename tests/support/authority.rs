//! Certificates for the tests: who issues them, and what may be wrong with them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::process::shared_folder;

/// Issues certificates, and keeps all files in a folder of its own.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, each in a file.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "the tests' authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root");
        // Servers read in it that are not run as the test is.
        let folder = shared_folder();
        fs::write(folder.path().join("root.pem"), issuer.pem()).expect("our own folder");
        Self { folder, issuer }
    }

    /// Where a file of this name is, or would be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The root's certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    /// A certificate for these names, in `NAME.pem` and `NAME.key`; it replaces what is there.
    pub(crate) fn issue(&self, name: &str, names: &[&str]) -> Identity {
        self.issue_with(name, names, |_| {})
    }

    /// One that was valid once.
    pub(crate) fn issue_expired(&self, name: &str, names: &[&str]) -> Identity {
        self.issue_with(name, names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        })
    }

    /// One that will be valid.
    pub(crate) fn issue_early(&self, name: &str, names: &[&str]) -> Identity {
        self.issue_with(name, names, |params| params.not_before = rcgen::date_time_ymd(4000, 1, 1))
    }

    /// One for this key, in PEM.
    pub(crate) fn issue_for(&self, key: &str, name: &str, names: &[&str]) -> Identity {
        self.issue_with_key(KeyPair::from_pem(key).expect("a key"), name, names, |_| {})
    }

    fn issue_with(&self, name: &str, names: &[&str], with: impl FnOnce(&mut CertificateParams)) -> Identity {
        self.issue_with_key(KeyPair::generate().expect("a key"), name, names, with)
    }

    fn issue_with_key(
        &self,
        key: KeyPair,
        name: &str,
        names: &[&str],
        with: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        with(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("issued");
        let (cert_file, key_file) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        put(&cert_file, &certificate.pem());
        put(&key_file, &key.serialize_pem());
        Identity { cert: cert_file, key: key_file, der: certificate.der().clone() }
    }
}

impl Identity {
    /// Both files, as the tests' program takes them.
    pub(crate) fn pair(&self) -> String {
        format!("{},{}", self.cert.display(), self.key.display())
    }
}

/// Whole at any time, as those do who renew certificates.
fn put(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).expect("our own folder");
    fs::rename(beside, file).expect("our own folder");
}
