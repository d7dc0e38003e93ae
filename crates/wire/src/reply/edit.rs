//! Changes that leave every record where it is.
use super::{Record, Reply, Section};
use crate::query::be16;

impl Reply {
    /// Drops the sections behind the answer.
    pub fn drop_authority_and_additional(&mut self) {
        let kept = self
            .records
            .partition_point(|record| record.section == Section::Answer);
        // Names lead backwards only, so nothing leads to what goes.
        if let Some(first) = self.records.get(kept) {
            self.octets.truncate(usize::from(first.start));
        }
        self.records.truncate(kept);
    }

    /// Lets `change` set each record's TTL, in seconds.
    pub fn map_ttls(&mut self, mut change: impl FnMut(&Record, u32) -> u32) {
        for record in &self.records {
            let at = usize::from(record.rdata).saturating_sub(6);
            let ttl = change(record, super::ttl_at(&self.octets, record));
            if let Some(octets) = self.octets.get_mut(at..at + 4) {
                octets.copy_from_slice(&ttl.to_be_bytes());
            }
        }
    }

    /// Data of the first EDNS option of the reply with this code.
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        loop {
            let end = 4 + usize::from(be16(rest, 2)?);
            let (option, behind) = rest.split_at_checked(end)?;
            if be16(option, 0)? == code {
                return option.get(4..);
            }
            rest = behind;
        }
    }

    /// Whether the reply came from elsewhere with an OPT record of its own.
    pub fn came_with_edns(&self) -> bool {
        self.came_with_edns
    }
}
