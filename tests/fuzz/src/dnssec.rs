//! The targets that read what DNSSEC has: keys, and RDATA.
use corten_dnssec::bitmap::Types;
use corten_dnssec::canonical::lower_names;
use corten_dnssec::keyfile;
use corten_dnssec::rrsig::Rrsig;
use corten_wire::text::{self, write::write};
use corten_wire::{Name, RecordType};

/// Two texts with a zero octet between them are a key that signs what it can check, or the error says why
/// not and nothing of the private one.
pub fn keyfile(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let (public, private) = text.split_once('\0').unwrap_or((&text, ""));
    match keyfile::read(public, private) {
        Ok(key) => {
            let mut signature = Vec::new();
            key.sign(b"data", &mut signature).expect("a key signs");
            assert!(corten_dnssec::rrsig::check(
                key.public(),
                b"data",
                &signature
            ));
        }
        Err(error) => {
            let shown = error.to_string();
            let secret = private
                .lines()
                .find_map(|line| line.strip_prefix("PrivateKey: "));
            if let Some(secret) = secret.filter(|secret| secret.len() > 20) {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}

/// Two octets of type and some of RDATA: written as text they are read as they were, and what else looks
/// into them ends.
pub fn rdata(octets: &[u8]) {
    let Some((&[high, low], rdata)) = octets.split_first_chunk() else {
        return;
    };
    let rtype = RecordType(u16::from_be_bytes([high, low]));
    if let Some(types) = Types::decode(rdata) {
        let mut again = Vec::new();
        types.encode(&mut again);
        assert_eq!(Types::decode(&again), Some(types));
    }
    if let Some(rrsig) = Rrsig::read(rdata) {
        assert_eq!(rrsig.signer.len() + rrsig.signature.len() + 18, rdata.len());
    }
    let mut lowered = rdata.to_vec();
    lower_names(rtype, &mut lowered);
    assert!(lowered.eq_ignore_ascii_case(rdata));
    // Types of queries have no text, and RDATA are not longer.
    if matches!(rtype.0, 0 | 41 | 128..=255) || rdata.len() > 65_535 {
        return;
    }
    let mut line = String::new();
    write(b"\x01a\0", rtype, 60, rdata, &mut line);
    match text::record(&line, &Name::root(), None) {
        Ok(record) => {
            assert_eq!((record.rtype, record.ttl), (rtype, 60), "{line}");
            assert_eq!(record.rdata, rdata, "{line}");
        }
        // Of types that the server looks into not everything is RDATA, in whatever form.
        Err(error) => assert!(line.contains("\\# "), "{line}: {error}"),
    }
}
