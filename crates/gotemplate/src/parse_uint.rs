//! Go's `strconv.ParseUint`, which CoreDNS offers templates as `parseInt`.
use crate::functions::{CallError, Function, Parameter};
use crate::quote::quote;
use crate::value::{Value, Width};

/// `parseInt TEXT BASE BITS`: the unsigned number that a text stands for.
///
/// Base 0 goes by the prefix (`0x`, `0o`, `0b`, `0`) and allows underscores.
pub const PARSE_INT: Function = Function {
    name: "parseInt",
    parameters: &[Parameter::Text, Parameter::Int, Parameter::Int],
    more: None,
    call: parse_int,
};

fn parse_int<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    let [Value::Text(text), Value::Int(base), Value::Int(bits)] = args else {
        return Err(CallError("three arguments are needed".to_owned()));
    };
    parse(text, *base, *bits)
        .map(|number| Value::Uint(number, Width::U64))
        .map_err(|what| {
            CallError(format!(
                "strconv.ParseUint: parsing {}: {what}",
                quote(text)
            ))
        })
}

fn parse(text: &str, base: i64, bits: i64) -> Result<u64, String> {
    let syntax = || "invalid syntax".to_owned();
    if text.is_empty() {
        return Err(syntax());
    }
    let (radix, digits) = match u32::try_from(base) {
        Ok(0) => prefixed(text).ok_or_else(syntax)?,
        Ok(radix @ 2..=36) => (radix, text.to_owned()),
        _ => return Err(format!("invalid base {base}")),
    };
    let bits = match u32::try_from(bits) {
        Ok(0) => 64,
        Ok(bits @ 1..=64) => bits,
        _ => return Err(format!("invalid bit size {bits}")),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(syntax());
    }
    u64::from_str_radix(&digits, radix)
        .ok()
        .filter(|number| *number <= u64::MAX >> (64 - bits))
        .ok_or_else(|| "value out of range".to_owned())
}

/// The base that a prefix names, and the digits without their underscores.
fn prefixed(text: &str) -> Option<(u32, String)> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &text[2..]),
        [b'0', b'o' | b'O', ..] => (8, &text[2..]),
        [b'0', b'b' | b'B', ..] => (2, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        _ => (10, text),
    };
    let lonely =
        digits.ends_with('_') || digits.contains("__") || digits.starts_with('_') && radix == 10;
    (!lonely).then(|| (radix, digits.replace('_', "")))
}
