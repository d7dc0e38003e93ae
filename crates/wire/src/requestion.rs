//! A reply to one question becomes the reply to another, as when a name was completed on the way.
use std::mem;

use crate::codes::{Class, RecordType};
use crate::name::NAME_OCTETS_MAX;
use crate::query::{Query, be16};
use crate::reply::{Owner, Record, Reply, Section};
use crate::walk;

impl Reply {
    /// Puts the question of `query` in the place of the one that is there, with every record as it
    /// was. When there are answers and none belongs to the new question's name, a CNAME in front
    /// leads from that to the owner of the first.
    ///
    /// Names that point into the old question are written out; allocates.
    pub fn requestion(&mut self, query: &Query) {
        let old = mem::take(self);
        self.start(query, old.rcode);
        self.authoritative = old.authoritative;
        self.truncated = old.truncated;
        self.recursion_available = old.recursion_available;
        self.authentic_data = old.authentic_data;
        self.options.clone_from(&old.options);
        let mut owner = Vec::with_capacity(NAME_OCTETS_MAX);
        if let Some((at, ttl)) = old.leads_from(query, &mut owner) {
            expand(&old.octets, at, &mut owner);
            let kind = RecordType::CNAME;
            let front = |rdata: &mut crate::Rdata<'_>| rdata.octets(&owner);
            self.push(Section::Answer, Owner::Question, kind, ttl, front);
        }
        let mut rdata = Vec::new();
        for record in &old.records {
            expand(&old.octets, usize::from(record.start), &mut owner);
            old.write_rdata(record, &mut rdata);
            let class = usize::from(record.rdata).saturating_sub(8);
            let class = be16(&old.octets, class).map_or(Class::IN, Class);
            let (section, rtype, ttl) = (record.section, record.rtype, old.ttl(record));
            let owner = Owner::Wire(&owner);
            let pushed = self.push_class(section, owner, rtype, class, ttl, |out| {
                out.octets(&rdata);
            });
            if !pushed {
                self.truncated = true;
                return;
            }
        }
    }

    /// Where the owner of the first answer lies, and its TTL, if no answer belongs to the name of
    /// the query.
    fn leads_from(&self, query: &Query, owner: &mut Vec<u8>) -> Option<(usize, u32)> {
        let asked = query.question.name.wire();
        let mut first = None;
        let answers = self.records.iter();
        for record in answers.filter(|record| record.section == Section::Answer) {
            let at = usize::from(record.start);
            expand(&self.octets, at, owner);
            if owner.eq_ignore_ascii_case(asked) {
                return None;
            }
            first.get_or_insert_with(|| (at, self.ttl(record)));
        }
        first
    }

    /// RDATA with its names written out.
    fn write_rdata(&self, record: &Record, out: &mut Vec<u8>) {
        out.clear();
        let (mut at, end) = (usize::from(record.rdata), usize::from(record.end));
        let mut name = Vec::new();
        if let Some(raw) = walk::record(&self.octets, usize::from(record.start)) {
            let _ = walk::names_in_rdata(&self.octets, &raw, |place| {
                out.extend_from_slice(self.octets.get(at..place).unwrap_or_default());
                expand(&self.octets, place, &mut name);
                out.extend_from_slice(&name);
                at = walk::skip_name(&self.octets, place).unwrap_or(end);
            });
        }
        out.extend_from_slice(self.octets.get(at..end).unwrap_or_default());
    }
}

/// Writes a name without compression. Those of a reply have been checked when they came into it.
fn expand(message: &[u8], mut at: usize, out: &mut Vec<u8>) {
    out.clear();
    while out.len() < NAME_OCTETS_MAX {
        match message.get(at).copied() {
            Some(length @ 1..=63) => {
                let end = at + 1 + usize::from(length);
                out.extend_from_slice(message.get(at..end).unwrap_or_default());
                at = end;
            }
            Some(192..) => at = usize::from(be16(message, at).unwrap_or(0) & 0x3fff),
            _ => break,
        }
        // A pointer that leads nowhere would lead there for ever.
        if at < crate::HEADER_OCTETS {
            break;
        }
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::Carrier;
    use crate::{Gate, Name};

    /// `a.b.example. A`, with EDNS.
    const QUERY: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x01a\x01B\x07example\0\0\x01\0\x01\
        \0\0\x29\x04\xd0\0\0\0\0\0\0";

    fn shown(reply: &Reply, query: &Query) -> Vec<String> {
        let message = reply.to_message(query).unwrap();
        let sections = [&message.answers, &message.authorities];
        let all = sections.into_iter().flatten();
        all.map(|record| format!("{} {} {}", record.name, record.ttl, record.data))
            .collect()
    }

    #[test]
    fn the_question_changes_and_the_records_do_not() {
        let mut query = Query::new();
        assert_eq!(query.read(QUERY), Gate::Pass);
        let asked = query.question.name.clone();
        query.question.name = "a.other.example".parse().unwrap();
        let mut reply = Reply::new();
        // An upstream's response: the owner points to the question, the target into it.
        let response =
            b"\0\x01\x85\x80\0\x01\0\x02\0\x01\0\0\x01a\x05other\x07example\0\0\x01\0\x01\
            \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01x\xc0\x0e\
            \x01x\xc0\x0e\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01\
            \xc0\x14\0\x02\0\x01\0\0\0\x3c\0\x05\x02ns\xc0\x14";
        reply.load(&query, response).unwrap();
        reply.set_option(15, &[0, 4]);
        let before = shown(&reply, &query);
        query.question.name = asked;
        reply.requestion(&query);
        let after = shown(&reply, &query);
        assert_eq!(after[0], "a.B.example. 60 a.other.example.");
        assert_eq!(after[1..], before[..]);
        assert!(reply.authoritative && reply.recursion_available);
        let mut out = Vec::new();
        reply.finish(&query, Carrier::Datagram, &mut out);
        assert_eq!(out[12..28], QUERY[12..28], "letter case is the client's");
        assert_eq!(out[out.len() - 6..], [0, 15, 0, 2, 0, 4]);
        reply.requestion(&query);
        assert_eq!(shown(&reply, &query), after, "once is enough");
    }

    #[test]
    fn without_answers_there_is_no_cname() {
        let mut query = Query::new();
        assert_eq!(query.read(QUERY), Gate::Pass);
        let asked = query.question.name.clone();
        query.question.name = "other.example".parse().unwrap();
        let mut reply = Reply::new();
        reply.start(&query, crate::Rcode::NXDOMAIN);
        let root = Name::root();
        reply.push(
            Section::Authority,
            Owner::Wire(root.wire()),
            RecordType::NS,
            5,
            |rdata| rdata.octets(b"\x02ns\0"),
        );
        query.question.name = asked;
        reply.requestion(&query);
        assert_eq!(shown(&reply, &query), [". 5 ns."]);
        assert_eq!(reply.rcode, crate::Rcode::NXDOMAIN);
    }
}
