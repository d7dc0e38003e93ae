//! One stream of a connection.
use std::time::Instant;

use crate::request::Request;

/// A stream that is open, or whose response has not gone yet.
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// Octets of a body that the client takes on this stream.
    pub(crate) window: i64,
    /// When the request began to come, or the response to wait for room.
    pub(crate) since: Instant,
    pub(crate) state: State,
}

pub(crate) enum State {
    /// The body has yet to come, or the rest of it.
    Receiving {
        request: Box<Request>,
        /// What `content-length` says, less what has come.
        left: Option<u64>,
    },
    /// The request is with whoever answers it.
    Answering,
    /// The client has yet to make room for the rest of the response.
    Sending {
        body: Vec<u8>,
        at: usize,
        trailers: Option<Vec<u8>>,
    },
}
