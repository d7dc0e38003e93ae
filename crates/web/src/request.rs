//! What is kept of a request.

/// A header field that means something here; the values of all others are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `content-type`
    ContentType,
    /// `content-length`
    ContentLength,
    /// `te`
    Te,
    /// `x-forwarded-for`; the values of several lines are one list
    XForwardedFor,
    /// `forwarded`, likewise
    Forwarded,
    /// `traceparent` (W3C Trace Context)
    TraceParent,
    /// `b3` (Zipkin), and what it is in several fields
    B3,
    /// `x-b3-traceid`
    B3TraceId,
    /// `x-b3-spanid`
    B3SpanId,
    /// `x-b3-sampled`
    B3Sampled,
    /// Any other field.
    Other,
    /// A pseudo-header field of no request.
    OtherPseudo,
    /// A field that no request may have (RFC 9113 section 8.2).
    Forbidden,
}

impl Field {
    /// Fields whose values are kept.
    const KEPT: usize = Self::Other as usize;

    /// A field from its name.
    pub(crate) const fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"te" => Self::Te,
            b"x-forwarded-for" => Self::XForwardedFor,
            b"forwarded" => Self::Forwarded,
            b"traceparent" => Self::TraceParent,
            b"b3" => Self::B3,
            b"x-b3-traceid" => Self::B3TraceId,
            b"x-b3-spanid" => Self::B3SpanId,
            b"x-b3-sampled" => Self::B3Sampled,
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" | b"" => Self::Forbidden,
            [b':', ..] => Self::OtherPseudo,
            _ => Self::ordinary(name),
        }
    }

    /// Names are lower case, and visible characters throughout.
    const fn ordinary(name: &[u8]) -> Self {
        let mut at = 0;
        while at < name.len() {
            if matches!(name[at], 0..=b' ' | b'A'..=b'Z' | b':' | 0x7f..) {
                return Self::Forbidden;
            }
            at += 1;
        }
        Self::Other
    }

    pub(crate) const fn is_pseudo(self) -> bool {
        matches!(
            self,
            Self::Method | Self::Scheme | Self::Authority | Self::Path | Self::OtherPseudo
        )
    }

    pub(crate) const fn is_kept(self) -> bool {
        (self as usize) < Self::KEPT
    }

    /// The place among the lists, if its lines are one.
    const fn list(self) -> Option<usize> {
        match self {
            Self::XForwardedFor => Some(0),
            Self::Forwarded => Some(1),
            _ => None,
        }
    }
}

/// Why a request is not as it should be, though the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// More header fields than the configuration allows.
    HeadersTooLarge,
    /// A longer body than the configuration allows.
    BodyTooLarge,
    /// The body did not come in time.
    Late,
    /// A transfer coding that is not known.
    UnknownCoding,
    /// It cannot be told where the request ends, or it is no request.
    Malformed,
}

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    values: Vec<u8>,
    places: [Option<(u32, u32)>; Field::KEPT],
    /// Values of several lines. They grow where they are: if each line left what was there before
    /// behind, a block of few octets would take up a thousand times as many.
    lists: [Vec<u8>; 2],
    /// The body.
    pub body: Vec<u8>,
    /// What is wrong with it; then the body may be missing.
    pub problem: Option<Problem>,
}

impl Request {
    /// The value of a field, if it is there.
    pub fn field(&self, field: Field) -> Option<&[u8]> {
        if let Some(list) = field.list() {
            return Some(self.lists[list].as_slice()).filter(|list| !list.is_empty());
        }
        let (start, end) = (*self.places.get(field as usize)?)?;
        self.values.get(start as usize..end as usize)
    }

    /// Whether its response has no body, whatever the status (RFC 9110 section 9.3.2).
    pub fn is_head(&self) -> bool {
        self.field(Field::Method) == Some(b"HEAD")
    }

