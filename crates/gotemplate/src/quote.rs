//! Go's quoted strings, both ways.
use std::fmt::Write;

/// A string in Go's quotes, as `%q` prints it.
pub(crate) fn quote(text: &str) -> String {
    quote_with(text, '"')
}

/// The same with any quote.
pub(crate) fn quote_with(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            _ if character == quote => {
                out.push('\\');
                out.push(quote);
            }
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if is_print(character) => out.push(character),
            // Writing to a string cannot fail.
            _ if (character as u32) < 0x80 => {
                let _ = write!(out, "\\x{:02x}", character as u32);
            }
            _ if (character as u32) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", character as u32);
            }
            _ => {
                let _ = write!(out, "\\U{:08x}", character as u32);
            }
        }
    }
    out.push(quote);
    out
}

/// Near enough to Go's `unicode.IsPrint`: letters, marks, numbers, signs and the plain space.
pub(crate) fn is_print(character: char) -> bool {
    match character {
        ' ' => true,
        _ if character.is_control() || character.is_whitespace() => false,
        // Private use, surrogates, and what text direction is changed with.
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
            false
        }
        '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{f0000}'.. => false,
        _ => true,
    }
}

/// `U+0041 'A'`, as `%#U` prints it.
pub(crate) fn unicode(character: char) -> String {
    let mut text = format!("U+{:04X}", character as u32);
    if is_print(character) {
        let _ = write!(text, " '{character}'");
    }
    text
}

/// What a literal between quotes or backquotes stands for.
///
/// Octets above 127 that are written with `\x` or in octal are refused: text is UTF-8 here.
pub(crate) fn unquote(literal: &str) -> Option<String> {
    let mut characters = literal.chars();
    let quote = characters.next()?;
    if characters.next_back()? != quote {
        return None;
    }
    let body = characters.as_str();
    if quote == '`' {
        return Some(body.replace('\r', ""));
    }
    let mut text = String::with_capacity(body.len());
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(escape(&mut characters, quote)?),
            '\n' => return None,
            _ if character == quote => return None,
            _ => text.push(character),
        }
    }
    match quote {
        '"' => Some(text),
        // A character constant holds one.
        '\'' => (text.chars().count() == 1).then_some(text),
        _ => None,
    }
}

fn escape(characters: &mut std::str::Chars<'_>, quote: char) -> Option<char> {
    let first = characters.next()?;
    let (digits, radix, limit) = match first {
        'a' => return Some('\x07'),
        'b' => return Some('\x08'),
        'f' => return Some('\x0c'),
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        'v' => return Some('\x0b'),
        '\\' => return Some('\\'),
        _ if first == quote => return Some(quote),
        'x' => (2, 16, 0x7f),
        'u' => (4, 16, u32::MAX),
        'U' => (8, 16, u32::MAX),
        '0'..='7' => (2, 8, 0x7f),
        _ => return None,
    };
    let mut number = first.to_digit(8).unwrap_or(0);
    for _ in 0..digits {
        number = number.checked_mul(radix)? + characters.next()?.to_digit(radix)?;
    }
    char::from_u32(number).filter(|_| number <= limit)
}
