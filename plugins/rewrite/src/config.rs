//! From the directive's words to a rule.
use corten_plugin::corefile::{Occurrence, ParseError, Token};
use corten_plugin::wire::{Name, Rcode};

use crate::edns::{Action, Data, EdnsRule, NSID, SUBNET, Variable};
use crate::pattern::{Change, Match, Pattern, PatternError};
use crate::rule::{Answer, Back, Kind, NameRule, Place, Rule};

const MATCHES: &str = "exact, prefix, suffix, substring, and regex name matching";
/// RFC 2181 section 8.
const TTL_MAX: u32 = 2_147_483_647;
const RCODE_MAX: u16 = 23;

/// Words and where they begin.
#[derive(Clone, Copy)]
struct Words<'w> {
    /// The word in front of them, to blame when one is missing.
    before: &'w Token,
    words: &'w [&'w Token],
}

/// The rule of one directive; all words between its braces are one rule, too.
pub(crate) fn rule(line: &Occurrence<'_>) -> Result<Rule, ParseError> {
    let mut words = line.args.clone();
    if let Some(block) = &line.block {
        if words.len() >= 2 {
            return Err(line
                .name
                .error("no rule type specified for rewrite")
                .help("a rule stands either behind 'rewrite' or between the braces, not in both"));
        }
        for line in block {
            line.no_block()?;
            words.push(line.name);
            words.extend(&line.args);
        }
    }
    let [first, rest @ ..] = &words[..] else {
        return Err(line.name.error("no rule type specified for rewrite"));
    };
    let mode = first.text.to_lowercase();
    let (continues, kind, rest) = match (mode.as_str(), rest) {
        ("continue" | "stop", []) => {
            return Err(first.error(format!("{mode} rule must begin with a rule type")));
        }
        ("continue" | "stop", [kind, rest @ ..]) => (mode == "continue", *kind, rest),
        _ => (false, *first, rest),
    };
    let words = Words {
        before: kind,
        words: rest,
    };
    Ok(Rule {
        continues,
        kind: read_kind(kind, words)?,
    })
}

fn read_kind(kind: &Token, words: Words<'_>) -> Result<Kind, ParseError> {
    match kind.text.to_lowercase().as_str() {
        "answer" => Err(kind.error("response rewrites must begin with a name rule")),
        "name" => name_rule(words).map(Kind::Name),
        "type" => {
            let [from, to] = words.two("type")?;
            Ok(Kind::Type(code(from, "type")?, code(to, "type")?))
        }
        "class" => {
            let [from, to] = words.two("class")?;
            Ok(Kind::Class(code(from, "class")?, code(to, "class")?))
        }
        "edns0" => edns_rule(words).map(Kind::Edns),
        "ttl" => ttl_rule(words),
        "cname" => cname_rule(words),
        "rcode" => rcode_rule(words),
        other => {
            let error = kind.error(format!("invalid rule type \"{other}\""));
            let help = "rules are name, type, class, edns0, ttl, cname and rcode";
            Err(error.help(help))
        }
    }
}

impl<'w> Words<'w> {
    fn last(self) -> &'w Token {
        self.words.last().unwrap_or(&self.before)
    }

    fn two(self, kind: &str) -> Result<[&'w Token; 2], ParseError> {
        self.words.try_into().map_err(|_| {
            let text = format!("{kind} rules must have exactly two arguments");
            self.last().error(text)
        })
    }
}

/// A type or class by its mnemonic.
fn code<T: std::str::FromStr>(word: &Token, what: &str) -> Result<T, ParseError> {
    word.text.parse().map_err(|_| {
        let text = word.text.to_uppercase();
        word.error(format!("invalid {what} \"{text}\""))
    })
}

fn name(word: &Token) -> Result<Name, ParseError> {
    word.text
        .parse()
        .map_err(|error| word.error(format!("'{}' is not a name: {error}", word.text)))
}

fn pattern_error(word: &Token, error: &PatternError, context: &str) -> ParseError {
    let told = word.error(format!("{context}{error}"));
    match error {
        PatternError::Invalid(_, why) => told.help(why.lines().last().unwrap_or_default().trim()),
        _ => told,
    }
}

