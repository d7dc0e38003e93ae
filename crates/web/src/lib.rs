//! HTTP/1.1 (RFC 9112), HTTP/2 (RFC 9113) and HTTP/3 (RFC 9114) of a server for small requests and small responses,
//! without sockets.
//!
//! Octets in, requests out; responses in, octets out. Time is an argument. What a client may cost is
//! bounded: streams, header fields, bodies, responses that it does not take, and frames that lead
//! nowhere.
//!
//! | module | what it is |
//! |---|---|
//! | [`grpc`] | bodies of CoreDNS's service over gRPC |
//! | `block` | a block of header fields, for HTTP/2 and HTTP/3 |
//! | [`http1`] | one connection of HTTP/1.1, one request at a time |
//! | [`http2`] | one connection of HTTP/2 |
//! | [`http3`] | one stream of HTTP/3; the connection is QUIC's |
//! | [`request`] | what is kept of a request |
//!
//! Not here: what a request means. Why it is our own: `docs/decisions/0002-http2.md`.
mod block;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod http3;
mod request;

pub use request::{Field, Problem, Request};
