//! DNS messages as octets: names, queries, replies.
//!
//! | module | what it is |
//! |---|---|
//! | [`name`] | a name of a question, inline, lower-cased, with the places of its labels |
//! | [`codes`] | types, classes, RCODEs and opcodes as numbers with their mnemonics |
//! | [`query`] | a received query: checked once, then read without decoding |
//! | [`reply`] | the reply while plugins make and change it: octets and an index of the records |
//! | [`finish`] | what every reply obeys when it leaves: header, EDNS, size |
//! | [`proxy`] | PROXY protocol headers in front of messages |
//! | [`text`] | records in presentation form, as zone files have them |
//! | [`typed`] | the same messages as hickory-proto's types, for code that looks into records |
//!
//! Not here: sockets, time, policy. Nothing here allocates for a query or a reply that fits the
//! buffers it is given.
//!
//! RFC 1035 section 4 (messages), RFC 6891 (EDNS), RFC 9499 (terms).
pub mod codes;
mod copy;
pub mod finish;
pub mod message;
pub mod name;
pub mod pack;
pub mod proxy;
pub mod query;
pub mod reply;
mod requestion;
pub mod text;
pub mod typed;
mod walk;

pub use codes::{Class, Opcode, Rcode, RecordType};
pub use name::{Name, NameError};
pub use query::{Edns, Flag, Gate, Query, Question, Updates};
pub use reply::{Anew, NameAt, Owner, Rdata, Record, Reply, ReplyError, Section, View};
pub use text::{TextError, TextErrorKind, TextRecord};
pub use walk::{question_octets, same_question};

/// Octets of the header (RFC 1035 section 4.1.1).
pub const HEADER_OCTETS: usize = 12;

/// Largest message: the length prefix of TCP has two octets (RFC 1035 section 4.2.2).
pub const MESSAGE_OCTETS_MAX: usize = 65_535;
