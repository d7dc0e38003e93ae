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
mod service;
mod wire;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use corten_corefile::Transport as Scheme;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::generation::{Listener, Table};
use crate::limits;
use crate::stream::Who;
use crate::worker::Current;

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
    current: Current,
) -> io::Result<()> {
    connection::Connection::new(stream, who, spoken, input)
        .run(current)
        .await
}

/// One of a listener's connections.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    /// A place, unless the listener has as many connections as its blocks allow.
    pub(crate) fn take(listener: Listener, table: &Table) -> Option<Self> {
        static OPEN: Mutex<Option<HashMap<Listener, Arc<AtomicUsize>>>> = Mutex::new(None);
        let most = match listener.transport {
            Scheme::Https => table.tuning.https.connections_max,
            _ => table.tuning.grpc.connections_max,
        };
        let open = {
            let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(open.get_or_insert_default().entry(listener).or_default())
        };
        let place = Self(open);
        let before = place.0.fetch_add(1, Relaxed);
        (before < most.unwrap_or(limits::WEB_CONNECTIONS_MAX)).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
