//! The responder for challenges where no block listens on the port that the CA asks.
//!
//! Open only while an order is under way. It answers the names of pending challenges and refuses
//! everything else.
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_acme::{Answer, Challenges, Responder};
use corten_plugin::async_trait;
use corten_plugin::wire::finish::{Carrier, header_only};
use corten_plugin::wire::{Gate, Query, Rcode, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::challenge::respond;

/// Connections at the same time; a CA opens a handful.
const CONNECTIONS_MAX: usize = 64;
/// A connection is over after this time.
const CONNECTION: Duration = Duration::from_secs(10);

/// Opens the responder, or knows that it is not needed.
pub(crate) struct Bootstrap {
    challenges: Arc<Challenges>,
    addresses: Vec<SocketAddr>,
    port: u16,
    /// A block of ours listens on the port: the challenge link answers there.
    own: bool,
}

impl Bootstrap {
    pub(crate) fn new(
        challenges: Arc<Challenges>,
        port: u16,
        bind: Option<Vec<SocketAddr>>,
        own: bool,
    ) -> Self {
        let any = || {
            vec![
                (Ipv4Addr::UNSPECIFIED, 0).into(),
                (Ipv6Addr::UNSPECIFIED, 0).into(),
            ]
        };
        let addresses = bind
            .unwrap_or_else(any)
            .into_iter()
            .map(|address| SocketAddr::new(address.ip(), port))
            .collect();
        Self {
            challenges,
            addresses,
            port,
            own,
        }
    }
}

#[async_trait]
impl Responder for Bootstrap {
    async fn open(&self) -> Result<Box<dyn Send + Sync>, String> {
        if self.own {
            return Ok(Box::new(()));
        }
        let (mut tasks, mut failed) = (JoinSet::new(), None);
        for &address in &self.addresses {
            match bind(address).await {
                Ok((udp, tcp)) => {
                    tasks.spawn(serve_udp(udp, Arc::clone(&self.challenges)));
                    tasks.spawn(serve_tcp(tcp, Arc::clone(&self.challenges)));
                }
                Err(error) => failed = Some(format!("{address}: {error}")),
            }
        }
        // One family of a wildcard may be missing on this machine, or come with the other.
        if tasks.is_empty() {
            let port = self.port;
            return Err(format!(
                "the ACME responder cannot listen on port {port}: {}; stop what listens there, or serve a block on port {port}",
                failed.unwrap_or_else(|| "no address to listen on".to_owned())
            ));
        }
        // Tasks end with the set.
        Ok(Box::new(std::sync::Mutex::new(tasks)))
    }
}

async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    Ok((
        UdpSocket::bind(address).await?,
        TcpListener::bind(address).await?,
    ))
}

/// Appends the reply to a message, if it is to have one.
fn answer(challenges: &Challenges, message: &[u8], carrier: Carrier, out: &mut Vec<u8>) -> bool {
    let (mut query, mut reply) = (Query::new(), Reply::new());
    match query.read(message) {
        Gate::Ignore => return false,
        Gate::Header(rcode) => {
            header_only(&query, rcode, out);
            return true;
        }
        Gate::Whole(rcode) => reply.start(&query, rcode),
        Gate::Pass => match challenges.lookup(query.question.name.wire()) {
            Answer::Values(values) => respond(&query, &mut reply, &values),
            Answer::NotOurs => reply.start(&query, Rcode::REFUSED),
        },
    }
    reply.finish(&query, carrier, out);
    true
}

async fn serve_udp(socket: UdpSocket, challenges: Arc<Challenges>) {
    let mut buffer = [0; 4096];
    loop {
        // Errors are those of clients that have gone.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let mut out = Vec::new();
        if answer(&challenges, &buffer[..length], Carrier::Datagram, &mut out) {
            let _ = socket.send_to(&out, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, challenges: Arc<Challenges>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let challenges = Arc::clone(&challenges);
                connections.spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(CONNECTION, converse(stream, &challenges)).await;
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, challenges: &Challenges) -> io::Result<()> {
    loop {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        let mut out = vec![0, 0];
        if !answer(challenges, &message, Carrier::Stream, &mut out) {
            return Ok(());
        }
        let length = (out.len() - 2) as u16;
        out[..2].copy_from_slice(&length.to_be_bytes());
        stream.write_all(&out).await?;
    }
}
