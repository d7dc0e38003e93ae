//! The task that probes.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_plugin::wire::{Class, Name, Query, Question, RecordType};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

use crate::{Probe, State};

/// How long the server is tried at the start (CoreDNS's value).
const START: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait for the answer to a probe.
const WAIT: Duration = Duration::from_secs(5);
/// A probe may still be under way when its answer is there (CoreDNS's value).
const LINGER: Duration = Duration::from_secs(2);
/// Time between two looks whether a loop is gone.
const AGAIN: Duration = Duration::from_secs(30);

/// Probes at the start, and again as long as there is a loop.
pub(crate) async fn run(state: Arc<State>, listeners: Vec<SocketAddr>) {
    let candidates = candidates(&state.bind, &listeners);
    let until = Instant::now() + START;
    let mut looping = loop {
        match look(&state, &candidates).await {
            Some(looping) => break looping,
            None if Instant::now() >= until => break false,
            None => sleep(RETRY).await,
        }
    };
    while looping {
        sleep(AGAIN).await;
        looping = look(&state, &candidates).await.unwrap_or(true);
        if !looping && state.refuse(None).is_some() {
            tracing::info!(target: "plugin/loop", "the loop for zone \"{}\" is gone", state.zone);
        }
    }
    state.expect(None);
}

/// Sends one probe to the addresses until it comes by here; whether it loops, or nothing when it
/// never came.
async fn look(state: &State, candidates: &[SocketAddr]) -> Option<bool> {
    for address in candidates {
        let name = probe_name(&state.zone)?;
        let probe = Arc::new(Probe::new(name));
        state.expect(Some(Arc::clone(&probe)));
        let answered = timeout(WAIT, ask(*address, &probe.name)).await;
        // The listener may belong to another server block.
        if probe.passes() == 0 {
            continue;
        }
        if !probe.loops() && matches!(answered, Ok(Ok(()))) {
            sleep(LINGER).await;
        }
        return Some(probe.loops());
    }
    None
}

/// Two numbers of 64 random bits each in front of the zone.
fn probe_name(zone: &Name) -> Option<Name> {
    let (one, other) = (rand::random::<u64>(), rand::random::<u64>());
    let zone = zone.to_string();
    format!("{one}.{other}.{}", zone.trim_start_matches('.'))
        .parse()
        .ok()
}

/// Where the block may be reached: its own addresses, loopback in place of wildcards.
fn candidates(bind: &[IpAddr], listeners: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut all: Vec<_> = listeners
        .iter()
        .filter(|address| bind.is_empty() || bind.contains(&address.ip()))
        .map(|address| match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
            _ => *address,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

async fn ask(address: SocketAddr, name: &Name) -> io::Result<()> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    let question = Question {
        name: name.clone(),
        rtype: RecordType::HINFO,
        class: Class::IN,
    };
    socket
        .send(Query::ask(rand::random(), &question).octets())
        .await?;
    let mut reply = [0; 512];
    socket.recv(&mut reply).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_random_and_in_the_zone() {
        for zone in [".", "example.org."] {
            let zone: Name = zone.parse().unwrap();
            let (one, other) = (probe_name(&zone).unwrap(), probe_name(&zone).unwrap());
            assert_ne!(one, other);
            assert!(one.is_in(&zone));
            assert_eq!(one.label_count(), zone.label_count() + 2);
        }
    }

    #[test]
    fn wildcards_are_reached_over_loopback() {
        let all: Vec<SocketAddr> = ["0.0.0.0:53", "[::]:53", "192.0.2.1:54"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let shown = |bind: &[IpAddr]| -> Vec<String> {
            candidates(bind, &all)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(shown(&[]), ["127.0.0.1:53", "192.0.2.1:54", "[::1]:53"]);
        assert_eq!(shown(&["192.0.2.1".parse().unwrap()]), ["192.0.2.1:54"]);
    }
}
