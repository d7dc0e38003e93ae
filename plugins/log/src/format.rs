//! Formats of log lines: text with placeholders.
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::time::Duration;

use corten_plugin::{Exchange, Transport};

/// CoreDNS's default.
const COMMON: &str = "{remote}:{port} - {>id} \"{type} {class} {name} {proto} {size} {>do} {>bufsize}\" {rcode} {>rflags} {rsize} {duration}";

/// A format, taken apart once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

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
    /// `{/label}`: metadata.
    Metadata(String),
}

impl Format {
    /// Takes a format apart; what is no placeholder stays as it is.
    pub(crate) fn read(text: &str) -> Self {
        let text = text
            .replace("{combined}", "{common} \"{>opcode}\"")
            .replace("{common}", COMMON);
        let (mut pieces, mut rest) = (Vec::new(), text.as_str());
        while let Some(open) = rest.find('{') {
            let Some(close) = rest[open..].find('}').map(|close| open + close) else {
                break;
            };
            let inner = &rest[open + 1..close];
            match placeholder(inner) {
                Some(piece) => {
                    pieces.push(Piece::Text(rest[..open].to_owned()));
                    pieces.push(piece);
                    rest = &rest[close + 1..];
                }
                None => {
                    pieces.push(Piece::Text(rest[..=open].to_owned()));
                    rest = &rest[open + 1..];
                }
            }
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Self(pieces)
    }

    /// The line of an exchange that is over.
    pub(crate) fn line<'a>(&'a self, ex: &'a Exchange) -> LogLine<'a> {
        LogLine {
            pieces: &self.0,
            ex,
        }
    }
}

/// A format and what fills it.
pub(crate) struct LogLine<'a> {
    pieces: &'a [Piece],
    ex: &'a Exchange,
}

impl Display for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces
            .iter()
            .try_for_each(|piece| write_piece(f, piece, self.ex))
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

fn write_piece(f: &mut fmt::Formatter<'_>, piece: &Piece, ex: &Exchange) -> fmt::Result {
    let question = &ex.query.question;
    match piece {
        Piece::Text(text) => f.write_str(text),
        Piece::Type => write!(f, "{}", question.rtype),
        Piece::Class => write!(f, "{}", question.class),
        Piece::Name => write!(f, "{}", question.name),
        Piece::Proto => f.write_str(ex.transport.network()),
        Piece::Remote => address(f, ex.client.ip()),
        Piece::Port => write!(f, "{}", ex.client.port()),
        Piece::Local => address(f, ex.local.ip()),
        Piece::Size => write!(f, "{}", ex.query.octets().len()),
        Piece::Rcode if ex.is_dropped() => f.write_str("-"),
        Piece::Rcode => write!(f, "{}", ex.reply.rcode),
        Piece::ReplySize if ex.is_dropped() => f.write_str("0"),
        Piece::ReplySize => write!(f, "{}", ex.reply.uncompressed_length()),
        Piece::Duration => f.write_str(&duration(ex.received.elapsed())),
        Piece::Id => write!(f, "{}", ex.query.id()),
        Piece::Opcode => write!(f, "{}", ex.query.opcode().0),
        Piece::DnssecOk => write!(f, "{}", ex.query.dnssec_ok()),
        Piece::BufferSize => write!(f, "{}", buffer_size(ex)),
        Piece::Flags if ex.is_dropped() => f.write_str("-"),
        Piece::Flags => flags(f, ex),
        Piece::Metadata(label) => f.write_str(ex.metadata(label).as_deref().unwrap_or("-")),
    }
}

/// IPv6 addresses stand in brackets.
fn address(f: &mut fmt::Formatter<'_>, address: IpAddr) -> fmt::Result {
    match address.to_canonical() {
        IpAddr::V4(v4) => write!(f, "{v4}"),
        IpAddr::V6(v6) => write!(f, "[{v6}]"),
    }
}

fn buffer_size(ex: &Exchange) -> u16 {
    match ex.transport {
        Transport::Udp => ex.query.edns().map_or(512, |edns| edns.udp_size.max(512)),
        Transport::Tcp | Transport::Tls => u16::MAX,
    }
}

fn flags(f: &mut fmt::Formatter<'_>, ex: &Exchange) -> fmt::Result {
    let reply = &ex.reply;
    f.write_str("qr")?;
    for (set, name) in [
        (reply.authoritative, ",aa"),
        (reply.truncated, ",tc"),
        (ex.query.recursion_desired(), ",rd"),
        (reply.recursion_available, ",ra"),
        (reply.authentic_data, ",ad"),
        (ex.query.checking_disabled(), ",cd"),
    ] {
        if set {
            f.write_str(name)?;
        }
    }
    Ok(())
}

/// Seconds as a decimal fraction without zeroes at the end.
fn duration(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_taken_apart() {
        let text = |text: &str| Piece::Text(text.into());
        for (format, pieces) in [
            ("a {name} b", &[text("a "), Piece::Name, text(" b")][..]),
            ("{type}{rcode}", &[Piece::Type, Piece::Rcode]),
            (
                "{unknown} {/a/b}",
                &[text("{"), text("unknown} "), Piece::Metadata("a/b".into())],
            ),
            ("{{name}", &[text("{"), Piece::Name]),
            ("open {name", &[text("open {name")]),
        ] {
            assert_eq!(Format::read(format).0, pieces, "{format}");
        }
        assert_eq!(
            Format::read("{common} and {>opcode}").0.len(),
            Format::read(COMMON).0.len() + 2
        );
    }

    #[test]
    fn durations_are_decimal_seconds() {
        for (nanos, shown) in [
            (123_000, "0.000123s"),
            (1_500_000_000, "1.5s"),
            (2_000_000_000, "2s"),
            (1, "0.000000001s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), shown);
        }
    }
}
