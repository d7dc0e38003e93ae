//! Types whose RDATA is no plain row of fields.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::text::TextError;
use crate::text::decode::{base64, digits, hex};
use crate::text::entry::Token;
use crate::text::fields::{Field, Words, unescape, wrong};

/// CAA (RFC 8659 section 4.1.1): flags, a tag of letters and digits, a value.
pub(crate) fn caa(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    Field::U8.read(words)?;
    let tag = words.parsed("a tag of letters and digits", |text| {
        let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric());
        (plain && text.len() <= 255).then(|| text.as_bytes().to_vec())
    })?;
    words.out.push(tag.len() as u8);
    words.out.extend(tag);
    Field::Octets.read(words)
}

/// IPSECKEY (RFC 4025 section 3.1).
pub(crate) fn ipseckey(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    Field::U8.read(words)?;
    let kind = words.parsed("a kind of gateway from 0 to 3", |text| {
        digits(text)?.parse().ok().filter(|kind| *kind <= 3u8)
    })?;
    words.out.push(kind);
    Field::U8.read(words)?;
    gateway(words, kind)?;
    match words.peek() {
        // Algorithm 0 has no key.
        None => Ok(()),
        Some(_) => Field::Base64.read(words),
    }
}

/// A gateway or relay: nothing, an address or a name.
fn gateway(words: &mut Words<'_, '_>, kind: u8) -> Result<(), TextError> {
    match kind {
        0 => words.parsed("'.', for no gateway", |text| (text == ".").then_some(())),
        1 => Field::V4.read(words),
        2 => Field::V6.read(words),
        _ => Field::Name.read(words),
    }
}

/// AMTRELAY (RFC 8777 section 4.3.1).
pub(crate) fn amtrelay(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    Field::U8.read(words)?;
    let discovery = words.parsed("0 or 1", |text| match text {
        "0" => Some(0),
        "1" => Some(0x80),
        _ => None,
    })?;
    let kind = words.parsed("a kind of relay from 0 to 3", |text| {
        digits(text)?.parse().ok().filter(|kind| *kind <= 3u8)
    })?;
    words.out.push(discovery | kind);
    gateway(words, kind)
}

/// HIP (RFC 8005 section 6).
pub(crate) fn hip(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    let algorithm: u8 = words.parsed("a number up to 255", |text| digits(text)?.parse().ok())?;
    let tag = words.parsed("octets in hexadecimal", |text| {
        hex(text).filter(|tag| (1..=255).contains(&tag.len()))
    })?;
    let key = words.parsed("octets in Base64", |text| {
        base64(text).filter(|key| key.len() <= 65_535)
    })?;
    words.out.extend([tag.len() as u8, algorithm]);
    words.out.extend((key.len() as u16).to_be_bytes());
    words.out.extend(tag);
    words.out.extend(key);
    while words.peek().is_some() {
        Field::Name.read(words)?;
    }
    Ok(())
}

/// APL (RFC 3123 section 5): `[!]FAMILY:ADDRESS/PREFIX` any number of times.
pub(crate) fn apl(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    while words.peek().is_some() {
        let item = words.parsed("an item such as 1:192.0.2.0/24", apl_item)?;
        words.out.extend(item);
    }
    Ok(())
}

fn apl_item(text: &str) -> Option<Vec<u8>> {
    let (negation, text) = match text.strip_prefix('!') {
        Some(text) => (0x80, text),
        None => (0, text),
    };
    let (family, rest) = text.split_once(':')?;
    let (address, prefix) = rest.split_once('/')?;
    let prefix: u8 = digits(prefix)?.parse().ok()?;
    let (family, octets) = match (family, address.parse().ok()?) {
        ("1", IpAddr::V4(address)) if prefix <= 32 => (1, address.octets().to_vec()),
        ("2", IpAddr::V6(address)) if prefix <= 128 => (2, address.octets().to_vec()),
        _ => return None,
    };
    let length = octets
        .iter()
        .rposition(|octet| *octet != 0)
        .map_or(0, |last| last + 1);
    let mut item = vec![0, family, prefix, negation | length as u8];
    item.extend_from_slice(octets.get(..length)?);
    Some(item)
}

