//! In which order the records of a section come: CNAME, other types, addresses, MX.
use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Range;

use corten_plugin::wire::{Record, RecordType, Section, View};

use crate::config::Network;
use crate::dice;
use crate::weights::Weights;

/// Indices of records inside their section.
#[derive(Default)]
pub(crate) struct Order {
    indices: Vec<u16>,
    sorted: Vec<(usize, u16)>,
    /// Where the section's records begin in the message.
    first: usize,
    addresses: Range<usize>,
    exchanges: Range<usize>,
}

/// Lends the thread's own memory, so that no response costs an allocation.
pub(crate) fn with_scratch(work: impl FnOnce(&mut Order)) {
    thread_local!(static SCRATCH: RefCell<Order> = RefCell::default());
    SCRATCH.with_borrow_mut(work);
}

const fn is_address(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::A | RecordType::AAAA)
}

impl Order {
    /// Reads a section; false when there is nothing to order.
    pub(crate) fn read(&mut self, reply: View<'_>, section: Section) -> bool {
        let records = reply.records();
        self.first = records.partition_point(|record| record.section < section);
        let records = &records[self.first..];
        let count = records.partition_point(|record| record.section == section);
        let records = &records[..count];
        let moves = |record: &Record| {
            is_address(record.rtype) || matches!(record.rtype, RecordType::MX | RecordType::CNAME)
        };
        if count < 2 || !records.iter().any(moves) {
            return false;
        }
        self.indices.clear();
        self.take(records, |rtype| rtype == RecordType::CNAME);
        self.take(records, |rtype| {
            !is_address(rtype) && !matches!(rtype, RecordType::MX | RecordType::CNAME)
        });
        self.addresses = self.take(records, is_address);
        self.exchanges = self.take(records, |rtype| rtype == RecordType::MX);
        true
    }

    fn take(&mut self, records: &[Record], wanted: impl Fn(RecordType) -> bool) -> Range<usize> {
        let start = self.indices.len();
        // A message has room for fewer records than a u16 can count.
        let found = (0u16..)
            .zip(records)
            .filter(|(_, record)| wanted(record.rtype));
        self.indices.extend(found.map(|(index, _)| index));
        start..self.indices.len()
    }

    pub(crate) fn indices(&self) -> &[u16] {
        &self.indices
    }

    /// A and AAAA.
    pub(crate) fn addresses(&mut self) -> &mut [u16] {
        &mut self.indices[self.addresses.clone()]
    }

    /// MX.
    pub(crate) fn exchanges(&mut self) -> &mut [u16] {
        &mut self.indices[self.exchanges.clone()]
    }

    fn record<'a>(&self, reply: View<'a>, index: u16) -> Option<&'a Record> {
        reply.records().get(self.first + usize::from(index))
    }

    /// Puts addresses of earlier networks first; otherwise leaves the order as it is.
    pub(crate) fn prefer(&mut self, reply: View<'_>, networks: &[Network]) {
        if networks.is_empty() {
            return;
        }
        let mut sorted = std::mem::take(&mut self.sorted);
        sorted.clear();
        for index in &self.indices[self.addresses.clone()] {
            let address = self
                .record(reply, *index)
                .and_then(|record| address(reply, record));
            let rank =
                address.and_then(|address| networks.iter().position(|net| net.contains(address)));
            // Equal ranks keep their places.
            let rank = rank.unwrap_or(networks.len());
            sorted.push((rank << 16 | sorted.len(), *index));
        }
        sorted.sort_unstable();
        for (place, (_, index)) in self.addresses().iter_mut().zip(&sorted) {
            *place = *index;
        }
        self.sorted = sorted;
    }

    /// Puts one address first, each as often as its weight says.
    pub(crate) fn weigh(&mut self, reply: View<'_>, weights: &Weights) {
        let mut sorted = std::mem::take(&mut self.sorted);
        sorted.clear();
        let (mut sum, mut last) = (0, None);
        for index in &self.indices[self.addresses.clone()] {
            let weight = self
                .record(reply, *index)
                .map_or(1, |record| weights.of(reply, record, &mut last));
            sum += usize::from(weight);
            sorted.push((sum, *index));
        }
        let point = dice::roll(sum.max(1));
        let chosen = sorted.partition_point(|(upto, _)| *upto <= point);
        let addresses = self.addresses();
        if chosen < addresses.len() {
            addresses.swap(0, chosen);
        }
        self.sorted = sorted;
    }
}

/// The address of an A or AAAA record.
pub(crate) fn address(reply: View<'_>, record: &Record) -> Option<IpAddr> {
    let rdata = reply.rdata(record);
    match record.rtype {
        RecordType::A => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
        RecordType::AAAA => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::Exchange;
    use corten_plugin::wire::{Class, Owner, Query, Question, Rcode};

    /// A reply with records of these types; the last octet of each is its place.
    fn reply(types: &[RecordType]) -> Exchange {
        let mut ex = Exchange::new();
        let question = Question {
            name: "www.example".parse().unwrap(),
            rtype: RecordType::A,
            class: Class::IN,
        };
        ex.query = Query::ask(1, &question);
        ex.start(Rcode::NOERROR);
        for (place, rtype) in types.iter().enumerate() {
            let place = place as u8;
            ex.reply.push(
                Section::Answer,
                Owner::Question,
                *rtype,
                1,
                |rdata| match *rtype {
                    RecordType::A => rdata.octets(&[10, place, 0, place]),
                    RecordType::AAAA => rdata.octets(&[place; 16]),
                    _ => rdata.octets(&[0, place, 1, b'a', 0]),
                },
            );
        }
        ex
    }

    #[test]
    fn types_come_in_their_order() {
        use RecordType as R;
        let ex = reply(&[R::MX, R::A, R::RRSIG, R::CNAME, R::AAAA, R::MX]);
        let mut order = Order::default();
        assert!(order.read(ex.reply.view(), Section::Answer));
        assert_eq!(order.indices(), [3, 2, 1, 4, 0, 5]);
        assert_eq!(
            (order.addresses().to_vec(), order.exchanges().to_vec()),
            (vec![1, 4], vec![0, 5])
        );
        assert!(!order.read(ex.reply.view(), Section::Additional));
        let plain = reply(&[R::TXT, R::TXT]);
        assert!(!order.read(plain.reply.view(), Section::Answer));
    }

    #[test]
    fn preferred_networks_come_first_and_the_rest_keeps_its_order() {
        let ex = reply(&[RecordType::A; 5]);
        let mut order = Order::default();
        assert!(order.read(ex.reply.view(), Section::Answer));
        let networks = ["10.3.0.0/16", "10.1.0.0/16", "2001:db8::/32"];
        let networks = networks.map(|text| Network::read(text).unwrap());
        order.prefer(ex.reply.view(), &networks);
        assert_eq!(order.indices(), [3, 1, 0, 2, 4]);
    }

    #[test]
    fn weights_decide_who_comes_first() {
        let ex = reply(&[RecordType::A; 3]);
        let weights = Weights::read("www.example\n10.1.0.1 6\n10.2.0.2 3\n").unwrap();
        let mut first = [0; 3];
        for _ in 0..10_000 {
            let mut order = Order::default();
            assert!(order.read(ex.reply.view(), Section::Answer));
            order.weigh(ex.reply.view(), &weights);
            first[usize::from(order.indices()[0])] += 1;
        }
        assert!((700..1300).contains(&first[0]), "{first:?}");
        assert!((5500..6500).contains(&first[1]), "{first:?}");
    }
}
