//! A zone on its way out (RFC 5936, RFC 1995).
use std::sync::Arc;
use std::time::Duration;

use corten_plugin::wire::pack::Packer;
use corten_plugin::wire::{Owner, Rcode, Rdata, RecordType, Section};
use corten_plugin::{Exchange, Gone};
use corten_zone::{Delta, Record, RecordBuf, Zone};

/// Octets of a message: as far as names can be pointed to (RFC 1035 section 4.1.4), so that none is
/// written twice.
const MESSAGE_OCTETS: usize = 16 * 1024;

/// A whole transfer must be over within this time: a client that reads slowly keeps its version of the
/// zone in memory, and a place from others.
pub(crate) const TRANSFER: Duration = Duration::from_secs(2 * 3600);

/// Why a transfer ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("the client took longer than {TRANSFER:?}")]
    Late,
    /// With its signature it is longer than a message.
    #[error("a record is too large for a message")]
    TooLarge,
}

/// Messages under way.
struct Outgoing<'e> {
    ex: &'e mut Exchange,
    packer: Packer,
    records: u64,
}

/// Sends a whole zone, and returns the number of records.
pub(crate) async fn whole(ex: &mut Exchange, zone: &Zone) -> Result<u64, Failure> {
    let mut out = Outgoing::new(ex);
    for record in zone.records() {
        out.push(record).await?;
    }
    // RFC 5936 section 2.2: the SOA record once more.
    if let Some(soa) = zone.records().next() {
        out.push(soa).await?;
    }
    out.end().await
}

/// Sends what changed, oldest first (RFC 1995 section 4), and returns the number of records.
pub(crate) async fn changes(ex: &mut Exchange, deltas: &[Arc<Delta>]) -> Result<u64, Failure> {
    let mut out = Outgoing::new(ex);
    let Some(newest) = deltas.last() else {
        return out.end().await;
    };
    out.push(newest.after.as_record()).await?;
    for delta in deltas {
        out.push(delta.before.as_record()).await?;
        out.push_all(&delta.removed).await?;
        out.push(delta.after.as_record()).await?;
        out.push_all(&delta.added).await?;
    }
    out.push(newest.after.as_record()).await?;
    out.end().await
}

/// Answers with what changed if it is a message of so many octets at most; if not, nothing is answered.
pub(crate) fn in_one(ex: &mut Exchange, deltas: &[Arc<Delta>], most: usize) -> bool {
    let Some(newest) = deltas.last() else {
        return false;
    };
    let changes = deltas.iter().flat_map(|delta| {
        let removed = [&delta.before].into_iter().chain(&delta.removed);
        removed.chain([&delta.after]).chain(&delta.added)
    });
    let records = [&newest.after].into_iter().chain(changes);
    let reply = ex.start(Rcode::NOERROR);
    reply.authoritative = true;
    let fits = records.chain([&newest.after]).all(|record| {
        let (owner, rdata) = (Owner::Wire(&record.owner), &record.rdata);
        let write = |out: &mut Rdata<'_>| out.octets(rdata);
        reply.push(Section::Answer, owner, record.rtype, record.ttl, write)
            && reply.octets().len() <= most
    });
    if !fits {
        reply.clear();
    }
    fits
}

/// Whether the changes are less than the zone.
pub(crate) fn are_worth_it(deltas: &[Arc<Delta>], zone: &Zone) -> bool {
    let changes: usize = deltas.iter().map(|delta| delta.len() + 2).sum();
    zone.records().take(changes).count() == changes
}

impl<'e> Outgoing<'e> {
    fn new(ex: &'e mut Exchange) -> Self {
        let most = ex.part_octets_max();
        let mut packer = Packer::new(MESSAGE_OCTETS.min(most), most);
        packer.start(&ex.query);
        Self {
            ex,
            packer,
            records: 0,
        }
    }

    async fn push_all(&mut self, records: &[RecordBuf]) -> Result<(), Failure> {
        for record in records {
            self.push(record.as_record()).await?;
        }
        Ok(())
    }

    async fn push(&mut self, record: Record<'_>) -> Result<(), Failure> {
        debug_assert!(record.rtype != RecordType::OPT);
        self.records += 1;
        if self.pack(record) {
            return Ok(());
        }
        self.send().await?;
        match self.pack(record) {
            true => Ok(()),
            false => Err(Failure::TooLarge),
        }
    }

    fn pack(&mut self, record: Record<'_>) -> bool {
        self.packer
            .push(record.owner, record.rtype, record.ttl, record.rdata)
    }

    async fn send(&mut self) -> Result<(), Failure> {
        let message = self.packer.finish().clone();
        self.ex.send_part(message).await?;
        self.packer.start(&self.ex.query);
        Ok(())
    }

    async fn end(mut self) -> Result<u64, Failure> {
        if self.packer.answers() > 0 {
            self.send().await?;
        }
        Ok(self.records)
    }
}
