//! HTTP endpoints that plugins announce, such as `/metrics`: HTTP/1.1, GET and HEAD, short answers.
//!
//! They run beside the program's signals, not on the workers. Like the sockets of queries they belong
//! to the process: addresses that two generations have stay open, and requests are answered by the
//! endpoints of the generation that serves.
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use corten_plugin::endpoint::text;
use corten_plugin::{Announcement, Endpoint, Peers, TlsIdentity};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::current::Current;
use crate::generation::Generation;
use crate::limits;
use crate::listen::{has_ipv6, reason};

/// Protocol names of HTTP/1.1 over TLS (RFC 7301).
const HTTP1: &[&[u8]] = &[b"http/1.1"];

/// The addresses of a generation's endpoints, and what is there.
pub(crate) type Hosts = HashMap<SocketAddr, Host>;

/// The endpoints of one address.
pub(crate) struct Host {
    /// The first announcement: errors speak of it.
    named: Announcement,
    paths: Vec<(&'static str, Arc<dyn Endpoint>)>,
}

impl Host {
    fn find(&self, path: &str) -> Option<&Arc<dyn Endpoint>> {
        let exact = self.paths.iter().find(|(own, _)| *own == path);
        let below = |(own, _): &&(&str, _)| own.ends_with('/') && path.starts_with(*own);
        exact
            .or_else(|| self.paths.iter().find(below))
            .map(|(_, endpoint)| endpoint)
    }
}

/// A listener that is bound and not served yet.
pub(crate) type Bound = (SocketAddr, StdListener);

/// Brings what the blocks announce together by address; the error is complete.
pub(crate) fn hosts<'a>(blocks: impl Iterator<Item = &'a Peers>) -> Result<Hosts, String> {
    let mut hosts = Hosts::new();
    for announcement in blocks.flat_map(|block| block.all::<Announcement>()) {
        let at = resolve(&announcement.address).map_err(|error| {
            let Announcement {
                directive, address, ..
            } = &**announcement;
            format!("plugin/{directive}: listen tcp {address}: {error}")
        })?;
        let host = hosts.entry(at).or_insert_with(|| Host {
            named: Announcement::clone(announcement),
            paths: Vec::new(),
        });
        if host.named.tls.is_some() != announcement.tls.is_some() {
            let Announcement {
                directive, address, ..
            } = &**announcement;
            return Err(format!(
                "plugin/{directive}: {address} is wanted with TLS and without; give one of them another address"
            ));
        }
        let path = announcement.path;
        if !host.paths.iter().any(|(other, _)| *other == path) {
            host.paths.push((path, Arc::clone(&announcement.endpoint)));
        }
    }
    Ok(hosts)
}

/// The address behind `HOST:PORT`; IPv4 first when a name has several, as Go does it.
fn resolve(address: &str) -> io::Result<SocketAddr> {
    if let Some(port) = address.strip_prefix(':') {
        let port = port.parse().map_err(io::Error::other)?;
        return Ok(match has_ipv6() {
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        });
    }
    address
        .to_socket_addrs()?
        .min_by_key(SocketAddr::is_ipv6)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Binds the addresses that the running generation does not have; all or none.
pub(crate) fn open_new(
    generation: &Generation,
    before: Option<&Generation>,
) -> Result<Vec<Bound>, String> {
    let new = generation
        .hosts
        .iter()
        .filter(|(at, _)| before.is_none_or(|before| !before.hosts.contains_key(at)));
    new.map(|(at, host)| match open(*at) {
        Ok(listener) => Ok((*at, listener)),
        Err(error) => {
            let Announcement {
                directive, address, ..
            } = &host.named;
            let reason = reason(&error);
            Err(format!(
                "plugin/{directive}: listen tcp {address}: bind: {reason}"
            ))
        }
    })
    .collect()
}

fn open(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // Every address of the machine is one socket here, as in Go.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A new process may take over beside the old one, as with the ports of queries.
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::HTTP_BACKLOG)?;
    Ok(socket.into())
}

/// Begins to serve; each listener ends by itself when a generation no longer has its address.
pub(crate) fn serve(bound: Vec<Bound>, current: &Current) {
    for (at, listener) in bound {
        tokio::spawn(accept(listener, at, current.clone()));
    }
}

async fn accept(listener: StdListener, at: SocketAddr, mut current: Current) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("http {at}: {error}"),
    };
    loop {
        tokio::select! {
            biased;
            generation = current.changed() => {
                if !generation.hosts.contains_key(&at) {
                    break;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(place) = Place::take() {
                        let current = current.clone();
                        tokio::spawn(async move {
                            let _place = place;
                            begin(stream, at, current).await;
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!("http {at}: {error}");
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// One of the open connections to endpoints.
struct Place;

static OPEN: AtomicUsize = AtomicUsize::new(0);

impl Place {
    fn take() -> Option<Self> {
        let open = OPEN.fetch_add(1, Relaxed);
        let this = Self;
        (open < limits::HTTP_CONNECTIONS_MAX).then_some(this)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

/// Serves a connection; how it ends is the client's business.
async fn begin(stream: TcpStream, at: SocketAddr, current: Current) {
    let _ = stream.set_nodelay(true);
    let tls = current
        .generation()
        .hosts
        .get(&at)
        .and_then(|host| host.named.tls.clone());
    let Some(identity) = tls else {
        return talk(stream, at, current).await;
    };
    if let Some(Ok(stream)) = shake_hands(stream, &*identity).await {
        talk(stream, at, current).await;
    }
}

async fn shake_hands(
    stream: TcpStream,
    identity: &dyn TlsIdentity,
) -> Option<io::Result<tokio_rustls::server::TlsStream<TcpStream>>> {
    if !identity.is_ready() {
        let _ = timeout(limits::FIRST_CERTIFICATE, identity.until_ready()).await;
    }
    let acceptor = TlsAcceptor::from(identity.config(HTTP1));
    timeout(limits::HANDSHAKE, acceptor.accept(stream))
        .await
        .ok()
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, at: SocketAddr, current: Current) {
    let current = &current;
    let service = service_fn(move |request| async move {
        Ok::<_, Infallible>(respond(request, at, current).await)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HTTP_HEADER)
            .max_headers(limits::HTTP_HEADERS_MAX)
            .max_buf_size(limits::HTTP_HEADER_OCTETS_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    if timeout(limits::HTTP_CONNECTION, connection.as_mut())
        .await
        .is_err()
    {
        // The request that is under way is answered; the client connects again for the next.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(limits::HTTP_RESPONSE, connection).await;
    }
}

async fn respond(
    request: Request<Incoming>,
    at: SocketAddr,
    current: &Current,
) -> Response<Full<Bytes>> {
    let (parts, _) = request.into_parts();
    let request = Request::from_parts(parts, ());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(405, "Method Not Allowed\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response.map(|body| Full::new(body.into()));
    }
    // Only the endpoint is kept over the wait: a long answer must not hold the generation.
    let endpoint = current
        .generation()
        .hosts
        .get(&at)
        .and_then(|host| host.find(request.uri().path()).cloned());
    let response = match endpoint {
        Some(endpoint) => endpoint.respond(&request).await,
        None => text(404, "404 page not found\n"),
    };
    response.map(|body| Full::new(body.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved_as_in_go() {
        let localhost = resolve("localhost:9153").unwrap();
        assert!(localhost.ip().is_loopback() && localhost.port() == 9153);
        assert!(resolve(":9153").unwrap().ip().is_unspecified());
        assert_eq!(
            resolve("[::1]:80").unwrap(),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 80))
        );
        assert!(resolve("no.such.host.invalid:80").is_err());
    }
}
