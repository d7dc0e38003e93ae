//! *view*: chooses a server block by an expression.
//!
//! The language is `corten_expression`'s, and what it can ask of a query stands in
//! `corten_query_expression`; the server asks [`View::admits`] when it looks for a block.

use std::cell::RefCell;
use std::sync::Arc;

use corten_expression::{CompileError, Program, Scratch, compile};
use corten_plugin::corefile::{Line, ParseError, Token};
use corten_plugin::{Directive, Exchange, MetadataProvider, Setup, SetupError, View};
use corten_query_expression::{Asked, FUNCTIONS};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "view",
    setup,
    readme: include_str!("../README.md"),
};

struct Named {
    name: String,
    /// All must hold.
    conditions: Vec<Program>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let line = setup.only_occurrence()?;
    let [name] = line.args[..] else {
        return Err(line.argument_error().into());
    };
    let conditions = line
        .lines()
        .iter()
        .map(condition)
        .collect::<Result<_, _>>()?;
    let view = Arc::new(Named {
        name: name.text.clone(),
        conditions,
    });
    setup.options.view = Some(Arc::clone(&view) as _);
    setup.provide(view as Arc<dyn MetadataProvider>);
    Ok(())
}

fn condition(line: &Line<'_>) -> Result<Program, SetupError> {
    if line.name.text != "expr" {
        return Err(line.unknown_property(&["expr"]).into());
    }
    if line.block.is_some() {
        return Err(line.argument_error().into());
    }
    let words: Vec<&str> = line.args.iter().map(|word| word.text.as_str()).collect();
    let program = compile(&words.join(" "), &FUNCTIONS)
        .map_err(|error| located(line, &error, error.headline()))?;
    for warning in program.warnings() {
        let at = &line.name.at;
        tracing::warn!(target: "plugin/view", "{}:{} - {}", at.file, at.line, warning.headline());
    }
    Ok(program)
}

/// The error at its place in the Corefile, when the words stand there as they were read; else at
/// the line's beginning, with the expression.
fn located(line: &Line<'_>, error: &CompileError, headline: String) -> ParseError {
    let mut start = 0;
    for word in &line.args {
        let length = word.text.chars().count();
        if (start..=start + length).contains(&error.at()) && stands_there(word) {
            let mut at = word.at.clone();
            at.column += (error.at() - start) as u32;
            return ParseError::new(&at, headline);
        }
        start += length + 1;
    }
    line.name.error(error.to_string())
}

/// Whether nothing was expanded or taken off.
fn stands_there(word: &Token) -> bool {
    let line = word.at.file.line(word.at.line).unwrap_or_default();
    let before = (word.at.column as usize).saturating_sub(1);
    let mut there = line.chars().skip(before);
    word.text.chars().all(|c| there.next() == Some(c))
}

thread_local! {
    /// A worker evaluates one expression after the other.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl View for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn admits(&self, ex: &Exchange) -> bool {
        SCRATCH.with_borrow_mut(|scratch| {
            self.conditions
                .iter()
                .all(|condition| condition.holds(&Asked(ex), scratch))
        })
    }
}

impl MetadataProvider for Named {
    fn value(&self, _: &Exchange, label: &str) -> Option<String> {
        (label == "view/name").then(|| self.name.clone())
    }
}

#[cfg(test)]
mod tests;
