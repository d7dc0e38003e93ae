//! What signed answers hold: records of DNSSEC as text, and whether signatures are right.
use std::collections::BTreeMap;
use std::path::Path;

use corten_dnssec::canonical::Rrset;
use corten_dnssec::dnskey::Dnskey;
use corten_dnssec::rrsig::{self, Rrsig};
use corten_plugin::wire::{self, Class, Name, Question, RecordType, Reply, text};

use crate::client::{self, Options, Query};
use crate::message::Message;

/// Types of DNSSEC and others that cases name.
pub(crate) const TYPES: &[(&str, u16)] = &[
    ("LOC", 29),
    ("CERT", 37),
    ("SSHFP", 44),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("ZONEMD", 63),
    ("HTTPS", 65),
];

/// RDATA as cases have it: times and signatures are never the same.
pub(crate) fn rdata_text(rtype: u16, rdata: &[u8]) -> Option<String> {
    let rtype = RecordType(rtype);
    match rtype {
        RecordType::DS
        | RecordType::CDS
        | RecordType::NSEC
        | RecordType::NSEC3
        | RecordType::NSEC3PARAM
        | RecordType::ZONEMD
        | RecordType::CAA => Some(shown(rtype, rdata)),
        RecordType::DNSKEY | RecordType::CDNSKEY => {
            let text = shown(rtype, rdata);
            let (numbers, key) = text.rsplit_once(' ')?;
            let key: Vec<_> = key
                .as_bytes()
                .chunks(32)
                .map(String::from_utf8_lossy)
                .collect();
            Some(format!("{numbers} {}", key.join(" ")))
        }
        RecordType::RRSIG => {
            let text = shown(rtype, rdata);
            let fields: Vec<_> = text.split(' ').collect();
            let [covered, algorithm, labels, ttl, _, _, tag, signer, _] = fields[..] else {
                return None;
            };
            Some(format!(
                "{covered} {algorithm} {labels} {ttl} * * {tag} {signer} *"
            ))
        }
        _ => None,
    }
}

fn shown(rtype: RecordType, rdata: &[u8]) -> String {
    let mut line = String::new();
    text::write::write(&[0], rtype, 0, rdata, &mut line);
    let fields = line.splitn(5, '\t').nth(4).unwrap_or_default();
    fields.to_owned()
}

/// One line for each signature of a reply: whether it is right by the keys that the same server gives.
pub(crate) fn verify(message: &Message, port: u16, folder: &Path) -> Vec<String> {
    let mut keys = BTreeMap::new();
    let Some(reply) = load(message) else {
        return vec!["the reply cannot be read".to_owned()];
    };
    let view = reply.view();
    let mut lines = Vec::new();
    for record in view.records() {
        if record.rtype != RecordType::RRSIG {
            continue;
        }
        let (owner, rdata) = (view.owner(record).unwrap(), view.rdata(record));
        let rrsig = Rrsig::read(rdata).expect("a signature");
        let signer = Name::from_wire(rrsig.signer).unwrap();
        let keys = keys
            .entry(signer.to_string())
            .or_insert_with(|| keys_of(&signer, port, folder));
        let mut rdatas = Vec::new();
        for other in view.records() {
            if (other.section, other.rtype) == (record.section, rrsig.covered)
                && view.owner(other).as_ref() == Some(&owner)
            {
                let mut octets = Vec::new();
                assert!(view.expanded_rdata(other, &mut octets));
                rdatas.push(octets);
            }
        }
        let set = Rrset::new(&owner, rrsig.covered, rdatas.iter().map(|rdata| &rdata[..]));
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as u32;
        let good = |key: &Dnskey| rrsig::verify(key, &set, rdata, now).is_ok();
        let verdict = match rdatas.is_empty() {
            true => "without records",
            false if keys.iter().any(good) => "good",
            false => "bad",
        };
        let section = format!("{:?}", record.section).to_lowercase();
        lines.push(format!(
            "signature {section} {owner} {} {verdict}",
            rrsig.covered
        ));
    }
    lines.sort();
    lines
}

fn load(message: &Message) -> Option<Reply> {
    let (name, rtype, class) = message.question.as_ref()?;
    let question = Question {
        name: name.parse().ok()?,
        rtype: RecordType(*rtype),
        class: Class(*class),
    };
    let mut reply = Reply::new();
    reply
        .load(&wire::Query::ask(message.id, &question), &message.wire)
        .ok()?;
    Some(reply)
}

fn keys_of(zone: &Name, port: u16, folder: &Path) -> Vec<Dnskey> {
    let opts: Options = [("do", ""), ("tcp", "")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let query = Query::new(&zone.to_string(), "DNSKEY", &opts);
    let Ok(message) = client::send(&query, &opts, port, folder) else {
        return Vec::new();
    };
    let Some(reply) = load(&message) else {
        return Vec::new();
    };
    let view = reply.view();
    view.records()
        .iter()
        .filter(|record| record.rtype == RecordType::DNSKEY)
        .filter_map(|record| Dnskey::from_rdata(view.rdata(record)))
        .collect()
}
