//! dnstap messages (dnstap.proto of <https://dnstap.info>), only what a server that answers and
//! forwards has to tell.
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use corten_plugin::{Transport, UpstreamTransport};
use prost::Message as _;

/// The content type of frame streams that carry these.
pub(crate) const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// `Dnstap.Type.MESSAGE`.
const MESSAGE: i32 = 1;
/// `SocketFamily`.
const INET: i32 = 1;
const INET6: i32 = 2;

/// `Message.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ClientQuery = 5,
    ClientResponse = 6,
    ForwarderQuery = 7,
    ForwarderResponse = 8,
}

/// `SocketProtocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Udp = 1,
    Tcp = 2,
    Dot = 3,
    Doh = 4,
    Doq = 7,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tls => Self::Dot,
            // dnstap has no number for gRPC.
            Transport::Tcp | Transport::Grpc => Self::Tcp,
            Transport::Https | Transport::Https3 => Self::Doh,
            Transport::Quic => Self::Doq,
        }
    }
}

impl From<UpstreamTransport> for Protocol {
    fn from(transport: UpstreamTransport) -> Self {
        match transport {
            UpstreamTransport::Udp => Self::Udp,
            UpstreamTransport::Tcp => Self::Tcp,
            UpstreamTransport::Tls => Self::Dot,
            UpstreamTransport::Https => Self::Doh,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) kind: Kind,
    pub(crate) protocol: Protocol,
    pub(crate) query_address: Option<SocketAddr>,
    pub(crate) response_address: Option<SocketAddr>,
    pub(crate) asked: SystemTime,
    pub(crate) answered: Option<SystemTime>,
    /// The message that the kind speaks of, for those who want it in full.
    pub(crate) message: &'a [u8],
}

#[derive(Clone, PartialEq, prost::Message)]
struct Dnstap {
    #[prost(bytes = "vec", tag = "1")]
    identity: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    version: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    extra: Vec<u8>,
    #[prost(message, optional, tag = "14")]
    message: Option<Message>,
    #[prost(int32, tag = "15")]
    kind: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(int32, tag = "2")]
    socket_family: i32,
    #[prost(int32, tag = "3")]
    socket_protocol: i32,
    #[prost(bytes = "vec", tag = "4")]
    query_address: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    response_address: Vec<u8>,
    #[prost(uint32, tag = "6")]
    query_port: u32,
    #[prost(uint32, tag = "7")]
    response_port: u32,
    #[prost(uint64, tag = "8")]
    query_time_sec: u64,
    #[prost(fixed32, tag = "9")]
    query_time_nsec: u32,
    #[prost(bytes = "vec", tag = "10")]
    query_message: Vec<u8>,
    #[prost(uint64, tag = "12")]
    response_time_sec: u64,
    #[prost(fixed32, tag = "13")]
    response_time_nsec: u32,
    #[prost(bytes = "vec", tag = "14")]
    response_message: Vec<u8>,
}

/// Makes data frames; used again and again, so that it allocates nothing once it has grown.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    dnstap: Dnstap,
    frame: Vec<u8>,
    /// For the caller to write the field `extra` into.
    pub(crate) extra: Vec<u8>,
}

impl Framer {
    /// A data frame: length, then the message. `extra` is what was written there.
    pub(crate) fn frame(&mut self, identity: &[u8], version: &[u8], event: &Event<'_>) -> &[u8] {
        let dnstap = &mut self.dnstap;
        dnstap.kind = MESSAGE;
        set(&mut dnstap.identity, identity);
        set(&mut dnstap.version, version);
        set(&mut dnstap.extra, &self.extra);
        fill(dnstap.message.get_or_insert_default(), event);
        self.frame.clear();
        let length = dnstap.encoded_len() as u32;
        self.frame.extend_from_slice(&length.to_be_bytes());
        // A vector has room for everything.
        let _ = dnstap.encode(&mut self.frame);
        &self.frame
    }
}

