//! A socket whose datagrams may come from proxies that tell whom they speak for.
//!
//! quinn knows whom it talks to by one address, and answers there. Behind a proxy these are two: the
//! client, whom a header in front of each datagram names, and the proxy, which gets the answers. Each
//! pair of them has an address that stands for it. The pair is what a handshake is with: what another
//! peer says about the same client is no part of the connection, so that nobody who can send headers
//! turns somebody else's answers to himself or to a third party, and proof that answers arrive (a Retry
//! token, RFC 9000 section 8.1) is proof for the pair.
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use corten_plugin::ProxyProtocol;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

use crate::limits;
use crate::proxied::{Sessions, unwrap};
use crate::recent::{Bounds, Recent};

const PATHS: Bounds = Bounds {
    ttl: limits::QUIC_PATH_KEPT,
    entries_max: limits::QUIC_PATHS_MAX,
};

/// A worker's socket. Where there has never been a proxy it is quinn's and nothing else.
pub(super) struct Behind {
    socket: Arc<dyn AsyncUdpSocket>,
    /// Whether headers have been looked for.
    looks: AtomicBool,
    /// One thread's, the worker's: nobody ever waits for it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    proxy: Option<Arc<ProxyProtocol>>,
    sessions: Sessions,
    /// By the addresses that stand for them.
    paths: Recent<SocketAddr, Path>,
    /// Datagrams that have been received and not been asked for.
    left: VecDeque<(Box<[u8]>, RecvMeta)>,
}

/// How a client is reached.
#[derive(Clone, Copy)]
struct Path {
    client: SocketAddr,
    proxy: SocketAddr,
}

/// The address that stands for a client behind a proxy: always the same one, another one for every
/// pair, and no host's.
fn stand_in(client: SocketAddr, proxy: SocketAddr) -> SocketAddr {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    let mut octets = [0; 16];
    for (half, key) in octets.chunks_exact_mut(8).zip(&*KEYS) {
        half.copy_from_slice(&key.hash_one((client, proxy)).to_ne_bytes());
    }
    // A group's address: nothing is ever sent from one.
    octets[0] = 0xff;
    SocketAddr::new(Ipv6Addr::from(octets).into(), client.port().max(1))
}

