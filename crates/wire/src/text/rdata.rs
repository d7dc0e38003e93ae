//! Which fields the RDATA of each type has.
use crate::codes::RecordType;
use crate::text::decode::digits;
use crate::text::entry::Token;
use crate::text::fields::Field::{
    Algorithm, Base64, Certificate, Eui, Hash, Hex, Locator, Name, Nsap, Octets, Salt, Text, Texts,
    Time, Ttl, Type, Types, U8, U16, U32, V4, V6,
};
use crate::text::fields::{Field, Words};
use crate::text::write::has_fields;
use crate::text::{TextError, TextErrorKind, special};

/// Reads the RDATA behind the word for its type.
pub(crate) fn read(
    rtype: RecordType,
    words: &mut Words<'_, '_>,
    type_word: &Token<'_>,
) -> Result<(), TextError> {
    if let Some(token) = words.peek().filter(|t| !t.quoted && t.octets == br"\#") {
        words.skip();
        return generic(rtype, words, token);
    }
    match rtype {
        RecordType::LOC => special::loc(words),
        RecordType::APL => special::apl(words),
        RecordType::SVCB | RecordType::HTTPS => special::svcb(words),
        RecordType::IPSECKEY => special::ipseckey(words),
        RecordType::AMTRELAY => special::amtrelay(words),
        RecordType::HIP => special::hip(words),
        RecordType::CAA => special::caa(words),
        _ => {
            let fields = fields(rtype)
                .ok_or_else(|| TextError::new(type_word.place, TextErrorKind::NoForm(rtype)))?;
            fields.iter().try_for_each(|field| field.read(words))
        }
    }
}

/// `\# LENGTH HEX` (RFC 3597 section 5), behind its mark.
fn generic(
    rtype: RecordType,
    words: &mut Words<'_, '_>,
    mark: &Token<'_>,
) -> Result<(), TextError> {
    let length: u16 = words.parsed("a number up to 65535", |t| digits(t)?.parse().ok())?;
    let octets = words.hex_to_end()?;
    let error = |what| Err(TextError::new(mark.place, what));
    if octets.len() != usize::from(length) {
        return error(TextErrorKind::Length);
    }
    if !has_fields(rtype, &octets) {
        return error(TextErrorKind::Malformed(rtype));
    }
    words.out.extend(octets);
    Ok(())
}

/// The fields of a type; nothing for types that are read otherwise or have no form.
fn fields(rtype: RecordType) -> Option<&'static [Field]> {
    Some(match rtype {
        RecordType::A => &[V4],
        RecordType::AAAA => &[V6],
        RecordType::NS
        | RecordType::MD
        | RecordType::MF
        | RecordType::CNAME
        | RecordType::MB
        | RecordType::MG
        | RecordType::MR
        | RecordType::PTR
        | RecordType::DNAME => &[Name],
        RecordType::SOA => &[Name, Name, U32, Ttl, Ttl, Ttl, Ttl],
        RecordType::HINFO => &[Text, Text],
        RecordType::MINFO | RecordType::RP | RecordType::TALINK => &[Name, Name],
        RecordType::MX | RecordType::AFSDB | RecordType::RT | RecordType::KX | RecordType::LP => {
            &[U16, Name]
        }
        RecordType::TXT | RecordType::SPF | RecordType::AVC | RecordType::NINFO => &[Texts],
        RecordType::X25 => &[Text],
        RecordType::ISDN => &[Texts],
        RecordType::NSAP => &[Nsap],
        RecordType::PX => &[U16, Name, Name],
        RecordType::GPOS => &[Text, Text, Text],
        RecordType::SRV => &[U16, U16, U16, Name],
        RecordType::NAPTR => &[U16, U16, Text, Text, Text, Name],
        RecordType::CERT => &[Certificate, U16, Algorithm, Base64],
        RecordType::DS | RecordType::CDS | RecordType::DLV | RecordType::TA => {
            &[U16, Algorithm, U8, Hex]
        }
        RecordType::SSHFP => &[U8, U8, Hex],
        RecordType::RRSIG | RecordType::SIG => {
            &[Type, Algorithm, U8, Ttl, Time, Time, U16, Name, Base64]
        }
        RecordType::NSEC => &[Name, Types],
        RecordType::DNSKEY | RecordType::CDNSKEY | RecordType::KEY | RecordType::RKEY => {
            &[U16, U8, Algorithm, Base64]
        }
        RecordType::DHCID | RecordType::OPENPGPKEY => &[Base64],
        RecordType::NSEC3 => &[U8, U8, U16, Salt, Hash, Types],
        RecordType::NSEC3PARAM => &[U8, U8, U16, Salt],
        RecordType::TLSA | RecordType::SMIMEA => &[U8, U8, U8, Hex],
        RecordType::CSYNC => &[U32, U16, Types],
        RecordType::ZONEMD => &[U32, U8, U8, Hex],
        RecordType::UINFO => &[Text],
        RecordType::UID | RecordType::GID => &[U32],
        RecordType::NID | RecordType::L64 => &[U16, Locator],
        RecordType::L32 => &[U16, V4],
        RecordType::EUI48 => &[Eui(6)],
        RecordType::EUI64 => &[Eui(8)],
        RecordType::EID | RecordType::NIMLOC => &[Hex],
        RecordType::URI => &[U16, U16, Octets],
        _ => return None,
    })
}
