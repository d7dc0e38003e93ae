//! What a plugin crate depends on.
//!
//! A plugin is one link of a server block's chain. A query goes down the chain until a link
//! answers, and the reply goes back up past every link that asked to see it. Both ways are
//! synchronous and run on the worker that received the query; only a link that must wait for the
//! network or a timer gets a task ([`Flow::Wait`]).
//!
//! Start with [`Plugin`], then [`Directive`] and [`Setup`]; `docs/plugins.md` is the walk-through.
mod addresses;
mod background;
mod chain;
mod clock;
mod directive;
pub mod endpoint;
mod exchange;
mod format;
mod gates;
mod labels;
mod listener;
mod lookup;
mod metadata;
mod observe;
mod owed;
mod pace;
mod parts;
mod plugin;
mod process;
mod resolvers;
mod roster;
mod seal;
mod search;
mod setup;
mod site;
mod spans;
mod spool;
mod tls;
mod trace_context;
mod view;
mod zones;

pub use addresses::{nameservers, socket_address};
pub use async_trait::async_trait;
pub use background::{Tasks, aside};
pub use chain::{Chain, Detached, Next, Progress, TooLong};
pub use clock::unix_seconds;
pub use corten_corefile as corefile;
pub use corten_metrics as metrics;
pub use corten_wire as wire;
pub use directive::{Directive, checked};
pub use endpoint::{Announcement, Endpoint};
pub use exchange::{BoxError, Exchange, Transport};
pub use format::{Format, Told};
pub use gates::Gates;
pub use http;
pub use labels::{ZoneLabel, ZoneLabels};
pub use listener::{
    ForwardedHeader, GrpcOptions, HeaderPolicy, HttpProxies, Https3Options, HttpsOptions,
    ListenerOptions, Overload, ProxyProtocol, QuicOptions, SessionTracking, StreamOptions,
};
pub use lookup::{LOOKUPS_MAX, LookupError, Resolve};
pub use metadata::{MetadataCollector, MetadataProvider};
pub use observe::{Tap, UpstreamExchange, UpstreamTransport};
pub use owed::{Owed, OwedNames};
pub use pace::Pace;
pub use parts::{Gone, PartSink};
pub use plugin::{Flow, Interest, Phase, Plugin, Stop, Updates};
pub use process::{Build, Process, Reload, ReloadError, Running};
pub use resolvers::Resolvers;
pub use roster::{Refusals, Roster};
pub use seal::{Seal, Signer};
pub use search::SearchPath;
pub use setup::{Block, Context, Parts, Peers, ServerOptions, Setup, SetupError};
pub use site::{BySite, Site};
pub use spans::{Span, Spans};
pub use spool::{Spool, SpoolLimit};
pub use tls::TlsIdentity;
pub use trace_context::TraceContext;
pub use view::View;
pub use zones::{Fallthrough, Zones};

#[cfg(test)]
mod tests;
