//! From the directive's lines to rules.
use corten_expression::{NameError, Variables};
use corten_plugin::corefile::{Line, Occurrence, Token};
use corten_plugin::wire::{Class, Rcode, RecordType};
use corten_plugin::{Fallthrough, Setup, SetupError};

use crate::condition::{Conditions, FUNCTIONS};
use crate::metrics::Matches;
use crate::pattern::Pattern;
use crate::record::{Constants, RecordTemplate};
use crate::rule::Rule;

/// Octets of the longest regular expression, as in CoreDNS.
const PATTERN_OCTETS_MAX: usize = 10_000;
const PROPERTIES: &[&str] = &[
    "additional",
    "answer",
    "authority",
    "ederror",
    "expr",
    "fallthrough",
    "match",
    "rcode",
    "upstream",
    "var",
];

/// Reads every *template* of the block.
pub(crate) fn read(setup: &Setup<'_>) -> Result<Vec<Rule>, SetupError> {
    let occurrences = setup.occurrences()?;
    occurrences.iter().map(|line| rule(setup, line)).collect()
}

fn rule(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Rule, SetupError> {
    let [class, rtype, zones @ ..] = line.at_least(2)? else {
        return Err(line.argument_error().into());
    };
    let zones = setup.zones(zones)?;
    let mut rule = Rule {
        class: read_class(class)?,
        rtype: read_type(rtype)?,
        per_zone: Vec::new(),
        zones,
        patterns: Vec::new(),
        conditions: Conditions::default(),
        answer: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        rcode: Rcode::NOERROR,
        extended_error: None,
        fallthrough: Fallthrough::None,
    };
    for zone in rule.zones.names() {
        let zone = zone.to_string();
        rule.per_zone.push((zone.clone(), Matches::new(zone)));
    }
    for option in line.lines() {
        rule.option(setup, option)?;
    }
    Ok(rule)
}

impl Rule {
    fn option(&mut self, setup: &Setup<'_>, line: &Line<'_>) -> Result<(), SetupError> {
        line.no_block()?;
        match line.name.text.as_str() {
            "match" => {
                for token in line.at_least(1)? {
                    self.patterns.push(pattern(token)?);
                }
            }
            section @ ("answer" | "authority" | "additional") => {
                let mut templates = Vec::new();
                for token in line.at_least(1)? {
                    templates.push(self.record(section, token)?);
                }
                match section {
                    "answer" => self.answer.extend(templates),
                    "authority" => self.authority.extend(templates),
                    _ => self.additional.extend(templates),
                }
            }
            "var" => self.variable(line)?,
            "expr" => {
                let words = line.at_least(1)?;
                let text = joined(words);
                let program = self.conditions.variables.compile(&text, &FUNCTIONS);
                let program = program.map_err(|error| {
                    words[0].error(format!("could not compile expression: {error}"))
                })?;
                for warning in program.warnings() {
                    warn(words[0], &warning.to_string());
                }
                self.conditions.programs.push(program);
            }
            "rcode" => self.rcode = rcode(line.one_arg()?)?,
            "ederror" => {
                let words = line.args_between(1, 2)?;
                let code = words[0].text.parse().map_err(|_| {
                    let text = &words[0].text;
                    words[0].error(format!(
                        "error parsing extended DNS error code {text}, it is not a number up to 65535"
                    ))
                })?;
                let text = words.get(1).map(|word| word.text.clone());
                self.extended_error = Some((code, text.unwrap_or_default()));
            }
            "fallthrough" => self.fallthrough = setup.fallthrough(&line.args)?,
            "upstream" => warn(
                line.name,
                "'upstream' has no effect: CNAME targets are always looked up",
            ),
            _ => return Err(line.unknown_property(PROPERTIES).into()),
        }
        Ok(())
    }

    fn record(&self, section: &str, token: &Token) -> Result<RecordTemplate, SetupError> {
        let template = RecordTemplate::parse(section, &token.text);
        let mut template = template.map_err(|error| {
            token.error(format!(
                "could not compile template: {}, {error}",
                token.text
            ))
        })?;
        let constants = Constants {
            class: self.class,
            rtype: self.rtype,
        };
        template.fix(constants, self.zones.names());
        if let Some(error) = template.broken() {
            warn(
                token,
                &format!("the template never gives a record: {error}"),
            );
        }
        Ok(template)
    }

    fn variable(&mut self, line: &Line<'_>) -> Result<(), SetupError> {
        let [name, words @ ..] = line.at_least(2)? else {
            return Err(line.argument_error().into());
        };
        let text = &name.text;
        Variables::check_name(text, &FUNCTIONS).map_err(|error| {
            name.error(match error {
                NameError::Invalid => format!("invalid variable name \"{text}\""),
                NameError::Reserved => format!("variable name \"{text}\" is reserved"),
            })
        })?;
        let program = self
            .conditions
            .variables
            .define(text, &joined(words), &FUNCTIONS);
        let program = program.map_err(|error| {
            words[0].error(format!("could not compile expression: {text}, {error}"))
        })?;
        self.conditions.values.push((text.clone(), program));
        Ok(())
    }
}

fn joined(words: &[&Token]) -> String {
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    words.join(" ")
}

fn warn(token: &Token, what: &str) {
    tracing::warn!(target: "plugin/template", "{}:{} - {what}", token.at.file, token.at.line);
}

/// Names in capital letters only, as CoreDNS has it.
fn read_class(token: &Token) -> Result<Class, SetupError> {
    let class: Option<Class> = token.text.parse().ok();
    let class = class.filter(|class| class.mnemonic() == Some(&token.text));
    class.ok_or_else(|| {
        let error = token.error(format!("invalid query class {}", token.text));
        error.help("a class is IN, CH, HS, CS, NONE or ANY").into()
    })
}

fn read_type(token: &Token) -> Result<RecordType, SetupError> {
    let rtype: Option<RecordType> = token.text.parse().ok();
    let rtype = rtype.filter(|rtype| rtype.mnemonic() == Some(&token.text));
    rtype.ok_or_else(|| {
        let error = token.error(format!("invalid RR class {}", token.text));
        error
            .help("a type is written in capital letters, such as A or AAAA; ANY means all")
            .into()
    })
}

fn rcode(token: &Token) -> Result<Rcode, SetupError> {
    let text = token.text.as_str();
    if text == "BADSIG" {
        // The same number as BADVERS (RFC 8945 section 5.3).
        return Ok(Rcode::BADVERS);
    }
    let rcode: Option<Rcode> = text.parse().ok();
    let rcode = rcode.filter(|rcode| rcode.mnemonic() == Some(text));
    rcode.ok_or_else(|| token.error(format!("unknown rcode {text}")).into())
}

fn pattern(token: &Token) -> Result<Pattern, SetupError> {
    let (text, length) = (&token.text, token.text.len());
    if length > PATTERN_OCTETS_MAX {
        let what = format!("regex pattern too long: {length} > {PATTERN_OCTETS_MAX}");
        return Err(token.error(what).into());
    }
    Pattern::new(text).map_err(|error| {
        // The last line says what it is; those before show the expression.
        let shown = error.to_string();
        let what = shown
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        token
            .error(format!("could not parse regex: {text}, {what}"))
            .into()
    })
}
