//! *template*: answers from templates.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines as rules |
//! | `rule` | whether a query is a rule's, and what it answers |
//! | `record` | a template of a record: encoded once if it can be, else rendered for each query |
//! | `data` | what templates may refer to |
//! | `pattern`, `condition` | `match`; `var` and `expr` |
//! | `metrics` | what is counted |
mod condition;
mod config;
mod data;
mod metrics;
mod pattern;
mod record;
mod rule;

use corten_plugin::wire::{Class, Question, Rcode, Reply, Section};
use corten_plugin::{Directive, Exchange, Flow, Next, Phase, Plugin, Setup, SetupError};

use rule::{Rule, Verdict};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "template",
    setup,
    readme: include_str!("../README.md"),
};

/// The rules of a block, in file order.
struct Templates(Vec<Rule>);

/// CNAME records of a reply whose targets are to be looked up.
struct Pending {
    rule: usize,
    /// Index among the answers, and the question.
    targets: Vec<(usize, Question)>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let rules = config::read(setup)?;
    setup.push(Templates(rules));
    Ok(())
}

#[corten_plugin::async_trait]
impl Plugin for Templates {
    fn name(&self) -> &'static str {
        "template"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        for (index, rule) in self.0.iter().enumerate() {
            match rule.answer(ex) {
                Verdict::Next => (),
                Verdict::Failure => return ex.answer(Rcode::SERVFAIL),
                Verdict::Answered => return Flow::Respond,
                Verdict::Broken(error) => return ex.fail(Rcode::SERVFAIL, error),
                Verdict::Incomplete(targets) => {
                    let rule = index;
                    ex.keep(Pending { rule, targets });
                    return Flow::Wait;
                }
            }
        }
        Flow::Pass
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let Some(pending) = ex.kept::<Pending>() else {
            return ex.answer(Rcode::SERVFAIL);
        };
        let mut found = Vec::with_capacity(pending.targets.len());
        for (index, question) in &pending.targets {
            // A target without an answer leaves the CNAME alone; so does one that leads back here.
            match ex.resolve(question).await {
                Ok(answer) => found.push((*index, answer)),
                Err(error) => tracing::debug!(
                    target: "plugin/template",
                    "{} {}: {error}", question.name, question.rtype
                ),
            }
        }
        let made = std::mem::take(&mut ex.reply);
        ex.reply = completed(ex, &made, &found);
        if let Some(rule) = self.0.get(pending.rule) {
            rule.explain(ex);
        }
        Flow::Respond
    }
}

/// The reply with what was found behind the CNAME records.
fn completed(ex: &Exchange, made: &Reply, found: &[(usize, Exchange)]) -> Reply {
    let mut reply = Reply::new();
    reply.start(&ex.query, made.rcode);
    (reply.authoritative, reply.truncated) = (made.authoritative, made.truncated);
    for (index, record) in made.records().iter().enumerate() {
        let mut fits = reply.push_copy(record.section, made, record);
        for (_, answer) in found.iter().filter(|(behind, _)| *behind == index) {
            reply.truncated |= answer.reply.truncated;
            let records = answer.reply.records().iter();
            for record in records.filter(|record| record.section == Section::Answer) {
                fits &= reply.push_copy(Section::Answer, &answer.reply, record);
            }
        }
        reply.truncated |= !fits;
    }
    reply
}

/// What CoreDNS calls a class in templates and metrics; nothing for those without a name.
fn class_name(class: Class) -> &'static str {
    class.mnemonic().unwrap_or_default()
}

#[cfg(test)]
mod tests;
