//! Executes a parsed template, as Go's `text/template/exec.go` does it.
mod operand;

use std::fmt::Display;

use crate::node::{Branch, Node, Pipe};
use crate::quote::quote;
use crate::value::Value;
use crate::{ExecError, Template};

/// Templates that execute one another, one inside the other. Go allows 100,000.
const DEPTH_MAX: usize = 32;
/// Octets of a function's result that cost as much as a step.
const STEP_OCTETS: usize = 256;

/// What one execution may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes and operands evaluated, elements of lists included.
    pub steps_max: usize,
    /// Octets written.
    pub output_octets_max: usize,
}

pub(crate) fn execute<'a>(
    template: &'a Template,
    data: Value<'a>,
    limits: &Limits,
    out: &mut String,
) -> Result<(), ExecError> {
    let mut state = State {
        template,
        name: &template.name,
        output_end: out.len().saturating_add(limits.output_octets_max),
        out,
        variables: vec![("$", data.clone())],
        depth: 0,
        steps_left: limits.steps_max,
    };
    match state.walk(&data, template.root()) {
        Ok(()) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
        // The parser lets them stand inside of a range only.
        Err(Stop::Break | Stop::Continue) => Ok(()),
    }
}

/// Why a list is not walked to its end.
enum Stop {
    Break,
    Continue,
    Error(ExecError),
}

type Evaluated<T> = Result<T, Stop>;

struct State<'a, 'o> {
    template: &'a Template,
    /// Which of its templates is being executed.
    name: &'a str,
    out: &'o mut String,
    output_end: usize,
    variables: Vec<(&'a str, Value<'a>)>,
    depth: usize,
    steps_left: usize,
}

