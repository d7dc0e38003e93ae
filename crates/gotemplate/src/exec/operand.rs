//! Values of commands and operands: functions, fields, methods, literals.
use std::fmt::Display;

use super::{Evaluated, STEP_OCTETS, State};
use crate::functions::{Function, Parameter};
use crate::node::{Command, Operand, What};
use crate::number::Number;
use crate::value::{MethodError, Shape, Value};

/// A value, and the names of fields to go through from there.
type Receiver<'a> = (Value<'a>, &'a [Box<str>]);

impl<'a> State<'a, '_> {
    /// `last` is what the command before it gave.
    pub(super) fn command(
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
    ) -> Evaluated<Option<Receiver<'a>>> {
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
