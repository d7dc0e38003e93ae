//! `var` and `expr`: values and conditions in the language of *view*.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use corten_expression::{
    Argument, Function, Host, Output, Program, Returned, RunError, Scratch, Type, Variables,
};
use corten_gotemplate::Value;
use corten_plugin::Exchange;
use corten_query_expression::{Asked, FUNCTIONS as SHARED};

use crate::data::Groups;

/// The functions that *view* has, and `group`.
pub(crate) const FUNCTIONS: [Function; SHARED.len() + 1] = {
    let group = Function {
        name: "group",
        parameters: &[Type::Any],
        result: Type::Text,
    };
    let mut all = [group; SHARED.len() + 1];
    let mut at = 0;
    while at < SHARED.len() {
        all[at] = SHARED[at];
        at += 1;
    }
    all
};

/// The values that a template has of its own, by name.
pub(crate) type Vars = Rc<BTreeMap<String, Value<'static>>>;

/// What a rule's lines `var` and `expr` say.
#[derive(Default)]
pub(crate) struct Conditions {
    pub(crate) variables: Variables,
    pub(crate) values: Vec<(String, Program)>,
    pub(crate) programs: Vec<Program>,
}

/// A query with the groups that were matched.
struct Matched<'a>(Asked<'a>, &'a Groups<'a>);

impl Host for Matched<'_> {
    fn call(&self, function: usize, arguments: &[Argument<'_>], text: &mut String) -> Returned {
        if function < SHARED.len() {
            return self.0.call(function, arguments, text);
        }
        match arguments {
            [Argument::Text(name)] => text.push_str(self.1.named(name).unwrap_or_default()),
            [Argument::Int(number)] => {
                let number = usize::try_from(*number).ok();
                text.push_str(number.and_then(|n| self.1.numbered(n)).unwrap_or_default());
            }
            _ => (),
        }
        Returned::Text
    }
}

thread_local! {
    /// A worker evaluates one expression after the other.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Conditions {
    /// Whether there is nothing to evaluate.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.programs.is_empty()
    }

    /// Evaluates the variables and, if all conditions hold, returns their values.
    pub(crate) fn evaluate(
        &self,
        ex: &Exchange,
        groups: &Groups<'_>,
    ) -> Result<Option<Vars>, RunError> {
        let host = Matched(Asked(ex), groups);
        SCRATCH.with_borrow_mut(|scratch| {
            let mut vars = BTreeMap::new();
            for (name, program) in &self.values {
                vars.insert(name.clone(), value(program.value(&host, scratch)?));
            }
            for program in &self.programs {
                if program.try_holds(&host, scratch)? != Some(true) {
                    return Ok(None);
                }
            }
            Ok(Some(Rc::new(vars)))
        })
    }
}

fn value(output: Output) -> Value<'static> {
    match output {
        Output::Nil => Value::Nil,
        Output::Bool(value) => Value::Bool(value),
        Output::Int(number) => Value::Int(number),
        Output::Float(number) => Value::Float(number),
        Output::Text(text) => Value::text(text),
        Output::Array(values) => Value::List(values.into_iter().map(value).collect()),
    }
}
