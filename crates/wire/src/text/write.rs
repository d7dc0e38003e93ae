//! Records in presentation form, written: what [`super::record`] reads comes out as it was.
//!
//! Types whose form is more than a few fields are written in the generic one (RFC 3597 section 5), which
//! every reader knows.
use std::fmt::Write;

use crate::codes::RecordType;
use crate::name::Name;
use crate::text::is_sound;
use crate::walk;

/// Appends one record of class IN in one line, without its end; names are written out whole.
pub fn write(owner: &[u8], rtype: RecordType, ttl: u32, rdata: &[u8], out: &mut String) {
    match Name::from_wire(owner) {
        Ok(owner) => put(out, format_args!("{owner}")),
        // Nobody has such owners.
        Err(_) => out.push('.'),
    }
    put(out, format_args!("\t{ttl}\tIN\t{rtype}\t"));
    let start = out.len();
    if Fields::new(rdata, out).write(rtype).is_err() {
        out.truncate(start);
        generic(rdata, out);
    }
}

/// Whether RDATA has the fields of its type, names not compressed; of types that are not written field by field,
/// whether it is [`sound`](is_sound).
pub fn has_fields(rtype: RecordType, rdata: &[u8]) -> bool {
    match Fields::new(rdata, &mut String::new()).write(rtype) {
        Ok(()) => true,
        Err(NotWritten::NoForm) => is_sound(rtype, rdata),
        Err(NotWritten::Malformed) => false,
    }
}

/// Why RDATA is written in the generic form.
enum NotWritten {
    /// So are all of its type.
    NoForm,
    /// It does not have the fields of its type.
    Malformed,
}

/// Writing to a text cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn generic(rdata: &[u8], out: &mut String) {
    put(out, format_args!("\\# {}", rdata.len()));
    if !rdata.is_empty() {
        out.push(' ');
        hex(rdata, out);
    }
}

fn hex(octets: &[u8], out: &mut String) {
    for octet in octets {
        put(out, format_args!("{octet:02x}"));
    }
}

/// RDATA that is written field by field; nothing is returned where it does not have the fields.
struct Fields<'a> {
    rest: &'a [u8],
    out: &'a mut String,
}

impl<'a> Fields<'a> {
    fn new(rest: &'a [u8], out: &'a mut String) -> Self {
        Self { rest, out }
    }

    fn write(mut self, rtype: RecordType) -> Result<(), NotWritten> {
        if !self.fields(rtype).ok_or(NotWritten::Malformed)? {
            return Err(NotWritten::NoForm);
        }
        // A blank stands behind each field.
        let trimmed = self.out.trim_end_matches(' ').len();
        self.out.truncate(trimmed);
        match self.rest {
            [] => Ok(()),
            _ => Err(NotWritten::Malformed),
        }
    }

