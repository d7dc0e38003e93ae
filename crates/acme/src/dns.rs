//! Asking name servers what they have: to find the CA, and to see what it will see.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_wire::typed::op::{Message, ResponseCode};
use corten_wire::typed::rr::RData;
use corten_wire::{Class, Name, Query, Question, RecordType, same_question};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// One question and its answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Datagrams that are sent: any may be lost.
const DATAGRAMS: usize = 2;
/// Resolvers of the system that are asked.
const RESOLVERS_MAX: usize = 3;
/// Port of DNS (RFC 1035 section 4.2).
const PORT: u16 = 53;

/// How a question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Datagram,
    Stream,
}

/// Asks one server; a truncated answer is asked for again over TCP.
pub(crate) async fn ask(
    server: SocketAddr,
    name: &Name,
    rtype: RecordType,
    carrier: Carrier,
) -> io::Result<Message> {
    let question = Question {
        name: name.clone(),
        rtype,
        class: Class::IN,
    };
    let query = Query::ask(rand::random(), &question);
    let message = match carrier {
        Carrier::Datagram => {
            let message = over_udp(server, &query).await?;
            match message.metadata.truncation {
                true => over_tcp(server, &query).await?,
                false => message,
            }
        }
        Carrier::Stream => over_tcp(server, &query).await?,
    };
    Ok(message)
}

/// Asks resolvers, one after another, until one of them says that there is such a name or not.
pub(crate) async fn resolve(
    resolvers: &[SocketAddr],
    name: &Name,
    rtype: RecordType,
) -> Result<Message, String> {
    let mut why = "there is no resolver to ask".to_owned();
    for resolver in resolvers {
        match ask(*resolver, name, rtype, Carrier::Datagram).await {
            Ok(message) => match message.metadata.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => return Ok(message),
                code => {
                    why = format!("{resolver} answers {} {rtype} with {}", name, rcode(code));
                }
            },
            Err(error) => why = format!("{resolver} does not answer {name} {rtype}: {error}"),
        }
    }
    Err(why)
}

/// Addresses of a host, of both families.
pub(crate) async fn addresses(
    resolvers: &[SocketAddr],
    host: &Name,
) -> Result<Vec<IpAddr>, String> {
    let (four, six) = tokio::join!(
        resolve(resolvers, host, RecordType::A),
        resolve(resolvers, host, RecordType::AAAA)
    );
    let found = |message: &Message| {
        let data = message.answers.iter().map(|record| &record.data);
        data.filter_map(RData::ip_addr).collect::<Vec<_>>()
    };
    match (four, six) {
        (Err(error), Err(_)) => Err(error),
        (four, six) => Ok([four, six].iter().flatten().flat_map(found).collect()),
    }
}

/// A resolver that the operator named, HOST:PORT, or those of the system.
pub(crate) async fn resolvers(named: Option<&str>) -> Result<Vec<SocketAddr>, String> {
    let Some(named) = named else {
        let text = std::fs::read_to_string("/etc/resolv.conf")
            .map_err(|error| format!("/etc/resolv.conf: {error}"))?;
        return Ok(of_system(&text));
    };
    if let Ok(address) = named.parse() {
        return Ok(vec![address]);
    }
    let found: Vec<_> = tokio::net::lookup_host(named)
        .await
        .map_err(|error| format!("resolver {named}: {error}"))?
        .take(RESOLVERS_MAX)
        .collect();
    Ok(found)
}

/// The `nameserver` lines of a resolver's configuration.
fn of_system(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, PORT))
        .take(RESOLVERS_MAX)
        .collect()
}

/// An RCODE as people write it.
pub(crate) fn rcode(code: ResponseCode) -> String {
    corten_wire::Rcode(u16::from(code)).to_string()
}

async fn over_udp(server: SocketAddr, query: &Query) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let mut buffer = [0; 4096];
    for _ in 0..DATAGRAMS {
        socket.send(&query.to_send()).await?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                // What does not answer the question is none of ours (RFC 5452 section 9).
                if let Some(message) = read(query, &buffer[..length]) {
                    return Ok::<_, io::Error>(message);
                }
            }
        };
        if let Ok(message) = timeout(PATIENCE / DATAGRAMS as u32, answer).await {
            return message;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

async fn over_tcp(server: SocketAddr, query: &Query) -> io::Result<Message> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let octets = query.to_send();
        let mut framed = (octets.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&octets);
        stream.write_all(&framed).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        read(query, &answer).ok_or_else(|| io::Error::other("the response is not understood"))
    };
    timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A response to this query.
fn read(query: &Query, octets: &[u8]) -> Option<Message> {
    let header = octets.get(..4)?;
    let sent = query.to_send();
    if header[..2] != sent[..2] || header[2] & 0x80 == 0 || !same_question(&sent, octets) {
        return None;
    }
    Message::from_vec(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_the_system_are_read() {
        let text =
            "# a\nsearch example\nnameserver 192.0.2.1\n nameserver\t2001:db8::1\nnameserver x\n";
        assert_eq!(
            of_system(text),
            [
                "192.0.2.1:53".parse().unwrap(),
                "[2001:db8::1]:53".parse().unwrap()
            ]
        );
    }

    #[tokio::test]
    async fn what_answers_another_question_is_not_taken() {
        let question = Question {
            name: "a.example".parse().unwrap(),
            rtype: RecordType::TXT,
            class: Class::IN,
        };
        let query = Query::ask(7, &question);
        let mut answer = query.to_send().to_vec();
        assert!(read(&query, &answer).is_none(), "a query");
        answer[2] |= 0x80;
        assert!(read(&query, &answer).is_some());
        answer[1] ^= 1;
        assert!(read(&query, &answer).is_none(), "another ID");
        answer[1] ^= 1;
        answer[13] ^= 1;
        assert!(read(&query, &answer).is_none(), "another name");
        assert!(read(&query, &answer[..3]).is_none());
    }
}