impl<'a> State<'a, '_> {
    fn walk(&mut self, dot: &Value<'a>, nodes: &'a [Node]) -> Evaluated<()> {
        for node in nodes {
            self.node(dot, node)?;
        }
        Ok(())
    }

    fn node(&mut self, dot: &Value<'a>, node: &'a Node) -> Evaluated<()> {
        match node {
            Node::Text(text) => self.write(0, node, text),
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                match (value, pipe.variables.is_empty()) {
                    (_, false) => Ok(()),
                    (Value::Text(text), true) => self.write(pipe.pos(), node, &text),
                    (Value::Nil, true) => self.write(pipe.pos(), node, "<no value>"),
                    (value, true) => {
                        let mut text = String::new();
                        crate::format::show(&mut text, &value);
                        self.write(pipe.pos(), node, &text)
                    }
                }
            }
            Node::If(branch) => self.branch(dot, branch, None),
            Node::With(branch) => self.branch(dot, branch, Some(())),
            Node::Range(branch) => self.range(dot, node, branch),
            Node::Template { pos, name, pipe } => self.other(dot, node, *pos, name, pipe.as_ref()),
            Node::Break => Err(Stop::Break),
            Node::Continue => Err(Stop::Continue),
        }
    }

    fn write(&mut self, pos: usize, node: &Node, text: &str) -> Evaluated<()> {
        self.step(pos, node, text.len() / STEP_OCTETS)?;
        if self.out.len() + text.len() > self.output_end {
            return self.fail(pos, node, "the output is too long");
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Counts one step and `more`.
    fn step(&mut self, pos: usize, shown: &dyn Display, more: usize) -> Evaluated<()> {
        match self.steps_left.checked_sub(1 + more) {
            Some(left) => {
                self.steps_left = left;
                Ok(())
            }
            None => self.fail(pos, shown, "the execution takes too many steps"),
        }
    }

    fn fail<T>(&self, pos: usize, shown: &dyn Display, what: impl Display) -> Evaluated<T> {
        let before = &self.template.text[..pos];
        let line = 1 + before.bytes().filter(|octet| *octet == b'\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let (top, name) = (&self.template.name, quote(self.name));
        Err(Stop::Error(ExecError {
            text: format!("template: {top}:{line}:{column}: executing {name} at <{shown}>: {what}"),
        }))
    }

    /// `if`, or `with`, which makes the value dot.
    fn branch(&mut self, dot: &Value<'a>, branch: &'a Branch, with: Option<()>) -> Evaluated<()> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let walked = match (value.is_true(), &branch.otherwise) {
            (true, _) => self.walk(if with.is_some() { &value } else { dot }, &branch.list),
            (false, Some(otherwise)) => self.walk(dot, otherwise),
            (false, None) => Ok(()),
        };
        self.variables.truncate(mark);
        walked
    }

    fn range(&mut self, dot: &Value<'a>, node: &'a Node, branch: &'a Branch) -> Evaluated<()> {
        let mark = self.variables.len();
        let pos = branch.pipe.pos();
        let value = self.pipeline(dot, &branch.pipe)?;
        let count = match &value {
            Value::Nil => 0,
            Value::Int(_) | Value::Uint(..) if branch.pipe.variables.len() > 1 => {
                let why = ("can't use", "to iterate over more than one variable");
                return self.no_range(branch, &value, why);
            }
            Value::Int(number) => usize::try_from(*number).unwrap_or(0),
            Value::Uint(number, _) => usize::try_from(*number).unwrap_or(usize::MAX),
            Value::Text(_) => {
                return self.no_range(branch, &value, ("range can't iterate over", ""));
            }
            other => match other.length() {
                Some(length) => length,
                None => return self.no_range(branch, &value, ("range can't iterate over", "")),
            },
        };
        let inside = self.variables.len();
        for index in 0..count {
            self.step(pos, node, 0)?;
            let (key, element) = match &value {
                Value::Int(_) => (Value::Nil, Value::Int(index as i64)),
                Value::Uint(_, width) => (Value::Nil, Value::Uint(index as u64, *width)),
                list => list.element(index).unwrap_or_default(),
            };
            self.bind(branch, mark, key, &element)?;
            let walked = self.walk(&element, &branch.list);
            self.variables.truncate(inside);
            match walked {
                Ok(()) | Err(Stop::Continue) => (),
                Err(Stop::Break) => break,
                error => return error,
            }
        }
        let otherwise = branch.otherwise.as_ref().filter(|_| count == 0);
        let walked = otherwise.map_or(Ok(()), |nodes| self.walk(dot, nodes));
        self.variables.truncate(mark);
        walked
    }

    /// The error of a range over `value`; the value stands between the two parts of `why`.
    fn no_range<T>(&self, branch: &Branch, value: &Value<'_>, why: (&str, &str)) -> Evaluated<T> {
        let mut shown = String::new();
        crate::format::show(&mut shown, value);
        // Go looks behind the pointer.
        let shown = shown.trim_start_matches('&');
        let what = format!("{} {shown} {}", why.0, why.1);
        let first = branch
            .pipe
            .commands
            .last()
            .and_then(|command| command.operands.first());
        match first {
            Some(operand) => self.fail(operand.pos, operand, what.trim_end()),
            None => self.fail(0, &"range", what.trim_end()),
        }
    }

    /// Gives the variables of a range their values for one round.
    fn bind(
        &mut self,
        branch: &'a Branch,
        mark: usize,
        key: Value<'a>,
        element: &Value<'a>,
    ) -> Evaluated<()> {
        let values = match &branch.pipe.variables[..] {
            [] => return Ok(()),
            [one] => vec![(one, element.clone())],
            [one, other, ..] => vec![(one, key), (other, element.clone())],
        };
        for (place, (name, value)) in values.into_iter().enumerate() {
            if branch.pipe.assigns {
                self.assign(branch.pipe.pos(), name, value)?;
            } else {
                self.variables[mark + place].1 = value;
            }
        }
        Ok(())
    }

    fn assign(&mut self, pos: usize, name: &str, value: Value<'a>) -> Evaluated<()> {
        match self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| *known == name)
        {
            Some((_, old)) => {
                *old = value;
                Ok(())
            }
            None => self.fail(pos, &name, format!("undefined variable: {name}")),
        }
    }

    /// `{{template "name" pipeline}}`.
    fn other(
        &mut self,
        dot: &Value<'a>,
        node: &'a Node,
        pos: usize,
        name: &'a str,
        pipe: Option<&'a Pipe>,
    ) -> Evaluated<()> {
        let Some(nodes) = self.template.trees.get(name) else {
            return self.fail(pos, node, format!("template {} not defined", quote(name)));
        };
        if self.depth == DEPTH_MAX {
            let what = format!("exceeded maximum template depth ({DEPTH_MAX})");
            return self.fail(pos, node, what);
        }
        let dot = match pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nil,
        };
        let outer_variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name);
        self.depth += 1;
        let walked = self.walk(&dot, nodes);
        self.depth -= 1;
        (self.variables, self.name) = (outer_variables, outer_name);
        walked
    }

    fn pipeline(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Evaluated<Value<'a>> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(pipe.pos(), name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }
}

impl Pipe {
    /// Where its first command stands.
    fn pos(&self) -> usize {
        self.commands.first().map_or(0, |command| command.pos)
    }
}
