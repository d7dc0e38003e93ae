//! One `template` directive: whether a query is its, and what it answers.
use std::cell::RefCell;
use std::fmt::Write;

use corten_plugin::wire::{Class, Name, Question, Rcode, RecordType, Reply, Section};
use corten_plugin::{BoxError, Exchange, Fallthrough, Zones};

use crate::condition::{Conditions, Vars};
use crate::data::{Data, Groups, Message};
use crate::metrics::{Failed, Matches, Place};
use crate::pattern::Pattern;
use crate::record::{Failure, RecordTemplate};

/// A directive with its lines.
pub(crate) struct Rule {
    pub(crate) class: Class,
    pub(crate) rtype: RecordType,
    pub(crate) zones: Zones,
    /// The zones as text with what is counted for them, in the same order.
    pub(crate) per_zone: Vec<(String, Matches)>,
    /// None for all names.
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) conditions: Conditions,
    pub(crate) answer: Vec<RecordTemplate>,
    pub(crate) authority: Vec<RecordTemplate>,
    pub(crate) additional: Vec<RecordTemplate>,
    pub(crate) rcode: Rcode,
    /// INFO-CODE and EXTRA-TEXT (RFC 8914 section 2).
    pub(crate) extended_error: Option<(u16, String)>,
    pub(crate) fallthrough: Fallthrough,
}

/// What a rule says to a query.
pub(crate) enum Verdict {
    /// It is for the next rule.
    Next,
    /// Nothing matched, and nobody else is to be asked.
    Failure,
    /// The reply is made.
    Answered,
    /// A template failed.
    Broken(BoxError),
    /// The reply is made but for the targets of these answers.
    Incomplete(Vec<(usize, Question)>),
}

thread_local! {
    /// Texts that a worker uses for one query after the other: the name, and records.
    static TEXTS: RefCell<(String, String)> = RefCell::default();
}

impl Rule {
    /// Answers a query that is this rule's.
    pub(crate) fn answer(&self, ex: &mut Exchange) -> Verdict {
        let question = &ex.query.question;
        let Some(zone) = self.zones.matches(&question.name) else {
            return Verdict::Next;
        };
        let asked = |own: bool, any: bool| own || any;
        let class = asked(self.class == Class::ANY, question.class == Class::ANY)
            || question.class == self.class;
        let rtype = asked(
            self.rtype == RecordType::ANY,
            question.rtype == RecordType::ANY,
        ) || question.rtype == self.rtype;
        if !class || !rtype {
            return Verdict::Next;
        }
        let zones = self.zones.names();
        let zone = zones
            .iter()
            .position(|other| std::ptr::eq(other, zone))
            .unwrap_or(0);
        if self.is_plain() {
            return self.plain(ex, zone);
        }
        // Taken, because a panic of a plugin must not leave them borrowed.
        let (mut name, mut text) = TEXTS.take();
        name.clear();
        // Writing to a string cannot fail.
        let _ = write!(name, "{}", question.name);
        let verdict = self.matched(ex, zone, &name, &mut text);
        TEXTS.set((name, text));
        verdict
    }

    /// Whether no query needs anything executed.
    fn is_plain(&self) -> bool {
        self.patterns.is_empty() && self.conditions.is_empty() && self.is_fixed()
    }

    fn is_fixed(&self) -> bool {
        self.sections()
            .all(|(_, _, templates)| templates.iter().all(RecordTemplate::is_fixed))
    }

    fn sections(&self) -> impl Iterator<Item = (Section, &'static str, &[RecordTemplate])> {
        [
            (Section::Answer, "answer", &self.answer[..]),
            (Section::Authority, "authority", &self.authority),
            (Section::Additional, "additional", &self.additional),
        ]
        .into_iter()
    }

    /// Class and type as templates and metrics see them.
    fn seen(&self, ex: &Exchange) -> (Class, RecordType) {
        let question = &ex.query.question;
        let class = match question.class {
            Class::ANY => self.class,
            class => class,
        };
        let rtype = match question.rtype {
            RecordType::ANY => self.rtype,
            rtype => rtype,
        };
        (class, rtype)
    }

