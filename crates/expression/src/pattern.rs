//! Regular expressions in RE2's syntax.
use regex::{Regex, RegexBuilder};

/// Octets that a compiled pattern may take.
const PATTERN_OCTETS_MAX: usize = 4 << 20;

/// Compiles a pattern that is written in RE2's syntax, as Go's `regexp` reads it.
///
/// The *regex* crate understands nearly the same; here `\d`, `\w`, `\s` and `\b` mean ASCII, `\Q…\E`
/// quotes, and brackets and doubled signs inside a class are what they are.
///
/// # Errors
/// When it is no pattern, or one that takes too much memory.
pub fn pattern(re2: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&translated(re2))
        .size_limit(PATTERN_OCTETS_MAX)
        .build()
}

fn translated(re2: &str) -> String {
    let mut out = String::with_capacity(re2.len() + 16);
    let mut rest = re2;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, Place::Outside, &mut out),
            '[' => rest = class(rest, &mut out),
            _ => out.push(c),
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Class,
}

/// Writes what stands behind a backslash; returns what is behind that.
fn escape<'r>(rest: &'r str, place: Place, out: &mut String) -> &'r str {
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    let behind = &rest[c.len_utf8()..];
    let set = match c.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        'q' if c == 'Q' && place == Place::Outside => {
            let (text, behind) = behind.split_once("\\E").unwrap_or((behind, ""));
            out.push_str(&regex::escape(text));
            return behind;
        }
        'b' if c == 'b' && place == Place::Outside => {
            out.push_str("(?-u:\\b)");
            return behind;
        }
        _ => {
            out.push('\\');
            out.push(c);
            return behind;
        }
    };
    let negated = if c.is_ascii_uppercase() { "^" } else { "" };
    match place {
        Place::Class if negated.is_empty() => out.push_str(set),
        _ => out.extend(["[", negated, set, "]"]),
    }
    behind
}

/// Writes a class whose bracket has been read; returns what is behind it.
fn class<'r>(mut rest: &'r str, out: &mut String) -> &'r str {
    out.push('[');
    if let Some(behind) = rest.strip_prefix('^') {
        out.push('^');
        rest = behind;
    }
    // A bracket or a dash in the first place is itself.
    for (first, escaped) in [(']', "\\]"), ('-', "\\-")] {
        if let Some(behind) = rest.strip_prefix(first) {
            out.push_str(escaped);
            rest = behind;
            break;
        }
    }
    while let Some(c) = rest.chars().next() {
        if c == '[' && rest.starts_with("[:") && rest.contains(":]") {
            let end = rest.find(":]").map_or(rest.len(), |end| end + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return rest;
            }
            '\\' => rest = escape(rest, Place::Class, out),
            // Sets inside sets, and operations on them, are the other dialect's.
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '-' if rest.starts_with('-') => {
                out.push_str("-\\-");
                rest = &rest[1..];
            }
            _ => out.push(c),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_re2() {
        for (re2, text, matches) in [
            (r"^ab\d+\.", "ab12.example.", true),
            (r"^ab\d+\.", "ab.example.", false),
            (r"^\d$", "٣", false),
            (r"^\w+$", "é", false),
            (r"^[\w.]+$", "a_b.c", true),
            (r"^[^\d]$", "x", true),
            (r"^[\D]$", "1", false),
            (r"\Qa.b\E$", "xa.b", true),
            (r"\Qa.b\E$", "xaxb", false),
            (r"^[[a]$", "[", true),
            (r"^[a&&b]+$", "a&b", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"(?i)^WWW\.", "www.", true),
            (r"\bfoo\b", "a-foo-b", true),
            (r"^[+--]$", ",", true),
            (r"^[--/]$", ".", true),
            (r"\p{Greek}", "α", true),
        ] {
            let regex = pattern(re2).unwrap_or_else(|error| panic!("{re2}: {error}"));
            assert_eq!(regex.is_match(text), matches, "{re2} {text}");
        }
        for bad in [r"(", r"[a", r"\", r"(?<x", r"a{1001}{1001}"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
