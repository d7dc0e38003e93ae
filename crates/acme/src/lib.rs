//! Certificates that look after themselves.
//!
//! | module | what it is |
//! |---|---|
//! | [`spec`] | which certificate is wanted, from whom |
//! | [`manager`] | one entry for each wanted certificate, outliving configurations; obtains and renews |
//! | [`machine`] | when to act: a function of time and of what is there, without I/O |
//! | [`order`] | one ACME order, RFC 8555; the only module beside [`http`] that names the ACME library |
//! | [`http`] | requests to the CA: deadlines, roots, what a status line says |
//! | [`challenges`] | answers to DNS-01 challenges (RFC 8555 section 8.4) that are pending |
//! | [`internal`] | a local CA for `tls internal` |
//! | [`store`], [`bundle`] | key and chain in one text, verified before use |
//! | [`storage`] | where texts are kept, shared by several servers |
//!
//! The answers to challenges are handed to whoever serves DNS through [`Challenges`]; nothing here
//! opens a server socket.
mod bundle;
mod challenges;
mod http;
mod internal;
mod machine;
mod manager;
mod order;
mod spec;
mod storage;
mod store;
#[cfg(test)]
mod tests;

pub use bundle::{Bundle, BundleError, Validity};
pub use challenges::{Answer, Asker, Challenges, PEER_OPTION, Pending, Responder};
pub use manager::{Entry, Manager, Status};
pub use order::Limits;
pub use spec::{Issuer, LETS_ENCRYPT, Spec, SpecError};
pub use storage::{EtcdLocation, EtcdTls, Location};
