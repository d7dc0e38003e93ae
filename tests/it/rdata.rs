//! RDATA as cases have it, read and written without any code of the server's.
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::message::{name_at, type_name, u16_at, wire_name};
use crate::{base64, signed};

/// Types that need more than a row of names and numbers.
pub(crate) const TYPES: &[(&str, u16)] = &[("SVCB", 64), ("URI", 256)];

pub(crate) fn rdata_text(wire: &[u8], at: usize, rdata: &[u8], rtype: u16) -> Option<String> {
    let number = |from: usize| {
        Some(u32::from(u16_at(rdata, from)?) << 16 | u32::from(u16_at(rdata, from + 2)?))
    };
    Some(match type_name(rtype).as_str() {
        "A" => Ipv4Addr::from(<[u8; 4]>::try_from(rdata).ok()?).to_string(),
        "AAAA" => Ipv6Addr::from(<[u8; 16]>::try_from(rdata).ok()?).to_string(),
        "NS" | "CNAME" | "PTR" | "DNAME" => name_at(wire, at)?.0,
        "NAPTR" => {
            let (mut texts, mut from) = (Vec::new(), 4);
            for _ in 0..3 {
                let length = usize::from(*rdata.get(from)?);
                let text = rdata.get(from + 1..from + 1 + length)?;
                texts.push(format!("\"{}\"", String::from_utf8_lossy(text)));
                from += 1 + length;
            }
            let (order, preference) = (u16_at(rdata, 0)?, u16_at(rdata, 2)?);
            let name = name_at(wire, at + from)?.0;
            format!("{order} {preference} {} {name}", texts.join(" "))
        }
        "MX" => format!("{} {}", u16_at(rdata, 0)?, name_at(wire, at + 2)?.0),
        "SRV" => format!(
            "{} {} {} {}",
            u16_at(rdata, 0)?,
            u16_at(rdata, 2)?,
            u16_at(rdata, 4)?,
            name_at(wire, at + 6)?.0
        ),
        "SOA" => {
            let (primary, behind) = name_at(wire, at)?;
            let (mailbox, behind) = name_at(wire, behind)?;
            let numbers = (0..5)
                .map(|index| number(behind - at + 4 * index).map(|n| n.to_string()))
                .collect::<Option<Vec<_>>>()?;
            format!("{primary} {mailbox} {}", numbers.join(" "))
        }
        "TXT" | "HINFO" => {
            let (mut texts, mut rest) = (Vec::new(), rdata);
            while let [length, behind @ ..] = rest {
                let (text, behind) = behind.split_at_checked(usize::from(*length))?;
                texts.push(format!("\"{}\"", escaped(text)));
                rest = behind;
            }
            texts.join(" ")
        }
        "SVCB" | "HTTPS" => service(rdata, &name_at(wire, at + 2)?)?,
        "TLSA" => {
            let [usage, selector, matching, data @ ..] = rdata else {
                return None;
            };
            format!("{usage} {selector} {matching} {}", hex(data))
        }
        "SSHFP" => {
            let [algorithm, kind, fingerprint @ ..] = rdata else {
                return None;
            };
            format!("{algorithm} {kind} {}", hex(fingerprint))
        }
        "URI" => format!(
            "{} {} \"{}\"",
            u16_at(rdata, 0)?,
            u16_at(rdata, 2)?,
            escaped(rdata.get(4..)?)
        ),
        "LOC" => location(rdata)?,
        _ => signed::rdata_text(rtype, rdata)
            .unwrap_or_else(|| format!("\\# {} {rdata:02x?}", rdata.len())),
    })
}

