//! *rewrite*: changes queries on their way down, and their responses on the way back.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's words |
//! | `rule` | the rules as they were read |
//! | `pattern` | which names are meant, and what becomes of them |
//! | `edns` | rules for EDNS options |
//! | `response` | what happens to the response |
//! | here | the way down |
mod config;
mod edns;
mod pattern;
mod response;
mod rule;

use std::sync::Arc;

use corten_plugin::wire::{Question, Rcode};
use corten_plugin::{Directive, Exchange, Flow, Owed, Plugin, Setup, SetupError};

use edns::{Done, EdnsRule};
use pattern::{Remap, Text};
use response::{After, Note, Step, find_target};
use rule::{Back, Kind, Rule};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "rewrite",
    setup,
    readme: include_str!("../README.md"),
};

struct Rewrite {
    rules: Vec<Rule>,
    /// The rules for CNAME targets that count when no other rule matched: they match every query,
    /// and most queries have nothing to do with them.
    targets: Vec<usize>,
    /// Names that stay as they are.
    owed: Arc<Owed>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut rules = Vec::new();
    for line in setup.occurrences()? {
        rules.push(config::rule(&line)?);
    }
    let owed = setup.process.service(Owed::default);
    setup.push(Rewrite::new(rules, owed));
    Ok(())
}

/// A rule's result is no name.
#[derive(Debug, thiserror::Error)]
#[error("invalid name after rewrite: {0}")]
struct InvalidName(String);

impl Rewrite {
    fn new(rules: Vec<Rule>, owed: Arc<Owed>) -> Self {
        let mut targets = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            if matches!(rule.kind, Kind::Cname(_)) {
                targets.push(at);
                if !rule.continues {
                    break;
                }
            }
        }
        Self {
            rules,
            targets,
            owed,
        }
    }

    /// Runs the rules; what the response needs, if any other than those for CNAME targets matched.
    fn change(&self, ex: &mut Exchange, text: &mut Text) -> Result<Option<Box<Note>>, InvalidName> {
        let mut note = None;
        for (at, rule) in self.rules.iter().enumerate() {
            let matched = self.apply(at, ex, text, &mut note);
            if matched.inspect_err(|_| abandon(ex, note.as_deref()))? && !rule.continues {
                break;
            }
        }
        if let Some(note) = &mut note {
            note.asked = ex.query.question.clone();
        }
        Ok(note)
    }

    /// Applies one rule; whether it matched.
    fn apply(
        &self,
        at: usize,
        ex: &mut Exchange,
        text: &mut Text,
        note: &mut Option<Box<Note>>,
    ) -> Result<bool, InvalidName> {
        let rule = &self.rules[at].kind;
        if let Kind::Edns(rule) = rule {
            if !rule.may_apply(&ex.query) {
                return Ok(false);
            }
            let note = self.note(note, at, &ex.query.question);
            return Ok(edns_rule(rule, ex, note));
        }
        let question = &mut ex.query.question;
        match rule {
            Kind::Name(rule) => {
                let Some(changed) = rule.question.apply(&question.name, text) else {
                    return Ok(false);
                };
                let note = self.note(note, at, question);
                let before = std::mem::replace(&mut question.name, changed.map_err(InvalidName)?);
                let remap = matches!(rule.back, Back::Remap).then(|| {
                    Box::new(Remap {
                        from: question.name.clone(),
                        to: before,
                    })
                });
                note.steps.push(Step::Names(at, remap));
                text.forget();
            }
            Kind::Type(from, to) if question.rtype == *from => {
                self.note(note, at, question);
                question.rtype = *to;
            }
            Kind::Class(from, to) if question.class == *from => {
                self.note(note, at, question);
                question.class = *to;
            }
            Kind::Ttl(when, low, high) if when.matches(&question.name, text) => {
                let step = Step::Ttl(*low, *high);
                self.note(note, at, question).steps.push(step);
            }
            Kind::Rcode(when, old, new) if when.matches(&question.name, text) => {
                let step = Step::Rcode(*old, *new);
                self.note(note, at, question).steps.push(step);
            }
            Kind::Cname(_) => {
                if let Some(note) = note {
                    note.steps.push(Step::Cname(at));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The query's note; a new one has the rules for CNAME targets that were passed already.
    fn note<'n>(
        &self,
        note: &'n mut Option<Box<Note>>,
        at: usize,
        question: &Question,
    ) -> &'n mut Note {
        note.get_or_insert_with(|| {
            let mut note = Box::new(Note::new(question));
            let passed = self.targets.iter().take_while(|target| **target < at);
            note.steps = passed.map(|target| Step::Cname(*target)).collect();
            note
        })
    }
}

fn edns_rule(rule: &EdnsRule, ex: &mut Exchange, note: &mut Note) -> bool {
    if note.options.is_none() {
        note.options = Some(ex.query.edns_options().to_vec());
    }
    match rule.apply(ex) {
        Done::Nothing => return false,
        Done::Removed => (),
        Done::Changed(before) => {
            if !matches!(rule.code, edns::NSID | edns::SUBNET) {
                note.shown.push(rule.code);
            }
            if rule.revert {
                note.steps.push(Step::Option(rule.code, before));
            }
        }
    }
    true
}

/// Puts the query back as it was.
fn abandon(ex: &mut Exchange, note: Option<&Note>) {
    if let Some(note) = note {
        ex.query.question.clone_from(&note.original);
        note.put_options_back(ex);
    }
}

impl Plugin for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if self.owed.covers(&ex.query.question) {
            return Flow::Pass;
        }
        match Text::with(|text| self.change(ex, text)) {
            Ok(None) if self.targets.is_empty() => Flow::Pass,
            Ok(None) => Flow::Watch,
            Ok(Some(note)) => {
                ex.keep(note);
                Flow::Watch
            }
            Err(error) => ex.fail(Rcode::SERVFAIL, error),
        }
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let mut note = match ex.kept::<Box<Note>>() {
            Some(note) => note,
            None => match self.note_for_targets(ex) {
                Some(note) => note,
                None => return Flow::Respond,
            },
        };
        ex.query.question.clone_from(&note.original);
        let after = match ex.is_dropped() || !ex.reply.is_started() {
            true => After::Ready,
            false => note.work(&self.rules, ex),
        };
        match after {
            After::Ready => {
                note.put_options_back(ex);
                Flow::Respond
            }
            After::Ask(target) => {
                ex.query.question = Question {
                    name: *target,
                    ..note.asked.clone()
                };
                ex.keep(note);
                Flow::Again
            }
        }
    }
}

impl Rewrite {
    /// What a response needs whose query no other rule matched: nothing, unless it has a target
    /// that a rule is for.
    fn note_for_targets(&self, ex: &Exchange) -> Option<Box<Note>> {
        let hit = self.targets.iter().any(|at| match &self.rules[*at].kind {
            Kind::Cname(change) => find_target(&ex.reply, change, 0).is_some(),
            _ => false,
        });
        hit.then(|| {
            let mut note = Box::new(Note::new(&ex.query.question));
            note.steps = self.targets.iter().map(|at| Step::Cname(*at)).collect();
            note
        })
    }
}

#[cfg(test)]
mod tests;
