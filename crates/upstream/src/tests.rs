//! Exchanges with scripted servers on loopback.
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use corten_wire::{Class, Query, Question, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

fn query(name: &str) -> Vec<u8> {
    let question = Question {
        name: name.parse().unwrap(),
        rtype: RecordType::A,
        class: Class::IN,
    };
    Query::ask(7, &question).octets().to_vec()
}

fn response(query: &[u8]) -> Vec<u8> {
    let mut response = query.to_vec();
    response[2] |= 0x80;
    response
}

fn settings() -> Settings {
    Settings {
        read_timeout: Duration::from_millis(150),
        ..Settings::default()
    }
}

fn group(addresses: &[SocketAddr], settings: Settings) -> Group {
    let server = |address: &SocketAddr| Server {
        address: *address,
        protocol: Protocol::Plain,
    };
    Group::new(addresses.iter().map(server).collect(), settings)
}

/// A UDP server that sends what `script` makes of each query.
async fn udp(script: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        for count in 0.. {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            for message in script(count, &buffer[..length]) {
                socket.send_to(&message, from).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn only_the_response_to_the_query_is_taken() {
    let address = udp(|_, query| {
        let genuine = response(query);
        let mut forged = Vec::new();
        for change in [0, 12 + 1, genuine.len() - 3] {
            let mut wrong = genuine.clone();
            wrong[change] ^= 0x15;
            forged.push(wrong);
        }
        forged.push(query.to_vec());
        forged.push(b"garbage".to_vec());
        forged.push(Vec::new());
        let mut all: Vec<_> = (0..50).flat_map(|_| forged.clone()).collect();
        all.push(genuine);
        all
    })
    .await;
    let answered = group(&[address], settings())
        .ask(&query("www.example"), true, &())
        .await
        .unwrap();
    assert_eq!(answered.octets[2..], response(&query("www.example"))[2..]);
}

#[tokio::test]
async fn a_silent_server_is_told_by_its_address() {
    let address = udp(|_, _| Vec::new()).await;
    let group = group(
        &[address],
        Settings {
            attempts_max: 1,
            ..settings()
        },
    );
    let error = group
        .ask(&query("www.example"), true, &())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("read udp 127.0.0.1:")
            && error.ends_with(&format!("->{address}: i/o timeout")),
        "{error}"
    );
}

#[tokio::test]
async fn the_next_server_is_asked_after_a_failure_or_a_chosen_rcode() {
    let dead = udp(|_, _| Vec::new()).await;
    let refusing = udp(|_, query| {
        let mut refused = response(query);
        refused[3] |= 5;
        vec![refused]
    })
    .await;
    let good = udp(|_, query| vec![response(query)]).await;
    let sequential = Settings {
        policy: Policy::Sequential,
        ..settings()
    };
    let answered = group(&[dead, refusing, good], sequential.clone())
        .ask(&query("a"), true, &())
        .await
        .unwrap();
    assert_ne!(answered.upstream.server().address, dead);
    let failover = Settings {
        failover: vec![corten_wire::Rcode::REFUSED],
        ..sequential
    };
    let answered = group(&[refusing, good], failover.clone())
        .ask(&query("a"), true, &())
        .await
        .unwrap();
    assert_ne!(answered.upstream.server().address, dead);
    let last = group(&[refusing], failover)
        .ask(&query("a"), true, &())
        .await
        .unwrap();
    assert_eq!(
        last.octets[3] & 0xf,
        5,
        "the last answer is better than none"
    );
}

#[tokio::test]
async fn a_server_is_down_after_its_checks_failed_and_up_with_the_first_reply() {
    let answering = Arc::new(AtomicUsize::new(0));
    let flag = Arc::clone(&answering);
    let address = udp(move |_, query| {
        if flag.load(Relaxed) == 1 {
            vec![response(query)]
        } else {
            Vec::new()
        }
    })
    .await;
    let mut settings = Settings {
        attempts_max: 1,
        failfast: true,
        read_timeout: Duration::from_millis(20),
        ..Settings::default()
    };
    settings.health_check.interval = Duration::from_millis(5);
    let group = group(&[address], settings);
    assert!(group.ask(&query("a"), true, &()).await.is_err());
    while !group.upstreams()[0].is_down(2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let broken = AtomicUsize::new(0);
    struct Count<'a>(&'a AtomicUsize);
    impl Observer for Count<'_> {
        fn all_down(&self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    assert_eq!(
        group
            .ask(&query("a"), true, &Count(&broken))
            .await
            .unwrap_err()
            .to_string(),
        "no healthy proxies"
    );
    assert_eq!(broken.load(Relaxed), 1);
    answering.store(1, Relaxed);
    while group.upstreams()[0].is_down(2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    group.ask(&query("a"), true, &()).await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_in_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                // Two queries a connection, then it is closed.
                for _ in 0..2 {
                    let length = stream.read_u16().await.unwrap();
                    let mut query = vec![0; usize::from(length)];
                    stream.read_exact(&mut query).await.unwrap();
                    stream.write_u16(length).await.unwrap();
                    stream.write_all(&response(&query)).await.unwrap();
                }
            });
        }
    });
    let group = group(&[address], settings());
    for _ in 0..6 {
        group.ask(&query("a"), false, &()).await.unwrap();
    }
    assert_eq!(connections.load(Relaxed), 3);
}

