//! Zones in memory: what *file*, *auto*, *secondary*, *transfer*, *sign* and *update* share.
//!
//! | module | what it is |
//! |---|---|
//! | [`record`] | one record, in wire form |
//! | [`order`] | canonical order of names, and serial number arithmetic |
//! | [`zone`] | a zone that never changes: built off to the side, then read by everybody |
//! | [`master`] | zones as text, in files |
//! | [`slot`] | the place where the newest version of a zone stands, with what changed before |
//!
//! Not here: sockets, time, and files but those that [`master`] reads. A zone's class is IN.
//!
//! RFC 1034 section 4.2, RFC 4034 section 6.1, RFC 1982, RFC 1995.
pub mod master;
mod order;
mod record;
mod slot;
mod zone;

pub use order::{canonical, is_in, serial_newer};
pub use record::{Record, RecordBuf};
pub use slot::{Catalogue, Delta, History, Listener, Slot};
pub use zone::{Builder, Soa, Zone, ZoneError};