fn set(field: &mut Vec<u8>, octets: &[u8]) {
    field.clear();
    field.extend_from_slice(octets);
}

fn fill(message: &mut Message, event: &Event<'_>) {
    message.kind = event.kind as i32;
    message.socket_protocol = event.protocol as i32;
    let known = event.query_address.or(event.response_address);
    message.socket_family = match known.map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V4(_)) => INET,
        Some(IpAddr::V6(_)) => INET6,
        None => 0,
    };
    message.query_port = address(&mut message.query_address, event.query_address);
    message.response_port = address(&mut message.response_address, event.response_address);
    (message.query_time_sec, message.query_time_nsec) = time(Some(event.asked));
    (message.response_time_sec, message.response_time_nsec) = time(event.answered);
    let (query, response) = match event.kind {
        Kind::ClientQuery | Kind::ForwarderQuery => (event.message, &[][..]),
        Kind::ClientResponse | Kind::ForwarderResponse => (&[][..], event.message),
    };
    set(&mut message.query_message, query);
    set(&mut message.response_message, response);
}

/// Writes the address; returns the port.
fn address(field: &mut Vec<u8>, address: Option<SocketAddr>) -> u32 {
    match address.map(|address| address.ip().to_canonical()) {
        Some(IpAddr::V4(v4)) => set(field, &v4.octets()),
        Some(IpAddr::V6(v6)) => set(field, &v6.octets()),
        None => field.clear(),
    }
    address.map_or(0, |address| u32::from(address.port()))
}

fn time(time: Option<SystemTime>) -> (u64, u32) {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or((0, 0), |since| (since.as_secs(), since.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn frames_hold_what_happened() {
        let mut framer = Framer::default();
        let asked = UNIX_EPOCH + Duration::new(5, 7);
        let mut event = Event {
            kind: Kind::ForwarderResponse,
            protocol: Protocol::Dot,
            query_address: Some("[::ffff:192.0.2.1]:1024".parse().unwrap()),
            response_address: Some("192.0.2.53:853".parse().unwrap()),
            asked,
            answered: Some(asked + Duration::from_secs(1)),
            message: b"wire",
        };
        framer.extra.extend_from_slice(b"more");
        let frame = framer.frame(b"me", b"v", &event);
        let (length, data) = frame.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, data.len());
        let read = Dnstap::decode(data).unwrap();
        assert_eq!(
            (
                &read.identity[..],
                &read.version[..],
                &read.extra[..],
                read.kind
            ),
            (&b"me"[..], &b"v"[..], &b"more"[..], 1)
        );
        let message = read.message.unwrap();
        assert_eq!(
            (message.kind, message.socket_family, message.socket_protocol),
            (8, 1, 3)
        );
        assert_eq!(
            (message.query_address, message.query_port),
            (vec![192, 0, 2, 1], 1024)
        );
        assert_eq!(
            (message.response_address, message.response_port),
            (vec![192, 0, 2, 53], 853)
        );
        assert_eq!((message.query_time_sec, message.query_time_nsec), (5, 7));
        assert_eq!(
            (message.response_time_sec, message.response_time_nsec),
            (6, 7)
        );
        assert_eq!(
            (message.query_message, message.response_message),
            (vec![], b"wire".to_vec())
        );

        // What an event does not have is not in the next frame.
        framer.extra.clear();
        (
            event.kind,
            event.response_address,
            event.answered,
            event.message,
        ) = (Kind::ClientQuery, None, None, b"");
        event.query_address = Some("[2001:db8::1]:1".parse().unwrap());
        let read = Dnstap::decode(&framer.frame(b"me", b"v", &event)[4..]).unwrap();
        let message = read.message.unwrap();
        assert!(
            read.extra.is_empty()
                && message.response_address.is_empty()
                && message.response_message.is_empty()
        );
        assert_eq!(
            (
                message.kind,
                message.socket_family,
                message.response_port,
                message.response_time_sec
            ),
            (5, 2, 0, 0)
        );
    }
}
