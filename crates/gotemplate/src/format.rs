//! Go's `fmt.Sprint` and `fmt.Sprintf`, as far as templates' values go.
use std::fmt::Write;

use crate::functions::CallError;
use crate::quote::{quote, quote_with};
use crate::value::{Shape, Value};

/// Octets of the longest text that a function makes.
const TEXT_OCTETS_MAX: usize = 1 << 18;
/// Largest width and precision.
const WIDTH_MAX: usize = 1000;
/// Lists inside one another.
const DEPTH_MAX: usize = 16;

/// Whether a text is short enough to go on with.
pub(crate) fn bounded(text: String) -> Result<String, CallError> {
    match text.len() <= TEXT_OCTETS_MAX {
        true => Ok(text),
        false => Err(CallError(format!(
            "the result has more than {TEXT_OCTETS_MAX} octets"
        ))),
    }
}

/// `%v` of a value.
pub(crate) fn show(out: &mut String, value: &Value<'_>) {
    Verb::plain('v').print(out, value, 0);
}

/// Values one after the other; a blank between two of which neither is a text.
pub(crate) fn sprint(values: &[Value<'_>]) -> Result<String, CallError> {
    let mut out = String::new();
    let mut text_before = true;
    for value in values {
        let text = matches!(value, Value::Text(_));
        if !out.is_empty() && !text && !text_before {
            out.push(' ');
        }
        show(&mut out, value);
        text_before = text;
        out = bounded(out)?;
    }
    Ok(out)
}

/// Values with blanks between them and a line's end behind.
pub(crate) fn sprintln(values: &[Value<'_>]) -> Result<String, CallError> {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        out.push_str(if index > 0 { " " } else { "" });
        show(&mut out, value);
        out = bounded(out)?;
    }
    out.push('\n');
    Ok(out)
}

/// A text with verbs that stand for values.
pub(crate) fn sprintf(format: &str, values: &[Value<'_>]) -> Result<String, CallError> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut verb = Verb::plain('%');
        verb.read_flags(&mut rest);
        let width = number(&mut rest, &mut values, &mut out, "%!(BADWIDTH)");
        match width {
            Some(width) if width < 0 => {
                (verb.minus, verb.zero) = (true, false);
                verb.width = bound(width);
            }
            Some(width) => verb.width = bound(width),
            None => (),
        }
        if let Some(behind) = rest.strip_prefix('.') {
            rest = behind;
            let precision = number(&mut rest, &mut values, &mut out, "%!(BADPREC)");
            verb.precision = Some(precision.filter(|n| *n >= 0).map_or(0, bound));
        }
        let Some(character) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[character.len_utf8()..];
        verb.verb = character;
        match (character, values.as_slice().first()) {
            ('%', _) => out.push('%'),
            (_, None) => {
                let _ = write!(out, "%!{character}(MISSING)");
            }
            (_, Some(value)) => {
                values.next();
                verb.print(&mut out, value, 0);
            }
        }
        out = bounded(out)?;
    }
    out.push_str(rest);
    if !values.as_slice().is_empty() {
        out.push_str("%!(EXTRA ");
        for (index, value) in values.enumerate() {
            let _ = write!(
                out,
                "{}{}=",
                if index > 0 { ", " } else { "" },
                value.type_name()
            );
            show(&mut out, value);
        }
        out.push(')');
    }
    bounded(out)
}

fn bound(number: i64) -> usize {
    usize::try_from(number.unsigned_abs()).map_or(WIDTH_MAX, |number| number.min(WIDTH_MAX))
}

/// A width or precision: digits, or `*` for the next value.
fn number(
    rest: &mut &str,
    values: &mut std::slice::Iter<'_, Value<'_>>,
    out: &mut String,
    bad: &str,
) -> Option<i64> {
    if let Some(behind) = rest.strip_prefix('*') {
        *rest = behind;
        let number = match values.next() {
            Some(Value::Int(number)) => Some(*number),
            Some(Value::Uint(number, _)) => i64::try_from(*number).ok(),
            _ => None,
        };
        if number.is_none() {
            out.push_str(bad);
        }
        return number;
    }
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, behind) = rest.split_at(digits);
    *rest = behind;
    number.parse().ok()
}

