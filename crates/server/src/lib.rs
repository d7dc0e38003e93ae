//! Sockets, transports and the life of a configuration.
//!
//! | module | what it is |
//! |---|---|
//! | [`build`] | a Corefile becomes a [`generation::Generation`]: set-up, duplicate checks, chains |
//! | [`generation`] | everything made from one Corefile; per listener a table from zones to chains |
//! | [`tuning`] | how one listener behaves |
//! | [`listen`] | which sockets a generation needs, and how they are opened |
//! | [`worker`] | one thread a core, each with a runtime of its own |
//! | [`answer`] | one message in, one message out: gate, route, chain, reply |
//! | [`doh`] | DNS over HTTPS without HTTP: requests become messages, messages responses |
//! | [`udp`], [`stream`] | datagrams in batches; TCP and TLS connections |
//! | [`leaving`] | how replies leave a connection, and how it ends |
//! | [`quic`] | QUIC connections: DNS over QUIC, and over HTTP/3 |
//! | [`connections`] | who is connected, and who goes when there are too many |
//! | [`web`] | connections of HTTP: DoH and gRPC |
//! | [`proxied`], [`recent`] | PROXY headers in front of datagrams and connections; what is remembered of their senders |
//! | [`batch`] | `recvmmsg` and `sendmmsg`, the only `unsafe` code here |
//! | [`http`] | endpoints of plugins, such as `/metrics` |
//! | [`life`] | start, reload, stop |
//! | [`check`] | a configuration that is built and not served |
//!
//! No directive's name occurs here: directives that change a listener set `ServerOptions`.
mod answer;
mod arriving;
mod batch;
mod build;
mod check;
mod connections;
mod current;
mod doh;
mod generation;
mod http;
mod leaving;
mod life;
mod limits;
mod listen;
mod lookup;
mod panics;
mod parts;
mod pool;
mod proxied;
mod quic;
mod recent;
mod stream;
mod tuning;
mod udp;
mod web;
mod worker;

pub use check::Checked;
pub use life::{BUILT_IN, Server, Settings, Source, StartError};
pub use panics::install_panic_hook;
