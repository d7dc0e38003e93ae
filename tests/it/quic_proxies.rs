//! QUIC behind proxies that put PROXY headers in front of datagrams.
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tokio::time::{sleep, timeout};

use crate::client::{Options, Query};
use crate::doq::serve;
use crate::proxied::header;
use crate::quic::{Client, exchange, framed, post, response};

/// Whom every proxy here speaks for.
const CLIENT: [u8; 4] = [203, 0, 113, 7];
/// The proxies that servers believe, and one that they do not.
const TRUSTED: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// Handshakes from which on clients must show that they receive.
const CROWD: usize = 64;
/// How often a proxy looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// A forwarder of datagrams: for each client it has a socket towards the server.
struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    /// A header stands in front of every datagram, or alone in front of all.
    alone: bool,
    /// Which of its addresses it sends from.
    sources: Vec<Ipv4Addr>,
    route: AtomicUsize,
    /// Whether it keeps to itself what the server sends.
    deaf: AtomicBool,
    ended: AtomicBool,
    /// Datagrams from clients, and Retry packets from the server.
    forwarded: AtomicUsize,
    retries: AtomicUsize,
    /// Octets to and from the server, for each route.
    sent: [AtomicUsize; 2],
    received: [AtomicUsize; 2],
}

impl Proxy {
    fn new(server: u16, alone: bool, sources: &[Ipv4Addr]) -> Self {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = front.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, server)),
            alone,
            sources: sources.to_vec(),
            route: AtomicUsize::new(0),
            deaf: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            forwarded: AtomicUsize::new(0),
            retries: AtomicUsize::new(0),
            sent: Default::default(),
            received: Default::default(),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || own.forward(&front));
        Self { port, shared }
    }

    fn forwarded(&self) -> usize {
        self.shared.forwarded.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
    }
}

impl Shared {
    fn forward(self: &Arc<Self>, front: &UdpSocket) {
        front.set_read_timeout(Some(LOOK)).unwrap();
        let head = header("2:203.0.113.7", self.server.port(), false);
        let mut ways = HashMap::new();
        let mut buffer = [0; 65_536];
        while !self.ended.load(SeqCst) {
            let Ok((length, client)) = front.recv_from(&mut buffer) else {
                continue;
            };
            let route = self.route.load(SeqCst);
            let way = ways.entry((client, route)).or_insert_with(|| {
                let way = UdpSocket::bind((self.sources[route], 0)).unwrap();
                way.connect(self.server).unwrap();
                if self.alone {
                    way.send(&head).unwrap();
                }
                let (shared, back) = (Arc::clone(self), way.try_clone().unwrap());
                let front = front.try_clone().unwrap();
                std::thread::spawn(move || shared.give_back(&back, &front, client, route));
                way
            });
            let octets = match self.alone {
                true => buffer[..length].to_vec(),
                false => [&head, &buffer[..length]].concat(),
            };
            self.sent[route].fetch_add(octets.len(), SeqCst);
            let _ = way.send(&octets);
            self.forwarded.fetch_add(1, SeqCst);
        }
    }

    fn give_back(&self, back: &UdpSocket, front: &UdpSocket, client: SocketAddr, route: usize) {
        back.set_read_timeout(Some(LOOK)).unwrap();
        let mut buffer = [0; 65_536];
        while !self.ended.load(SeqCst) {
            let Ok(length) = back.recv(&mut buffer) else {
                continue;
            };
            self.received[route].fetch_add(length, SeqCst);
            // RFC 9000 section 17.2.5: a long header of type 3.
            if buffer[0] & 0xf0 == 0xf0 {
                self.retries.fetch_add(1, SeqCst);
            }
            if !self.deaf.load(SeqCst) {
                let _ = front.send_to(&buffer[..length], client);
            }
        }
    }
}

fn query() -> Query {
    Query::new("www.example", "A", &Options::new())
}

/// Whom *whoami* names in a message.
fn is_about(answer: &[u8], address: Ipv4Addr) -> bool {
    answer.windows(4).any(|octets| octets == address.octets())
}

fn directives(rest: &str) -> String {
    let [one, other] = TRUSTED;
    format!(" proxyproto {{\n  allow {one}/32 {other}/32\n  {rest}\n }}\n whoami")
}

/// Asks many times at once; all answers.
fn ask(client: &Client, connection: &quinn::Connection, protocol: &str) -> Vec<Vec<u8>> {
    let octets = match protocol {
        "h3" => post("/dns-query", &query().wire),
        _ => framed(&query()),
    };
    let answers = client.run(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (connection, octets) = (connection.clone(), octets.clone());
            tasks.spawn(async move { exchange(&connection, &octets).await.expect("an answer") });
        }
        tasks.join_all().await
    });
    let answers = answers.expect("answers in time").into_iter();
    match protocol {
        "h3" => answers.map(|answer| response(&answer).1).collect(),
        _ => answers.collect(),
    }
}