/// One verb with its flags.
#[derive(Clone, Copy)]
struct Verb {
    verb: char,
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Verb {
    fn plain(verb: char) -> Self {
        Self {
            verb,
            plus: false,
            minus: false,
            sharp: false,
            space: false,
            zero: false,
            width: 0,
            precision: None,
        }
    }

    fn read_flags(&mut self, rest: &mut &str) {
        loop {
            match rest.as_bytes().first() {
                Some(b'+') => self.plus = true,
                Some(b'-') => (self.minus, self.zero) = (true, false),
                Some(b'#') => self.sharp = true,
                Some(b' ') => self.space = true,
                Some(b'0') => self.zero = !self.minus,
                _ => return,
            }
            *rest = &rest[1..];
        }
    }

    fn print(self, out: &mut String, value: &Value<'_>, depth: usize) {
        if self.verb == 'T' {
            return self.pad(out, value.type_name());
        }
        match (value, self.verb) {
            (Value::Nil, 'v') => self.pad(out, "<nil>"),
            (Value::Nil, verb) => {
                let _ = write!(out, "%!{verb}(<nil>)");
            }
            (Value::Bool(value), 't' | 'v') => self.pad(out, if *value { "true" } else { "false" }),
            (Value::Int(number), _) => {
                self.integer(out, number.unsigned_abs(), *number < 0, value);
            }
            (Value::Uint(number, _), _) => self.integer(out, *number, false, value),
            (Value::Float(number), 'v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F') => {
                self.float(out, *number);
            }
            (Value::Text(text), _) => self.text(out, text, value),
            (Value::Object(object), 'v' | 's') if object.text().is_some() => {
                self.pad(out, &object.text().unwrap_or_default());
            }
            (Value::List(_) | Value::Map(_) | Value::Object(_), _) => {
                self.composite(out, value, depth);
            }
            _ => self.bad(out, value),
        }
    }

    fn bad(self, out: &mut String, value: &Value<'_>) {
        let _ = write!(out, "%!{}({}=", self.verb, value.type_name());
        show(out, value);
        out.push(')');
    }

    fn composite(self, out: &mut String, value: &Value<'_>, depth: usize) {
        let shape = match value {
            Value::List(_) => Shape::List,
            Value::Object(object) => object.shape(),
            _ => Shape::Map,
        };
        let (length, (open, close)) = match (value, shape) {
            (_, Shape::List) => (value.length(), ("[", "]")),
            (_, Shape::Map) => (value.length(), ("map[", "]")),
            (Value::Object(object), Shape::Struct) => {
                let pointer = object.type_name().starts_with('*');
                (Some(object.len()), (if pointer { "&{" } else { "{" }, "}"))
            }
            _ => return,
        };
        out.push_str(open);
        for index in 0..length.unwrap_or(0) {
            let Some((key, element)) = value.element(index) else {
                break;
            };
            if depth == DEPTH_MAX || out.len() > TEXT_OCTETS_MAX {
                break;
            }
            out.push_str(if index > 0 { " " } else { "" });
            if shape == Shape::Map {
                self.print(out, &key, depth + 1);
                out.push(':');
            }
            self.print(out, &element, depth + 1);
        }
        out.push_str(close);
    }

    fn text(self, out: &mut String, text: &str, value: &Value<'_>) {
        let cut = |text: &'_ str| match self.precision {
            Some(most) => text.chars().take(most).collect::<String>(),
            None => text.to_owned(),
        };
        match self.verb {
            'v' if self.sharp => self.pad(out, &quote(text)),
            'v' | 's' if self.precision.is_none() && self.width == 0 => out.push_str(text),
            'v' | 's' => self.pad(out, &cut(text)),
            'q' if self.sharp && !text.contains('`') && !text.contains(char::is_control) => {
                self.pad(out, &format!("`{}`", cut(text)));
            }
            'q' => self.pad(out, &quote(&cut(text))),
            'x' | 'X' => {
                let mut hex = String::with_capacity(text.len() * 2);
                let octets = text.bytes().take(self.precision.unwrap_or(usize::MAX));
                for (index, octet) in octets.enumerate() {
                    if self.space && index > 0 {
                        hex.push(' ');
                    }
                    if self.sharp && (self.space || index == 0) {
                        hex.push_str("0x");
                    }
                    let _ = write!(hex, "{octet:02x}");
                }
                if self.verb == 'X' {
                    hex.make_ascii_uppercase();
                }
                self.pad(out, &hex);
            }
            _ => self.bad(out, value),
        }
    }

