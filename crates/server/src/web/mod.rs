//! Connections of HTTP: DNS over HTTPS and CoreDNS's service over gRPC.
//!
//! | module | what it is |
//! |---|---|
//! | [`connection`] | one connection: reads, answers, writes, waits |
//! | [`wire`] | HTTP/1.1 and HTTP/2 behind one face |
//! | [`service`] | what a request asks and how it is answered: DoH or gRPC |
//! | [`grpc`] | messages and trailers of gRPC |
//!
//! Memory answers are made on the way, without a task; the protocol itself is `corten_web`'s.
mod connection;
mod grpc;
pub(crate) mod service;
mod wire;

use std::io;

use corten_corefile::Transport as Scheme;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::arriving::Arriving;
use crate::connections::Member;
use crate::generation::Table;
use crate::limits;
use crate::stream::Who;

/// Protocol names of HTTP, the better one first.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// gRPC has no other.
const GRPC: &[&[u8]] = &[b"h2"];

/// The protocols that a listener's TLS offers; nothing when it does not speak HTTP.
pub(crate) const fn protocols(scheme: Scheme) -> Option<&'static [&'static [u8]]> {
    match scheme {
        Scheme::Https => Some(HTTP),
        Scheme::Grpc => Some(GRPC),
        _ => None,
    }
}

/// What is known of how a client speaks before it has said anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Its first words tell.
    Unknown,
    /// HTTP/2 was agreed upon.
    Two,
}

impl Spoken {
    /// What TLS agreed upon.
    pub(crate) fn agreed(protocol: Option<&[u8]>) -> Self {
        match protocol {
            Some(b"h2") => Self::Two,
            _ => Self::Unknown,
        }
    }
}

/// Serves a connection whose TLS handshake, if any, is over; `input` is what has been read of it.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    who: Who,
    spoken: Spoken,
    input: Vec<u8>,
    member: Member,
    arriving: Arriving,
) -> io::Result<()> {
    connection::Connection::new(stream, who, spoken, input, member)
        .run(arriving)
        .await
}

/// How many connections a listener of HTTP may have.
pub(crate) fn connections_max(scheme: Scheme, table: &Table) -> usize {
    let most = match scheme {
        Scheme::Https => table.tuning.https.connections_max,
        _ => table.tuning.grpc.connections_max,
    };
    most.unwrap_or(limits::WEB_CONNECTIONS_MAX)
}
