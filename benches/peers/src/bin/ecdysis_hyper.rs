//! hyper 1 with ecdysis for its restarts and hyper-util for its drain.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use ecdysis_socket::Socket;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulShutdown;
use peers::{Arguments, Counting, answer};
use tokio::net::TcpStream;
use tokio_stream::{Stream, StreamExt as _};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::main]
async fn main() {
    let arguments = Arguments::read();
    let ecdysis = TokioEcdysisBuilder::new(SignalKind::hangup()).expect("a handler");
    let bind = |address| ecdysis.build_listen_tcp(StopOnShutdown::Yes, address, listen).expect("bound");
    let (http1, http2) = (bind(arguments.http1), bind(arguments.http2));
    let (_ecdysis, stopped) = ecdysis.ready().expect("ready");
    let (http1, http2) = (tokio::spawn(serve_http1(http1)), tokio::spawn(serve_http2(http2)));
    stopped.await.expect("a successor");
    for drain in [http1.await.expect("served"), http2.await.expect("served")] {
        // As long as endless's hammer time.
        if tokio::time::timeout(Duration::from_secs(60), drain.shutdown()).await.is_err() {
            eprintln!("not drained in time");
        }
    }
}

fn listen(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

async fn serve_http1(mut streams: impl Stream<Item = io::Result<TcpStream>> + Unpin) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    while let Some(stream) = streams.next().await {
        let connection = http1::Builder::new().serve_connection(prepare(stream), service_fn(answer));
        tokio::spawn(graceful.watch(connection));
    }
    graceful
}

async fn serve_http2(mut streams: impl Stream<Item = io::Result<TcpStream>> + Unpin) -> GracefulShutdown {
    let graceful = GracefulShutdown::new();
    while let Some(stream) = streams.next().await {
        let builder = http2::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(prepare(stream), service_fn(answer));
        tokio::spawn(graceful.watch(connection));
    }
    graceful
}

fn prepare(stream: io::Result<TcpStream>) -> TokioIo<TcpStream> {
    let stream = stream.expect("accepted");
    stream.set_nodelay(true).expect("set");
    TokioIo::new(stream)
}
