//! Text with placeholders that are filled from an exchange: lines of *log*, `extra` of *dnstap*.
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use corten_wire::Name;

use crate::Exchange;

/// CoreDNS's default.
const COMMON: &str = "{remote}:{port} - {>id} \"{type} {class} {name} {proto} {size} {>do} {>bufsize}\" {rcode} {>rflags} {rsize} {duration}";

/// A format, taken apart once.
///
/// Filling it in allocates nothing, metadata aside, once the buffer has grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

/// What an exchange has to tell by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Only the query: placeholders of the reply are `-`.
    Query,
    /// The reply, too. One that was dropped is `-`, its size 0.
    Reply,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Type,
    Class,
    Name,
    Proto,
    Remote,
    Port,
    Local,
    Size,
    Rcode,
    ReplySize,
    Duration,
    Id,
    Opcode,
    DnssecOk,
    BufferSize,
    Flags,
    /// The label, without the slash in front.
    Metadata(String),
}

impl Format {
    /// CoreDNS's `{common}`.
    pub fn common() -> Self {
        Self::read(COMMON)
    }

    /// Takes a format apart; what is no placeholder stays as it is.
    pub fn read(text: &str) -> Self {
        let text = text
            .replace("{combined}", "{common} \"{>opcode}\"")
            .replace("{common}", COMMON);
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text.as_str());
        while let Some(open) = rest.find('{') {
            let Some(close) = rest[open..].find('}').map(|close| open + close) else {
                break;
            };
            plain.push_str(&rest[..open]);
            match placeholder(&rest[open + 1..close]) {
                Some(piece) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(piece);
                    rest = &rest[close + 1..];
                }
                None => {
                    plain.push('{');
                    rest = &rest[open + 1..];
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Self(pieces)
    }

    /// Appends the text to `out`.
    pub fn fill(&self, ex: &Exchange, told: Told, out: &mut Vec<u8>) {
        for piece in &self.0 {
            fill_piece(piece, ex, told, out);
        }
    }
}

fn placeholder(name: &str) -> Option<Piece> {
    Some(match name {
        "type" => Piece::Type,
        "class" => Piece::Class,
        "name" => Piece::Name,
        "proto" => Piece::Proto,
        "remote" => Piece::Remote,
        "port" => Piece::Port,
        "local" => Piece::Local,
        "size" => Piece::Size,
        "rcode" => Piece::Rcode,
        "rsize" => Piece::ReplySize,
        "duration" => Piece::Duration,
        ">id" => Piece::Id,
        ">opcode" => Piece::Opcode,
        ">do" => Piece::DnssecOk,
        ">bufsize" => Piece::BufferSize,
        ">rflags" => Piece::Flags,
        _ => Piece::Metadata(name.strip_prefix('/')?.to_owned()),
    })
}

fn fill_piece(piece: &Piece, ex: &Exchange, told: Told, out: &mut Vec<u8>) {
    let question = &ex.query.question;
    let unanswered = ex.is_dropped() || told == Told::Query;
    match piece {
        Piece::Text(text) => put(out, text),
        Piece::Type => code(out, question.rtype.mnemonic(), question.rtype),
        Piece::Class => code(out, question.class.mnemonic(), question.class),
        Piece::Name => name(out, &question.name),
        Piece::Proto => put(out, ex.transport.network()),
        Piece::Remote => address(out, ex.client.ip()),
        Piece::Port => number(out, ex.client.port()),
        Piece::Local => address(out, ex.local.ip()),
        Piece::Size => number(out, ex.query.octets().len()),
        Piece::Rcode if unanswered => out.push(b'-'),
        Piece::Rcode => code(out, ex.reply.rcode.mnemonic(), ex.reply.rcode),
        Piece::ReplySize if told == Told::Query => out.push(b'-'),
        Piece::ReplySize if ex.is_dropped() => out.push(b'0'),
        Piece::ReplySize => number(out, ex.reply_octets()),
        Piece::Duration if told == Told::Query => out.push(b'-'),
        Piece::Duration => duration(out, ex.received.elapsed()),
        Piece::Id => number(out, ex.query.id()),
        Piece::Opcode => number(out, ex.query.opcode().0),
        Piece::DnssecOk => put(
            out,
            if ex.query.dnssec_ok() {
                "true"
            } else {
                "false"
            },
        ),
        Piece::BufferSize => number(out, ex.client_octets_max()),
        Piece::Flags if unanswered => out.push(b'-'),
        Piece::Flags => flags(out, ex),
        Piece::Metadata(label) => match ex.metadata(label) {
            Some(value) => put(out, &value),
            None => out.push(b'-'),
        },
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    put(out, itoa::Buffer::new().format(number));
}

/// A mnemonic, or the generic form of a number that has none.
fn code(out: &mut Vec<u8>, mnemonic: Option<&str>, code: impl std::fmt::Display) {
    match mnemonic {
        Some(mnemonic) => put(out, mnemonic),
        // Writing to a vector does not fail.
        None => drop(write!(out, "{code}")),
    }
}

/// The presentation form; names of letters, digits and hyphens, label by label.
fn name(out: &mut Vec<u8>, name: &Name) {
    let simple = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let start = out.len();
    for label in (0..name.label_count()).filter_map(|index| name.label(index)) {
        if !label.iter().all(simple) {
            out.truncate(start);
            return drop(write!(out, "{name}"));
        }
        out.extend_from_slice(label);
        out.push(b'.');
    }
    if name.is_root() {
        out.push(b'.');
    }
}

/// IPv6 addresses stand in brackets.
fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => ipv4(out, v4),
        IpAddr::V6(v6) => drop(write!(out, "[{v6}]")),
    }
}

