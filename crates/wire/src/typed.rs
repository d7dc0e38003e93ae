//! Messages as hickory-proto's types, for code that looks into records.
//!
//! Decoding and encoding allocate; plugins on the memory path work on [`Reply`]'s octets instead.
pub use hickory_proto::ProtoError;
pub use hickory_proto::op;
pub use hickory_proto::rr;

use crate::finish::Carrier;
use crate::query::Query;
use crate::reply::{Reply, ReplyError};
use hickory_proto::serialize::binary::BinEncodable;

impl Reply {
    /// The reply as a decoded message, header and OPT as they would leave over a stream.
    ///
    /// Fails when a record's RDATA does not hold what its type asks for.
    pub fn to_message(&self, query: &Query) -> Result<op::Message, ProtoError> {
        let mut octets = Vec::with_capacity(self.octets.len() + 64);
        self.finish(query, Carrier::Stream, &mut octets);
        op::Message::from_vec(&octets).map_err(Into::into)
    }

    /// Takes over a message that was made or changed with hickory's types; its question must be the
    /// query's.
    pub fn load_message(&mut self, query: &Query, message: &op::Message) -> Result<(), ReplyError> {
        let octets = message.to_bytes().map_err(|_| ReplyError::Malformed)?;
        self.load(query, &octets)
    }
}
