//! The directive's lines.
use std::net::IpAddr;

use corten_plugin::SetupError;
use corten_plugin::corefile::{Line, Occurrence, ParseError, Token};
use corten_plugin::wire::RecordType;
use ipnet::{IpNet, Ipv4Net};

/// What a rule does with the queries that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Nothing more is asked of this directive or of those behind it.
    Allow,
    /// REFUSED.
    Block,
    /// An empty answer.
    Filter,
    /// None.
    Drop,
}

/// One line: an action and which queries it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) action: Action,
    /// Nothing for all.
    pub(crate) types: Option<Vec<RecordType>>,
    /// Nothing for all.
    pub(crate) networks: Option<Vec<IpNet>>,
}

pub(crate) fn rules(occurrence: &Occurrence<'_>) -> Result<Vec<Rule>, SetupError> {
    Ok(occurrence
        .lines()
        .iter()
        .map(rule)
        .collect::<Result<_, _>>()?)
}

fn rule(line: &Line<'_>) -> Result<Rule, ParseError> {
    let action = match line.name.text.to_ascii_lowercase().as_str() {
        "allow" => Action::Allow,
        "block" => Action::Block,
        "filter" => Action::Filter,
        "drop" => Action::Drop,
        _ => {
            let known = line.unknown_property(&["allow", "block", "filter", "drop"]);
            return Err(
                unexpected(line.name, "'allow', 'block', 'filter' or 'drop'")
                    .maybe_help(help(&known)),
            );
        }
    };
    if line.block.is_some() {
        return Err(line.argument_error());
    }
    let (mut types, mut networks) = (None, None);
    let mut rest = &line.args[..];
    while let Some((section, behind)) = rest.split_first() {
        let Some(kind) = section_of(section) else {
            return Err(unexpected(section, "'type | net'"));
        };
        let words = behind.iter().position(|word| section_of(word).is_some());
        let (words, behind) = behind.split_at(words.unwrap_or(behind.len()));
        rest = behind;
        if words.is_empty() {
            let text = format!("no token specified in \"{}\" section", section.text);
            return Err(section.error(text));
        }
        match kind {
            Section::Types => add(&mut types, words, record_type)?,
            Section::Networks => add(&mut networks, words, network)?,
        }
    }
    Ok(Rule {
        action,
        types: types.flatten(),
        networks: networks.flatten(),
    })
}

/// The hint of another error about the same word.
fn help(error: &ParseError) -> Option<String> {
    let shown = error.to_string();
    shown
        .split_once("help: ")
        .map(|(_, help)| help.lines().next().unwrap_or_default().to_owned())
}

enum Section {
    Types,
    Networks,
}

fn section_of(word: &Token) -> Option<Section> {
    match word.text.to_ascii_lowercase().as_str() {
        "type" => Some(Section::Types),
        "net" => Some(Section::Networks),
        _ => None,
    }
}

fn unexpected(word: &Token, expected: &str) -> ParseError {
    word.error(format!(
        "unexpected token \"{}\"; expect {expected}",
        word.text
    ))
}

/// Adds the words of a section; `*` stands for everything, which no further word changes.
fn add<T>(
    section: &mut Option<Option<Vec<T>>>,
    words: &[&Token],
    read: impl Fn(&Token) -> Result<T, ParseError>,
) -> Result<(), ParseError> {
    let known = section.get_or_insert_with(|| Some(Vec::new()));
    for word in words {
        if word.text == "*" {
            *known = None;
            continue;
        }
        let value = read(word)?;
        if let Some(known) = known {
            known.push(value);
        }
    }
    Ok(())
}

fn record_type(word: &Token) -> Result<RecordType, ParseError> {
    word.text
        .parse()
        .map_err(|_| unexpected(word, "legal QTYPE"))
}

/// A prefix, or an address for itself; one of IPv4 in IPv6's notation is one of IPv4.
fn network(word: &Token) -> Result<IpNet, ParseError> {
    let text = &word.text;
    let network = match text.parse::<IpNet>() {
        Ok(network) => Some(network),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    };
    let network = network.ok_or_else(|| word.error(format!("illegal CIDR notation \"{text}\"")))?;
    let IpNet::V6(v6) = network else {
        return Ok(network);
    };
    let mapped = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    let mapped = mapped.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok());
    Ok(mapped.map_or(network, IpNet::V4))
}
