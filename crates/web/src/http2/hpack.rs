//! Header compression (RFC 7541).
//!
//! The decoder keeps what entries of the dynamic table mean, and the values of fields that mean
//! something here; of all others only how long they are. The encoder knows the static table alone, so
//! that it has no state: the few fields of a small response are not worth one.
use std::collections::VecDeque;

use crate::http2::huffman;
use crate::request::Field;

/// Size of the dynamic table, as RFC 9113 section 6.5.2 has it when nobody says another.
const TABLE_MAX: usize = 4096;
/// What an entry counts beyond its octets (RFC 7541 section 4.1).
pub(crate) const ENTRY: usize = 32;
/// No number of a header block is larger: no string is longer than a block may be.
const NUMBER_MAX: usize = 1 << 20;

/// A header block that cannot be read, after which the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One field of a header block.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// What it is.
    pub field: Field,
    /// Its value; empty where the field is not kept.
    pub value: &'a [u8],
    /// What it counts against the size of the list (RFC 9113 section 6.5.2).
    pub size: usize,
}

/// Reads the header blocks of a connection.
#[derive(Debug, Default)]
pub struct Decoder {
    entries: VecDeque<Entry>,
    size: usize,
    max: Option<usize>,
    name: Vec<u8>,
    value: Vec<u8>,
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    field: Field,
    name_octets: usize,
    size: usize,
    value: Vec<u8>,
}

/// What is known of a name.
#[derive(Clone, Copy)]
struct Named {
    field: Field,
    octets: usize,
}

impl Decoder {
    /// Reads a whole block and tells its fields, in order.
    ///
    /// # Errors
    /// Everything that RFC 7541 calls a decoding error.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut tell: impl FnMut(Line<'_>),
    ) -> Result<(), Malformed> {
        let mut rest = block;
        let mut begun = false;
        while let Some((&first, _)) = rest.split_first() {
            if first & 0xe0 == 0x20 {
                let size = number(&mut rest, 5)?;
                // Only at the beginning of a block, and never beyond what we have agreed to.
                if begun || size > TABLE_MAX {
                    return Err(Malformed);
                }
                self.max = Some(size);
                self.evict(size);
                continue;
            }
            begun = true;
            if first & 0x80 != 0 {
                let index = number(&mut rest, 7)?;
                tell(self.line(index)?);
                continue;
            }
            let (prefix, keeps) = match first & 0x40 {
                0 => (4, false),
                _ => (6, true),
            };
            let index = number(&mut rest, prefix)?;
            let named = match index {
                0 => {
                    self.name.clear();
                    string(&mut rest, &mut self.name)?;
                    Named {
                        field: Field::of(&self.name),
                        octets: self.name.len(),
                    }
                }
                index => self.named(index)?,
            };
            self.value.clear();
            string(&mut rest, &mut self.value)?;
            let size = named.octets + self.value.len() + ENTRY;
            let field = match self
                .value
                .iter()
                .any(|octet| matches!(octet, 0 | b'\r' | b'\n'))
            {
                true => Field::Forbidden,
                false => named.field,
            };
            if !field.is_kept() {
                self.value.clear();
            }
            tell(Line {
                field,
                value: &self.value,
                size,
            });
            if keeps {
                self.insert(field, named.octets, size);
            }
        }
        Ok(())
    }

    fn line(&self, index: usize) -> Result<Line<'_>, Malformed> {
        if let Some((field, name, value)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            return Ok(Line {
                field: *field,
                value: value.as_bytes(),
                size: name.len() + value.len() + ENTRY,
            });
        }
        let entry = self.entry(index)?;
        Ok(Line {
            field: entry.field,
            value: &entry.value,
            size: entry.size,
        })
    }

    fn named(&self, index: usize) -> Result<Named, Malformed> {
        if let Some((field, name, _)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            return Ok(Named {
                field: *field,
                octets: name.len(),
            });
        }
        let entry = self.entry(index)?;
        Ok(Named {
            field: entry.field,
            octets: entry.name_octets,
        })
    }

    fn entry(&self, index: usize) -> Result<&Entry, Malformed> {
        let at = index.checked_sub(STATIC.len() + 1).ok_or(Malformed)?;
        self.entries.get(at).ok_or(Malformed)
    }

    fn insert(&mut self, field: Field, name_octets: usize, size: usize) {
        let max = self.max.unwrap_or(TABLE_MAX);
        self.evict(max.saturating_sub(size));
        if size > max {
            return;
        }
        let mut value = std::mem::take(&mut self.spare);
        value.clear();
        value.extend_from_slice(&self.value);
        self.entries.push_front(Entry {
            field,
            name_octets,
            size,
            value,
        });
        self.size += size;
    }

    fn evict(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_back() else {
                return;
            };
            self.size -= entry.size;
            self.spare = entry.value;
        }
    }
}

