//! Method, target and content type to the message that is asked (RFC 8484 section 4.1).
use corten_wire::{HEADER_OCTETS, MESSAGE_OCTETS_MAX};

use super::MEDIA_TYPE;
use super::status::Status;

/// Where queries are answered; CoreDNS's path, and the one that clients try.
pub(crate) const PATH: &[u8] = b"/dns-query";
/// Characters of the longest message in base64.
const TEXT_MAX: usize = (MESSAGE_OCTETS_MAX * 8).div_ceil(6);

/// A method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Method {
    /// The query is in the target.
    Get,
    /// The query is the body.
    Post,
    /// A method of HTTP that this resource does not have.
    Known,
    /// No method of HTTP.
    #[default]
    Unknown,
}

impl Method {
    /// A method from its name; methods are case-sensitive.
    pub(crate) fn new(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"PATCH" | b"TRACE" | b"CONNECT" => {
                Self::Known
            }
            _ => Self::Unknown,
        }
    }
}

/// What a request's head says about its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The query is the body that follows.
    Body,
    /// The query stands in the target.
    Target,
}

/// Judges a request by its head, so that nobody sends a body in vain.
pub(crate) fn head(
    method: Method,
    target: &[u8],
    content_type: Option<&[u8]>,
) -> Result<Head, Status> {
    let (path, _) = split(target);
    if path != PATH {
        return Err(Status::NotFound);
    }
    match method {
        Method::Get => Ok(Head::Target),
        // RFC 8484 section 4.1 demands the type; a client that says none means this one.
        Method::Post if content_type.is_none_or(is_message) => Ok(Head::Body),
        Method::Post => Err(Status::UnsupportedMediaType),
        Method::Known => Err(Status::MethodNotAllowed),
        Method::Unknown => Err(Status::NotImplemented),
    }
}

/// The message in the target of a GET request, decoded into `message`.
///
/// The variable `dns` must be there once; others are ignored (RFC 6570 templates may have them).
pub(crate) fn from_target(target: &[u8], message: &mut Vec<u8>) -> Result<(), Status> {
    let (_, query) = split(target);
    let mut found = None;
    for pair in query.split(|octet| *octet == b'&') {
        let Some(text) = pair.strip_prefix(b"dns") else {
            continue;
        };
        let text = match text.split_first() {
            None => text,
            Some((b'=', text)) => text,
            Some(_) => continue,
        };
        if found.replace(text).is_some() {
            return Err(Status::BadRequest);
        }
    }
    let text = found.ok_or(Status::BadRequest)?;
    // Before anything is decoded: what is too long costs nothing.
    if text.len() > 3 * TEXT_MAX {
        return Err(Status::BadRequest);
    }
    message.clear();
    decode(text, message).ok_or(Status::BadRequest)?;
    check(message)?;
    // GET is safe (RFC 9110 section 9.2.1), and caches and browsers repeat it as they like: an
    // update or a notification does not come that way.
    match message.get(2).is_none_or(|flags| flags >> 3 & 15 == 0) {
        true => Ok(()),
        false => Err(Status::MethodNotAllowed),
    }
}

/// Whether these octets may be a query: what the gate would leave without an answer is a bad
/// request, because HTTP always answers.
pub(crate) fn check(message: &[u8]) -> Result<(), Status> {
    if message.len() > MESSAGE_OCTETS_MAX {
        return Err(Status::TooLarge);
    }
    match message.get(2) {
        Some(flags) if message.len() >= HEADER_OCTETS && flags & 0x80 == 0 => Ok(()),
        _ => Err(Status::BadRequest),
    }
}

/// Whether a content type is that of DNS messages; parameters do not count.
fn is_message(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|octet| *octet == b';');
    let essence = &content_type[..end.unwrap_or(content_type.len())];
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
}

/// The path and what stands behind `?`.
fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|octet| *octet == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[]),
    }
}

