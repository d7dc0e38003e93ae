//! Executes a parsed template, as Go's `text/template/exec.go` does it.
use std::fmt::Display;

use crate::functions::{Function, Parameter};
use crate::node::{Branch, Command, Node, Operand, Pipe, What};
use crate::number::Number;
use crate::quote::quote;
use crate::value::{MethodError, Shape, Value};
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

    /// `last` is what the command before it gave.
    fn command(
        &mut self,
        dot: &Value<'a>,
        command: &'a Command,
        last: Option<Value<'a>>,
    ) -> Evaluated<Value<'a>> {
        let [first, arguments @ ..] = &command.operands[..] else {
            return Ok(Value::Nil);
        };
        self.step(first.pos, first, 0)?;
        if let What::Function(function) = &first.what {
            let call = (first, (command.pos, command as &dyn Display));
            return self.function(dot, function, call, arguments, last);
        }
        if let Some((receiver, names)) = self.receiver(dot, first)? {
            return self.fields(dot, receiver, first, names, arguments, last);
        }
        if !arguments.is_empty() || last.is_some() {
            let what = format!("can't give argument to non-function {first}");
            return self.fail(first.pos, first, what);
        }
        match &first.what {
            What::Nil => self.fail(first.pos, first, "nil is not a command"),
            _ => self.plain(dot, first),
        }
    }

    /// The value whose fields an operand names, and the names.
    fn receiver(
        &mut self,
        dot: &Value<'a>,
        operand: &'a Operand,
    ) -> Evaluated<Option<(Value<'a>, &'a [Box<str>])>> {
        Ok(match &operand.what {
            What::Field(names) => Some((dot.clone(), names)),
            What::Variable(name, names) if !names.is_empty() => {
                Some((self.variable(operand, name)?, names))
            }
            What::Chain(inner, names) => Some((self.operand(dot, inner, Parameter::Any)?, names)),
            _ => None,
        })
    }

    fn variable(&self, operand: &Operand, name: &str) -> Evaluated<Value<'a>> {
        match self
            .variables
            .iter()
            .rev()
            .find(|(known, _)| *known == name)
        {
            Some((_, value)) => Ok(value.clone()),
            None => self.fail(operand.pos, operand, format!("undefined variable: {name}")),
        }
    }

    /// An operand that is no field and no function.
    fn plain(&mut self, dot: &Value<'a>, operand: &'a Operand) -> Evaluated<Value<'a>> {
        match &operand.what {
            What::Dot => Ok(dot.clone()),
            What::Bool(value) => Ok(Value::Bool(*value)),
            What::Number(text, number) => self.number(operand, text, number),
            What::Text { text, .. } => Ok(Value::text(&**text)),
            What::Variable(name, _) => self.variable(operand, name),
            What::Pipe(pipe) => self.pipeline(dot, pipe),
            _ => Ok(Value::Nil),
        }
    }

    /// What a number is where its type is not asked for.
    fn number(&self, operand: &Operand, text: &str, number: &Number) -> Evaluated<Value<'a>> {
        match (number.float, number.int) {
            (Some(float), _) if number.written_as_float => Ok(Value::Float(float)),
            (_, Some(int)) => Ok(Value::Int(int)),
            _ => self.fail(operand.pos, operand, format!("{text} overflows int")),
        }
    }

    fn function(
        &mut self,
        dot: &Value<'a>,
        function: &'static Function,
        (word, whole): (&'a Operand, (usize, &dyn Display)),
        arguments: &'a [Operand],
        last: Option<Value<'a>>,
    ) -> Evaluated<Value<'a>> {
        let (name, fixed) = (function.name, function.parameters);
        let count = arguments.len() + usize::from(last.is_some());
        let wrong = match function.more {
            Some(_) if count < fixed.len() => {
                Some((format!("at least {}", fixed.len()), arguments.len()))
            }
            None if count != fixed.len() => Some((fixed.len().to_string(), count)),
            _ => None,
        };
        if let Some((want, got)) = wrong {
            let what = format!("wrong number of args for {name}: want {want} got {got}");
            return self.fail(word.pos, word, what);
        }
        if name == "and" || name == "or" {
            return self.decide(dot, name == "or", arguments, last);
        }
        let parameter = |at: usize| fixed.get(at).copied().or(function.more);
        let mut values = Vec::with_capacity(count);
        for (at, argument) in arguments.iter().enumerate() {
            let parameter = parameter(at).unwrap_or(Parameter::Any);
            values.push(self.operand(dot, argument, parameter)?);
        }
        if let Some(last) = last {
            let parameter = parameter(values.len()).unwrap_or(Parameter::Any);
            values.push(self.checked(last, parameter, word)?);
        }
        match (function.call)(&values) {
            Ok(value) => {
                let length = value.length().unwrap_or(0);
                self.step(word.pos, word, length / STEP_OCTETS)?;
                Ok(value)
            }
            Err(error) => self.fail(whole.0, whole.1, format!("error calling {name}: {error}")),
        }
    }

    /// `and` and `or`: the first argument that decides, else the last.
    fn decide(
        &mut self,
        dot: &Value<'a>,
        or: bool,
        arguments: &'a [Operand],
        last: Option<Value<'a>>,
    ) -> Evaluated<Value<'a>> {
        let mut value = Value::Nil;
        for argument in arguments {
            value = self.operand(dot, argument, Parameter::Any)?;
            if value.is_true() == or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// An argument, evaluated for a parameter.
    fn operand(
        &mut self,
        dot: &Value<'a>,
        operand: &'a Operand,
        parameter: Parameter,
    ) -> Evaluated<Value<'a>> {
        self.step(operand.pos, operand, 0)?;
        let value = match &operand.what {
            What::Nil if parameter == Parameter::Any => Value::Nil,
            What::Nil => {
                let what = format!("cannot assign nil to {}", parameter.type_name());
                return self.fail(operand.pos, operand, what);
            }
            What::Function(function) => {
                let call = (operand, (operand.pos, operand as &dyn Display));
                self.function(dot, function, call, &[], None)?
            }
            // Literals become what is asked for, or are of the wrong kind.
            What::Number(_, number) if parameter == Parameter::Int && number.int.is_some() => {
                Value::Int(number.int.unwrap_or(0))
            }
            What::Bool(_) | What::Number(..) if parameter == Parameter::Text => {
                return self.fail(
                    operand.pos,
                    operand,
                    format!("expected string; found {operand}"),
                );
            }
            What::Bool(_) | What::Number(..) | What::Text { .. } if parameter == Parameter::Int => {
                return self.fail(
                    operand.pos,
                    operand,
                    format!("expected integer; found {operand}"),
                );
            }
            _ => match self.receiver(dot, operand)? {
                Some((receiver, names)) => self.fields(dot, receiver, operand, names, &[], None)?,
                None => self.plain(dot, operand)?,
            },
        };
        self.checked(value, parameter, operand)
    }

    /// A value, if it is what the parameter asks for.
    fn checked(
        &self,
        value: Value<'a>,
        parameter: Parameter,
        operand: &Operand,
    ) -> Evaluated<Value<'a>> {
        let expected = parameter.type_name();
        match (parameter, &value) {
            (Parameter::Any, _)
            | (Parameter::Text, Value::Text(_))
            | (Parameter::Int, Value::Int(_)) => Ok(value),
            (_, Value::Nil) => {
                let what = format!("invalid value; expected {expected}");
                self.fail(operand.pos, operand, what)
            }
            (_, other) => {
                let got = other.type_name();
                let what = format!("wrong type for value; expected {expected}; got {got}");
                self.fail(operand.pos, operand, what)
            }
        }
    }

    /// Goes from field to field; the last may be a method and has the arguments.
    fn fields(
        &mut self,
        dot: &Value<'a>,
        mut receiver: Value<'a>,
        operand: &'a Operand,
        names: &'a [Box<str>],
        arguments: &'a [Operand],
        last: Option<Value<'a>>,
    ) -> Evaluated<Value<'a>> {
        let Some((name, before)) = names.split_last() else {
            return Ok(receiver);
        };
        for name in before {
            receiver = self.field(receiver, operand, name, None)?;
        }
        if arguments.is_empty() && last.is_none() {
            return self.field(receiver, operand, name, None);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(dot, argument, Parameter::Any)?);
        }
        values.extend(last);
        self.field(receiver, operand, name, Some(&values))
    }

    fn field(
        &self,
        receiver: Value<'a>,
        operand: &Operand,
        name: &str,
        arguments: Option<&[Value<'a>]>,
    ) -> Evaluated<Value<'a>> {
        let (shape, found) = match &receiver {
            Value::Nil => return Ok(Value::Nil),
            Value::Map(map) => (Shape::Map, map.get(name).cloned()),
            Value::Object(object) => {
                if let Some(called) = object.call(name, arguments.unwrap_or_default()) {
                    return match called {
                        Ok(value) => Ok(value),
                        Err(MethodError::Arguments(want)) => {
                            let got = arguments.map_or(0, <[_]>::len);
                            let what =
                                format!("wrong number of args for {name}: want {want} got {got}");
                            self.fail(operand.pos, operand, what)
                        }
                        Err(MethodError::Type(want)) => {
                            let what = format!("wrong type for value; expected {want}");
                            self.fail(operand.pos, operand, what)
                        }
                    };
                }
                (object.shape(), object.get(name))
            }
            _ => (Shape::List, None),
        };
        let given = arguments.is_some();
        match (shape, found) {
            (Shape::Struct, Some(_)) if given => {
                let what = format!("{name} has arguments but cannot be invoked as function");
                self.fail(operand.pos, operand, what)
            }
            (Shape::Map, _) if given => {
                let what = format!("{name} is not a method but has arguments");
                self.fail(operand.pos, operand, what)
            }
            (_, Some(value)) => Ok(value),
            (Shape::Map, None) => Ok(Value::Nil),
            (_, None) => {
                let what = format!(
                    "can't evaluate field {name} in type {}",
                    receiver.type_name()
                );
                self.fail(operand.pos, operand, what)
            }
        }
    }
}

impl Pipe {
    /// Where its first command stands.
    fn pos(&self) -> usize {
        self.commands.first().map_or(0, |command| command.pos)
    }
}
