//! DNS messages, read and written without any code of the server's.
use std::collections::BTreeMap;
use std::fmt::Write;

use libtest_mimic::Trial;

use crate::rdata::rdata_text;
use crate::{extended_error, rdata, signed};

/// Types that tests name.
pub(crate) const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("NULL", 10),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("DS", 43),
    ("RRSIG", 46),
    ("IXFR", 251),
    ("AXFR", 252),
    ("ANY", 255),
    ("CAA", 257),
];
const RCODES: &[&str] = &[
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];
const CLASSES: &[(&str, u16)] = &[("IN", 1), ("CH", 3), ("HS", 4), ("NONE", 254), ("ANY", 255)];

/// The mnemonic of an RCODE in the header.
pub(crate) fn rcode_text(code: u16) -> String {
    let known = RCODES.get(usize::from(code));
    known.map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

pub(crate) fn type_number(name: &str) -> u16 {
    let known = TYPES
        .iter()
        .chain(signed::TYPES)
        .chain(rdata::TYPES)
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number);
    known
        .or_else(|| name.strip_prefix("TYPE")?.parse().ok())
        .unwrap_or_else(|| panic!("type {name}"))
}

pub(crate) fn type_name(number: u16) -> String {
    TYPES
        .iter()
        .chain(signed::TYPES)
        .chain(rdata::TYPES)
        .find(|(_, known)| *known == number)
        .map_or_else(|| format!("TYPE{number}"), |(name, _)| (*name).to_owned())
}

pub(crate) fn class_number(name: &str) -> u16 {
    CLASSES
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("class {name}"))
        .1
}

/// A name in wire form.
pub(crate) fn wire_name(name: &str) -> Vec<u8> {
    let (mut wire, mut label) = (Vec::new(), Vec::new());
    let mut end = |label: &mut Vec<u8>| {
        if !label.is_empty() {
            wire.push(u8::try_from(label.len()).unwrap());
            wire.append(label);
        }
    };
    let mut rest = name.as_bytes();
    while let [octet, behind @ ..] = rest {
        (rest, _) = match (octet, behind) {
            (b'.', _) => (behind, end(&mut label)),
            (b'\\', [a @ b'0'..=b'9', b, c, behind @ ..]) => {
                let number = [a, b, c]
                    .iter()
                    .fold(0, |sum, digit| 10 * sum + u32::from(**digit - b'0'));
                (behind, label.push(u8::try_from(number).unwrap()))
            }
            (b'\\', [escaped, behind @ ..]) => (behind, label.push(*escaped)),
            _ => (behind, label.push(*octet)),
        };
    }
    end(&mut label);
    wire.push(0);
    wire
}

/// A decoded record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) section: usize,
    pub(crate) owner: String,
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) rdata: String,
}

/// Code and octets.
type EdnsOption = (u16, Vec<u8>);

/// A decoded message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) counts: [u16; 4],
    pub(crate) question: Option<(String, u16, u16)>,
    pub(crate) records: Vec<Record>,
    /// Size, flags and options of the OPT record.
    pub(crate) edns: Option<(u16, u16, Vec<EdnsOption>)>,
    pub(crate) rcode: u16,
    pub(crate) wire: Vec<u8>,
}