    /// Writes the fields of a type; false where it has none.
    fn fields(&mut self, rtype: RecordType) -> Option<bool> {
        match rtype {
            RecordType::A => {
                let [a, b, c, d] = self.take()?;
                put(self.out, format_args!("{a}.{b}.{c}.{d}"));
            }
            RecordType::AAAA => {
                let address = std::net::Ipv6Addr::from(self.take::<16>()?);
                put(self.out, format_args!("{address}"));
            }
            RecordType::NS
            | RecordType::MD
            | RecordType::MF
            | RecordType::CNAME
            | RecordType::MB
            | RecordType::MG
            | RecordType::MR
            | RecordType::PTR
            | RecordType::DNAME => self.name()?,
            RecordType::MINFO | RecordType::RP => {
                self.name()?;
                self.name()?;
            }
            RecordType::MX | RecordType::AFSDB | RecordType::RT | RecordType::KX => {
                self.number::<2>()?;
                self.name()?;
            }
            RecordType::SOA => {
                self.name()?;
                self.name()?;
                for _ in 0..5 {
                    self.number::<4>()?;
                }
            }
            RecordType::SRV => {
                for _ in 0..3 {
                    self.number::<2>()?;
                }
                self.name()?;
            }
            RecordType::NAPTR => {
                self.number::<2>()?;
                self.number::<2>()?;
                for _ in 0..3 {
                    self.string()?;
                }
                self.name()?;
            }
            RecordType::TXT | RecordType::SPF => self.strings()?,
            RecordType::HINFO => {
                self.string()?;
                self.string()?;
            }
            RecordType::CAA => {
                self.number::<1>()?;
                let length = usize::from(self.take::<1>()?[0]);
                let (tag, value) = self.rest.split_at_checked(length)?;
                if tag.is_empty() || !tag.iter().all(u8::is_ascii_alphanumeric) {
                    return None;
                }
                put(self.out, format_args!("{} ", String::from_utf8_lossy(tag)));
                quoted(value, self.out);
                self.rest = &[];
            }
            RecordType::DS | RecordType::CDS | RecordType::DLV | RecordType::TA => {
                self.number::<2>()?;
                self.number::<1>()?;
                self.number::<1>()?;
                self.rest_hex()?;
            }
            RecordType::TLSA | RecordType::SMIMEA => {
                for _ in 0..3 {
                    self.number::<1>()?;
                }
                self.rest_hex()?;
            }
            RecordType::SSHFP => {
                self.number::<1>()?;
                self.number::<1>()?;
                self.rest_hex()?;
            }
            RecordType::ZONEMD => {
                self.number::<4>()?;
                self.number::<1>()?;
                self.number::<1>()?;
                self.rest_hex()?;
            }
            RecordType::DNSKEY | RecordType::CDNSKEY => {
                self.number::<2>()?;
                self.number::<1>()?;
                self.number::<1>()?;
                self.rest_base64()?;
            }
            RecordType::RRSIG => self.rrsig()?,
            RecordType::NSEC => {
                self.name()?;
                self.types()?;
            }
            RecordType::NSEC3 | RecordType::NSEC3PARAM => self.nsec3(rtype)?,
            _ => return Some(false),
        }
        Some(true)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*octets)
    }

    fn number<const N: usize>(&mut self) -> Option<()> {
        let octets = self.take::<N>()?;
        let number = octets
            .iter()
            .fold(0u64, |number, octet| number << 8 | u64::from(*octet));
        put(self.out, format_args!("{number} "));
        Some(())
    }

    fn name(&mut self) -> Option<()> {
        let end = walk::skip_name(self.rest, 0)?;
        let (name, rest) = self.rest.split_at_checked(end)?;
        letters(name, self.out)?;
        self.out.push(' ');
        self.rest = rest;
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let length = usize::from(self.take::<1>()?[0]);
        let (string, rest) = self.rest.split_at_checked(length)?;
        quoted(string, self.out);
        self.out.push(' ');
        self.rest = rest;
        Some(())
    }

    fn strings(&mut self) -> Option<()> {
        // One at least.
        self.string()?;
        while !self.rest.is_empty() {
            self.string()?;
        }
        Some(())
    }

    fn rest_hex(&mut self) -> Option<()> {
        let rest = std::mem::take(&mut self.rest);
        hex(rest, self.out);
        (!rest.is_empty()).then_some(())
    }

    fn rest_base64(&mut self) -> Option<()> {
        let rest = std::mem::take(&mut self.rest);
        base64(rest, self.out);
        (!rest.is_empty()).then_some(())
    }

    fn rrsig(&mut self) -> Option<()> {
        let covered = RecordType(u16::from_be_bytes(self.take()?));
        put(self.out, format_args!("{covered} "));
        self.number::<1>()?;
        self.number::<1>()?;
        self.number::<4>()?;
        // Seconds since 1970 are an allowed form (RFC 4034 section 3.2), but nobody can read them.
        for _ in 0..2 {
            let seconds = u32::from_be_bytes(self.take()?);
            put(self.out, format_args!("{} ", Moment(seconds)));
        }
        self.number::<2>()?;
        self.name()?;
        self.rest_base64()
    }

    fn nsec3(&mut self, rtype: RecordType) -> Option<()> {
        self.number::<1>()?;
        self.number::<1>()?;
        self.number::<2>()?;
        let length = usize::from(self.take::<1>()?[0]);
        let (salt, rest) = self.rest.split_at_checked(length)?;
        match salt {
            [] => self.out.push('-'),
            salt => hex(salt, self.out),
        }
        self.out.push(' ');
        self.rest = rest;
        if rtype == RecordType::NSEC3PARAM {
            return Some(());
        }
        let length = usize::from(self.take::<1>()?[0]);
        let (next, rest) = self.rest.split_at_checked(length)?;
        if next.is_empty() {
            return None;
        }
        base32hex(next, self.out);
        self.out.push(' ');
        self.rest = rest;
        self.types()
    }

    fn types(&mut self) -> Option<()> {
        let mut before = None;
        while !self.rest.is_empty() {
            let [window, length] = self.take()?;
            let (bits, rest) = self.rest.split_at_checked(usize::from(length))?;
            // Blocks that RFC 4034 section 4.1.2 forbids would be lost in the list of types.
            let is_sound = before < Some(window) && bits.len() <= 32 && bits.last() > Some(&0);
            is_sound.then_some(())?;
            before = Some(window);
            for (at, octet) in bits.iter().enumerate() {
                for bit in (0..8).filter(|bit| octet & 0x80 >> bit != 0) {
                    let rtype = RecordType(u16::from(window) << 8 | (at * 8 + bit) as u16);
                    put(self.out, format_args!("{rtype} "));
                }
            }
            self.rest = rest;
        }
        Some(())
    }
}

/// A name with its letters' case.
fn letters(name: &[u8], out: &mut String) -> Option<()> {
    if name == [0] {
        out.push('.');
        return Some(());
    }
    let mut rest = name;
    while let [length @ 1..=63, behind @ ..] = rest {
        let (label, behind) = behind.split_at_checked(usize::from(*length))?;
        for octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    put(out, format_args!("\\{}", char::from(*octet)));
                }
                b'!'..=b'~' => out.push(char::from(*octet)),
                _ => put(out, format_args!("\\{octet:03}")),
            }
        }
        out.push('.');
        rest = behind;
    }
    (rest == [0]).then_some(())
}