/// An integer (RFC 7541 section 5.1) behind the flags of its first octet.
pub(crate) fn number(rest: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let (&first, mut behind) = rest.split_first().ok_or(Malformed)?;
    let full = (1usize << prefix) - 1;
    let mut number = usize::from(first) & full;
    if number == full {
        let mut shift = 0;
        loop {
            let (&octet, further) = behind.split_first().ok_or(Malformed)?;
            behind = further;
            number += usize::from(octet & 0x7f) << shift;
            shift += 7;
            if number > NUMBER_MAX || shift > 28 {
                return Err(Malformed);
            }
            if octet & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = behind;
    Ok(number)
}

/// A string (RFC 7541 section 5.2), appended to `out`.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    string_behind(rest, 7, out)
}

/// The same where the length has `prefix` bits of the first octet.
pub(crate) fn string_behind(
    rest: &mut &[u8],
    prefix: u32,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let coded = rest.first().ok_or(Malformed)? & (1 << prefix) != 0;
    let length = number(rest, prefix)?;
    let (octets, behind) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = behind;
    match coded {
        true => huffman::decode(octets, out).ok_or(Malformed),
        false => {
            out.extend_from_slice(octets);
            Ok(())
        }
    }
}

/// Places of response fields in the static table.
pub mod index {
    /// `:status: 200`
    pub const STATUS_200: u8 = 8;
    /// `:status`, with any value.
    pub const STATUS: u8 = 8;
    /// `allow`
    pub const ALLOW: u8 = 22;
    /// `cache-control`
    pub const CACHE_CONTROL: u8 = 24;
    /// `content-length`
    pub const CONTENT_LENGTH: u8 = 28;
    /// `content-type`
    pub const CONTENT_TYPE: u8 = 31;
    /// `date`
    pub const DATE: u8 = 33;
}

/// Writes a field of the static table, name and value.
pub fn write_indexed(out: &mut Vec<u8>, index: u8) {
    out.push(0x80 | index);
}

/// Writes a value to a name of the static table; neither side remembers it.
pub fn write_value(out: &mut Vec<u8>, index: u8, value: &[u8]) {
    write_number(out, 0, 4, usize::from(index));
    write_string(out, value);
}

/// Writes a field whose name is in no table.
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    write_string(out, name);
    write_string(out, value);
}

pub(crate) fn write_string(out: &mut Vec<u8>, octets: &[u8]) {
    write_number(out, 0, 7, octets.len());
    out.extend_from_slice(octets);
}