/// Lower case; with the final dot if `dot`.
fn lower(text: &str, dot: bool) -> String {
    let mut text = text.to_lowercase();
    if dot && !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// Text of a prefix or substring rule and of what replaces it. Where one of the two ends with a
/// dot, whole labels are meant, and the other does so, too.
fn parts(from: &Token, to: &Token) -> (String, String) {
    let dot = from.text.ends_with('.') || to.text.len() > 1 && to.text.ends_with('.');
    let to = match to.text.is_empty() {
        true => String::new(),
        false => lower(&to.text, dot),
    };
    (lower(&from.text, dot), to)
}

/// The words of a rule that changes names, by the word for how names are matched.
fn change(how: &str, from: &Token, to: &Token) -> Result<Option<Change>, ParseError> {
    Ok(Some(match how {
        "exact" => Change::Exact(Box::new((name(from)?, name(to)?))),
        "prefix" => {
            let (from, to) = parts(from, to);
            Change::Prefix(from, to)
        }
        "suffix" => Change::Suffix(lower(&from.text, true), lower(&to.text, true)),
        "substring" => {
            let (from, to) = parts(from, to);
            Change::Substring(from, to)
        }
        "regex" => regex(from, to, "")?,
        _ => return Ok(None),
    }))
}

fn regex(from: &Token, to: &Token, context: &str) -> Result<Change, ParseError> {
    Change::regex(&from.text, &lower(&to.text, true))
        .map_err(|error| pattern_error(from, &error, context))
}

/// The words of a rule that is for some names, by the word for how names are matched.
fn matching(how: &str, from: &Token, kind: &str) -> Result<Option<Match>, ParseError> {
    Ok(Some(match how {
        "exact" => Match::Exact(Box::new(name(from)?)),
        "prefix" => Match::Prefix(lower(&from.text, false)),
        "suffix" => Match::Suffix(lower(&from.text, true)),
        "substring" => Match::Substring(lower(&from.text, false)),
        "regex" => Match::Regex(Pattern::read(&from.text).map_err(|error| match &error {
            PatternError::TooLong(_) => from.error(error.to_string()),
            _ => {
                let text = format!("invalid regex pattern in a {kind} rule: {}", from.text);
                from.error(text)
            }
        })?),
        _ => return Ok(None),
    }))
}

fn name_rule(words: Words<'_>) -> Result<NameRule, ParseError> {
    let (how, from, to, rest) = match *words.words {
        [] | [_] => return Err(words.last().error("too few arguments for a name rule")),
        [from, to] => ("exact".to_owned(), from, to, &[][..]),
        [how, from, to, ref rest @ ..] => (how.text.to_lowercase(), from, to, rest),
    };
    let Some(question) = change(&how, from, to)? else {
        let text = format!("name rule supports only {MATCHES}, received: {how}");
        return Err(words.words[0].error(text));
    };
    let (auto, answers) = answer_rules(&how, to, rest)?;
    let back = match &question {
        Change::Exact(..) => Back::Remap,
        _ if !auto => Back::No,
        Change::Suffix(from, to) => Back::Suffix(Change::Suffix(to.clone(), from.clone())),
        _ => Back::Remap,
    };
    Ok(NameRule {
        question,
        back,
        answers,
    })
}

/// `answer auto`, `answer name FROM TO` and `answer value FROM TO`, any number of them; the word
/// `answer` is needed once.
fn answer_rules(
    how: &str,
    before: &Token,
    words: &[&Token],
) -> Result<(bool, Vec<Answer>), ParseError> {
    let (mut auto, mut answers, mut rest) = (false, Vec::new(), words);
    match words {
        [] => return Ok((false, answers)),
        [only] => return Err(only.error(format!("invalid arguments for {how} rule"))),
        [first, ..] if first.text != "answer" => {
            let what = "exceeded the number of arguments for a non-answer rule argument for";
            return Err(first.error(format!("{what} {how} rule")));
        }
        _ => (),
    }
    let mut last = before;
    while let [word, behind @ ..] = rest {
        last = word;
        let (kind, behind) = match (word.text.as_str(), behind) {
            ("answer", [kind, behind @ ..]) => (*kind, behind),
            ("answer", []) => {
                let text = format!("type missing for answer rule for {how} rule");
                return Err(word.error(text));
            }
            _ => (*word, behind),
        };
        let place = match kind.text.as_str() {
            "auto" => {
                (auto, rest) = (true, behind);
                continue;
            }
            "name" => Place::Owner,
            "value" => Place::Value,
            other => {
                let text = format!("invalid type \"{other}\" for answer rule for {how} rule");
                return Err(kind.error(text).help("it is auto, name or value"));
            }
        };
        let [from, to, behind @ ..] = behind else {
            let text = format!(
                "{} answer rule for {how} rule: 2 arguments required",
                kind.text
            );
            return Err(kind.error(text));
        };
        let context = format!("{} answer rule for {how} rule: ", kind.text);
        let change = regex(from, to, &context)?;
        answers.push(Answer { place, change });
        rest = behind;
    }
    if auto && answers.iter().any(|answer| answer.place == Place::Owner) {
        let text = "auto name answer rule cannot be combined with explicit name answer rules";
        return Err(last.error(text));
    }
    Ok((auto, answers))
}

fn cname_rule(words: Words<'_>) -> Result<Kind, ParseError> {
    let (how, from, to) = match *words.words {
        [from, to] => ("exact".to_owned(), from, to),
        [how, from, to] => (how.text.to_lowercase(), from, to),
        _ => {
            let text = format!("too few ({}) arguments for a cname rule", words.words.len());
            return Err(words.last().error(text).help("it is cname [MATCH] FROM TO"));
        }
    };
    match change(&how, from, to)? {
        Some(change) => Ok(Kind::Cname(change)),
        None => Err(words.words[0].error(format!("unknown cname rewrite type: {how}"))),
    }
}

/// `[MATCH] NAME` in front of `more` words.
fn named<'w>(
    words: Words<'w>,
    kind: &str,
    more: usize,
) -> Result<(Match, &'w [&'w Token]), ParseError> {
    let count = words.words.len();
    if count < 1 + more {
        let text = format!("too few ({count}) arguments for a {kind} rule");
        return Err(words.last().error(text));
    }
    if count > 2 + more {
        let text = format!("too many arguments for a {kind} rule");
        return Err(words.last().error(text));
    }
    let (names, rest) = words.words.split_at(count - more);
    let found = match *names {
        [how, from] => matching(&how.text.to_lowercase(), from, kind)?,
        _ => matching("exact", names[0], kind)?,
    };
    match found {
        Some(found) => Ok((found, rest)),
        None => Err(names[0].error(format!("{kind} rule supports only {MATCHES}"))),
    }
}

