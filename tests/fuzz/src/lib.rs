//! What must hold for any input, one function per target: each panics when it does not.
//!
//! The fuzzer (`fuzz_targets/`) and the smoke program (`src/bin/smoke.rs`) both call these. Messages
//! are read back with [`message`], which shares no code with the crates under test.
pub mod message;
pub mod mutate;

mod dnssec;
mod expression;
mod http3;
mod master;
mod proxy;
mod records;
mod signed;
mod text;
mod web;
mod wire;

pub use dnssec::{keyfile, rdata};
pub use expression::expression;
pub use http3::http3;
pub use master::master;
pub use proxy::proxy;
pub use records::{gotemplate, record};
pub use signed::{transfer, tsig};
pub use text::{corefile, name};
pub use web::{grpc, http1, http2};
pub use wire::{query, reply};

/// A target: takes any octets.
pub type Target = fn(&[u8]);

/// All targets by name; seeds lie in `seeds/NAME/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("corefile", corefile),
    ("expression", expression),
    ("gotemplate", gotemplate),
    ("grpc", grpc),
    ("http1", http1),
    ("http2", http2),
    ("http3", http3),
    ("keyfile", keyfile),
    ("master", master),
    ("name", name),
    ("proxy", proxy),
    ("query", query),
    ("rdata", rdata),
    ("record", record),
    ("reply", reply),
    ("transfer", transfer),
    ("tsig", tsig),
];
