//! Octets and numbers in the notations of zone files.

/// A text of nothing but digits; what `parse` takes beside is no number in a zone file.
pub(crate) fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|octet| octet.is_ascii_digit())
        .then_some(text)
}

pub(crate) fn pair(text: &str) -> Option<u8> {
    let octets = hex(text)?;
    match octets[..] {
        [octet] => Some(octet),
        _ => None,
    }
}

pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let plain = text.trim_end_matches('=');
    let padded =
        text.len() == plain.len() || text.len().is_multiple_of(4) && text.len() - plain.len() <= 2;
    let value = |octet: u8| match octet {
        b'A'..=b'Z' => Some(octet - b'A'),
        b'a'..=b'z' => Some(octet - b'a' + 26),
        b'0'..=b'9' => Some(octet - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    padded.then(|| bits(plain, 6, value)).flatten()
}

pub(crate) fn base32hex(text: &str) -> Option<Vec<u8>> {
    let value = |octet: u8| match octet.to_ascii_uppercase() {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        letter @ b'A'..=b'V' => Some(letter - b'A' + 10),
        _ => None,
    };
    bits(text.trim_end_matches('='), 5, value)
}

/// Octets from digits of `width` bits each; what is left over must be less than a digit.
fn bits(text: &str, width: u32, value: impl Fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let (mut held, mut count) = (0u32, 0);
    for octet in text.bytes() {
        held = held << width | u32::from(value(octet)?);
        count += width;
        if count >= 8 {
            count -= 8;
            out.push((held >> count) as u8);
            held &= (1 << count) - 1;
        }
    }
    (count < width && !text.is_empty()).then_some(out)
}

pub(crate) fn locator(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(8);
    for group in text.split(':') {
        let number = Some(group).filter(|g| (1..=4).contains(&g.len()) && !g.starts_with('+'))?;
        out.extend(u16::from_str_radix(number, 16).ok()?.to_be_bytes());
    }
    (out.len() == 8).then_some(out)
}

/// Seconds since 1970, modulo 2³² (RFC 4034 section 3.1.5).
pub(crate) fn time(text: &str) -> Option<u32> {
    let text = digits(text)?;
    if text.len() != 14 {
        return text.parse().ok();
    }
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 of the Gregorian calendar; years begin in March here, so that leap days come
    // last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds.rem_euclid(1 << 32) as u32)
}

/// A number, or the mnemonic of one.
pub(crate) fn mnemonic(text: &str, known: &[(&str, u16)]) -> Option<u16> {
    let most = known.iter().map(|(_, number)| *number).max().unwrap_or(0);
    match known
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
    {
        Some((_, number)) => Some(*number),
        None => digits(text)?
            .parse()
            .ok()
            .filter(|number| *number <= most.max(255)),
    }
}

/// IANA "DNS Security Algorithm Numbers".
pub(crate) const ALGORITHMS: &[(&str, u16)] = &[
    ("DELETE", 0),
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// RFC 4398 section 2.1.
pub(crate) const CERTIFICATES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
    ("RESERVED", 65_535),
];
