//! Header compression (RFC 9204) without a dynamic table: we tell clients that ours has no room, and
//! use none of theirs.
use crate::http2::hpack::{
    ENTRY, Line, Malformed, number, string_behind, write_number, write_string,
};
use crate::request::Field;

/// Reads a whole block and tells its fields, in order.
///
/// # Errors
/// A block that is malformed, or refers to a dynamic table.
pub fn decode(block: &[u8], mut tell: impl FnMut(Line<'_>)) -> Result<(), Malformed> {
    let mut rest = block;
    // Required Insert Count, and a base that nothing refers to.
    if number(&mut rest, 8)? != 0 {
        return Err(Malformed);
    }
    number(&mut rest, 7)?;
    let (mut name, mut value) = (Vec::new(), Vec::new());
    while let Some(&first) = rest.first() {
        let (field, name_octets) = match first {
            0xc0.. => {
                let (field, name, value) = entry_at(number(&mut rest, 6)?)?;
                tell(Line {
                    field,
                    value: value.as_bytes(),
                    size: name.len() + value.len() + ENTRY,
                });
                continue;
            }
            0x50..0x60 | 0x70..0x80 => {
                let (field, name, _) = entry_at(number(&mut rest, 4)?)?;
                (field, name.len())
            }
            0x20..0x40 => {
                name.clear();
                string_behind(&mut rest, 3, &mut name)?;
                (Field::of(&name), name.len())
            }
            _ => return Err(Malformed),
        };
        value.clear();
        string_behind(&mut rest, 7, &mut value)?;
        let breaks = |octet: &u8| matches!(octet, 0 | b'\r' | b'\n');
        tell(Line {
            field: match value.iter().any(breaks) {
                true => Field::Forbidden,
                false => field,
            },
            value: &value,
            size: name_octets + value.len() + ENTRY,
        });
    }
    Ok(())
}

/// Places of response fields in the static table.
pub mod index {
    /// `content-length`
    pub const CONTENT_LENGTH: u8 = 4;
    /// `date`
    pub const DATE: u8 = 6;
    /// `:status`, with any value.
    pub const STATUS: u8 = 24;
    /// `:status: 200`
    pub const STATUS_200: u8 = 25;
    /// `cache-control`
    pub const CACHE_CONTROL: u8 = 36;
    /// `content-type`
    pub const CONTENT_TYPE: u8 = 44;
    /// `content-type: application/dns-message`
    pub const DNS_MESSAGE: u8 = 44;
}

/// Begins a block: it needs nothing of a dynamic table.
pub fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0]);
}

/// Writes a field of the static table, name and value.
pub fn write_indexed(out: &mut Vec<u8>, index: u8) {
    write_number(out, 0xc0, 6, index.into());
}

/// Writes a value to a name of the static table.
pub fn write_value(out: &mut Vec<u8>, index: u8, value: &[u8]) {
    write_number(out, 0x50, 4, index.into());
    write_string(out, value);
}

/// Writes a field whose name is in no table.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_number(out, 0x20, 3, name.len());
    out.extend_from_slice(name);
    write_string(out, value);
}

type Entry = (Field, &'static str, &'static str);

fn entry_at(index: usize) -> Result<Entry, Malformed> {
    STATIC.get(index).copied().ok_or(Malformed)
}

const fn entry(name: &'static str, value: &'static str) -> Entry {
    (Field::of(name.as_bytes()), name, value)
}

