//! A second reader of messages, plain and slow, to check the first one with.
//!
//! RFC 1035 section 4, with the limits that the server keeps: pointers lead backwards only.

/// A message taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// ID.
    pub id: u16,
    /// Second pair of header octets.
    pub flags: u16,
    /// The questions' names, lower-cased, each label behind its length, with type and class.
    pub questions: Vec<(Vec<u8>, u16, u16)>,
    /// Records of the three sections.
    pub sections: [Vec<Record>; 3],
    /// Where it ends.
    pub end: usize,
}

/// A record; names in its RDATA are left as they are.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Owner in wire form, lower-cased, not compressed.
    pub owner: Vec<u8>,
    /// TYPE.
    pub rtype: u16,
    /// CLASS.
    pub class: u16,
    /// TTL.
    pub ttl: u32,
    /// RDATA.
    pub rdata: Vec<u8>,
}

/// Type of an OPT record.
pub const OPT: u16 = 41;

impl Message {
    /// Reads a message; octets behind its end are left alone.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let counts = [4, 6, 8, 10].map(|at| number(octets, at));
        let mut at = 12;
        let mut questions = Vec::new();
        for _ in 0..counts[0]? {
            let (owner, end) = name(octets, at)?;
            questions.push((owner, number(octets, end)?, number(octets, end + 2)?));
            at = end + 4;
        }
        let mut sections = [const { Vec::new() }; 3];
        for (section, count) in sections.iter_mut().zip(&counts[1..]) {
            for _ in 0..(*count)? {
                let (owner, end) = name(octets, at)?;
                let rdata = end + 10;
                at = rdata + usize::from(number(octets, end + 8)?);
                let (high, low) = (number(octets, end + 4)?, number(octets, end + 6)?);
                section.push(Record {
                    owner,
                    rtype: number(octets, end)?,
                    class: number(octets, end + 2)?,
                    ttl: u32::from(high) << 16 | u32::from(low),
                    rdata: octets.get(rdata..at)?.to_vec(),
                });
            }
        }
        Some(Self {
            id: number(octets, 0)?,
            flags: number(octets, 2)?,
            questions,
            sections,
            end: at,
        })
    }

    /// All records in their order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.sections.iter().flatten()
    }
}

fn number(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from(*octets.get(at)?) << 8 | u16::from(*octets.get(at + 1)?))
}

/// The name at `at` without compression, and the place behind it.
fn name(octets: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut labels, mut end, mut floor) = (Vec::new(), None, at);
    loop {
        let length = *octets.get(at)?;
        match length {
            0 => {
                labels.push(0);
                return (labels.len() <= 255).then_some((labels, end.unwrap_or(at + 1)));
            }
            1..=63 => {
                let label = octets.get(at..at + 1 + usize::from(length))?;
                labels.extend(label.to_ascii_lowercase());
                at += label.len();
            }
            192.. => {
                end = end.or(Some(at + 2));
                at = usize::from(number(octets, at)? & 0x3fff);
                if at >= floor {
                    return None;
                }
                floor = at;
            }
            _ => return None,
        }
    }
}