fn quoted(string: &[u8], out: &mut String) {
    out.push('"');
    for octet in string {
        match octet {
            b'"' | b'\\' => put(out, format_args!("\\{}", char::from(*octet))),
            b' '..=b'~' => out.push(char::from(*octet)),
            _ => put(out, format_args!("\\{octet:03}")),
        }
    }
    out.push('"');
}

fn base64(octets: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in octets.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            match at <= chunk.len() {
                true => out.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
}

fn base32hex(octets: &[u8], out: &mut String) {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    for chunk in octets.chunks(5) {
        let bits = (0..5).fold(0u64, |bits, at| {
            bits << 8 | u64::from(chunk.get(at).copied().unwrap_or(0))
        });
        // Digits are not padded in NSEC3 records (RFC 5155 section 3.3).
        for at in 0..(chunk.len() * 8).div_ceil(5) {
            out.push(char::from(DIGITS[(bits >> (35 - 5 * at) & 31) as usize]));
        }
    }
}

/// Seconds since 1970 as `YYYYMMDDHHmmSS` (RFC 4034 section 3.2).
struct Moment(u32);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // Days since 1 March 0000, in eras of 400 years (Howard Hinnant's `civil_from_days`).
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + u32::from(month <= 2);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record comes out as it was written, and is read as it was.
    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "a.example.\t60\tIN\tA\t192.0.2.1",
            "a.example.\t60\tIN\tAAAA\t2001:db8::1",
            "a.example.\t60\tIN\tNS\tNs.Example.",
            "a.example.\t60\tIN\tCNAME\t.",
            "a.example.\t60\tIN\tMX\t10 mail\\.x.example.",
            "a.example.\t60\tIN\tSOA\tns. post. 4294967295 2 3 4 5",
            "a.example.\t60\tIN\tSRV\t1 2 53 ns.",
            "a.example.\t60\tIN\tNAPTR\t1 2 \"S\" \"SIP+D2U\" \"\" r.",
            "a.example.\t60\tIN\tTXT\t\"a \\\"b\\\\ \\007\\255\" \"\"",
            "a.example.\t60\tIN\tHINFO\t\"cpu\" \"os\"",
            "a.example.\t60\tIN\tCAA\t128 issue \"ca.example; x=1\"",
            "a.example.\t60\tIN\tDS\t12345 13 2 0123456789abcdef",
            "a.example.\t60\tIN\tTLSA\t3 1 1 00ff",
            "a.example.\t60\tIN\tSSHFP\t4 2 00ff",
            "a.example.\t60\tIN\tZONEMD\t1 1 1 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c",
            "a.example.\t60\tIN\tDNSKEY\t257 3 13 AAECAw==",
            "a.example.\t60\tIN\tCDNSKEY\t257 3 13 AAEC",
            "a.example.\t60\tIN\tRRSIG\tA 13 2 60 20491231235959 20240229000000 4711 example. AAEC",
            "a.example.\t60\tIN\tRRSIG\tTYPE65280 13 2 60 21060207062815 19700101000000 1 . AA==",
            "a.example.\t60\tIN\tNSEC\t\\000.a.example. A MX RRSIG NSEC TYPE1234",
            "a.example.\t60\tIN\tNSEC3\t1 0 0 - 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR A RRSIG",
            "a.example.\t60\tIN\tNSEC3\t1 1 12 aabbccdd 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR",
            "a.example.\t60\tIN\tNSEC3PARAM\t1 0 0 -",
            "a.example.\t60\tIN\tTYPE65280\t\\# 3 0a0b0c",
            "*.\\009\\@.example.\t60\tIN\tTYPE65280\t\\# 0",
            "a.example.\t60\tIN\tHTTPS\t\\# 3 000100",
        ] {
            let record = super::super::record(text, &Name::root(), None).unwrap();
            let mut out = String::new();
            write(
                &record.owner,
                record.rtype,
                record.ttl,
                &record.rdata,
                &mut out,
            );
            assert_eq!(out, text);
        }
    }

    #[test]
    fn rdata_without_its_fields_is_written_in_the_generic_form() {
        for (rtype, rdata) in [
            (RecordType::A, &[1, 2, 3][..]),
            (RecordType::A, &[1, 2, 3, 4, 5]),
            (RecordType::MX, &[1]),
            (RecordType::NS, &[1, b'a']),
            (RecordType::NS, &[192, 12]),
            (RecordType::TXT, &[]),
            (RecordType::TXT, &[2, b'a']),
            (RecordType::CAA, &[0, 1, b' ', b'x']),
            (RecordType::NSEC, &[0, 0, 2, 1]),
            (RecordType::NSEC, &[0, 0, 1, 0]),
            (RecordType::HINFO, &[0, 0, 0]),
            (RecordType::NSEC, &[0, 0, 1, 64, 0, 1, 32]),
        ] {
            let mut out = String::new();
            write(&[0], rtype, 1, rdata, &mut out);
            assert!(out.contains("\\# "), "{out}");
            assert!(out.starts_with(&format!(".\t1\tIN\t{rtype}\t")), "{out}");
        }
    }
}
