//! The tests' program that speaks TLS as its code says.
//!
//! Its words are `listen=ADDRESS`; one of `files=CERT,KEY`, `pem=CERT,KEY` (the same read by the program itself),
//! `own=CERT,KEY` (a `ServerConfig` of its own) and `late=CERT,KEY` (`serve_tls`); `sni=NAME,CERT,KEY`, any
//! number; `required=ROOTS` or `optional=ROOTS`; `reload=SIGNAL`; `max_connections=N`;
//! `handshake_timeout=MILLISECONDS`.

#[allow(dead_code)]
mod routes;

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use endless::{ClientAuth, Config, Server, Tls};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() {
    if let Err(error) = serve().await {
        routes::say(format!("ERROR app: {error} pid={}", std::process::id()));
        std::process::exit(1);
    }
    routes::say(format!("INFO app: returned pid={}", std::process::id()));
}

async fn serve() -> Result<()> {
    routes::follow_plan()?;
    if let Some(signal) = find("reload") {
        endless::configure(Config::new().tls_reload(signal.parse::<endless::Signal>()?))?;
    }
    let address = find("listen").unwrap_or("127.0.0.1:0".to_owned());
    if let Some(late) = find("late") {
        let (cert, key) = pair(&late);
        return Ok(endless::serve_tls(address, cert, key, routes::routes()).await?);
    }
    let tls = tls()?;
    let mut server = Server::new(address, service(tls.clone())).tls(tls).connect_info(true);
    if let Some(most) = find("max_connections") {
        server = server.max_connections(most.parse::<usize>()?);
    }
    if let Some(time) = find("handshake_timeout") {
        server = server.handshake_timeout(Duration::from_millis(time.parse()?));
    }
    Ok(server.serve().await?)
}

fn service(tls: Tls) -> Router {
    let reload = async move || match tls.reload() {
        Ok(()) => "reloaded".to_owned(),
        Err(error) => format!("tls={} {error}", error.is_tls()),
    };
    routes::routes().route("/reload", get(reload))
}

fn tls() -> Result<Tls> {
    let mut tls = match (find("files"), find("pem"), find("own")) {
        (Some(files), ..) => Tls::from_pem_files(pair(&files).0, pair(&files).1)?,
        (_, Some(files), _) => Tls::from_pem(&fs::read(pair(&files).0)?, &fs::read(pair(&files).1)?)?,
        (.., Some(files)) => Tls::from_config(own_config(&files)?),
        _ => return Err("no certificate".into()),
    };
    for sni in words().filter_map(|word| Some(word.strip_prefix("sni=")?.to_owned())) {
        let (name, files) = sni.split_once(',').ok_or("a name and two files")?;
        tls = tls.with_sni(name, pair(files).0, pair(files).1)?;
    }
    if let Some(roots) = find("required") {
        tls = tls.client_auth(ClientAuth::required(roots))?;
    }
    if let Some(roots) = find("optional") {
        tls = tls.client_auth(ClientAuth::optional(roots))?;
    }
    routes::say(format!("INFO app: {tls:?}"));
    Ok(tls)
}

fn own_config(files: &str) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(pair(files).0)?.collect::<std::result::Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    Ok(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(pair(files).1)?)?.into())
}

fn pair(files: &str) -> (&str, &str) {
    files.split_once(',').expect("two files")
}

fn words() -> impl Iterator<Item = String> {
    std::env::args().skip(1)
}

fn find(name: &str) -> Option<String> {
    words().find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}
