//! Transaction signatures (TSIG, RFC 8945): who made a message, and that nobody changed it.
//!
//! | module | what it is |
//! |---|---|
//! | [`algorithm`] | how a message authentication code is made |
//! | [`key`] | secrets with their names, and many of them together |
//! | [`file`] | keys in the style of named.conf |
//! | [`record`] | the TSIG record in a message |
//! | [`server`] | a query is verified, its answer signed |
//! | [`client`] | a query is signed, its answer verified |
//!
//! Not here: sockets, and the clock; times are arguments, in seconds since 1970.
mod algorithm;
mod client;
pub mod file;
mod key;
mod record;
mod server;

pub use algorithm::{Algorithm, AlgorithmError, Mac};
pub use client::{Query, ResponseError};
pub use key::{Key, KeyError, Keyring, Secret, UnknownKey};
pub use record::{Record, RecordError};
pub use server::{Answer, Refusal, Verdict, verify};

/// Seconds that clocks may differ, as RFC 8945 section 10 recommends.
pub const FUDGE: u16 = 300;

#[cfg(test)]
mod tests;
