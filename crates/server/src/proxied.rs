//! PROXY protocol headers in front of connections and datagrams.
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use corten_plugin::{HeaderPolicy, ProxyProtocol, SessionTracking};
use corten_wire::proxy::{Header, HeaderError, Start, read};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::recent::{Bounds, Recent};

/// Least time between two warnings about headers: whoever sends bad ones does not fill the log.
const WARNING_SECONDS: u64 = 10;

/// Who is served and with what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unwrapped<'a> {
    pub(crate) client: SocketAddr,
    /// The message behind the header.
    pub(crate) octets: &'a [u8],
}

/// Takes the header off a datagram; nothing when nobody is to be served.
pub(crate) fn unwrap<'a>(
    proxy: &ProxyProtocol,
    sessions: &mut Sessions,
    peer: SocketAddr,
    octets: &'a [u8],
    now: Instant,
) -> Option<Unwrapped<'a>> {
    let policy = proxy.policy(peer.ip());
    let from_peer = |octets| {
        Some(Unwrapped {
            client: peer,
            octets,
        })
    };
    if policy == HeaderPolicy::Skip {
        return from_peer(octets);
    }
    let header = match read(octets) {
        Ok(Start::Header(header)) => Some(header),
        Ok(Start::Other) => None,
        // What is shorter than a message's header is of no use to anybody.
        Ok(Start::Incomplete) => return warn(peer, "it is cut off"),
        Err(error) => return warn(peer, error),
    };
    let Some(header) = header else {
        let client = match (policy, &proxy.sessions) {
            (HeaderPolicy::Use, Some(tracking)) => sessions.client(peer, tracking, now),
            _ => None,
        };
        return Some(Unwrapped {
            client: client.unwrap_or(peer),
            octets,
        });
    };
    if policy == HeaderPolicy::Reject {
        return warn(peer, "its sender is not allowed to");
    }
    let octets = octets.get(header.octets..).unwrap_or_default();
    let client = match header.addresses {
        _ if header.version != 2 => return warn(peer, "version 1 is for streams"),
        Some(addresses) if !addresses.datagram => return warn(peer, "it is about a stream"),
        Some(addresses) if policy == HeaderPolicy::Use => addresses.source,
        _ => return from_peer(octets),
    };
    if let Some(tracking) = &proxy.sessions {
        sessions.remember(peer, client, tracking, now);
    }
    Some(Unwrapped { client, octets })
}

/// What a stream begins with.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    /// The client and what it talked to, if a header says so.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// What was read behind the header.
    pub(crate) rest: Vec<u8>,
}