fn ttl_rule(words: Words<'_>) -> Result<Kind, ParseError> {
    let (when, rest) = named(words, "ttl", 1)?;
    let word = rest[0];
    let (low, high) = ttl_range(&word.text).ok_or_else(|| {
        let error = word.error(format!("invalid TTL '{}' for a ttl rule", word.text));
        error.help("it is N, MIN-MAX, -MAX or MIN-, in seconds")
    })?;
    Ok(Kind::Ttl(when, low, high))
}

fn ttl_range(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let digits = text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let (low, high) = match text.split_once('-') {
        None => {
            let ttl = number(text)?;
            (ttl, ttl)
        }
        Some(("", "")) => return None,
        Some(("", high)) => (0, number(high)?),
        Some((low, "")) => (number(low)?, TTL_MAX),
        Some((low, high)) => (number(low)?, number(high)?),
    };
    (low <= high).then_some((low, high))
}

fn rcode_rule(words: Words<'_>) -> Result<Kind, ParseError> {
    let (when, rest) = named(words, "rcode", 2)?;
    let rcode = |word: &Token, what: &str| {
        let text = &word.text;
        read_rcode(text)
            .ok_or_else(|| word.error(format!("invalid {what} RCODE '{text}' for a rcode rule")))
    };
    let old = rcode(rest[0], "matching")?;
    Ok(Kind::Rcode(when, old, rcode(rest[1], "replacement")?))
}

fn read_rcode(text: &str) -> Option<Rcode> {
    match text.parse() {
        Ok(number) => (number <= RCODE_MAX).then_some(Rcode(number)),
        // Names that CoreDNS's library has beside IANA's.
        Err(_) => match text.to_uppercase().as_str() {
            "BADSIG" => Some(Rcode::BADVERS),
            "NOTIMPL" => Some(Rcode::NOTIMP),
            name => name.parse().ok(),
        },
    }
}