    fn matched(&self, ex: &mut Exchange, zone: usize, name: &str, text: &mut String) -> Verdict {
        let miss = |ex: &Exchange| match self.fallthrough.lets_through(&ex.query.question.name) {
            true => Verdict::Next,
            false => Verdict::Failure,
        };
        let found = self
            .patterns
            .iter()
            .find(|pattern| pattern.regex().is_match(name));
        if found.is_none() && !self.patterns.is_empty() {
            return miss(ex);
        }
        if self.conditions.is_empty() && self.is_fixed() {
            return self.plain(ex, zone);
        }
        let (pattern, captures) = match found {
            None => (".*", None),
            Some(pattern) => {
                let regex = pattern.regex();
                (
                    pattern.text(),
                    regex.captures(name).map(|captures| (captures, regex)),
                )
            }
        };
        let groups = match captures {
            None => Groups::whole(name),
            captures => Groups::new(name, captures),
        };
        let mut vars = Vars::default();
        if !self.conditions.is_empty() {
            vars = match self.conditions.evaluate(ex, &groups) {
                Ok(Some(vars)) => vars,
                Ok(None) => return miss(ex),
                // CoreDNS: what cannot be evaluated is no match, and nobody else's.
                Err(error) => {
                    tracing::debug!(target: "plugin/template", "{name}: {error}");
                    return Verdict::Failure;
                }
            };
        }
        self.count(ex, zone);
        if self.rcode == Rcode::SERVFAIL {
            return Verdict::Failure;
        }
        let mut reply = std::mem::take(&mut ex.reply);
        reply.start(&ex.query, self.rcode);
        reply.authoritative = true;
        let (class, rtype) = self.seen(ex);
        let data = Data {
            ex,
            zone: &self.per_zone[zone].0,
            name,
            class,
            rtype,
            pattern,
            groups,
            message: Message::new(ex),
            vars,
        };
        let rendered = self.render(&data, zone, text, &mut reply);
        ex.reply = reply;
        self.verdict(ex, rendered)
    }

    /// Answers with what is the same for every query.
    fn plain(&self, ex: &mut Exchange, zone: usize) -> Verdict {
        self.count(ex, zone);
        if self.rcode == Rcode::SERVFAIL {
            return Verdict::Failure;
        }
        let mut reply = std::mem::take(&mut ex.reply);
        reply.start(&ex.query, self.rcode);
        reply.authoritative = true;
        let mut targets = Vec::new();
        let mut pushed = Ok(());
        'all: for (section, section_name, templates) in self.sections() {
            for template in templates {
                match template.push_fixed(zone, &mut reply, section) {
                    Ok(record) => note_target(ex, &reply, section, record, &mut targets),
                    Err(failure) => {
                        self.failed(ex, zone, section_name, template, &failure);
                        pushed = Err(failure);
                        break 'all;
                    }
                }
            }
        }
        ex.reply = reply;
        self.verdict(ex, pushed.map(|()| targets))
    }

    fn render(
        &self,
        data: &Data<'_>,
        zone: usize,
        text: &mut String,
        reply: &mut Reply,
    ) -> Result<Vec<(usize, Question)>, Failure> {
        let mut targets = Vec::new();
        for (section, section_name, templates) in self.sections() {
            for template in templates {
                let made = match template.is_fixed() {
                    true => template.push_fixed(zone, reply, section).map(|record| {
                        note_target(data.ex, reply, section, record, &mut targets);
                    }),
                    false => template.render(data, text, reply, section).map(|record| {
                        let record = record
                            .as_ref()
                            .map(|record| (record.rtype, &record.rdata[..]));
                        note_target(data.ex, reply, section, record, &mut targets);
                    }),
                };
                if let Err(failure) = made {
                    self.failed(data.ex, zone, section_name, template, &failure);
                    return Err(failure);
                }
            }
        }
        Ok(targets)
    }

    fn verdict(&self, ex: &mut Exchange, made: Result<Vec<(usize, Question)>, Failure>) -> Verdict {
        match made {
            Err(failure) => Verdict::Broken(Box::new(failure)),
            Ok(targets) if targets.is_empty() => {
                self.explain(ex);
                Verdict::Answered
            }
            Ok(targets) => Verdict::Incomplete(targets),
        }
    }

    /// Adds the Extended DNS Error to a reply.
    pub(crate) fn explain(&self, ex: &mut Exchange) {
        if let Some((code, text)) = &self.extended_error {
            ex.explain(*code, text);
        }
    }

    fn count(&self, ex: &Exchange, zone: usize) {
        let (class, rtype) = self.seen(ex);
        self.per_zone[zone].1.count(ex.site, class, rtype);
    }

    fn failed(
        &self,
        ex: &Exchange,
        zone: usize,
        section: &'static str,
        template: &RecordTemplate,
        failure: &Failure,
    ) {
        let (class, rtype) = self.seen(ex);
        let place = Place {
            site: ex.site,
            zone: &self.per_zone[zone].0,
            class,
            rtype,
            section,
            template: &template.shown,
        };
        place.count(match failure {
            Failure::Template(_) => Failed::Template,
            Failure::Record(_) => Failed::Record,
        });
    }
}

/// Remembers a CNAME among the answers, when addresses are asked for: the client gets them, too.
fn note_target(
    ex: &Exchange,
    reply: &Reply,
    section: Section,
    record: Option<(RecordType, &[u8])>,
    targets: &mut Vec<(usize, Question)>,
) {
    let question = &ex.query.question;
    let addresses = matches!(question.rtype, RecordType::A | RecordType::AAAA);
    let Some((RecordType::CNAME, rdata)) =
        record.filter(|_| addresses && section == Section::Answer)
    else {
        return;
    };
    if let Ok(name) = Name::from_wire(rdata) {
        let target = Question {
            name,
            ..question.clone()
        };
        targets.push((reply.records().len().saturating_sub(1), target));
    }
}
