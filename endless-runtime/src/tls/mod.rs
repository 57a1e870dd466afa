//! TLS: certificates and keys, and what a server says in its handshakes.
//!
//! What is read is kept apart from what is served with it, so that certificates can be read again while the
//! process serves. The handshake itself is [`crate::connection`]'s.

mod client_auth;
mod identity;
mod info;
mod names;
mod presented;
pub(crate) mod tickets;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;

use client_auth::Asked;
pub use client_auth::ClientAuth;
use identity::Source;
pub use info::{TlsInfo, TlsVersion};
use names::{Name, Names};
pub(crate) use presented::Presented;

use crate::error::{Error, Result};
use crate::lock::lock;
use crate::log::event;
use crate::signal::hook::Registration;
use crate::signal::{Phase, Signal, given};

/// What a client may choose from: HTTP/2, and HTTP/1.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a server presents itself with: certificates with their keys, and what it asks of its clients. TLS 1.2 and
/// 1.3, `h2` and `http/1.1` by ALPN, and no early data.
///
/// A clone is the same: what [`Tls::reload`] reads anew is new for all clones, and for the connections that
/// come after it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    recipe: Recipe,
    made: Mutex<Arc<Made>>,
    /// Held while files are read, so that what was read last is what stays.
    reloading: Mutex<()>,
}

/// How the configuration is made, and can be made again.
enum Recipe {
    /// It cannot: it is the user's own.
    Given,
    Of(Ingredients),
}

#[derive(Clone)]
struct Ingredients {
    identity: Source,
    named: Vec<(Name, Source)>,
    clients: Option<ClientAuth>,
}

/// What is made of a recipe.
enum Made {
    /// The user's own, which is used as it is.
    Given(Arc<ServerConfig>),
    /// Ours, to which each server adds its tickets.
    Ours { config: Arc<ServerConfig>, asked: Option<Asked> },
}

/// Every one that a server of this process presents.
static SERVING: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

impl Tls {
    /// A certificate and its private key, from PEM files: the certificate with those that it needs up to its root,
    /// its own first; the key in PKCS#8, PKCS#1 or SEC1 form. One file may hold both.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, holds nothing of its kind, or the two do not belong together. One that has
    /// expired is served with, and a line of the log says so.
    pub fn from_pem_files(cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        Self::made(Ingredients::only(Source::files(cert.as_ref(), key.as_ref())))
    }