/// Reads the header of a stream, if it has one; an error when nobody is to be served. The caller
/// bounds the time.
pub(crate) async fn introduce(
    stream: &mut (impl AsyncRead + Unpin),
    peer: SocketAddr,
    proxy: &ProxyProtocol,
) -> io::Result<Beginning> {
    let policy = proxy.policy(peer.ip());
    let mut rest = Vec::new();
    if policy == HeaderPolicy::Skip {
        return Ok(Beginning::default());
    }
    let header = loop {
        match read(&rest) {
            Ok(Start::Header(header)) => break header,
            Ok(Start::Other) => {
                return Ok(Beginning {
                    addresses: None,
                    rest,
                });
            }
            Ok(Start::Incomplete) => {
                // The parser refuses what is too long, so this has an end.
                rest.reserve(512);
                if stream.read_buf(&mut rest).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(refuse(peer, error)),
        }
    };
    if policy == HeaderPolicy::Reject {
        let _: Option<()> = warn(peer, "its sender is not allowed to");
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    rest.drain(..header.octets);
    let addresses = used(&header, policy);
    Ok(Beginning { addresses, rest })
}

fn used(header: &Header, policy: HeaderPolicy) -> Option<(SocketAddr, SocketAddr)> {
    let addresses = header.addresses.filter(|_| policy == HeaderPolicy::Use)?;
    Some((addresses.source, addresses.destination))
}

fn refuse(peer: SocketAddr, error: HeaderError) -> io::Error {
    let _: Option<()> = warn(peer, error);
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Says that a header is no good, now and then; there is nothing to go on with.
fn warn<T>(peer: SocketAddr, why: impl std::fmt::Display) -> Option<T> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // Counted from one, so that the first warning is never too early.
    let now = START.get_or_init(Instant::now).elapsed().as_secs() + WARNING_SECONDS;
    let last = LAST.load(Relaxed);
    let due = now >= last + WARNING_SECONDS;
    if due && LAST.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
        tracing::warn!("dropping what has an invalid PROXY header from {peer}: {why}");
    }
    None
}

/// Clients by the peer that spoke for them, of one socket: the kernel hands all datagrams of a peer
/// to the same one.
#[derive(Default)]
pub(crate) struct Sessions(Recent<SocketAddr, SocketAddr>);

impl Sessions {
    /// The client that this peer last spoke for; counts as a use.
    fn client(
        &mut self,
        peer: SocketAddr,
        tracking: &SessionTracking,
        now: Instant,
    ) -> Option<SocketAddr> {
        self.0.get(peer, bounds(tracking), now)
    }

    /// Notes whom a peer speaks for; when there are too many, the one that was silent longest is
    /// forgotten.
    fn remember(
        &mut self,
        peer: SocketAddr,
        client: SocketAddr,
        tracking: &SessionTracking,
        now: Instant,
    ) {
        self.0.put(peer, client, bounds(tracking), now);
    }
}

fn bounds(tracking: &SessionTracking) -> Bounds {
    Bounds {
        ttl: tracking.ttl,
        entries_max: tracking.sessions_max,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn header(source: [u8; 4], datagram: bool) -> Vec<u8> {
        let mut octets = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
        octets.extend([0x11 + u8::from(datagram), 0, 12]);
        octets.extend(source);
        octets.extend([192, 0, 2, 1, 0x14, 0xe9, 0, 53]);
        octets
    }

    fn proxy(others: HeaderPolicy, sessions_max: Option<usize>) -> ProxyProtocol {
        ProxyProtocol {
            trusted: Vec::new(),
            others,
            sessions: sessions_max.map(|sessions_max| SessionTracking {
                ttl: Duration::from_secs(5),
                sessions_max,
            }),
        }
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn policies_of_datagrams() {
        let message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        let with = [header([203, 0, 113, 7], true), message.clone()].concat();
        // The proxy's own, such as a health check.
        let local = [b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), message.clone()].concat();
        let (peer, client) = (peer(9), SocketAddr::from(([203, 0, 113, 7], 5353)));
        for (policy, octets, expected) in [
            (HeaderPolicy::Use, &with, Some((client, &message[..]))),
            (HeaderPolicy::Use, &message, Some((peer, &message[..]))),
            (HeaderPolicy::Ignore, &with, Some((peer, &message[..]))),
            (HeaderPolicy::Reject, &with, None),
            (HeaderPolicy::Reject, &message, Some((peer, &message[..]))),
            (HeaderPolicy::Skip, &with, Some((peer, &with[..]))),
            (HeaderPolicy::Use, &local, Some((peer, &message[..]))),
            (HeaderPolicy::Use, &header([1, 2, 3, 4], false), None),
            (HeaderPolicy::Use, &with[..20].to_vec(), None),
            (
                HeaderPolicy::Use,
                &b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
                None,
            ),
        ] {
            let mut sessions = Sessions::default();
            let found = unwrap(
                &proxy(policy, None),
                &mut sessions,
                peer,
                octets,
                Instant::now(),
            );
            let found = found.map(|found| (found.client, found.octets));
            assert_eq!(found, expected, "{policy:?} {octets:?}");
            assert_eq!(sessions.0.sizes().0, 0, "not asked for");
        }
    }

    #[test]
    fn a_header_counts_for_later_datagrams_of_its_peer() {
        let (proxy, mut sessions) = (proxy(HeaderPolicy::Use, Some(2)), Sessions::default());
        let start = Instant::now();
        let mut at = |seconds: u64, port, source: Option<u8>| {
            let octets = match source {
                None => b"message".to_vec(),
                Some(last) => header([203, 0, 113, last], true),
            };
            let now = start + Duration::from_secs(seconds);
            let found = unwrap(&proxy, &mut sessions, peer(port), &octets, now).unwrap();
            (found.client.to_string(), found.octets.len())
        };
        assert_eq!(at(0, 1, Some(1)), ("203.0.113.1:5353".into(), 0));
        assert_eq!(at(0, 2, Some(2)), ("203.0.113.2:5353".into(), 0));
        assert_eq!(at(4, 1, None), ("203.0.113.1:5353".into(), 7));
        assert_eq!(at(8, 1, None).0, "203.0.113.1:5353", "a use counts");
        assert_eq!(at(8, 2, None).0, "127.0.0.1:2", "too old");
        assert_eq!(at(8, 2, Some(2)).0, "203.0.113.2:5353");
        assert_eq!(at(9, 1, None).0, "203.0.113.1:5353");
        assert_eq!(at(9, 3, Some(3)).0, "203.0.113.3:5353");
        assert_eq!(at(9, 2, None).0, "127.0.0.1:2", "silent longest");
        assert_eq!(at(9, 1, None).0, "203.0.113.1:5353");
        assert_eq!(at(9, 3, Some(4)).0, "203.0.113.4:5353", "another client");
        assert_eq!(at(9, 3, None).0, "203.0.113.4:5353");
    }

    #[test]
    fn sessions_stay_few_however_many_headers_come() {
        let (proxy, mut sessions) = (proxy(HeaderPolicy::Use, Some(10)), Sessions::default());
        let now = Instant::now();
        for port in 1..=10_000 {
            for octets in [header([203, 0, 113, 7], true), b"message".to_vec()] {
                unwrap(&proxy, &mut sessions, peer(port), &octets, now).unwrap();
            }
            let (peers, uses) = sessions.0.sizes();
            assert!(peers <= 10 && uses <= 85);
        }
    }

    #[tokio::test]
    async fn streams_are_introduced() {
        let v2 = header([203, 0, 113, 7], false);
        let v1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 5353 53\r\n".to_vec();
        let client = Some((
            SocketAddr::from(([203, 0, 113, 7], 5353)),
            SocketAddr::from(([192, 0, 2, 1], 53)),
        ));
        for (policy, head, expected) in [
            (HeaderPolicy::Use, &v2, Ok((client, 3))),
            (HeaderPolicy::Use, &v1, Ok((client, 3))),
            (HeaderPolicy::Use, &Vec::new(), Ok((None, 3))),
            (HeaderPolicy::Ignore, &v1, Ok((None, 3))),
            (
                HeaderPolicy::Reject,
                &v1,
                Err(io::ErrorKind::PermissionDenied),
            ),
            (HeaderPolicy::Reject, &Vec::new(), Ok((None, 3))),
            (
                HeaderPolicy::Use,
                &b"PROXY x\r\n".to_vec(),
                Err(io::ErrorKind::InvalidData),
            ),
            (
                HeaderPolicy::Use,
                &v1[..9].to_vec(),
                Err(io::ErrorKind::UnexpectedEof),
            ),
        ] {
            // What follows must not make the cut one a bad one.
            let tail: &[u8] = if head.len() == 9 { b"" } else { b"\0\x11x" };
            let mut stream = head.chain(tail);
            let found = introduce(&mut stream, peer(9), &proxy(policy, None)).await;
            let found = match found {
                Ok(beginning) => {
                    let mut rest = beginning.rest;
                    stream.read_to_end(&mut rest).await.unwrap();
                    Ok((beginning.addresses, rest.len()))
                }
                Err(error) => Err(error.kind()),
            };
            assert_eq!(found, expected, "{policy:?} {head:?}");
        }
    }
}