/// LOC (RFC 1876 section 3).
pub(crate) fn loc(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    let latitude = angle(words, ["N", "S"], 90)?;
    let longitude = angle(words, ["E", "W"], 180)?;
    let altitude = words.parsed("an altitude in metres", |text| {
        let hundredths = centimetres(text)? + 10_000_000;
        u32::try_from(hundredths).ok()
    })?;
    // Size, horizontal and vertical precision: a metre, ten kilometres, ten metres.
    let mut sizes = [0x12, 0x16, 0x13];
    for size in &mut sizes {
        if words.peek().is_none() {
            break;
        }
        *size = words.parsed("a size in metres", |text| exponent(centimetres(text)?))?;
    }
    words.out.push(0);
    words.out.extend(sizes);
    for number in [latitude, longitude, altitude] {
        words.out.extend(number.to_be_bytes());
    }
    Ok(())
}

/// Degrees, minutes and thousandths of seconds as the distance from 2³¹.
fn angle(
    words: &mut Words<'_, '_>,
    [plus, minus]: [&str; 2],
    degrees_max: u32,
) -> Result<u32, TextError> {
    let expected = "an angle of degrees, minutes, seconds and a direction";
    let number = |text: &str, most: u32| {
        digits(text)?
            .parse::<u32>()
            .ok()
            .filter(|number| *number <= most)
    };
    let degrees = words.parsed(expected, |text| number(text, degrees_max))?;
    let mut thousandths = degrees * 3_600_000;
    let mut token = words.next(expected)?;
    for place in 0..2 {
        let text = token.lossy();
        if text.eq_ignore_ascii_case(plus) || text.eq_ignore_ascii_case(minus) {
            break;
        }
        let part = match place {
            0 => number(&text, 59).map(|minutes| minutes * 60_000),
            _ => seconds(&text),
        };
        thousandths += part.ok_or_else(|| wrong(token, expected))?;
        token = words.next(expected)?;
    }
    let text = token.lossy();
    let middle = 1u32 << 31;
    match thousandths <= degrees_max * 3_600_000 {
        true if text.eq_ignore_ascii_case(plus) => Ok(middle + thousandths),
        true if text.eq_ignore_ascii_case(minus) => Ok(middle - thousandths),
        _ => Err(wrong(token, expected)),
    }
}

/// Thousandths of seconds under 60.
fn seconds(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = digits(whole)?
        .parse()
        .ok()
        .filter(|seconds| *seconds < 60)?;
    let part = digits(part).filter(|part| part.len() <= 3)?;
    let thousandths: u32 = format!("{part:0<3}").parse().ok()?;
    Some(whole * 1_000 + thousandths)
}

/// Metres with at most two decimals, `m` behind them or not.
fn centimetres(text: &str) -> Option<i64> {
    let text = text.strip_suffix(['m', 'M']).unwrap_or(text);
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = digits(whole)?
        .parse()
        .ok()
        .filter(|metres| *metres <= 100_000_000)?;
    let part = digits(part).filter(|part| part.len() <= 2)?;
    let hundredths = whole * 100 + format!("{part:0<2}").parse::<i64>().ok()?;
    Some(if negative { -hundredths } else { hundredths })
}

/// A size in centimetres as a digit and a power of ten.
fn exponent(centimetres: i64) -> Option<u8> {
    let (mut mantissa, mut power) = (u64::try_from(centimetres).ok()?, 0u8);
    while mantissa > 9 {
        mantissa /= 10;
        power += 1;
    }
    (power <= 9).then_some((mantissa as u8) << 4 | power)
}

