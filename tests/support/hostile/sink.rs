//! A server that throws away whatever comes: what an attack costs the machine that the attacker works on,
//! apart from what it costs its victim.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// On a thread of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    runtime: Option<Runtime>,
    pub(crate) address: SocketAddr,
}

impl Sink {
    pub(crate) async fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let listener = runtime.spawn(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.await.expect("no panic").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move {
            while let Ok((mut stream, _from)) = listener.accept().await {
                tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
            }
        });
        Self { runtime: Some(runtime), address }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // A test that drops it is within a runtime itself, where nobody may wait for another one.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}
