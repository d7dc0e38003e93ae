//! The trace that a client says its query belongs to.

/// A trace of a client's, and the span in it that asks (Zipkin's B3, W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The client's span; never 0.
    pub span: u64,
    /// What the client has decided about telling the trace, if it has.
    pub sampled: Option<bool>,
}

impl TraceContext {
    /// `traceparent`: `00-TRACE-SPAN-FLAGS`; versions to come begin the same.
    pub fn w3c(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|octet| *octet == b'-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let whole = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
        if whole.iter().any(|(part, length)| part.len() != *length) || version == b"ff" {
            return None;
        }
        Self::new(trace, span, Some(hexadecimal(flags)? & 1 == 1))
    }

    /// `b3`: `TRACE-SPAN`, and then whether it is told, and the span's own parent.
    pub fn b3(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|octet| *octet == b'-');
        Self::new(
            parts.next()?,
            parts.next()?,
            sampled(parts.next().unwrap_or_default()),
        )
    }

    /// The same in fields of their own.
    pub fn b3_fields(trace: &[u8], span: &[u8], decided: &[u8]) -> Option<Self> {
        Self::new(trace, span, sampled(decided))
    }

    fn new(trace: &[u8], span: &[u8], sampled: Option<bool>) -> Option<Self> {
        let lengths = matches!(trace.len(), 16 | 32) && span.len() == 16;
        let (trace, span) = (hexadecimal(trace)?, hexadecimal(span)? as u64);
        (lengths && trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled,
        })
    }
}

/// `d` is a trace that somebody debugs.
fn sampled(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(digits).ok()?;
    let good = digits.iter().all(u8::is_ascii_hexdigit);
    u128::from_str_radix(text, 16).ok().filter(|_| good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read() {
        let expected = |sampled| {
            Some(TraceContext {
                trace: 0x463a_c35c_9f64_13ad_4848_5a39_53bb_6124,
                span: 0xa2fb_4a1d_1a96_d312,
                sampled,
            })
        };
        let (trace, span) = ("463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312");
        for (text, sampled) in [("01", true), ("00", false)] {
            let text = format!("00-{trace}-{span}-{text}");
            assert_eq!(TraceContext::w3c(text.as_bytes()), expected(Some(sampled)));
        }
        for (text, sampled) in [
            ("", None),
            ("-1", Some(true)),
            ("-0-05e3ac9a4f6e3b90", Some(false)),
        ] {
            let text = format!("{trace}-{span}{text}");
            assert_eq!(TraceContext::b3(text.as_bytes()), expected(sampled));
        }
        let fields = TraceContext::b3_fields(trace.as_bytes(), span.as_bytes(), b"1");
        assert_eq!(fields, expected(Some(true)));
        assert_eq!(
            TraceContext::b3_fields(&trace.as_bytes()[16..], span.as_bytes(), b"")
                .unwrap()
                .trace,
            0x4848_5a39_53bb_6124
        );
    }

    #[test]
    fn nonsense_is_no_context() {
        for text in [
            "",
            "0",
            "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312",
            "ff-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01",
            "00-00000000000000000000000000000000-a2fb4a1d1a96d312-01",
            "00-463ac35c9f6413ad48485a3953bb612x-a2fb4a1d1a96d312-01",
            "00-+63ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01",
        ] {
            assert_eq!(TraceContext::w3c(text.as_bytes()), None, "{text}");
        }
        for text in [
            "0",
            "1-2",
            "463ac35c9f6413ad-0000000000000000",
            "463ac35c9f6413ad",
        ] {
            assert_eq!(TraceContext::b3(text.as_bytes()), None, "{text}");
        }
    }
}