pub(crate) fn write_number(out: &mut Vec<u8>, flags: u8, prefix: u32, number: usize) {
    let full = (1usize << prefix) - 1;
    if number < full {
        return out.push(flags | number as u8);
    }
    out.push(flags | full as u8);
    let mut rest = number - full;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

const fn entry(name: &'static str, value: &'static str) -> (Field, &'static str, &'static str) {
    (Field::of(name.as_bytes()), name, value)
}

/// RFC 7541 appendix A.
static STATIC: [(Field, &str, &str); 61] = [
    entry(":authority", ""),
    entry(":method", "GET"),
    entry(":method", "POST"),
    entry(":path", "/"),
    entry(":path", "/index.html"),
    entry(":scheme", "http"),
    entry(":scheme", "https"),
    entry(":status", "200"),
    entry(":status", "204"),
    entry(":status", "206"),
    entry(":status", "304"),
    entry(":status", "400"),
    entry(":status", "404"),
    entry(":status", "500"),
    entry("accept-charset", ""),
    entry("accept-encoding", "gzip, deflate"),
    entry("accept-language", ""),
    entry("accept-ranges", ""),
    entry("accept", ""),
    entry("access-control-allow-origin", ""),
    entry("age", ""),
    entry("allow", ""),
    entry("authorization", ""),
    entry("cache-control", ""),
    entry("content-disposition", ""),
    entry("content-encoding", ""),
    entry("content-language", ""),
    entry("content-length", ""),
    entry("content-location", ""),
    entry("content-range", ""),
    entry("content-type", ""),
    entry("cookie", ""),
    entry("date", ""),
    entry("etag", ""),
    entry("expect", ""),
    entry("expires", ""),
    entry("from", ""),
    entry("host", ""),
    entry("if-match", ""),
    entry("if-modified-since", ""),
    entry("if-none-match", ""),
    entry("if-range", ""),
    entry("if-unmodified-since", ""),
    entry("last-modified", ""),
    entry("link", ""),
    entry("location", ""),
    entry("max-forwards", ""),
    entry("proxy-authenticate", ""),
    entry("proxy-authorization", ""),
    entry("range", ""),
    entry("referer", ""),
    entry("refresh", ""),
    entry("retry-after", ""),
    entry("server", ""),
    entry("set-cookie", ""),
    entry("strict-transport-security", ""),
    entry("transfer-encoding", ""),
    entry("user-agent", ""),
    entry("vary", ""),
    entry("via", ""),
    entry("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(Field, String)>, Malformed> {
        let mut found = Vec::new();
        decoder.decode(block, |line| {
            found.push((line.field, String::from_utf8_lossy(line.value).into_owned()));
        })?;
        Ok(found)
    }

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits
            .chunks(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect()
    }

    #[test]
    fn requests_of_the_rfc_are_read() {
        // RFC 7541 appendix C.3, and C.4 which is the same in Huffman's code.
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            for (block, (path, scheme, other)) in blocks.into_iter().zip([
                ("/", "http", false),
                ("/", "http", true),
                ("/index.html", "https", true),
            ]) {
                let mut expected = vec![
                    (Field::Method, "GET".to_owned()),
                    (Field::Scheme, scheme.into()),
                    (Field::Path, path.into()),
                    (Field::Authority, "www.example.com".into()),
                ];
                if other {
                    expected.push((Field::Other, String::new()));
                }
                assert_eq!(fields(&mut decoder, &octets(block)), Ok(expected));
            }
            assert_eq!((decoder.entries.len(), decoder.size), (3, 164));
        }
    }

    #[test]
    fn the_table_stays_within_its_size() {
        let mut decoder = Decoder::default();
        let mut block = Vec::new();
        for number in 0..1000 {
            block.push(0x41);
            write_string(&mut block, format!("{number}.example").as_bytes());
        }
        fields(&mut decoder, &block).unwrap();
        assert!(decoder.size <= TABLE_MAX);
        let newest = fields(&mut decoder, &[0xbe]).unwrap();
        assert_eq!(newest, [(Field::Authority, "999.example".to_owned())]);
        // An entry that is larger than the table empties it.
        let mut block = vec![0x41];
        write_string(&mut block, &[b'a'; TABLE_MAX]);
        fields(&mut decoder, &block).unwrap();
        assert_eq!((decoder.entries.len(), decoder.size), (0, 0));
        // The client may make it smaller, at the beginning of a block.
        fields(&mut decoder, &[0x20, 0x41, 1, b'a']).unwrap();
        assert_eq!(decoder.entries.len(), 0);
    }

    #[test]
    fn malformed_blocks_are_told() {
        for block in [
            &[0x80][..],
            // Nothing is in the dynamic table.
            &[0xbe],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            // A table that is too large, and a size behind a field.
            &[0x3f, 0xe2, 0x1f],
            &[0x82, 0x20],
            // Strings that are cut off.
            &[0x00, 0x05, b'a'],
            &[0x41],
            &[0x41, 0x83, 0xff, 0xff, 0xff],
        ] {
            let mut decoder = Decoder::default();
            assert_eq!(fields(&mut decoder, block), Err(Malformed), "{block:x?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut block = Vec::new();
        write_indexed(&mut block, index::STATUS_200);
        write_value(&mut block, index::CONTENT_TYPE, b"application/grpc");
        write_value(&mut block, index::CONTENT_LENGTH, &[b'1'; 300]);
        write_field(&mut block, b"grpc-status", b"0");
        let found = fields(&mut Decoder::default(), &block).unwrap();
        assert_eq!(
            found,
            [
                (Field::OtherPseudo, "200".into()),
                (Field::ContentType, "application/grpc".into()),
                (Field::ContentLength, "1".repeat(300)),
                (Field::Other, String::new()),
            ]
        );
    }
}