    /// A certificate and its private key, as [`Tls::from_pem_files`] takes them, from memory.
    ///
    /// # Errors
    ///
    /// If either holds nothing of its kind, or the two do not belong together.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self> {
        Self::made(Ingredients::only(Source::given(cert, key)?))
    }

    /// A configuration of your own, which is used as it is: its certificates, its protocols (without ALPN, a client
    /// of HTTP/2 must know beforehand), its session tickets. Only early data is turned off, which nobody here reads.
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        if config.max_early_data_size == 0 {
            return Self::with(Recipe::Given, Made::Given(config));
        }
        let mut config = (*config).clone();
        config.max_early_data_size = 0;
        Self::with(Recipe::Given, Made::Given(Arc::new(config)))
    }

    /// One more certificate, for clients that ask for the server of this `name`: `"example.org"`, or
    /// `"*.example.org"` for each name with one label more. Who asks for none of all names, or for none that is known,
    /// gets the first certificate.
    ///
    /// # Errors
    ///
    /// As [`Tls::from_pem_files`]; also if the certificate is not for that name, or the configuration is one of your
    /// own.
    pub fn with_sni(self, name: &str, cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let mut ingredients = self.ingredients("which certificates it has")?;
        ingredients.named.push((Name::parse(name)?, Source::files(cert.as_ref(), key.as_ref())));
        Self::made(ingredients)
    }

    /// Asks clients for a certificate, too.
    ///
    /// # Errors
    ///
    /// If the roots cannot be read, or the configuration is one of your own.
    pub fn client_auth(self, clients: ClientAuth) -> Result<Self> {
        let ingredients = self.ingredients("what clients present")?;
        Self::made(Ingredients { clients: Some(clients), ..ingredients })
    }

    /// Reads all files again. Connections that come from now on meet what is in them; those that are open keep what
    /// they have. What was given as bytes stays.
    ///
    /// It reads files, as any code that blocks a thread for a moment: not for the middle of a handler.
    ///
    /// # Errors
    ///
    /// As when it was made: then all stays as it was, and a line of the log says so. Also if there is no file.
    pub fn reload(&self) -> Result<()> {
        let _one_at_a_time = lock(&self.0.reloading);
        match self.0.recipe.renewed() {
            Ok(made) => {
                *lock(&self.0.made) = Arc::new(made);
                event!(INFO, "certificates reloaded", files = self.0.recipe);
                Ok(())
            }
            Err(error) => {
                event!(ERROR, "certificates not reloaded, the old ones are kept", reason = error);
                Err(error)
            }
        }
    }

    fn made(ingredients: Ingredients) -> Result<Self> {
        let made = ingredients.make()?;
        Ok(Self::with(Recipe::Of(ingredients), made))
    }

    fn with(recipe: Recipe, made: Made) -> Self {
        Self(Arc::new(Shared { recipe, made: Mutex::new(Arc::new(made)), reloading: Mutex::default() }))
    }

    fn ingredients(&self, what: &str) -> Result<Ingredients> {
        match &self.0.recipe {
            Recipe::Of(ingredients) => Ok(ingredients.clone()),
            Recipe::Given => {
                Err(Error::tls(format!("a `ServerConfig` of your own says itself {what}"), None))
            }
        }
    }

    /// What the next connection is served with.
    fn newest(&self) -> Arc<Made> {
        Arc::clone(&lock(&self.0.made))
    }

    /// A server presents it from now on.
    pub(crate) fn is_served(&self) {
        let mut serving = lock(&SERVING);
        serving.retain(|other| other.strong_count() > 0);
        if !serving.iter().any(|other| other.as_ptr() == Arc::as_ptr(&self.0)) {
            serving.push(Arc::downgrade(&self.0));
        }
    }
}

/// A hook that reads all certificates again: what the signal does, between the user's own hooks before and after
/// it. Like theirs, it may block its thread.
pub(crate) fn reload_upon(signal: Signal) -> &'static Registration {
    given::register_first(Phase::Post, signal, reload_all)
}

/// Reads again what the servers of this process have from files; each that fails keeps what it had.
fn reload_all() {
    let serving: Vec<_> = lock(&SERVING).iter().filter_map(Weak::upgrade).collect();
    let from_files: Vec<_> = serving.into_iter().filter(|shared| shared.recipe.has_files()).collect();
    if from_files.is_empty() {
        event!(WARN, "there is no certificate to be read again");
    }
    for shared in from_files {
        // It has said so.
        let _kept = Tls(shared).reload();
    }
}

impl Recipe {
    fn renewed(&self) -> Result<Made> {
        match self {
            Self::Of(ingredients) if ingredients.has_files() => ingredients.make(),
            _ => Err(no_file()),
        }
    }

    fn has_files(&self) -> bool {
        matches!(self, Self::Of(ingredients) if ingredients.has_files())
    }
}

impl Ingredients {
    fn only(identity: Source) -> Self {
        Self { identity, named: Vec::new(), clients: None }
    }

    fn make(&self) -> Result<Made> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::tls("cannot speak TLS", Some(error.into())))?;
        let asked = self.clients.as_ref().map(|clients| clients.read(&provider)).transpose()?;
        let verifier = match &asked {
            Some(asked) => asked.verifier(),
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let names = Names::load(&self.identity, &self.named, &provider)?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(names));
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
        Ok(Made::Ours { config: Arc::new(config), asked })
    }

    /// The files of the certificates.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let named = self.named.iter().map(|(_, source)| source);
        [&self.identity].into_iter().chain(named).filter_map(Source::certificate)
    }

    fn has_files(&self) -> bool {
        self.files().next().is_some() || self.clients.as_ref().is_some_and(|clients| clients.file().is_some())
    }
}