fn stands_in(address: SocketAddr) -> bool {
    address.ip().is_multicast()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Behind {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            socket: TokioRuntime.wrap_udp_socket(socket)?,
            looks: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// Looks for headers from now on, or no longer.
    pub(super) fn set_proxy(&self, proxy: Option<&Arc<ProxyProtocol>>) {
        if proxy.is_some() {
            self.looks.store(true, Relaxed);
        }
        self.state().proxy = proxy.cloned();
    }

    /// Whose address that is to quinn; nothing if he has been silent for too long.
    pub(super) fn client(&self, remote: SocketAddr) -> Option<SocketAddr> {
        let client = match stands_in(remote) {
            true => self.state().paths.peek(&remote)?.client,
            false => remote,
        };
        Some(canonical(client))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives out what is left over.
    fn deliver(&mut self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((datagram, about)) = self.left.pop_front() else {
                break;
            };
            *meta = about;
            match buffer.get_mut(..datagram.len()) {
                Some(place) => place.copy_from_slice(&datagram),
                None => meta.len = 0,
            }
            count += 1;
        }
        count
    }

    /// Takes the headers off the datagrams of a buffer. What does not go together afterwards is left
    /// over; a buffer may become empty.
    fn strip(
        &mut self,
        proxy: &ProxyProtocol,
        buffer: &mut [u8],
        meta: &mut RecvMeta,
        now: Instant,
    ) {
        let (peer, received, stride) = (meta.addr, meta.len.min(buffer.len()), meta.stride.max(1));
        // What has been put together at the beginning of the buffer, and whether more can be.
        let (mut filled, mut size, mut whole) = (0, 0, true);
        for start in (0..received).step_by(stride) {
            let end = received.min(start + stride);
            let Some((from, length)) = self.sender(proxy, peer, &buffer[start..end], now) else {
                continue;
            };
            let payload = end - length..end;
            if filled == 0 {
                (meta.addr, size) = (from, length);
            }
            if whole && from == meta.addr && length <= size {
                whole = length == size;
                buffer.copy_within(payload, filled);
                filled += length;
            } else {
                let about = RecvMeta {
                    addr: from,
                    len: length,
                    stride: length,
                    ..*meta
                };
                self.left.push_back((buffer[payload].into(), about));
            }
        }
        (meta.len, meta.stride) = (filled, size);
    }

    /// Whom a datagram is from, and how many octets of it are his.
    fn sender(
        &mut self,
        proxy: &ProxyProtocol,
        peer: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<(SocketAddr, usize)> {
        let known = canonical(peer);
        let found = unwrap(proxy, &mut self.sessions, known, datagram, now)?;
        if found.octets.is_empty() {
            // A header on its own.
            return None;
        }
        let client = canonical(found.client);
        if client == known {
            return Some((peer, found.octets.len()));
        }
        let from = stand_in(client, peer);
        let path = Path {
            client,
            proxy: peer,
        };
        self.paths.put(from, path, PATHS, now);
        Some((from, found.octets.len()))
    }
}

impl AsyncUdpSocket for Behind {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !stands_in(transmit.destination) {
            return self.socket.try_send(transmit);
        }
        let Some(path) = self.state().paths.peek(&transmit.destination) else {
            // Lost, as the network might lose it; the next that comes from there is answered.
            return Ok(());
        };
        self.socket.try_send(&Transmit {
            destination: path.proxy,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if !self.looks.load(Relaxed) {
            return self.socket.poll_recv(cx, buffers, metas);
        }
        let mut state = self.state();
        let left = state.deliver(buffers, metas);
        if left > 0 {
            return Poll::Ready(Ok(left));
        }
        let count = ready!(self.socket.poll_recv(cx, buffers, metas))?;
        if let Some(proxy) = state.proxy.clone() {
            let now = Instant::now();
            for (buffer, meta) in buffers.iter_mut().zip(metas).take(count) {
                state.strip(&proxy, buffer, meta, now);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Behind").field(&self.socket).finish()
    }
}

#[cfg(test)]
mod tests {
    use corten_plugin::HeaderPolicy;

    use super::*;

    fn header(last: u8) -> Vec<u8> {
        let mut octets = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c".to_vec();
        octets.extend([203, 0, 113, last, 192, 0, 2, 1, 0x14, 0xe9, 0, 53]);
        octets
    }

    fn proxy() -> ProxyProtocol {
        ProxyProtocol {
            trusted: vec![([192, 0, 2, 0].into(), 24)],
            others: HeaderPolicy::Ignore,
            sessions: None,
        }
    }

    /// What quinn gets of datagrams that came together: who sent them, and their octets.
    fn received(
        state: &mut State,
        peer: SocketAddr,
        datagrams: &[Vec<u8>],
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut buffer = datagrams.concat();
        let mut meta = RecvMeta {
            addr: peer,
            len: buffer.len(),
            stride: datagrams[0].len(),
            ecn: None,
            dst_ip: None,
        };
        state.strip(&proxy(), &mut buffer, &mut meta, Instant::now());
        let mut found = Vec::new();
        let mut take = |buffer: &[u8], meta: &RecvMeta| {
            let whole = &buffer[..meta.len];
            let parts = whole.chunks(meta.stride.max(1));
            found.extend(parts.map(|part| (meta.addr, part.to_vec())));
        };
        take(&buffer, &meta);
        let (mut place, mut about) = (vec![0; 100], [RecvMeta::default()]);
        while state.deliver(&mut [IoSliceMut::new(&mut place)], &mut about) > 0 {
            take(&place, &about[0]);
        }
        found
    }

    #[test]
    fn datagrams_that_came_together_are_taken_apart() {
        let peer = SocketAddr::from(([192, 0, 2, 7], 4_433));
        let mut state = State::default();
        let with = |last: u8, text: &str| [header(last), text.as_bytes().to_vec()].concat();
        let client = |last: u8| {
            let client = SocketAddr::from(([203, 0, 113, last], 5_353));
            stand_in(client, peer)
        };
        let text = |text: &str| text.as_bytes().to_vec();
        // One client's, the last shorter, as the kernel puts them together.
        let same = [with(1, "one"), with(1, "two"), with(1, "3")];
        assert_eq!(
            received(&mut state, peer, &same),
            [
                (client(1), text("one")),
                (client(1), text("two")),
                (client(1), text("3"))
            ]
        );
        // Two clients' by one socket of a proxy; a header alone; something without a header.
        let bare = "x".repeat(header(1).len() + 3);
        let mixed = [
            with(1, "one"),
            with(2, "two"),
            text(&bare),
            with(1, "for"),
            with(2, ""),
        ];
        assert_eq!(
            received(&mut state, peer, &mixed),
            [
                (client(1), text("one")),
                (client(1), text("for")),
                (client(2), text("two")),
                (peer, text(&bare))
            ]
        );
        assert_eq!(received(&mut state, peer, &[header(1)]), []);
        // Whoever is not trusted speaks for himself.
        let stranger = SocketAddr::from(([198, 51, 100, 7], 4_433));
        let own = received(&mut state, stranger, &[with(1, "one")]);
        assert_eq!(own, [(stranger, text("one"))]);
        assert_eq!(state.paths.sizes().0, 2);
    }

    #[test]
    fn no_octet_is_lost_or_somebody_elses() {
        let peer = SocketAddr::from(([192, 0, 2, 7], 4_433));
        let mut state = State::default();
        let mut seed = 1_u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        for _ in 0..2_000 {
            let (size, count) = (30 + random(40) as usize, 1 + random(40));
            let (mut datagrams, mut expected) = (Vec::new(), Vec::new());
            for number in 0..count {
                // The kernel puts those of one size together, and behind them one that is shorter.
                let size = size - usize::from(number + 1 == count && random(2) == 0);
                let last = random(4) as u8;
                let mut datagram = if last == 0 { Vec::new() } else { header(last) };
                let begin = datagram.len();
                datagram.resize(size.max(begin), number as u8);
                let client = SocketAddr::from(([203, 0, 113, last], 5_353));
                let from = if last == 0 {
                    peer
                } else {
                    stand_in(client, peer)
                };
                let payload = datagram[begin..].to_vec();
                datagrams.push(datagram);
                if !payload.is_empty() {
                    expected.push((from, payload));
                }
            }
            let mut found = received(&mut state, peer, &datagrams);
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_pair_has_one_address_and_no_other_has_it() {
        let address = |last: u8, port| SocketAddr::from(([192, 0, 2, last], port));
        let all = [
            stand_in(address(1, 1), address(2, 2)),
            stand_in(address(2, 2), address(1, 1)),
            stand_in(address(1, 2), address(2, 2)),
            stand_in(address(1, 1), address(2, 3)),
            stand_in(address(1, 1), address(3, 2)),
            stand_in(address(1, 0), address(3, 2)),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(stands_in(*one) && one.port() != 0);
            assert!(!all[..index].contains(one));
        }
        assert_eq!(all[0], stand_in(address(1, 1), address(2, 2)));
        assert!(!stands_in(address(1, 1)));
    }

    #[tokio::test]
    async fn answers_go_to_the_proxy_as_long_as_it_is_known() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        let behind = Behind::new(socket).unwrap();
        let mut poller = Arc::clone(&behind).create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx))
            .await
            .unwrap();
        let address = peer.local_addr().unwrap();
        let client = SocketAddr::from(([203, 0, 113, 7], 5_353));
        let from = stand_in(client, address);
        let send = |text: &'static [u8]| {
            behind.try_send(&Transmit {
                destination: from,
                ecn: None,
                contents: text,
                segment_size: None,
                src_ip: None,
            })
        };
        // To nobody, and no error.
        send(b"lost").unwrap();
        assert_eq!(behind.client(from), None);
        let path = Path {
            client,
            proxy: address,
        };
        behind.state().paths.put(from, path, PATHS, Instant::now());
        assert_eq!(behind.client(from), Some(client));
        assert_eq!(behind.client(address), Some(address));
        send(b"found").unwrap();
        let mut buffer = [0; 16];
        let length = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"found");
    }
}
