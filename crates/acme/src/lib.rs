//! Certificates that look after themselves.
//!
//! | module | what it is |
//! |---|---|
//! | [`spec`] | which certificate is wanted, from whom |
//! | [`manager`] | one entry for each wanted certificate, outliving configurations; obtains and renews |
//! | [`machine`], [`backoff`] | when to act: functions of time and of what is there, without I/O |
//! | [`attempt`] | one attempt to obtain a certificate: which CA, what is looked at before |
//! | [`preflight`], [`delegation`], [`alias`], [`dns`] | what the CA will see, asked of the name servers it will ask |
//! | [`account`], [`order`], [`ari`] | ACME (RFC 8555, RFC 9773); with [`problem`] and [`http`] the only modules that name the ACME library |
//! | [`problem`] | what can go wrong with an order, in words |
//! | [`http`] | requests to the CA: deadlines, roots, what a status line says |
//! | [`certmagic`] | what CoreDNS and others have left, so that nothing is lost by a change |
//! | [`rehearsal`] | a dry run at a CA for practice |
//! | [`metrics`] | numbers for those who watch |
//! | [`challenges`] | answers to DNS-01 challenges (RFC 8555 section 8.4) that are pending |
//! | [`internal`] | a local CA for `tls internal` |
//! | [`report`] | what an operator wants to know, from what is stored |
//! | [`store`], [`bundle`] | key and chain in one text, verified before use |
//! | [`storage`] | where texts are kept, shared by several servers |
//!
//! The answers to challenges are handed to whoever serves DNS through [`Challenges`]; nothing here
//! opens a server socket.
mod account;
mod alias;
mod ari;
mod attempt;
mod backoff;
mod bundle;
mod certmagic;
mod challenges;
mod delegation;
mod dns;
mod http;
mod internal;
mod machine;
mod manager;
mod metrics;
mod order;
mod preflight;
mod problem;
mod rehearsal;
mod report;
mod spec;
mod storage;
mod store;
#[cfg(test)]
mod tests;

pub use attempt::Limits;
pub use bundle::{Bundle, BundleError, Validity};
pub use challenges::{Answer, Asker, Challenges, PEER_OPTION, Pending, Responder};
pub use internal::{root_hash, roots};
pub use manager::{Entry, Manager, Status};
pub use preflight::{Finding, Verdict};
pub use rehearsal::{Outcome, rehearse};
pub use report::{Report, report, span};
pub use spec::{
    Binding, ChallengeKind, Issuer, KeyType, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Options, RenewAt,
    Spec, SpecError,
};
pub use storage::{EtcdLocation, EtcdTls, Location};
