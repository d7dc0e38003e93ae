//! The responder for challenges where no block listens on the port that the CA asks.
//!
//! Open only while an order is under way, and shared by all orders of the process. It answers the
//! names of pending challenges and refuses everything else.
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use corten_acme::{Answer, Challenges, Responder};
use corten_plugin::async_trait;
use corten_plugin::wire::finish::{Carrier, header_only};
use corten_plugin::wire::{Gate, Query, Rcode, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::challenge::{asker, respond};
use crate::owner;

/// Connections, and datagrams, that are answered at the same time; a CA sends a handful.
const AT_ONCE_MAX: usize = 64;
/// A connection is over after this time.
const CONNECTION: Duration = Duration::from_secs(10);
/// Attempts to have an address that may still be our own, and the time between them.
const ATTEMPTS: u32 = 5;
const CLOSING: Duration = Duration::from_millis(10);
/// Addresses of the machine that get a socket each; with more there is one for all.
const ADDRESSES_MAX: usize = 64;

/// Every responder of the process.
pub(crate) struct Bootstrap {
    challenges: Arc<Challenges>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    serial: u64,
    /// What the blocks of configurations want. Of the same place the newest counts, whose
    /// configuration may still fail.
    wanted: Vec<Wanted>,
    /// Tasks by address; they end when nobody has them.
    open: HashMap<SocketAddr, Weak<Tasks>>,
}

/// Where a CA's questions arrive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) port: u16,
    /// Addresses of the block; nothing for all.
    pub(crate) bind: Option<Vec<SocketAddr>>,
}

struct Wanted {
    serial: u64,
    place: Place,
    /// Addresses on which blocks of ours listen: the challenge link answers there.
    own: Vec<IpAddr>,
}

/// Takes back what a block wanted when it is dropped.
pub(crate) struct Wish {
    bootstrap: Arc<Bootstrap>,
    serial: u64,
}