/// RFC 9204 appendix A.
static STATIC: [Entry; 99] = [
    entry(":authority", ""),
    entry(":path", "/"),
    entry("age", "0"),
    entry("content-disposition", ""),
    entry("content-length", "0"),
    entry("cookie", ""),
    entry("date", ""),
    entry("etag", ""),
    entry("if-modified-since", ""),
    entry("if-none-match", ""),
    entry("last-modified", ""),
    entry("link", ""),
    entry("location", ""),
    entry("referer", ""),
    entry("set-cookie", ""),
    entry(":method", "CONNECT"),
    entry(":method", "DELETE"),
    entry(":method", "GET"),
    entry(":method", "HEAD"),
    entry(":method", "OPTIONS"),
    entry(":method", "POST"),
    entry(":method", "PUT"),
    entry(":scheme", "http"),
    entry(":scheme", "https"),
    entry(":status", "103"),
    entry(":status", "200"),
    entry(":status", "304"),
    entry(":status", "404"),
    entry(":status", "503"),
    entry("accept", "*/*"),
    entry("accept", "application/dns-message"),
    entry("accept-encoding", "gzip, deflate, br"),
    entry("accept-ranges", "bytes"),
    entry("access-control-allow-headers", "cache-control"),
    entry("access-control-allow-headers", "content-type"),
    entry("access-control-allow-origin", "*"),
    entry("cache-control", "max-age=0"),
    entry("cache-control", "max-age=2592000"),
    entry("cache-control", "max-age=604800"),
    entry("cache-control", "no-cache"),
    entry("cache-control", "no-store"),
    entry("cache-control", "public, max-age=31536000"),
    entry("content-encoding", "br"),
    entry("content-encoding", "gzip"),
    entry("content-type", "application/dns-message"),
    entry("content-type", "application/javascript"),
    entry("content-type", "application/json"),
    entry("content-type", "application/x-www-form-urlencoded"),
    entry("content-type", "image/gif"),
    entry("content-type", "image/jpeg"),
    entry("content-type", "image/png"),
    entry("content-type", "text/css"),
    entry("content-type", "text/html; charset=utf-8"),
    entry("content-type", "text/plain"),
    entry("content-type", "text/plain;charset=utf-8"),
    entry("range", "bytes=0-"),
    entry("strict-transport-security", "max-age=31536000"),
    entry(
        "strict-transport-security",
        "max-age=31536000; includesubdomains",
    ),
    entry(
        "strict-transport-security",
        "max-age=31536000; includesubdomains; preload",
    ),
    entry("vary", "accept-encoding"),
    entry("vary", "origin"),
    entry("x-content-type-options", "nosniff"),
    entry("x-xss-protection", "1; mode=block"),
    entry(":status", "100"),
    entry(":status", "204"),
    entry(":status", "206"),
    entry(":status", "302"),
    entry(":status", "400"),
    entry(":status", "403"),
    entry(":status", "421"),
    entry(":status", "425"),
    entry(":status", "500"),
    entry("accept-language", ""),
    entry("access-control-allow-credentials", "FALSE"),
    entry("access-control-allow-credentials", "TRUE"),
    entry("access-control-allow-headers", "*"),
    entry("access-control-allow-methods", "get"),
    entry("access-control-allow-methods", "get, post, options"),
    entry("access-control-allow-methods", "options"),
    entry("access-control-expose-headers", "content-length"),
    entry("access-control-request-headers", "content-type"),
    entry("access-control-request-method", "get"),
    entry("access-control-request-method", "post"),
    entry("alt-svc", "clear"),
    entry("authorization", ""),
    entry(
        "content-security-policy",
        "script-src 'none'; object-src 'none'; base-uri 'none'",
    ),
    entry("early-data", "1"),
    entry("expect-ct", ""),
    entry("forwarded", ""),
    entry("if-range", ""),
    entry("origin", ""),
    entry("purpose", "prefetch"),
    entry("server", ""),
    entry("timing-allow-origin", "*"),
    entry("upgrade-insecure-requests", "1"),
    entry("user-agent", ""),
    entry("x-forwarded-for", ""),
    entry("x-frame-options", "deny"),
    entry("x-frame-options", "sameorigin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(block: &[u8]) -> Result<Vec<(Field, String, usize)>, Malformed> {
        let mut lines = Vec::new();
        decode(block, |line| {
            let value = String::from_utf8_lossy(line.value).into_owned();
            lines.push((line.field, value, line.size));
        })?;
        Ok(lines)
    }

    #[test]
    fn blocks_are_read() {
        // The example of RFC 9204 appendix B.1.
        let lines = read(b"\0\0\x51\x0b/index.html").unwrap();
        assert_eq!(
            lines,
            [(Field::Path, "/index.html".to_owned(), 5 + 11 + 32)]
        );
        // Names as literals.
        let lines = read(b"\0\0\x24path\x01x\xd1\x31:\x01y").unwrap();
        assert_eq!(lines[0], (Field::Other, "x".to_owned(), 4 + 1 + 32));
        assert_eq!(lines[1], (Field::Method, "GET".to_owned(), 7 + 3 + 32));
        assert_eq!(lines[2].0, Field::OtherPseudo);
        // www.example.com, Huffman-coded (RFC 7541 appendix C.4.1).
        let lines = read(b"\0\0\x50\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff").unwrap();
        assert_eq!(lines[0].1, "www.example.com");
        assert_eq!(read(b"\0\0").unwrap(), []);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut block = Vec::new();
        begin(&mut block);
        write_indexed(&mut block, index::STATUS_200);
        write_indexed(&mut block, index::DNS_MESSAGE);
        write_indexed(&mut block, 98);
        write_value(&mut block, index::CACHE_CONTROL, b"max-age=60");
        write_value(&mut block, index::CONTENT_LENGTH, b"45");
        write_field(&mut block, b"allow", b"GET, POST");
        let lines = read(&block).unwrap();
        let values: Vec<_> = lines.iter().map(|(_, value, _)| &value[..]).collect();
        assert_eq!(
            values,
            [
                "200",
                "application/dns-message",
                "sameorigin",
                "max-age=60",
                "45",
                "GET, POST"
            ]
        );
        assert_eq!(lines[4].0, Field::ContentLength);
    }

    #[test]
    fn dynamic_tables_and_broken_blocks_are_refused() {
        for block in [
            &b""[..],
            b"\0",
            b"\x01\0",
            b"\0\0\x80",
            b"\0\0\x40\x01x",
            b"\0\0\x10",
            b"\0\0\x00\x01x",
            b"\0\0\xff\x24",
            b"\0\0\x51\x05abc",
            b"\0\0\x51",
            b"\0\0\x27\x80\x80\x80\x80\x80\x01",
        ] {
            assert_eq!(read(block), Err(Malformed), "{block:?}");
        }
        let lines = read(b"\0\0\x51\x03a\rb").unwrap();
        assert_eq!(lines[0].0, Field::Forbidden);
    }
}
