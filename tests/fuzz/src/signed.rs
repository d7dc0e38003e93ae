//! Targets that read what other servers send: signatures and transfers.
use std::sync::Arc;

use corten_tsig::{Key, Keyring, Query as Signed, Record, Secret, file, verify};
use corten_wire::message::{Found, Message};
use corten_wire::pack::Packer;
use corten_wire::{Class, Gate, Query, Question, RecordType};

/// When the seeds were signed.
const NOW: u64 = 1_790_000_000;

fn key() -> Key {
    let secret = Secret::from_base64("MTIzNA==").expect("a secret");
    Key::new("one.key".parse().expect("a name"), None, secret)
}

/// A signature is read from whatever message there is; what is taken for signed was signed with the
/// key, so a change of any signed octet shows. Files of keys are read from whatever text there is.
pub fn tsig(octets: &[u8]) {
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = file::parse(text);
    }
    let mut keys = Keyring::default();
    keys.add(key());
    let found = Record::find(octets);
    let mut query = Query::new();
    if query.read(octets) == Gate::Pass {
        let signed = query.signed_octets().map(<[u8]>::to_vec);
        assert_eq!(signed.is_some(), query.tsig().is_some());
        if let (Some(signed), Some(at)) = (&signed, query.tsig()) {
            if let Ok(record) = Record::find(signed) {
                assert_eq!(record.map(|record| record.start), Some(at));
            }
            query.remove_tsig();
            assert_eq!(query.octets().len(), at);
        }
    }
    if let Ok(Some(mut verdict)) = verify(octets, &keys, NOW) {
        assert!(matches!(found, Ok(Some(_))));
        let mut out = vec![0; 12];
        verdict.answer.sign(&mut out, 0, NOW);
        assert!(out.len() <= 12 + verdict.answer.room());
        let record = Record::find(&out)
            .expect("our own record")
            .expect("our own record");
        assert_eq!(
            record.error,
            verdict.refusal.map_or(0, |refusal| refusal.code().0)
        );
    }
    // An answer of this kind is not taken, whatever it is: nobody has signed it with the key.
    let mut message = vec![0; 12];
    let mut asked = Signed::sign(&mut message, &Arc::new(key()), NOW);
    assert!(asked.verify(octets, NOW).is_err());
}

/// Records are read from whatever message there is, and come out of a packed one as they were.
pub fn transfer(octets: &[u8]) {
    let Ok(message) = Message::read(octets) else {
        return;
    };
    let question = Question {
        name: "example".parse().expect("a name"),
        rtype: RecordType::AXFR,
        class: Class::IN,
    };
    let query = Query::ask(7, &question);
    let mut packer = Packer::new(65_535, 65_535);
    packer.start(&query);
    let (mut records, mut sent) = (message.records(), Vec::new());
    loop {
        let mut found = Found::default();
        match records.next_into(&mut found) {
            Ok(Some(_)) => (),
            Ok(None) | Err(_) => break,
        }
        if packer.push(&found.owner, found.rtype, found.ttl, &found.rdata) {
            found.class = Class::IN;
            sent.push(found);
        }
    }
    let packed = packer.finish().clone();
    let message = Message::read(&packed).expect("our own message");
    assert_eq!(usize::from(message.answers()), sent.len());
    let (mut records, mut found) = (message.records(), Found::default());
    for expected in sent {
        assert!(
            records
                .next_into(&mut found)
                .expect("our own record")
                .is_some()
        );
        assert_eq!(found, expected);
    }
}
