//! The tests' program whose clients come back: three servers over TLS that ask different things of them.
//!
//! Its words are the files of a certificate, of its key, and of the roots of clients. On 127.0.0.1 it asks its clients
//! for nothing, on 127.0.0.2 for a certificate, and on 127.0.0.3 it has a `ServerConfig` of its own, which makes its
//! tickets itself. With the plan `asks`, the first one asks for a certificate, too.

#[allow(dead_code)]
mod routes;

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use endless::{ClientAuth, ConnectInfo, Phase, Server, Signal, Tls};
use http::Request;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[endless::main]
async fn main() -> Result<()> {
    routes::follow_plan()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [cert, key, roots] = &words[..] else { return Err("three files".into()) };
    let plain = Tls::from_pem_files(cert, key)?;
    let asking = plain.clone().client_auth(ClientAuth::required(roots))?;
    let first = if routes::plan() == "asks" { asking.clone() } else { plain };
    let own = Tls::from_config(own_config(cert, key)?);
    tokio::try_join!(
        server("127.0.0.1:0", first).serve(),
        server("127.0.0.2:0", asking).serve(),
        server("127.0.0.3:0", own).serve(),
    )?;
    Ok(())
}

fn server(address: &str, tls: Tls) -> Server<Router> {
    let service = routes::routes().route("/certificates", get(certificates));
    // So that a test can wait until a signal has gone its way.
    let hooked = Server::new(address, service).hook(Phase::Post, Signal::User1, || {});
    hooked.tls(tls).connect_info(true)
}

/// How many certificates the client has shown, now or when its session began.
async fn certificates(request: Request<axum::body::Body>) -> String {
    let info = request.extensions().get::<ConnectInfo>().and_then(ConnectInfo::tls);
    info.map_or(0, |tls| tls.client_chain().len()).to_string()
}

fn own_config(cert: &str, key: &str) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<std::result::Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.ticketer = ring::Ticketer::new()?;
    Ok(config.into())
}