fn no_file() -> Error {
    Error::tls("there is no file that the certificates could be read from again", None)
}

/// The files of its certificates.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of(ingredients) = self else { return Ok(()) };
        let files: Vec<_> = ingredients.files().map(|file| file.display().to_string()).collect();
        f.write_str(&files.join(","))
    }
}

/// Nothing of a key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.0.recipe.to_string()).finish_non_exhaustive()
    }
}

/// The cryptography of every configuration that is made here. Nothing is installed for the whole process: that
/// is the program's to decide.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "tls")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;

    struct Issued {
        cert: String,
        key: String,
        roots: RootCertStore,
    }

    fn issue() -> Issued {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).expect("a root");
        Issued { cert: issued.cert.pem(), key: issued.signing_key.serialize_pem(), roots }
    }

    /// What a server presents with it.
    fn served(tls: &Tls) -> Arc<ServerConfig> {
        Presented::new(tls.clone(), "localhost:443".to_owned(), 0).config()
    }

    /// Carries everything from one to the other until both are done.
    fn shake_hands(client: &mut ClientConnection, server: &mut ServerConnection) {
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("memory");
            server.read_tls(&mut &bytes[..]).expect("memory");
            server.process_new_packets().expect("a client's");
            bytes.clear();
            server.write_tls(&mut bytes).expect("memory");
            client.read_tls(&mut &bytes[..]).expect("memory");
            client.process_new_packets().expect("a server's");
        }
    }

    #[test]
    fn the_provider_speaks_both_versions_and_the_client_chooses_from_both_protocols() {
        let Issued { cert, key, roots } = issue();
        let tls = Tls::from_pem(cert.as_bytes(), key.as_bytes()).expect("they belong together");
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for protocol in ALPN {
                let builder = ClientConfig::builder_with_provider(provider());
                let builder = builder.with_protocol_versions(&[version]).expect("it speaks it");
                let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
                config.alpn_protocols = vec![protocol.to_vec()];
                let name = ServerName::try_from("localhost").expect("a name");
                let mut client = ClientConnection::new(config.into(), name).expect("a client");
                let mut server = ServerConnection::new(served(&tls)).expect("a server");
                shake_hands(&mut client, &mut server);
                let info = TlsInfo::of(&server);
                assert_eq!((info.alpn(), info.sni()), (Some(protocol), Some("localhost")));
                let is_12 = version.version == rustls::ProtocolVersion::TLSv1_2;
                assert_eq!(info.version(), if is_12 { TlsVersion::Tls12 } else { TlsVersion::Tls13 });
            }
        }
    }

    #[test]
    fn early_data_is_off_whoever_has_made_the_configuration() {
        let Issued { cert, key, .. } = issue();
        let tls = Tls::from_pem(cert.as_bytes(), key.as_bytes()).expect("they belong together");
        assert_eq!(served(&tls).max_early_data_size, 0);
        let mut own = (*served(&tls)).clone();
        own.max_early_data_size = 1 << 14;
        assert_eq!(served(&Tls::from_config(own.into())).max_early_data_size, 0);
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let Issued { cert, key, .. } = issue();
        let tls = Tls::from_pem(cert.as_bytes(), key.as_bytes()).expect("they belong together");
        assert_eq!(format!("{tls:?}"), r#"Tls { files: "", .. }"#);
        let error = Tls::from_pem(cert.as_bytes(), cert.as_bytes()).expect_err("no key");
        assert!(error.is_tls());
        assert_eq!(
            error.to_string(),
            r#"no private key in the given PEM: expected PEM, "-----BEGIN PRIVATE KEY-----""#
        );
    }
}
