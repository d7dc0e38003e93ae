//! Records of one reply for another: names are written out, since pointers mean other places there.
use crate::codes::Class;
use crate::query::be16;
use crate::reply::{Owner, Record, Reply, Section};
use crate::walk;

impl Reply {
    /// Adds a record of another reply behind all others.
    ///
    /// False when it cannot be read, or [`Reply::push`] would not take it.
    pub fn push_copy(&mut self, section: Section, from: &Self, record: &Record) -> bool {
        let message = from.octets();
        let start = usize::from(record.start);
        let (mut owner, mut rdata) = (Vec::new(), Vec::new());
        let copied = walk::record(message, start).and_then(|raw| {
            write_out(message, start, &mut owner)?;
            rdata_written_out(message, &raw, &mut rdata)?;
            be16(message, raw.fixed + 2)
        });
        let Some(class) = copied else { return false };
        let (rtype, ttl) = (record.rtype, from.ttl(record));
        self.push_class(
            section,
            Owner::Wire(&owner),
            rtype,
            Class(class),
            ttl,
            |out| {
                out.octets(&rdata);
            },
        )
    }
}

/// Appends the name at `at`, its pointers followed.
pub(crate) fn write_out(message: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<()> {
    // What has a length has an end.
    walk::expanded_length(message, at)?;
    loop {
        match usize::from(*message.get(at)?) {
            192.. => at = usize::from(be16(message, at)? & 0x3fff),
            length => {
                out.extend_from_slice(message.get(at..=at + length)?);
                at += length + 1;
                if length == 0 {
                    return Some(());
                }
            }
        }
    }
}

pub(crate) fn rdata_written_out(
    message: &[u8],
    record: &walk::RawRecord,
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut names = Vec::new();
    walk::names_in_rdata(message, record, |at| names.push(at))?;
    let mut at = record.rdata;
    for name in names {
        out.extend_from_slice(message.get(at..name)?);
        write_out(message, name, out)?;
        at = walk::skip_name(message, name)?;
    }
    out.extend_from_slice(message.get(at..record.end)?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Query, Question, Rcode, RecordType};

    #[test]
    fn names_are_written_out() {
        let question = |text: &str| Question {
            name: text.parse().unwrap(),
            rtype: RecordType::MX,
            class: Class::IN,
        };
        let query = Query::ask(1, &question("www.example"));
        let mut message =
            b"\0\x01\x80\0\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x0f\0\x01".to_vec();
        message.extend(b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x0a\x02mx\xc0\x10");
        let mut from = Reply::new();
        from.load(&query, &message).unwrap();
        let asked = Query::ask(2, &question("other.example"));
        let mut to = Reply::new();
        to.start(&asked, Rcode::NOERROR);
        assert!(to.push_copy(Section::Answer, &from, &from.records()[0]));
        let copied = b"\x03www\xc0\x12\0\x0f\0\x01\0\0\0\x3c\0\x0e\0\x0a\x02mx\x07example\0";
        assert!(to.octets().ends_with(copied), "{:?}", to.octets());
    }
}
