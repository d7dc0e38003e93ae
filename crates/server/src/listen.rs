//! Which sockets a generation needs, and how they are opened.
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use corten_corefile::Transport;
use socket2::{Domain, Protocol, Socket, Type};

use crate::generation::Listener;
use crate::{batch, limits};

/// The sockets of one listener for one worker.
pub(crate) struct Sockets {
    pub(crate) listener: Listener,
    pub(crate) udp: Option<UdpSocket>,
    pub(crate) tcp: Option<TcpListener>,
}

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("Listen: listen {network} {address}: bind: {text}")]
pub(crate) struct BindError {
    network: &'static str,
    address: SocketAddr,
    text: String,
}

/// Opens `count` sockets of one listener, a multiple of the number of workers: each worker gets
/// sockets of its own on the same address (SO_REUSEPORT), so that the kernel spreads the load and
/// no worker waits for another.
pub(crate) fn open(listener: Listener, count: usize) -> Result<Vec<Sockets>, BindError> {
    let (datagrams, streams) = match listener.transport {
        Transport::Dns => (true, true),
        Transport::Quic | Transport::Https3 => (true, false),
        _ => (false, true),
    };
    let address = listener.address;
    (0..count)
        .map(|_| {
            let tcp = streams
                .then(|| tcp(address).map_err(|error| explain("tcp", address, &error)))
                .transpose()?;
            let udp = datagrams
                .then(|| udp(listener).map_err(|error| explain("udp", address, &error)))
                .transpose()?;
            Ok(Sockets { listener, udp, tcp })
        })
        .collect()
}

/// Whether the machine speaks IPv6 at all; without it a wildcard is the IPv4 one alone.
pub(crate) fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

fn explain(network: &'static str, address: SocketAddr, error: &io::Error) -> BindError {
    BindError {
        network,
        address,
        text: reason(error),
    }
}

/// Go's words, without the number of the operating system's error.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => error.to_string(),
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // The IPv4 wildcard has a socket of its own, which spares its queries the mapped addresses.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn udp(Listener { transport, address }: Listener) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    // A smaller queue is no reason not to start.
    let _ = socket.set_recv_buffer_size(limits::UDP_QUEUE_OCTETS);
    socket.bind(&address.into())?;
    // QUIC asks for that itself.
    if address.ip().is_unspecified() && transport == Transport::Dns {
        batch::want_destinations(socket.as_raw_fd(), address.is_ipv6())?;
    }
    Ok(socket.into())
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    Ok(socket.into())
}
