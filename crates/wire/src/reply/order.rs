//! The order of records inside a section.
use super::{POINTER_MAX, Record, Reply, Section};
use crate::HEADER_OCTETS;
use crate::codes::RecordType;
use crate::query::{Query, be16};
use crate::walk;

impl Reply {
    /// Puts the records of a section into another order: the record that comes at `i` is now the one
    /// at `order[i]`, counted inside the section. Does nothing unless `order` has each index once.
    ///
    /// Records of one length that no name leads into change places as they are, as those of an
    /// RRset do; otherwise the message is made anew. Neither allocates once the memory is there.
    pub fn reorder(&mut self, query: &Query, section: Section, order: &[u16]) {
        let first = self
            .records
            .partition_point(|record| record.section < section);
        let count = self.records[first..].partition_point(|record| record.section == section);
        if order.len() != count || !self.has_each_once(order) {
            return;
        }
        let moves = |at: &usize| usize::from(order[*at]) != *at;
        let (Some(low), Some(high)) = ((0..count).find(moves), (0..count).rfind(moves)) else {
            return;
        };
        match self.can_swap(first, low, high, order) {
            true => self.swap(first, low, high, order),
            false => self.rebuild(query, |old, new| {
                let (before, rest) = old.records().split_at(first);
                before.iter().for_each(|record| new.copy(old, record));
                for at in order {
                    new.copy(old, &rest[usize::from(*at)]);
                }
                rest[count..]
                    .iter()
                    .for_each(|record| new.copy(old, record));
            }),
        }
    }

    fn has_each_once(&mut self, order: &[u16]) -> bool {
        let seen = self.spare.scratch();
        seen.resize(order.len(), 0);
        order.iter().all(|at| {
            let fresh = seen.get_mut(usize::from(*at));
            fresh.is_some_and(|seen| std::mem::replace(seen, 1) == 0)
        })
    }

    /// Whether the records that move have one length, and no name of the message leads into where
    /// they lie: then their own pointers lead to somewhere before all of them.
    fn can_swap(&self, first: usize, low: usize, high: usize, order: &[u16]) -> bool {
        let records = &self.records[first..];
        let length = |record: &Record| record.end - record.start;
        let one_length = (low..=high)
            .filter(|at| usize::from(order[*at]) != *at)
            .all(|at| length(&records[at]) == length(&records[low]));
        let from = usize::from(records[low].start);
        let to = usize::from(records[high].end);
        one_length && !self.leads_into(from, to)
    }

    /// Whether a pointer of any name leads to a place in between.
    fn leads_into(&self, from: usize, to: usize) -> bool {
        let leads = |name: usize| {
            let (mut at, mut last) = (name, usize::MAX);
            while let Some(pointer) = walk::pointer(&self.octets, at) {
                at = usize::from(be16(&self.octets, pointer).unwrap_or(0)) & POINTER_MAX;
                if at == HEADER_OCTETS {
                    break;
                }
                // Pointers only lead backwards; what does otherwise is left to the slow way.
                if (from..to).contains(&at) || at >= last {
                    return true;
                }
                last = at;
            }
            false
        };
        self.records.iter().any(|record| {
            let start = usize::from(record.start);
            let mut found = leads(start);
            // Addresses hold no names: the common case is decided by the owner.
            if !matches!(record.rtype.0, 1 | 28) {
                let raw = walk::record(&self.octets, start);
                let read = raw.and_then(|raw| {
                    walk::names_in_rdata(&self.octets, &raw, |name| found |= leads(name))
                });
                // Some write NAPTR with compression; the slow way reads it out.
                found |= read.is_none() || record.rtype == RecordType::NAPTR;
            }
            found
        })
    }

    fn swap(&mut self, first: usize, low: usize, high: usize, order: &[u16]) {
        let scratch = self.spare.scratch();
        let place = |at: usize| {
            let record = &self.records[first + at];
            usize::from(record.start)..usize::from(record.end)
        };
        let from = place(low).start;
        for at in &order[low..=high] {
            scratch.extend_from_slice(&self.octets[place(usize::from(*at))]);
        }
        self.octets[from..from + scratch.len()].copy_from_slice(scratch);
        self.spare
            .reorder(&mut self.records[first..], low, high, order);
    }
}
