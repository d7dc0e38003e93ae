//! One record of a zone.
use corten_wire::RecordType;

/// A record that lies in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record<'a> {
    /// Owner in wire form, lower-cased.
    pub owner: &'a [u8],
    /// TYPE.
    pub rtype: RecordType,
    /// Seconds.
    pub ttl: u32,
    /// RDATA; names in it are not compressed.
    pub rdata: &'a [u8],
}

/// The same, on its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordBuf {
    /// Owner in wire form, lower-cased.
    pub owner: Box<[u8]>,
    /// TYPE.
    pub rtype: RecordType,
    /// Seconds.
    pub ttl: u32,
    /// RDATA; names in it are not compressed.
    pub rdata: Box<[u8]>,
}

impl Record<'_> {
    /// A copy that stands on its own.
    pub fn to_owned(&self) -> RecordBuf {
        RecordBuf {
            owner: self.owner.into(),
            rtype: self.rtype,
            ttl: self.ttl,
            rdata: self.rdata.into(),
        }
    }
}

impl RecordBuf {
    /// The record as those in a zone are seen.
    pub fn as_record(&self) -> Record<'_> {
        Record {
            owner: &self.owner,
            rtype: self.rtype,
            ttl: self.ttl,
            rdata: &self.rdata,
        }
    }
}