#[tokio::test]
async fn a_truncated_reply_is_asked_for_over_tcp_where_udp_is_only_preferred() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let mut cut = response(&buffer[..length]);
        cut[2] |= 2;
        socket.send_to(&cut, from).await.unwrap();
    });
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.unwrap();
        stream.write_u16(length).await.unwrap();
        stream.write_all(&response(&query)).await.unwrap();
    });
    let group = group(
        &[address],
        Settings {
            prefer_udp: true,
            ..settings()
        },
    );
    let answered = group.ask(&query("a"), false, &()).await.unwrap();
    assert_eq!(answered.octets[2] & 2, 0);
}

#[tokio::test]
async fn ids_and_ports_are_spread_and_a_limit_holds() {
    let seen = Arc::new(std::sync::Mutex::new(HashSet::new()));
    let ids = Arc::clone(&seen);
    let address = udp(move |_, query| {
        ids.lock().unwrap().insert([query[0], query[1]]);
        vec![response(query)]
    })
    .await;
    let group = Arc::new(group(&[address], settings()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..500 {
        let group = Arc::clone(&group);
        tasks.spawn(async move {
            let asked = query(&format!("n{number}.example"));
            let answered = group.ask(&asked, true, &()).await.unwrap();
            assert_eq!(
                answered.octets[2..],
                response(&asked)[2..],
                "everybody gets the answer to their own question"
            );
        });
    }
    while let Some(end) = tasks.join_next().await {
        end.unwrap();
    }
    assert!(
        seen.lock().unwrap().len() > 480,
        "500 random ids are hardly ever this often the same"
    );

    let silent = udp(|_, _| Vec::new()).await;
    let limited = self::group(
        &[silent],
        Settings {
            concurrent_max: 1,
            attempts_max: 1,
            ..settings()
        },
    );
    let asked = query("a");
    let (first, second) = tokio::join!(
        limited.ask(&asked, true, &()),
        limited.ask(&asked, true, &())
    );
    assert!(first.is_err());
    assert_eq!(
        second.unwrap_err().to_string(),
        "concurrent queries exceeded maximum 1"
    );
}

#[tokio::test]
async fn the_future_of_a_query_is_small() {
    let group = group(&["127.0.0.1:9".parse().unwrap()], settings());
    let asked = query("a");
    let future = group.ask(&asked, true, &());
    // It is copied to the heap for each query.
    assert!(size_of_val(&future) <= 1024, "{}", size_of_val(&future));
}

#[tokio::test]
async fn open_sockets_are_used_again_and_counted() {
    let address = udp(|_, query| vec![response(query)]).await;
    let group = group(&[address], settings());
    for _ in 0..3 {
        group.ask(&query("a"), true, &()).await.unwrap();
    }
    let to = address.to_string();
    let labels = [("proxy_name", "forward"), ("to", &to), ("proto", "udp")];
    let count = |name| {
        corten_metrics::registry()
            .counter(name, "", &labels)
            .value()
    };
    assert_eq!(count("coredns_proxy_conn_cache_misses_total"), 1);
    assert_eq!(count("coredns_proxy_conn_cache_hits_total"), 2);
}
