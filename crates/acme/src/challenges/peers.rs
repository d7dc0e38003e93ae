//! The TXT question of a challenge, to other servers of the same certificate.
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_wire::typed::op::Message;
use corten_wire::typed::rr::RData;
use corten_wire::{Class, Name, Query, Question, RecordType, same_question};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// EDNS option of the range for local use (RFC 6891 section 9) that marks a question of a peer: who
/// gets it asks nobody else, so that two servers never ask one another in a circle.
pub const PEER_OPTION: u16 = 65_313;
/// What the option holds.
const MARK: &[u8] = b"corten";
/// Octets of a reply that we take.
const REPLY_OCTETS: u16 = 1232;
/// How long one datagram is waited for.
const PATIENCE: Duration = Duration::from_millis(400);
/// Datagrams that are sent: any may be lost.
const DATAGRAMS: usize = 2;
/// Peers that are asked.
const PEERS_MAX: usize = 16;
/// Values that are taken from a peer.
const VALUES_MAX: usize = 16;

/// What the peers say, all asked at once; the slowest is waited for no longer than two datagrams
/// take.
pub(super) async fn ask(peers: &[SocketAddr], name: &[u8]) -> Vec<String> {
    let Ok(name) = Name::from_wire(name) else {
        return Vec::new();
    };
    let question = Question {
        name,
        rtype: RecordType::TXT,
        class: Class::IN,
    };
    let mut asking = JoinSet::new();
    for peer in peers.iter().copied().take(PEERS_MAX) {
        asking.spawn(ask_one(peer, question.clone()));
    }
    let mut values: Vec<String> = Vec::new();
    for found in asking.join_all().await {
        for value in found.unwrap_or_default() {
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }
    values
}

async fn ask_one(peer: SocketAddr, question: Question) -> io::Result<Vec<String>> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(peer).await?;
    let query = marked(&question);
    let mut buffer = [0; REPLY_OCTETS as usize];
    for _ in 0..DATAGRAMS {
        socket.send(&query).await?;
        let reply = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                let message = &buffer[..length];
                if message.get(..2) == query.get(..2) && same_question(&query, message) {
                    return Ok::<_, io::Error>(length);
                }
            }
        };
        if let Ok(length) = timeout(PATIENCE, reply).await {
            return Ok(values(&buffer[..length?], &question.name));
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The question as a message with the mark.
fn marked(question: &Question) -> Vec<u8> {
    let mut octets = Query::ask(rand::random(), question).octets().to_vec();
    // RD would have it looked up elsewhere.
    octets[2] = 0;
    octets[11] = 1;
    octets.extend([0, 0, 41]);
    octets.extend(REPLY_OCTETS.to_be_bytes());
    octets.extend([0; 4]);
    octets.extend((4 + MARK.len() as u16).to_be_bytes());
    octets.extend(PEER_OPTION.to_be_bytes());
    octets.extend((MARK.len() as u16).to_be_bytes());
    octets.extend(MARK);
    octets
}

/// The TXT values of a reply.
fn values(message: &[u8], name: &Name) -> Vec<String> {
    let Ok(message) = Message::from_vec(message) else {
        return Vec::new();
    };
    if !message.metadata.authoritative {
        return Vec::new();
    }
    let owner = name.to_string();
    let of_name = message
        .answers
        .iter()
        .filter(|record| record.name.to_string().eq_ignore_ascii_case(&owner));
    of_name
        .filter_map(|record| match &record.data {
            RData::TXT(text) => {
                let octets = text.txt_data.concat();
                String::from_utf8(octets).ok()
            }
            _ => None,
        })
        .take(VALUES_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_wire::finish::Carrier;
    use corten_wire::{Gate, Owner, Rcode, Reply, Section};

    /// A peer that answers the question as `answer` says.
    async fn peer(authoritative: bool, texts: &'static [&'static str]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            // The first datagram is lost.
            let _ = socket.recv_from(&mut buffer).await.unwrap();
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let (mut query, mut reply, mut out) = (Query::new(), Reply::new(), Vec::new());
            assert!(matches!(query.read(&buffer[..length]), Gate::Pass));
            assert_eq!(query.edns_option(PEER_OPTION), Some(MARK));
            assert!(!query.recursion_desired());
            reply.start(&query, Rcode::NOERROR);
            reply.authoritative = authoritative;
            for text in texts {
                let text = text.as_bytes();
                let (answer, owner) = (Section::Answer, Owner::Question);
                reply.push(answer, owner, RecordType::TXT, 0, |rdata| {
                    rdata.string(text)
                });
            }
            reply.finish(&query, Carrier::Datagram, &mut out);
            socket.send_to(&out, client).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn what_peers_say_is_put_together() {
        let peers = [
            peer(true, &["one", "two"]).await,
            peer(true, &["two", "three"]).await,
            peer(false, &["not his"]).await,
            peer(true, &[]).await,
            // Nobody listens here.
            SocketAddr::from(([127, 0, 0, 1], 9)),
        ];
        let mut values = ask(&peers, b"\x0f_acme-challenge\x01a\x07example\0").await;
        values.sort();
        assert_eq!(values, ["one", "three", "two"]);
    }
}
