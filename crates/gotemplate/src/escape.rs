//! Escaping for HTML, JavaScript and URLs.
use std::fmt::Write;

use crate::quote::is_print;

/// `html`.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(character),
        }
    }
    out
}

/// `js`.
pub(crate) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04X}", character as u32);
            }
            _ if character.is_ascii() || is_print(character) => out.push(character),
            _ => {
                let _ = write!(out, "\\u{:04X}", character as u32);
            }
        }
    }
    out
}

/// `urlquery`.
pub(crate) fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(octet));
            }
            b' ' => out.push('+'),
            _ => {
                let _ = write!(out, "%{octet:02X}");
            }
        }
    }
    out
}