fn edns_rule(words: Words<'_>) -> Result<EdnsRule, ParseError> {
    let [kind, action, ..] = *words.words else {
        let text = "too few arguments for an EDNS0 rule";
        return Err(words.last().error(text));
    };
    let action = match action.text.to_lowercase().as_str() {
        "set" => Action::Set,
        "append" => Action::Append,
        "replace" => Action::Replace,
        "unset" => Action::Unset,
        other => {
            let error = action.error(format!("invalid action: \"{other}\""));
            return Err(error.help("actions are set, append, replace and unset"));
        }
    };
    let mut rest = &words.words[2..];
    let mut revert = false;
    if let (Some((last, before)), true) = (rest.split_last(), action != Action::Unset) {
        revert = last.text == "revert";
        rest = if revert { before } else { rest };
    }
    let kind_text = kind.text.to_lowercase();
    let counts = |text: &str| Err(words.last().error(text));
    let (code, data) = match (kind_text.as_str(), action, rest) {
        ("local", Action::Unset, [code]) => (option_code(code)?, Data::Octets(Vec::new())),
        ("local", Action::Unset, _) => {
            return counts("local unset action requires exactly two arguments");
        }
        ("local", _, [code, data]) => (option_code(code)?, option_data(data)?),
        ("local", ..) => return counts("EDNS0 local rules require three or four args"),
        ("nsid", _, []) => (NSID, Data::Octets(Vec::new())),
        ("nsid", Action::Unset, _) => {
            return counts("nsid unset action requires exactly one argument");
        }
        ("nsid", ..) => return counts("EDNS0 NSID rules can accept no more than one arg"),
        ("subnet", Action::Unset, []) => (SUBNET, Data::Octets(Vec::new())),
        ("subnet", Action::Unset, _) => {
            return counts("subnet unset action requires exactly one argument");
        }
        ("subnet", _, [v4, v6]) => (SUBNET, Data::Subnet(bits(v4, 4, 32)?, bits(v6, 6, 128)?)),
        ("subnet", ..) => return counts("EDNS0 subnet rules require three or four args"),
        (other, ..) => {
            let error = kind.error(format!("invalid rule type \"{other}\""));
            return Err(error.help("it is local, nsid or subnet"));
        }
    };
    Ok(EdnsRule {
        code,
        action,
        data,
        revert,
    })
}

/// A number as Go's `ParseUint` with base 0 reads it: `0x`, `0o`, `0b`, or a leading zero for
/// octal.
fn number(word: &Token) -> Result<u16, ParseError> {
    let text = word.text.to_lowercase();
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x', ..] => (&text[2..], 16),
        [b'0', b'o', ..] => (&text[2..], 8),
        [b'0', b'b', ..] => (&text[2..], 2),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (&text[..], 10),
    };
    Some(digits)
        .filter(|digits| !digits.starts_with('+'))
        .and_then(|digits| u16::from_str_radix(digits, base).ok())
        .ok_or_else(|| word.error(format!("'{}' is not a number up to 65535", word.text)))
}

fn option_code(word: &Token) -> Result<u16, ParseError> {
    number(word)
}

fn bits(word: &Token, version: u8, most: u16) -> Result<u8, ParseError> {
    match number(word)? {
        bits if bits <= most => Ok(bits as u8),
        bits => Err(word.error(format!("invalid IPv{version} bit mask length {bits}"))),
    }
}

/// `{variable}`, `0xHEX`, or text.
fn option_data(word: &Token) -> Result<Data, ParseError> {
    let text = &word.text;
    if let Some(variable) = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
    {
        return Variable::read(variable).map(Data::Variable).ok_or_else(|| {
            let error = word.error(format!("unsupported variable name \"{text}\""));
            error.help("qname, qtype, client_ip, client_port, protocol, server_ip, server_port or a label of metadata")
        });
    }
    let Some(hex) = text.strip_prefix("0x") else {
        return Ok(Data::Octets(text.clone().into_bytes()));
    };
    let octet = |pair: &[u8]| {
        let [high, low] = *pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        Some((digit(high)? << 4 | digit(low)?) as u8)
    };
    let octets: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(octet).collect();
    octets
        .map(Data::Octets)
        .ok_or_else(|| word.error(format!("'{text}' is not pairs of hexadecimal digits")))
}

#[cfg(test)]
mod tests;