    /// Whether it says what is wanted, and of whom. CONNECT does not; nobody asks for a tunnel here.
    pub(crate) fn has_target(&self) -> bool {
        [Field::Method, Field::Scheme, Field::Path]
            .into_iter()
            .all(|field| self.field(field).is_some_and(|value| !value.is_empty()))
    }

    /// Forgets everything but the memory.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.places = [None; Field::KEPT];
        self.lists.iter_mut().for_each(Vec::clear);
        self.body.clear();
        self.problem = None;
    }

    /// Whether its memory is worth keeping.
    pub fn is_small(&self) -> bool {
        let lists: usize = self.lists.iter().map(Vec::capacity).sum();
        self.values.capacity() + lists + self.body.capacity() <= 8 * 1024
    }

    /// Keeps a value; returns whether the field may come, or come again.
    pub(crate) fn keep(&mut self, field: Field, value: &[u8]) -> bool {
        if let Some(list) = field.list() {
            let list = &mut self.lists[list];
            if !list.is_empty() && !value.is_empty() {
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(value);
            return true;
        }
        let start = self.values.len() as u32;
        let Some(place) = self.places.get_mut(field as usize) else {
            return true;
        };
        match *place {
            None => (),
            // The same length twice is harmless (RFC 9110 section 8.6).
            Some(_) if field == Field::ContentLength => return self.field(field) == Some(value),
            Some(_) => return !field.is_pseudo(),
        }
        self.values.extend_from_slice(value);
        *place = Some((start, self.values.len() as u32));
        true
    }
}

/// A number of octets (RFC 9110 section 8.6).
pub(crate) fn length(text: &[u8]) -> Option<u64> {
    match text.iter().all(u8::is_ascii_digit) && (1..19).contains(&text.len()) {
        true => std::str::from_utf8(text).ok()?.parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_other_fields_are_there_once() {
        let mut request = Request::default();
        assert!(request.keep(Field::Path, b"/a"));
        assert!(!request.keep(Field::Path, b"/b"));
        assert!(request.keep(Field::XForwardedFor, b"192.0.2.1"));
        assert!(request.keep(Field::Te, b"trailers"));
        assert!(request.keep(Field::XForwardedFor, b"192.0.2.2"));
        assert!(request.keep(Field::ContentLength, b"5"));
        assert!(request.keep(Field::ContentLength, b"5"));
        assert!(!request.keep(Field::ContentLength, b"6"));
        assert!(request.keep(Field::Other, b"anything"));
        assert_eq!(request.field(Field::Path), Some(&b"/a"[..]));
        let list = request.field(Field::XForwardedFor);
        assert_eq!(list, Some(&b"192.0.2.1, 192.0.2.2"[..]));
        request.clear();
        assert_eq!(request.field(Field::Path), None);
        assert_eq!(request.field(Field::XForwardedFor), None);
    }

    #[test]
    fn lists_take_no_more_room_than_their_lines() {
        let mut request = Request::default();
        for _ in 0..180 {
            assert!(request.keep(Field::XForwardedFor, &[b'1'; 22]));
            assert!(request.keep(Field::Forwarded, &[b'2'; 22]));
            assert!(request.keep(Field::XForwardedFor, b""));
        }
        let list = request.field(Field::XForwardedFor).unwrap();
        assert_eq!(list.len(), 180 * 24 - 2);
        let memory =
            request.values.capacity() + request.lists.iter().map(Vec::capacity).sum::<usize>();
        assert!(memory <= 2 * 2 * 180 * 24, "{memory}");
        assert!(!request.is_small());
    }

    #[test]
    fn names_of_no_request_are_told() {
        for (name, field) in [
            ("accept", Field::Other),
            ("Accept", Field::Forbidden),
            ("a b", Field::Forbidden),
            ("a:b", Field::Forbidden),
            ("", Field::Forbidden),
            ("connection", Field::Forbidden),
            (":status", Field::OtherPseudo),
            (":path", Field::Path),
        ] {
            assert_eq!(Field::of(name.as_bytes()), field, "{name}");
        }
    }
}
