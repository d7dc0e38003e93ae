//! Zones in memory: what *file*, *auto*, *secondary*, *transfer*, *sign* and *update* share.
//!
//! | module | what it is |
//! |---|---|
//! | [`record`] | one record, in wire form |
//! | [`order`] | canonical order of names, and serial number arithmetic |
//! | [`build`] | from records in any order to a zone |
//! | [`zone`] | a zone that never changes: built off to the side, then read by everybody |
//! | [`node`] | a name of a zone with its RRsets, as they lie in memory |
//! | [`index`] | from names to nodes |
//! | [`lookup`] | what a zone says to a question |
//! | [`denial`], [`nsec3`] | proofs of what is not there |
//! | [`master`] | zones as text, in files |
//! | [`slot`] | the place where the newest version of a zone stands, with what changed before |
//!
//! Not here: sockets, time, and files but those that [`master`] reads. A zone's class is IN.
//!
//! A zone is one piece of memory in which each name has its RRsets behind it, a table from hashes to
//! places in it, and a list of places in canonical order. A name that exists is found with one look
//! into the table, one that does not with one for each label more than its closest encloser has; each
//! node knows the delegation or DNAME above it, and its wildcard. Where little changes the next version is a
//! copy with what changed behind it ([`Zone::with`]).
//!
//! RFC 1034 section 4.2, RFC 4034 section 6.1, RFC 1982, RFC 1995.
mod build;
mod denial;
mod index;
mod lookup;
pub mod master;
mod node;
mod nsec3;
mod order;
mod record;
mod slot;
mod zone;

pub use build::{Builder, Names};
pub use denial::Proof;
pub use lookup::{Found, Lookup};
pub use node::{Node, RrSet, Sets, SignedSet};
pub use order::{canonical, is_in, serial_newer};
pub use record::{Record, RecordBuf};
pub use slot::{Catalogue, Delta, History, Keeper, Listener, Slot};
pub use zone::{Soa, Zone, ZoneError};
