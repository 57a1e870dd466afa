//! hyper 1 and nothing around it: what the others are measured against.

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use peers::{Arguments, Counting, answer};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::main]
async fn main() {
    let arguments = Arguments::read();
    let http1 = TcpListener::bind(arguments.http1).await.expect("bound");
    let http2 = TcpListener::bind(arguments.http2).await.expect("bound");
    tokio::spawn(async move {
        loop {
            let builder = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(accept(&http2).await, service_fn(answer)));
        }
    });
    loop {
        tokio::spawn(http1::Builder::new().serve_connection(accept(&http1).await, service_fn(answer)));
    }
}

async fn accept(listener: &TcpListener) -> TokioIo<TcpStream> {
    let (stream, _) = listener.accept().await.expect("accepted");
    stream.set_nodelay(true).expect("set");
    TokioIo::new(stream)
}