/// SVCB and HTTPS (RFC 9460 section 2.1).
pub(crate) fn svcb(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    Field::U16.read(words)?;
    Field::Name.read(words)?;
    let mut parameters = BTreeMap::new();
    while words.peek().is_some() {
        let token = words.next("a parameter")?;
        let text = token.lossy();
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (&*text, None),
        };
        let mut value_token = *token;
        if let Some(value) = value {
            value_token.octets = token
                .octets
                .get(token.octets.len() - value.len()..)
                .unwrap_or_default();
        }
        // A value in quotes is a token of its own.
        let quoted = words.peek().filter(|next| next.attached && next.quoted);
        if let (Some(""), Some(next)) = (value, quoted) {
            value_token = *next;
            words.skip();
        }
        let value = value.map(|_| &value_token);
        let number = svc_key(key).ok_or_else(|| wrong(token, "a parameter of SVCB"))?;
        let octets = svc_value(number, value)?
            .ok_or_else(|| wrong(value.unwrap_or(token), "a value of this parameter"))?;
        if octets.len() > 65_535 || parameters.insert(number, octets).is_some() {
            return Err(wrong(token, "a parameter that is not there yet"));
        }
    }
    for (number, octets) in parameters {
        words.out.extend(u16::to_be_bytes(number));
        words.out.extend((octets.len() as u16).to_be_bytes());
        words.out.extend(octets);
    }
    Ok(())
}

/// IANA "Service Parameter Keys (SvcParamKeys)".
const SVC_KEYS: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

fn svc_key(text: &str) -> Option<u16> {
    let known = SVC_KEYS.iter().position(|key| *key == text);
    match known {
        Some(number) => u16::try_from(number).ok(),
        None => digits(text.strip_prefix("key")?)?.parse().ok(),
    }
}

/// The wire form of a parameter's value; nothing if it is none.
fn svc_value(key: u16, token: Option<&Token<'_>>) -> Result<Option<Vec<u8>>, TextError> {
    let Some(token) = token else {
        // Without a value: those that have none, and unknown ones.
        return Ok(matches!(key, 2 | 8 | 9..).then(Vec::new));
    };
    let octets = unescape(token)?;
    let text = std::str::from_utf8(&octets).ok();
    Ok(match key {
        0 => text.and_then(|text| {
            let mut keys: Vec<u16> = text.split(',').map(svc_key).collect::<Option<_>>()?;
            keys.sort_unstable();
            let count = keys.len();
            keys.dedup();
            (keys.len() == count && !keys.contains(&0))
                .then(|| keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }),
        1 => protocols(&octets),
        2 | 8 => octets.is_empty().then(Vec::new),
        3 => text.and_then(|text| Some(digits(text)?.parse::<u16>().ok()?.to_be_bytes().to_vec())),
        4 => list(text, |text| {
            Some(text.parse::<Ipv4Addr>().ok()?.octets().to_vec())
        }),
        5 => text.and_then(base64),
        6 => list(text, |text| {
            Some(text.parse::<Ipv6Addr>().ok()?.octets().to_vec())
        }),
        _ => Some(octets),
    })
}

fn list(text: Option<&str>, read: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let parts: Option<Vec<_>> = text?.split(',').map(read).collect();
    Some(parts?.concat())
}

/// Protocols with commas between them, `\,` and `\\` inside them (RFC 9460 appendix A.1).
fn protocols(octets: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut protocol) = (Vec::new(), Vec::new());
    let mut rest = octets.iter();
    loop {
        match rest.next() {
            Some(b'\\') => protocol.push(*rest.next()?),
            Some(octet) if *octet != b',' => protocol.push(*octet),
            end => {
                if protocol.is_empty() {
                    return None;
                }
                out.push(u8::try_from(protocol.len()).ok()?);
                out.append(&mut protocol);
                if end.is_none() {
                    return Some(out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_digit_and_a_power() {
        for (metres, octet) in [
            ("1", 0x12),
            ("10m", 0x13),
            ("10000m", 0x16),
            ("0.05", 0x50),
            ("0", 0),
        ] {
            assert_eq!(
                centimetres(metres).and_then(exponent),
                Some(octet),
                "{metres}"
            );
        }
        assert_eq!(centimetres("1.234"), None);
        assert_eq!(exponent(-1), None);
    }
}
