//! As many requests as a server answers over HTTP/2, by hyper's client on two threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::load::{Progress, Round, Work, round};
use crate::server::Server;

pub(crate) type Client = SendRequest<Empty<Bytes>>;

/// So many connections with so many streams each, all of them always waiting for an answer.
pub(crate) fn keep_busy(
    server: &Server,
    connections: usize,
    streams: usize,
    window: Duration,
) -> Outcome<Round> {
    let address = server.http2;
    let worker = || -> Work {
        Box::new(move |progress| on_this_thread(work(address, connections / 2, streams, progress)))
    };
    round(server, window, [worker(), worker()])
}

pub(crate) fn on_this_thread<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn work(
    address: SocketAddr,
    connections: usize,
    streams: usize,
    progress: Arc<Progress>,
) -> Outcome<()> {
    let mut all = JoinSet::new();
    for _ in 0..connections {
        let client = connect(address).await?;
        for _ in 0..streams {
            all.spawn(keep_asking(client.clone(), format!("http://{address}/hello"), Arc::clone(&progress)));
        }
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}

async fn keep_asking(mut client: Client, uri: String, progress: Arc<Progress>) -> Outcome<()> {
    while !progress.is_over() {
        ask(&mut client, &uri).await?;
        progress.count();
    }
    Ok(())
}

pub(crate) async fn connect(address: SocketAddr) -> Outcome<Client> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn ask(client: &mut Client, uri: &str) -> Outcome<Bytes> {
    client.ready().await?;
    let response = client.send_request(Request::get(uri).body(Empty::new())?).await?;
    if response.status() != 200 {
        return Err(format!("status {}", response.status()).into());
    }
    Ok(response.into_body().collect().await?.to_bytes())
}