fn ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let [a, b, c, d] = address.octets();
    number(out, a);
    for octet in [b, c, d] {
        out.push(b'.');
        number(out, octet);
    }
}

fn flags(out: &mut Vec<u8>, ex: &Exchange) {
    let reply = &ex.reply;
    put(out, "qr");
    for (set, name) in [
        (reply.authoritative, ",aa"),
        (reply.truncated, ",tc"),
        (ex.query.recursion_desired(), ",rd"),
        (reply.recursion_available, ",ra"),
        (reply.authentic_data, ",ad"),
        (ex.query.checking_disabled(), ",cd"),
    ] {
        if set {
            put(out, name);
        }
    }
}

/// Seconds as a decimal fraction without zeroes at the end.
fn duration(out: &mut Vec<u8>, duration: Duration) {
    number(out, duration.as_secs());
    let mut digits = [b'0'; 9];
    let mut rest = duration.subsec_nanos();
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let used = digits.iter().rposition(|digit| *digit != b'0');
    if let Some(last) = used {
        out.push(b'.');
        out.extend_from_slice(&digits[..=last]);
    }
    out.push(b's');
}

#[cfg(test)]
mod tests {
    use corten_wire::{Class, Gate, Rcode, RecordType};

    use super::*;
    use crate::Transport;

    #[test]
    fn formats_are_taken_apart() {
        let text = |text: &str| Piece::Text(text.into());
        for (format, pieces) in [
            ("a {name} b", &[text("a "), Piece::Name, text(" b")][..]),
            ("{type}{rcode}", &[Piece::Type, Piece::Rcode]),
            (
                "{unknown} {/a/b}",
                &[text("{unknown} "), Piece::Metadata("a/b".into())],
            ),
            ("{{name}", &[text("{"), Piece::Name]),
            ("open {name", &[text("open {name")]),
            ("", &[]),
        ] {
            assert_eq!(Format::read(format).0, pieces, "{format}");
        }
        assert_eq!(
            Format::read("{common} and {>opcode}").0.len(),
            Format::common().0.len() + 2
        );
        assert_eq!(
            Format::read("{combined}"),
            Format::read("{common} \"{>opcode}\"")
        );
    }

    #[test]
    fn durations_are_decimal_seconds() {
        for (nanos, shown) in [
            (123_000, "0.000123s"),
            (1_500_000_000, "1.5s"),
            (2_000_000_000, "2s"),
            (1, "0.000000001s"),
            (0, "0s"),
        ] {
            let mut out = Vec::new();
            duration(&mut out, Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        }
    }

    #[test]
    fn values_look_as_in_coredns() {
        let mut ex = Exchange::new();
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03WWW\x07ex.mple\0\xff\0\0\x03\0\0\x29\x10\0\0\0\x80\0\0\0";
        assert_eq!(ex.query.read(query), Gate::Pass);
        ex.client = "[2001:db8::1]:1234".parse().unwrap();
        ex.local = "[::ffff:192.0.2.1]:53".parse().unwrap();
        let _ = ex.answer(Rcode(77));
        ex.reply.recursion_available = true;
        let format = Format::read(
            "{type} {class} {name} {remote} {port} {local} {>id} {>do} {>bufsize} {rcode} {>rflags} {rsize} {/x/y}",
        );
        let fill = |ex: &Exchange, told| {
            let mut out = Vec::new();
            format.fill(ex, told, &mut out);
            String::from_utf8(out).unwrap()
        };
        let query = r"TYPE65280 CH www.ex\.mple. [2001:db8::1] 1234 192.0.2.1 4660 true 4096";
        assert_eq!(
            fill(&ex, Told::Reply),
            format!("{query} RCODE77 qr,rd,ra 29 -")
        );
        assert_eq!(fill(&ex, Told::Query), format!("{query} - - - -"));
        ex.transport = Transport::Tls;
        assert!(fill(&ex, Told::Query).contains("true 65535"));
        let mut root = Vec::new();
        name(&mut root, &Name::root());
        code(&mut root, RecordType::A.mnemonic(), RecordType::A);
        code(&mut root, Class::IN.mnemonic(), Class::IN);
        assert_eq!(root, b".AIN");
    }
}