/// RDATA from its text, for scripted servers.
pub(crate) fn rdata_wire(rtype: u16, text: &str) -> Vec<u8> {
    let fields: Vec<_> = text.split_whitespace().collect();
    match type_name(rtype).as_str() {
        "A" => text.parse::<Ipv4Addr>().unwrap().octets().to_vec(),
        "AAAA" => text.parse::<Ipv6Addr>().unwrap().octets().to_vec(),
        "NS" | "CNAME" | "PTR" | "DNAME" => wire_name(text),
        "SRV" => {
            let numbers = fields[..3]
                .iter()
                .map(|field| field.parse::<u16>().unwrap());
            let mut wire: Vec<u8> = numbers.flat_map(u16::to_be_bytes).collect();
            wire.extend(wire_name(fields[3]));
            wire
        }
        "NAPTR" => {
            let numbers = fields[..2]
                .iter()
                .map(|field| field.parse::<u16>().unwrap());
            let mut wire: Vec<u8> = numbers.flat_map(u16::to_be_bytes).collect();
            for field in &fields[2..5] {
                let text = field.trim_matches('"');
                wire.push(u8::try_from(text.len()).unwrap());
                wire.extend(text.as_bytes());
            }
            wire.extend(wire_name(fields[5]));
            wire
        }
        "HINFO" => {
            let texts = fields.iter().map(|field| field.trim_matches('"'));
            texts
                .flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat())
                .collect()
        }
        "SOA" => {
            let mut wire = [wire_name(fields[0]), wire_name(fields[1])].concat();
            fields[2..]
                .iter()
                .for_each(|field| wire.extend(field.parse::<u32>().unwrap().to_be_bytes()));
            wire
        }
        "MX" => [
            &fields[0].parse::<u16>().unwrap().to_be_bytes()[..],
            &wire_name(fields[1]),
        ]
        .concat(),
        "TXT" => {
            let text = text.trim_matches('"');
            [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
        }
        other => panic!("no RDATA of type {other}"),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Octets of a character string, without the quotes.
fn escaped(octets: &[u8]) -> String {
    let mut text = String::new();
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => text.push(char::from(*octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
    text
}

/// SVCB and HTTPS (RFC 9460 section 2.2); the target is a name that is not compressed.
fn service(rdata: &[u8], (target, _): &(String, usize)) -> Option<String> {
    let mut line = format!("{} {target}", u16_at(rdata, 0)?);
    let mut rest = rdata.get(2..)?;
    loop {
        let length = usize::from(*rest.first()?);
        rest = rest.get(1 + length..)?;
        if length == 0 {
            break;
        }
    }
    while !rest.is_empty() {
        let (key, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        rest = rest.get(4 + length..)?;
        let list = |texts: Vec<String>| format!("=\"{}\"", texts.join(","));
        let (name, value) = match key {
            0 => {
                let keys = value.chunks(2).map(|key| u16_at(key, 0));
                let keys = keys.map(|key| key.map(parameter));
                ("mandatory", list(keys.collect::<Option<_>>()?))
            }
            1 => {
                let (mut protocols, mut rest) = (Vec::new(), value);
                while let [length, behind @ ..] = rest {
                    let (protocol, behind) = behind.split_at_checked(usize::from(*length))?;
                    protocols.push(escaped(protocol));
                    rest = behind;
                }
                ("alpn", list(protocols))
            }
            2 => ("no-default-alpn", String::new()),
            3 => ("port", list(vec![u16_at(value, 0)?.to_string()])),
            4 => {
                let addresses = value.chunks(4).map(<[u8; 4]>::try_from);
                let shown = addresses.map(|address| address.map(|a| Ipv4Addr::from(a).to_string()));
                ("ipv4hint", list(shown.collect::<Result<_, _>>().ok()?))
            }
            5 => ("ech", list(vec![base64::encode(value)])),
            6 => {
                let addresses = value.chunks(16).map(<[u8; 16]>::try_from);
                let shown = addresses.map(|address| address.map(|a| Ipv6Addr::from(a).to_string()));
                ("ipv6hint", list(shown.collect::<Result<_, _>>().ok()?))
            }
            7 => ("dohpath", list(vec![escaped(value)])),
            _ => ("", list(vec![escaped(value)])),
        };
        let name = match name {
            "" => parameter(key),
            name => name.to_owned(),
        };
        line.push_str(&format!(" {name}{value}"));
    }
    Some(line)
}

fn parameter(key: u16) -> String {
    let names = [
        "mandatory",
        "alpn",
        "no-default-alpn",
        "port",
        "ipv4hint",
        "ech",
        "ipv6hint",
        "dohpath",
    ];
    names
        .get(usize::from(key))
        .map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
}

/// LOC (RFC 1876 section 2).
fn location(rdata: &[u8]) -> Option<String> {
    let [0, size, horizontal, vertical, rest @ ..] = rdata else {
        return None;
    };
    let number =
        |at: usize| Some(i64::from(u16_at(rest, at)?) << 16 | i64::from(u16_at(rest, at + 2)?));
    let metres = |octet: u8| {
        let centimetres = u64::from(octet >> 4) * 10u64.pow(u32::from(octet & 15));
        format!("{}.{:02}m", centimetres / 100, centimetres % 100)
    };
    let angle = |at: usize, letters: [char; 2]| {
        let milliseconds = number(at)? - (1 << 31);
        let (seconds, fraction) = (milliseconds.abs() / 1000, milliseconds.abs() % 1000);
        let letter = letters[usize::from(milliseconds < 0)];
        let (degrees, minutes) = (seconds / 3600, seconds / 60 % 60);
        Some(format!(
            "{degrees} {minutes} {}.{fraction:03} {letter}",
            seconds % 60
        ))
    };
    let altitude = number(8)? - 10_000_000;
    let sign = if altitude < 0 { "-" } else { "" };
    let (whole, part) = (altitude.abs() / 100, altitude.abs() % 100);
    Some(format!(
        "{} {} {sign}{whole}.{part:02}m {} {} {}",
        angle(0, ['N', 'S'])?,
        angle(4, ['E', 'W'])?,
        metres(*size),
        metres(*horizontal),
        metres(*vertical)
    ))
}