    fn integer(self, out: &mut String, magnitude: u64, negative: bool, value: &Value<'_>) {
        let character = || {
            let code = u32::try_from(magnitude).ok().filter(|_| !negative);
            code.and_then(char::from_u32).unwrap_or('\u{fffd}')
        };
        let (mut digits, prefix) = match self.verb {
            'v' | 'd' => (magnitude.to_string(), ""),
            'b' => (format!("{magnitude:b}"), "0b"),
            'o' => (format!("{magnitude:o}"), "0"),
            'O' => (format!("{magnitude:o}"), ""),
            'x' => (format!("{magnitude:x}"), "0x"),
            'X' => (format!("{magnitude:X}"), "0X"),
            'c' => return self.pad(out, &character().to_string()),
            'q' => return self.pad(out, &quote_with(&character().to_string(), '\'')),
            'U' if !negative => {
                let shown = match self.sharp {
                    true => crate::quote::unicode(character()),
                    false => format!("U+{magnitude:04X}"),
                };
                return self.pad(out, &shown);
            }
            _ => return self.bad(out, value),
        };
        let sign = match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        if self.precision == Some(0) && magnitude == 0 {
            digits.clear();
        }
        let least = match self.precision {
            Some(precision) => precision,
            None if self.zero => self.width.saturating_sub(sign.len()),
            None => 0,
        };
        if digits.len() < least {
            digits.insert_str(0, &"0".repeat(least - digits.len()));
        }
        let prefix = match self.verb {
            'O' => "0o",
            'o' if self.sharp && digits.starts_with('0') => "",
            _ if self.sharp => prefix,
            _ => "",
        };
        let spaces = Self {
            zero: false,
            ..self
        };
        spaces.pad(out, &format!("{sign}{prefix}{digits}"));
    }

    fn float(self, out: &mut String, number: f64) {
        let upper = self.verb.is_ascii_uppercase();
        let mut shown = match self.verb {
            'e' | 'E' => scientific(number, self.precision.unwrap_or(6)),
            'f' | 'F' => format!("{number:.*}", self.precision.unwrap_or(6)),
            _ => general(number, self.precision),
        };
        if upper {
            shown.make_ascii_uppercase();
        }
        if number >= 0.0 && (self.plus || self.space) {
            shown.insert(0, if self.plus { '+' } else { ' ' });
        }
        if self.zero && shown.len() < self.width {
            let at = usize::from(shown.starts_with(['+', '-', ' ']));
            shown.insert_str(at, &"0".repeat(self.width - shown.len()));
        }
        self.pad(out, &shown);
    }

    /// Appends `text`, filled up to the width.
    fn pad(self, out: &mut String, text: &str) {
        let fill = self.width.saturating_sub(text.chars().count());
        if self.minus {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', fill));
        } else {
            let with = if self.zero { '0' } else { ' ' };
            out.extend(std::iter::repeat_n(with, fill));
            out.push_str(text);
        }
    }
}

/// `%e`: a digit, a point, digits, and an exponent of at least two digits.
fn scientific(number: f64, precision: usize) -> String {
    exponent(&format!("{number:.precision$e}"))
}

/// Go's exponents have a sign and two digits.
fn exponent(rust: &str) -> String {
    match rust.split_once('e') {
        None => rust.to_owned(),
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

/// `%g`: as short as it can be, with an exponent when that is large or small.
fn general(number: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(digits) => format!("{number:.*e}", digits.max(1) - 1),
        None => format!("{number:e}"),
    };
    let Some((digits, power)) = text.split_once('e') else {
        return match text.as_str() {
            "inf" => "+Inf".to_owned(),
            "-inf" => "-Inf".to_owned(),
            other => other.to_owned(),
        };
    };
    let power: i32 = power.parse().unwrap_or(0);
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    let count = digits.bytes().filter(u8::is_ascii_digit).count();
    let most = precision.map_or(6, |most| i32::try_from(most.max(1)).unwrap_or(i32::MAX));
    if power < -4 || power >= most {
        return exponent(&format!("{digits}e{power}"));
    }
    let decimals = i32::try_from(count).unwrap_or(0) - 1 - power;
    format!("{number:.*}", usize::try_from(decimals).unwrap_or(0))
}
