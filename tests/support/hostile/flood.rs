//! Connections, more than there may be.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Attack, End};

/// Connects, sends nothing, and stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silent;

impl Attack for Silent {
    async fn attack(self, mut stream: TcpStream) -> io::Result<End> {
        stream.read(&mut [0; 64]).await.map(|_| End::Closed)
    }
}

/// Connects, sends nothing, leaves after a while, and comes again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) stay: Duration,
}

impl Attack for Crowd {
    async fn attack(self, stream: TcpStream) -> io::Result<End> {
        // Its own end is none that the server makes.
        timeout(self.stay, Silent.attack(stream)).await.unwrap_or(Ok(End::Closed))
    }
}