/// Both sockets of an address. Tasks end with the set.
struct Tasks(#[expect(dead_code, reason = "kept for its end")] Mutex<JoinSet<()>>);

impl Bootstrap {
    pub(crate) fn new(challenges: Arc<Challenges>) -> Arc<Self> {
        Arc::new(Self {
            challenges,
            state: Mutex::default(),
        })
    }

    /// Opens this place for orders, too, but for the addresses of its port on which blocks of ours
    /// listen.
    pub(crate) fn want(self: &Arc<Self>, place: Place, own: Vec<IpAddr>) -> Wish {
        let mut state = self.state();
        state.serial += 1;
        let serial = state.serial;
        state.wanted.push(Wanted { serial, place, own });
        Wish {
            bootstrap: Arc::clone(self),
            serial,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sockets of an address: those that other orders have open, or new ones.
    async fn tasks(&self, address: SocketAddr) -> io::Result<Arc<Tasks>> {
        let mut attempt = 1;
        loop {
            if let Some(tasks) = self.state().open.get(&address).and_then(Weak::upgrade) {
                return Ok(tasks);
            }
            match bind(address) {
                Ok((udp, tcp)) => {
                    let mut tasks = JoinSet::new();
                    tasks.spawn(serve_udp(udp, Arc::clone(&self.challenges)));
                    tasks.spawn(serve_tcp(tcp, Arc::clone(&self.challenges)));
                    let tasks = Arc::new(Tasks(Mutex::new(tasks)));
                    self.state().open.insert(address, Arc::downgrade(&tasks));
                    return Ok(tasks);
                }
                // An order that has ended in this moment closes its sockets in the next.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                    tokio::time::sleep(CLOSING).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn open_place(&self, place: &Place, own: &[IpAddr]) -> Result<Vec<Arc<Tasks>>, String> {
        let (mut open, mut failed) = (Vec::new(), Vec::new());
        let (served, addresses): (Vec<_>, Vec<_>) = addresses(place)
            .into_iter()
            .partition(|address| is_served(address.ip(), own));
        for &address in &addresses {
            match self.tasks(address).await {
                Ok(tasks) => open.push((address, tasks)),
                Err(error) => failed.push((address, error)),
            }
        }
        // A CA does not ask the loopback interface, unless it is all there is.
        let outside = |address: &SocketAddr| !address.ip().is_loopback();
        let wants_outside = addresses.iter().any(outside);
        let opened = open.iter().map(|(address, _)| address);
        let enough = opened
            .chain(&served)
            .any(|address| outside(address) || !wants_outside);
        if let Some((address, error)) = failed.first() {
            let why = owner::explain(*address, error).await;
            let port = place.port;
            if !enough {
                let advice = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        format!("; stop what listens there, or serve a block on port {port}")
                    }
                    _ => String::new(),
                };
                return Err(format!(
                    "the ACME responder cannot listen on port {port}: {why}{advice}"
                ));
            }
            // Where a block of ours is reached from outside the others may not matter.
            let what = format!(
                "The ACME responder listens on {} of {} addresses: {why}",
                open.len(),
                addresses.len()
            );
            match served.iter().any(outside) {
                true => tracing::debug!(target: "plugin/tls", "{what}"),
                false => tracing::warn!(target: "plugin/tls", "{what}"),
            }
        }
        Ok(open.into_iter().map(|(_, tasks)| tasks).collect())
    }
}

#[async_trait]
impl Responder for Bootstrap {
    async fn open(&self) -> Result<Box<dyn Send + Sync>, String> {
        let places: Vec<_> = {
            let state = self.state();
            let newest: HashMap<_, _> = state
                .wanted
                .iter()
                .map(|wanted| (wanted.place.clone(), wanted.own.clone()))
                .collect();
            newest.into_iter().collect()
        };
        let mut open = Vec::new();
        for (place, own) in &places {
            open.extend(self.open_place(place, own).await?);
        }
        Ok(Box::new(open))
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        let mut state = self.bootstrap.state();
        state.wanted.retain(|wanted| wanted.serial != self.serial);
    }
}

/// Whether a block of ours that listens on `own` has an address.
fn is_served(address: IpAddr, own: &[IpAddr]) -> bool {
    own.iter()
        .any(|own| *own == address || own.is_unspecified() && own.is_ipv4() == address.is_ipv4())
}

/// The addresses to listen on. A wildcard becomes every address of the machine: one that somebody
/// else has does not take the others along, and replies leave from the address that was asked.
fn addresses(place: &Place) -> Vec<SocketAddr> {
    let any = || {
        vec![
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::UNSPECIFIED, 0).into(),
        ]
    };
    let (mut addresses, mut seen) = (Vec::new(), HashSet::new());
    for address in place.bind.clone().unwrap_or_else(any) {
        let own = match address.ip().is_unspecified() {
            true => owner::interface_addresses(address.is_ipv4()),
            false => Vec::new(),
        };
        let own = if own.is_empty() || own.len() > ADDRESSES_MAX {
            vec![address.ip()]
        } else {
            own
        };
        addresses.extend(own.into_iter().filter(|ip| seen.insert(*ip)));
    }
    let unspecified = |ip: &IpAddr| ip.is_unspecified() && ip.is_ipv6();
    if addresses.len() > 1 && !std::path::Path::new("/proc/net/if_inet6").exists() {
        addresses.retain(|ip| !unspecified(ip));
    }
    let with_port = |ip| SocketAddr::new(ip, place.port);
    addresses.into_iter().map(with_port).collect()
}

fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let domain = socket2::Domain::for_address(address);
    let udp = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    let tcp = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    for socket in [&udp, &tcp] {
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
    }
    udp.bind(&address.into())?;
    let udp = UdpSocket::from_std(udp.into())?;
    let tcp = TcpSocket::from_std_stream(tcp.into());
    tcp.set_reuseaddr(true)?;
    tcp.bind(address)?;
    Ok((udp, tcp.listen(AT_ONCE_MAX as u32)?))
}

/// Appends the reply to a message, if it is to have one.
async fn answer(
    challenges: &Challenges,
    message: &[u8],
    carrier: Carrier,
    out: &mut Vec<u8>,
) -> bool {
    let (mut query, mut reply) = (Query::new(), Reply::new());
    match query.read(message) {
        Gate::Ignore => return false,
        Gate::Header(rcode) => {
            header_only(&query, rcode, out);
            return true;
        }
        Gate::Whole(rcode) => reply.start(&query, rcode),
        Gate::Pass => {
            let name = query.question.name.wire();
            match challenges.find(name, asker(&query)).await {
                Answer::Values(values) | Answer::Beside(values) => {
                    respond(&query, &mut reply, None, &values);
                }
                // Whoever goes down label by label must come as far as the challenge.
                _ if challenges.exists(name) => respond(&query, &mut reply, None, &[]),
                _ => reply.start(&query, Rcode::REFUSED),
            }
        }
    }
    reply.finish(&query, carrier, out);
    true
}

async fn serve_udp(socket: UdpSocket, challenges: Arc<Challenges>) {
    let socket = Arc::new(socket);
    let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let (mut buffer, mut answering) = ([0; 4096], JoinSet::new());
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while answering.try_join_next().is_some() {}
        // Errors are those of clients that have gone.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let (socket, challenges) = (Arc::clone(&socket), Arc::clone(&challenges));
        let message = buffer[..length].to_vec();
        answering.spawn(async move {
            let _place = place;
            let mut out = Vec::new();
            if answer(&challenges, &message, Carrier::Datagram, &mut out).await {
                let _ = socket.send_to(&out, client).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, challenges: Arc<Challenges>) {
    let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
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
        if !answer(challenges, &message, Carrier::Stream, &mut out).await {
            return Ok(());
        }
        let length = (out.len() - 2) as u16;
        out[..2].copy_from_slice(&length.to_be_bytes());
        stream.write_all(&out).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU16, Ordering};

    /// A place at a port that is free for UDP and TCP, and that no other test has. It lies below
    /// those that the system gives to clients: such a port stays taken for a minute after a
    /// connection from it, though nobody listens there.
    fn place(bind: &[&str]) -> Place {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = 10_000 + (std::process::id() % 20_000) as u16;
        let port = loop {
            let port = start + NEXT.fetch_add(1, Ordering::Relaxed);
            let all = (Ipv4Addr::UNSPECIFIED, port);
            if std::net::UdpSocket::bind(all).is_ok() && std::net::TcpListener::bind(all).is_ok() {
                break port;
            }
        };
        let bind = bind
            .iter()
            .map(|address| SocketAddr::new(address.parse().unwrap(), 0));
        Place {
            port,
            bind: Some(bind.collect()),
        }
    }

    #[tokio::test]
    async fn orders_share_the_sockets_and_the_last_one_closes_them() {
        let bootstrap = Bootstrap::new(Arc::default());
        let place = place(&["127.0.0.1"]);
        let address = ("127.0.0.1", place.port);
        let _wish = bootstrap.want(place.clone(), Vec::new());
        let one = bootstrap.open().await.unwrap();
        let other = bootstrap.open().await.unwrap();
        assert!(std::net::UdpSocket::bind(address).is_err());
        drop(one);
        assert!(std::net::UdpSocket::bind(address).is_err());
        drop(other);
        // The tasks are aborted; their sockets close when the runtime gets to it.
        while std::net::UdpSocket::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_order_after_the_other_has_the_port() {
        let bootstrap = Bootstrap::new(Arc::default());
        let _wish = bootstrap.want(place(&["127.0.0.1"]), Vec::new());
        for _ in 0..3 {
            drop(bootstrap.open().await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_place_that_a_block_serves_is_left_alone() {
        let bootstrap = Bootstrap::new(Arc::default());
        let place = place(&["127.0.0.1"]);
        let old = bootstrap.want(place.clone(), Vec::new());
        let new = bootstrap.want(place.clone(), vec![Ipv4Addr::LOCALHOST.into()]);
        let is_free = || std::net::UdpSocket::bind(("127.0.0.1", place.port)).is_ok();
        drop(bootstrap.open().await.unwrap());
        assert!(is_free());
        // A configuration that failed leaves what the one before wanted.
        drop(new);
        let open = bootstrap.open().await.unwrap();
        assert!(!is_free());
        drop((open, old));
        let _open = bootstrap.open().await.unwrap();
        while !is_free() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_block_on_one_address_leaves_the_others_to_the_responder() {
        let bootstrap = Bootstrap::new(Arc::default());
        let place = place(&["127.0.0.1", "127.0.0.2"]);
        let is_free = |ip| std::net::UdpSocket::bind((ip, place.port)).is_ok();
        let _wish = bootstrap.want(place.clone(), vec![Ipv4Addr::LOCALHOST.into()]);
        let _open = bootstrap.open().await.unwrap();
        assert!(is_free("127.0.0.1") && !is_free("127.0.0.2"));
        let own = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        let v6 = "2001:db8::1".parse().unwrap();
        assert!(is_served(v6, &own("::")) && !is_served(v6, &own("0.0.0.0")));
    }

    #[tokio::test]
    async fn a_port_that_somebody_has_is_told_with_his_name() {
        let bootstrap = Bootstrap::new(Arc::default());
        let place = place(&["127.0.0.1"]);
        let _other = std::net::UdpSocket::bind(("127.0.0.1", place.port)).unwrap();
        let _wish = bootstrap.want(place.clone(), Vec::new());
        let error = bootstrap.open().await.err().unwrap();
        let own = std::process::id();
        assert!(
            error.contains(&format!(
                "127.0.0.1:{}: address already in use by",
                place.port
            )) && error.contains(&format!("(process {own})")),
            "{error}"
        );
    }

    #[test]
    fn a_wildcard_is_every_address_of_the_machine() {
        let wildcard = Place {
            port: 53,
            bind: None,
        };
        let addresses = addresses(&wildcard);
        assert!(
            addresses.contains(&"127.0.0.1:53".parse().unwrap()),
            "{addresses:?}"
        );
        assert!(addresses.iter().all(|address| address.port() == 53));
    }
}