/// The client is whom a believed proxy names, and else who sends.
fn clients_are_whom_the_proxy_names() -> Result<(), Failed> {
    for (scheme, protocol) in [("quic", "doq"), ("https3", "h3")] {
        for alone in [false, true] {
            let tracking = ["", "udp_session_tracking 20s"][usize::from(alone)];
            let served = serve(scheme, &directives(tracking));
            let client = Client::new(protocol, served.folder.path());
            for (source, named) in [
                (TRUSTED[0], CLIENT.into()),
                (TRUSTED[1], CLIENT.into()),
                // Its headers are taken off and not believed.
                (STRANGER, STRANGER),
            ] {
                let proxy = Proxy::new(served.port, alone, &[source]);
                let connection = client.connect(proxy.port).expect("a connection");
                for answer in ask(&client, &connection, protocol) {
                    assert!(is_about(&answer, named), "{scheme} {source} {answer:?}");
                }
            }
            let direct = client.connect(served.port).expect("a connection");
            for answer in ask(&client, &direct, protocol) {
                assert!(is_about(&answer, Ipv4Addr::LOCALHOST), "{answer:?}");
            }
        }
    }
    let served = serve("quic", &directives("default reject"));
    let client = Client::new("doq", served.folder.path());
    let proxy = Proxy::new(served.port, false, &[STRANGER]);
    let connecting = client.connecting(proxy.port);
    let soon = client.run(async { timeout(Duration::from_secs(1), connecting).await.is_err() });
    assert_eq!(soon, Some(true), "nobody answers a stranger's header");
    served
        .process
        .wait_for_log("invalid PROXY header from 127.0.0.4");
    Ok(())
}

/// What another peer says about a client does not turn the client's answers to that peer.
fn a_connection_stays_with_its_proxy() -> Result<(), Failed> {
    let served = serve("quic", &directives(""));
    let octets = framed(&query());
    // Some of them come to the same worker as before.
    for _ in 0..4 {
        let client = Client::new("doq", served.folder.path());
        let proxy = Proxy::new(served.port, false, &TRUSTED);
        let connection = client.connect(proxy.port).expect("a connection");
        let answer = client.run(exchange(&connection, &octets)).flatten();
        assert!(is_about(&answer.expect("an answer"), CLIENT.into()));
        proxy.shared.route.store(1, SeqCst);
        let asked = async {
            let soon = Duration::from_secs(1);
            timeout(soon, exchange(&connection, &octets)).await.ok()
        };
        assert_eq!(client.run(asked).flatten().flatten(), None);
        let [sent, received] = [&proxy.shared.sent, &proxy.shared.received];
        let (sent, received) = (sent[1].load(SeqCst), received[1].load(SeqCst));
        assert!(received <= sent, "{received} octets for {sent}");
        // It is a way as good as the other.
        let connection = client.connect(proxy.port).expect("a connection");
        let answer = client.run(exchange(&connection, &octets)).flatten();
        assert!(is_about(&answer.expect("an answer"), CLIENT.into()));
    }
    Ok(())
}

/// When many handshakes are under way clients show through their proxy that they receive.
fn retry_goes_through_the_proxy() -> Result<(), Failed> {
    let served = serve("quic", &directives(""));
    let client = Client::new("doq", served.folder.path());
    let proxy = Proxy::new(served.port, false, &TRUSTED[..1]);
    proxy.shared.deaf.store(true, SeqCst);
    let crowd: Vec<_> = (0..CROWD + 8)
        .map(|_| client.connecting(proxy.port))
        .collect();
    client
        .run(async {
            while proxy.shared.retries.load(SeqCst) == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .expect("the server asks for a proof");
    assert!(proxy.forwarded() > CROWD);
    proxy.shared.deaf.store(false, SeqCst);
    let connection = client.connect(proxy.port).expect("a connection");
    let answer = client
        .run(exchange(&connection, &framed(&query())))
        .flatten();
    assert!(is_about(&answer.expect("an answer"), CLIENT.into()));
    drop(crowd);
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "quic_proxies/clients_are_whom_the_proxy_names",
            clients_are_whom_the_proxy_names,
        ),
        Trial::test(
            "quic_proxies/a_connection_stays_with_its_proxy",
            a_connection_stays_with_its_proxy,
        ),
        Trial::test(
            "quic_proxies/retry_goes_through_the_proxy",
            retry_goes_through_the_proxy,
        ),
    ]
}