pub(crate) fn u16_at(wire: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(wire.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a name and returns it with the place behind it.
pub(crate) fn name_at(wire: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut name, mut end, mut hops) = (String::new(), None, 0);
    loop {
        let length = *wire.get(at)? as usize;
        match length {
            0 => {
                let end = end.unwrap_or(at + 1);
                return Some((if name.is_empty() { ".".into() } else { name }, end));
            }
            1..=63 => {
                for octet in wire.get(at + 1..at + 1 + length)? {
                    match octet {
                        b'"' | b'(' | b')' | b'.' | b';' | b'\\' | b'@' | b'$' => {
                            name.extend(['\\', char::from(*octet)]);
                        }
                        b'!'..=b'~' => name.push(char::from(*octet)),
                        _ => name.push_str(&format!("\\{octet:03}")),
                    }
                }
                name.push('.');
                at += 1 + length;
            }
            _ => {
                end = end.or(Some(at + 2));
                at = usize::from(u16_at(wire, at)? & 0x3fff);
                hops += 1;
                if hops > 50 {
                    return None;
                }
            }
        }
    }
}

impl Message {
    pub(crate) fn read(wire: &[u8]) -> Option<Self> {
        let (id, flags) = (u16_at(wire, 0)?, u16_at(wire, 2)?);
        let counts = [
            u16_at(wire, 4)?,
            u16_at(wire, 6)?,
            u16_at(wire, 8)?,
            u16_at(wire, 10)?,
        ];
        let mut message = Self {
            id,
            flags,
            counts,
            question: None,
            records: Vec::new(),
            edns: None,
            rcode: flags & 15,
            wire: wire.to_vec(),
        };
        let mut at = 12;
        for _ in 0..counts[0] {
            let (name, end) = name_at(wire, at)?;
            message.question = Some((name, u16_at(wire, end)?, u16_at(wire, end + 2)?));
            at = end + 4;
        }
        for (section, count) in counts[1..].iter().enumerate() {
            for _ in 0..*count {
                let (owner, fixed) = name_at(wire, at)?;
                let (rtype, class) = (u16_at(wire, fixed)?, u16_at(wire, fixed + 2)?);
                let ttl =
                    u32::from(u16_at(wire, fixed + 4)?) << 16 | u32::from(u16_at(wire, fixed + 6)?);
                let end = fixed + 10 + usize::from(u16_at(wire, fixed + 8)?);
                let rdata = wire.get(fixed + 10..end)?;
                if rtype == 41 {
                    message.rcode |= ((ttl >> 24) as u16) << 4;
                    message.edns = Some((class, ttl as u16, options(rdata)?));
                } else {
                    let rdata = rdata_text(wire, fixed + 10, rdata, rtype)?;
                    message.records.push(Record {
                        section,
                        owner,
                        rtype,
                        class,
                        ttl,
                        rdata,
                    });
                }
                at = end;
            }
        }
        Some(message)
    }

    /// Name and type of the question.
    pub(crate) fn asked(&self) -> (&str, String) {
        let (name, rtype, _) = self.question.as_ref().expect("a question");
        (name, type_name(*rtype))
    }

    pub(crate) fn rcode_name(&self) -> String {
        if self.rcode == 16 {
            "BADVERS".into()
        } else {
            rcode_text(self.rcode)
        }
    }

    /// Flags as `qr aa rd`.
    pub(crate) fn flag_names(&self) -> String {
        let names = [
            (0x8000, "qr"),
            (0x0400, "aa"),
            (0x0200, "tc"),
            (0x0100, "rd"),
            (0x0080, "ra"),
            (0x0020, "ad"),
            (0x0010, "cd"),
        ];
        names
            .iter()
            .filter(|(bit, _)| self.flags & bit != 0)
            .map(|(_, name)| *name)
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub(crate) fn opcode_name(&self) -> String {
        match self.flags >> 11 & 15 {
            0 => "QUERY".into(),
            1 => "IQUERY".into(),
            2 => "STATUS".into(),
            4 => "NOTIFY".into(),
            5 => "UPDATE".into(),
            other => other.to_string(),
        }
    }

    /// The answer's RDATA, for tests that want no more.
    pub(crate) fn answers(&self) -> Vec<&str> {
        self.records
            .iter()
            .filter(|record| record.section == 0)
            .map(|record| record.rdata.as_str())
            .collect()
    }

    /// Lines as cases have them.
    pub(crate) fn lines(
        &self,
        asked: &(String, u16, u16),
        opts: &BTreeMap<String, String>,
    ) -> Vec<String> {
        let has = |opt: &str| opts.contains_key(opt);
        let flags = Some(self.flag_names()).filter(|_| !has("noflags"));
        let mut lines = vec![
            format!("{} {}", self.rcode_name(), flags.unwrap_or_default())
                .trim_end()
                .to_owned(),
        ];
        if self.opcode_name() != "QUERY" {
            lines.push(format!("opcode {}", self.opcode_name()));
        }
        if self.question.as_ref() != Some(asked) {
            lines.push(format!("question {:?}", self.question));
        }
        if let Some((size, flags, options)) = self.edns.as_ref().filter(|_| !has("noedns")) {
            let mut line = format!(
                "edns {size}{}",
                if flags & 0x8000 != 0 { " do" } else { "" }
            );
            for (code, data) in options {
                let hex = data
                    .iter()
                    .fold(String::new(), |hex, octet| hex + &format!("{octet:02x}"));
                let _ = match code {
                    3 => write!(line, " NSID {}", String::from_utf8_lossy(data)),
                    10 => write!(line, " COOKIE {hex}"),
                    15 if data.len() >= 2 => write!(line, "{}", extended_error::shown(data)),
                    _ => write!(line, " Generic {code}:{hex}"),
                };
            }
            lines.push(line.trim_end().to_owned());
        }
        if has("header") {
            return lines;
        }
        if has("brief") {
            let sets = |section: usize| {
                let mut sets: Vec<_> = self
                    .records
                    .iter()
                    .filter(|r| r.section == section)
                    .map(|r| (r.owner.to_lowercase(), r.rtype, r.class))
                    .collect();
                sets.sort();
                sets.dedup();
                sets.len()
            };
            lines.push(format!(
                "{} answer, {} authority, {} additional rrsets",
                sets(0),
                sets(1),
                sets(2)
            ));
            return lines;
        }
        for (section, name) in ["answer", "authority", "additional"].iter().enumerate() {
            let mut section: Vec<_> = self
                .records
                .iter()
                .filter(|r| r.section == section)
                .map(|r| record_line(name, r, has("case")))
                .collect();
            if !has("order") {
                section.sort();
            }
            lines.extend(section);
        }
        lines
    }
}

pub(crate) fn record_line(section: &str, record: &Record, case: bool) -> String {
    let class = match record.class {
        1 => String::new(),
        3 => "CH ".into(),
        4 => "HS ".into(),
        other => format!("CLASS{other} "),
    };
    let mut rdata = record.rdata.clone();
    // *whoami* tells the client's port, which is never the same.
    if let ("SRV", Some([priority, weight, port, "."])) = (
        type_name(record.rtype).as_str(),
        rdata.split(' ').collect::<Vec<_>>().first_chunk(),
    ) && port.parse::<u16>().is_ok_and(|port| port > 32_767)
    {
        rdata = format!("{priority} {weight} * .");
    }
    let exact = if case {
        format!(" owner={}", record.owner)
    } else {
        String::new()
    };
    format!(
        "{section} {} {} {class}{} {rdata}{exact}",
        record.owner,
        record.ttl,
        type_name(record.rtype)
    )
}

fn options(mut rdata: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut options = Vec::new();
    while !rdata.is_empty() {
        let end = 4 + usize::from(u16_at(rdata, 2)?);
        options.push((u16_at(rdata, 0)?, rdata.get(4..end)?.to_vec()));
        rdata = &rdata[end..];
    }
    Some(options)
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("message::what_was_written_is_read", || {
        let mut wire = b"\x12\x34\x85\x00\0\x01\0\x01\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x10\0\x01\0\0\0\x3c".to_vec();
        let rdata = rdata::rdata_wire(16, "\"a b\"");
        wire.extend((rdata.len() as u16).to_be_bytes());
        wire.extend(rdata);
        wire.extend(b"\0\0\x29\x04\xd0\0\0\x80\0\0\x05\0\x03\0\x01x");
        let message = Message::read(&wire).ok_or("not read")?;
        let asked = ("www.example.".to_owned(), 1, 1);
        let lines = message.lines(&asked, &BTreeMap::new());
        assert_eq!(
            lines,
            [
                "NOERROR qr aa rd",
                "edns 1232 do NSID x",
                "answer www.example. 60 TXT \"a b\""
            ]
        );
        assert!(Message::read(&wire[..40]).is_none());
        Ok(())
    })]
}