/// Decodes base64 for URLs without padding (RFC 4648 section 5); octets in percent-encoding are
/// taken for what they stand for.
fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut bits, mut count) = (0u32, 0u32);
    let mut rest = text;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        let octet = match octet {
            b'%' => {
                let (digits, behind) = rest.split_first_chunk::<2>()?;
                rest = behind;
                hex(digits[0])? << 4 | hex(digits[1])?
            }
            octet => octet,
        };
        let value = VALUES[usize::from(octet)];
        if value > 63 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    // A single letter is less than an octet.
    (count < 6).then_some(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The value of each letter of base64url; 255 for all others.
const VALUES: [u8; 256] = {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut values = [255; 256];
    let mut at = 0;
    while at < letters.len() {
        values[letters[at] as usize] = at as u8;
        at += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_judged_before_the_body() {
        let dns = Some(MEDIA_TYPE.as_bytes());
        for (method, target, content_type, expected) in [
            ("GET", "/dns-query?dns=AA", None, Ok(Head::Target)),
            ("GET", "/dns-query", None, Ok(Head::Target)),
            ("POST", "/dns-query", dns, Ok(Head::Body)),
            ("POST", "/dns-query", None, Ok(Head::Body)),
            (
                "POST",
                "/dns-query?a=b",
                Some(&b"Application/DNS-Message ; x=y"[..]),
                Ok(Head::Body),
            ),
            (
                "POST",
                "/dns-query",
                Some(b"text/plain"),
                Err(Status::UnsupportedMediaType),
            ),
            ("GET", "/dns-query/", None, Err(Status::NotFound)),
            ("GET", "/", None, Err(Status::NotFound)),
            ("PUT", "/other", dns, Err(Status::NotFound)),
            ("PUT", "/dns-query", dns, Err(Status::MethodNotAllowed)),
            (
                "HEAD",
                "/dns-query?dns=AA",
                None,
                Err(Status::MethodNotAllowed),
            ),
            (
                "get",
                "/dns-query?dns=AA",
                None,
                Err(Status::NotImplemented),
            ),
        ] {
            let found = head(
                Method::new(method.as_bytes()),
                target.as_bytes(),
                content_type,
            );
            assert_eq!(found, expected, "{method} {target} {content_type:?}");
        }
    }

    #[test]
    fn targets_hold_one_message() {
        let message = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlAAABAAE";
        let octets = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
        for (query, good) in [
            (format!("dns={message}"), true),
            (format!("a=b&dns={message}&dnssec=1"), true),
            (format!("dns={}", message.replace('d', "%64")), true),
            (format!("dns={message}="), false),
            (format!("dns={message}&dns={message}"), false),
            (format!("DNS={message}"), false),
            ("name=www.example".into(), false),
            ("dns=".into(), false),
            ("dns".into(), false),
            ("dns=AAABAAAB".into(), false),
            ("dns=@@@@".into(), false),
            ("dns=AAAB%4".into(), false),
            // QR is set.
            ("dns=AACBAAABAAAAAAAAA3d3dwdleGFtcGxlAAABAAE".into(), false),
            (format!("dns={}", "A".repeat(100_000)), false),
        ] {
            let mut found = vec![7];
            let result = from_target(format!("/dns-query?{query}").as_bytes(), &mut found);
            assert_eq!(result.is_ok(), good, "{query:.80}");
            if good {
                assert_eq!(found, octets);
            }
        }
        let mut found = Vec::new();
        assert_eq!(
            from_target(b"/dns-query", &mut found),
            Err(Status::BadRequest)
        );
        // NOTIFY and UPDATE.
        for text in ["AAAgAAABAAAAAAAA", "AAAoAAABAAAAAAAA"] {
            let target = format!("/dns-query?dns={text}");
            assert_eq!(
                from_target(target.as_bytes(), &mut found),
                Err(Status::MethodNotAllowed)
            );
        }
    }
}
