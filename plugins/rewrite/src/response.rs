//! What the rules that matched a query do to its response: last rule first.
use corten_plugin::Exchange;
use corten_plugin::wire::{Name, NameAt, Question, Rcode, Record, RecordType, Reply, Section};

use crate::pattern::{Change, Remap, Text};
use crate::rule::{Back, Kind, NameRule, Place, Rule};

/// Lookups of CNAME targets in one query. Half of what the chain grants, so that a plugin above
/// that asks again, such as *dns64*, has its turn.
const LOOKUPS_MAX: u8 = 6;

/// What a query's response needs, kept until it comes.
pub(crate) struct Note {
    /// What the client asked.
    pub(crate) original: Question,
    /// What the rules made of it.
    pub(crate) asked: Question,
    /// EDNS options as the client sent them, if a rule may have changed them.
    pub(crate) options: Option<Vec<u8>>,
    /// Options that the response shows as the query has them.
    pub(crate) shown: Vec<u16>,
    /// What is still to be done, last first.
    pub(crate) steps: Vec<Step>,
    lookups: u8,
    pending: Option<Pending>,
}

/// What one rule does to the response.
pub(crate) enum Step {
    /// A name rule, by its place in the list, and its mapping for this query.
    Names(usize, Option<Box<Remap>>),
    Ttl(u32, u32),
    Rcode(Rcode, Rcode),
    /// A rule for CNAME targets, by its place in the list.
    Cname(usize),
    /// An option as it was before.
    Option(u16, Option<Vec<u8>>),
}

/// A response that waits for what the new target of one of its CNAME records leads to.
struct Pending {
    reply: Reply,
    /// The record's place in it.
    record: usize,
    target: Name,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The response is as it should be.
    Ready,
    /// The plugins below are to be asked for this name.
    Ask(Box<Name>),
}

impl Note {
    pub(crate) fn new(question: &Question) -> Self {
        Self {
            original: question.clone(),
            asked: question.clone(),
            options: None,
            shown: Vec::new(),
            steps: Vec::new(),
            lookups: 0,
            pending: None,
        }
    }

    /// Goes on with the response. The query's question is the client's.
    pub(crate) fn work(&mut self, rules: &[Rule], ex: &mut Exchange) -> After {
        let mut searched = 0;
        if let Some(pending) = self.pending.take() {
            searched = join(ex, &pending);
        }
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Ttl(low, high) => ex.reply.map_ttls(|_, ttl| ttl.clamp(low, high)),
                Step::Rcode(old, new) if ex.reply.rcode == old => ex.reply.rcode = new,
                Step::Rcode(..) => (),
                Step::Option(code, before) => put_back(ex, code, before.as_deref()),
                Step::Names(at, remap) => {
                    if let Some(Rule {
                        kind: Kind::Name(rule),
                        ..
                    }) = rules.get(at)
                    {
                        map_back(ex, rule, remap.as_deref());
                    }
                }
                Step::Cname(at) => {
                    let Some(Rule {
                        kind: Kind::Cname(change),
                        ..
                    }) = rules.get(at)
                    else {
                        continue;
                    };
                    let found = match self.lookups < LOOKUPS_MAX {
                        true => find_target(&ex.reply, change, searched),
                        false => None,
                    };
                    if let Some((record, target)) = found {
                        self.lookups += 1;
                        // What the target leads to may have such a target itself.
                        self.steps.push(Step::Cname(at));
                        self.pending = Some(Pending {
                            reply: std::mem::take(&mut ex.reply),
                            record,
                            target: target.clone(),
                        });
                        return After::Ask(Box::new(target));
                    }
                }
            }
        }
        ex.reply.restore_question(&ex.query);
        After::Ready
    }

    /// Shows the options that rules have set, and gives the query back its own.
    pub(crate) fn put_options_back(&self, ex: &mut Exchange) {
        let Some(options) = &self.options else {
            return;
        };
        // What an upstream says in its OPT record is the answer to what it was told.
        if ex.reply.is_started() && !ex.reply.came_with_edns() {
            for code in &self.shown {
                if let Some(data) = ex.query.edns_option(*code)
                    && ex.reply.option(*code).is_none()
                {
                    ex.reply.set_option(*code, data);
                }
            }
        }
        ex.query.remove_added_edns();
        ex.query.set_edns_options(options);
    }
}

/// The first CNAME record of the answer, from a place on, whose target is meant.
pub(crate) fn find_target(reply: &Reply, change: &Change, from: usize) -> Option<(usize, Name)> {
    let view = reply.view();
    let answer =
        |record: &Record| record.section == Section::Answer && record.rtype == RecordType::CNAME;
    view.records()
        .iter()
        .enumerate()
        .skip(from)
        .filter(|(_, record)| answer(record))
        .find_map(|(at, record)| {
            let target = view.target(record)?;
            match Text::with(|text| change.apply(&target, text))? {
                Ok(target) => Some((at, target)),
                Err(text) => {
                    tracing::error!(target: "plugin/rewrite", "invalid name after rewrite: {text}");
                    None
                }
            }
        })
}

/// The CNAME records up to the one that was changed, then what the new target leads to; returns
/// how many the former are.
fn join(ex: &mut Exchange, pending: &Pending) -> usize {
    let (first, mut count) = (&pending.reply, 0);
    ex.reply.rebuild(&ex.query, |second, new| {
        let kept = first.records().iter().take(pending.record + 1).enumerate();
        for (at, record) in kept.filter(|(_, record)| record.rtype == RecordType::CNAME) {
            count += 1;
            new.copy_mapped(first.view(), record, |place, _, name| {
                let changed = at == pending.record && place == NameAt::Target;
                if changed {
                    *name = pending.target.clone();
                }
                changed
            });
        }
        second
            .records()
            .iter()
            .for_each(|record| new.copy(second, record));
    });
    ex.reply.authoritative &= first.authoritative;
    ex.reply.authentic_data &= first.authentic_data;
    count
}

fn map_back(ex: &mut Exchange, rule: &NameRule, remap: Option<&Remap>) {
    if matches!(rule.back, Back::No) && rule.answers.is_empty() {
        return;
    }
    ex.reply.map_names(&ex.query, |place, _, name| {
        let place = match place {
            NameAt::Owner => Place::Owner,
            NameAt::Target => Place::Value,
            NameAt::Other => return false,
        };
        let mut changed = false;
        for answer in rule.answers.iter().rev() {
            changed |= answer.place == place && change(&answer.change, name);
        }
        changed
            | match (&rule.back, remap) {
                (Back::Remap, Some(remap)) => remap.apply(name),
                (Back::Suffix(suffix), _) => change(suffix, name),
                _ => false,
            }
    });
}

/// Changes a name of a response; a result that is no name leaves it as it was.
fn change(change: &Change, name: &mut Name) -> bool {
    match Text::with(|text| change.apply(name, text)) {
        Some(Ok(changed)) => {
            let other = changed != *name;
            *name = changed;
            other
        }
        _ => false,
    }
}

fn put_back(ex: &mut Exchange, code: u16, before: Option<&[u8]>) {
    match before {
        Some(data) => {
            if ex.reply.option(code).is_some() {
                ex.reply.set_option(code, data);
            }
            ex.query.set_edns_option(code, data);
        }
        None => {
            ex.reply.remove_option(code);
            ex.query.remove_edns_option(code);
        }
    }
}
