//! hyper 1 with tokio-rustls, and nothing around the two: what endless over TLS is measured against.

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use peers::{Arguments, Counting, answer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::Ticketer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::main]
async fn main() {
    let arguments = Arguments::read();
    let acceptor = TlsAcceptor::from(Arc::new(configuration(&arguments)));
    let listener = TcpListener::bind(arguments.http1).await.expect("bound");
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        stream.set_nodelay(true).expect("set");
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
            }
        });
    }
}

/// With tickets, as endless gives them out.
fn configuration(arguments: &Arguments) -> ServerConfig {
    let (cert, key) = arguments.tls.as_ref().expect("a certificate");
    let cert = CertificateDer::from_pem_file(cert).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let builder = ServerConfig::builder().with_no_client_auth();
    let mut configuration = builder.with_single_cert(vec![cert], key).expect("they belong together");
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    configuration.ticketer = Ticketer::new().expect("there is randomness");
    configuration
}
