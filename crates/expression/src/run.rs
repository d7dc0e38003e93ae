//! The value of a program for one query.
mod functions;
mod made;
mod operators;

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::program::{Binary, Constants, Home, Node, Quantifier, Span, Value};
use crate::{SCRATCH_ITEMS_MAX, SCRATCH_OCTETS_MAX, STEPS_MAX};

/// What an expression's functions ask.
pub trait Host {
    /// Calls the function at this place of the list that the program was compiled with. A text is
    /// appended to `text`, which is empty.
    fn call(&self, function: usize, arguments: &[Argument<'_>], text: &mut String) -> Returned;
}

/// A value that a host's function takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument<'a> {
    /// `nil`, or an array.
    Other,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(&'a str),
}

/// A value that a host's function returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Returned {
    /// Nothing: `nil`.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// What was written.
    Text,
    /// An address: a text as well, which is made only when it is looked at.
    Address(IpAddr),
}

/// Why a program has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Values of types that do not go together.
    #[error("the values do not go together")]
    Mismatch,
    /// A text that is no address.
    #[error("first argument is not an IP address")]
    Address,
    /// A text that is no network.
    #[error("invalid CIDR address")]
    Network,
    /// A text that is no number, or a division by zero.
    #[error("not a number")]
    Number,
    /// No such element.
    #[error("index out of range")]
    Index,
    /// More steps or memory than an expression may take.
    #[error("the expression takes too long")]
    TooMuch,
}

/// Memory that runs use one after the other.
#[derive(Debug, Default)]
pub struct Scratch {
    text: String,
    /// What a function of the host writes.
    written: String,
    items: Vec<Value>,
    stack: Vec<Value>,
    elements: Vec<Value>,
}

type Run<T> = Result<T, RunError>;

/// A network in Go's notation; one of IPv4 addresses written as IPv6 is one of IPv4.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let network: IpNet = text.parse().ok()?;
    let IpNet::V6(v6) = network else {
        return Some(network);
    };
    let mapped = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    Some(
        match mapped.and_then(|(v4, length)| Ipv4Net::new(v4, length).ok()) {
            Some(v4) => IpNet::V4(v4),
            None => network,
        },
    )
}

/// An address as text; the brackets that CoreDNS's manual speaks of may stand around it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

pub(crate) struct Machine<'a> {
    constants: &'a Constants,
    host: &'a dyn Host,
    scratch: &'a mut Scratch,
    steps_left: u32,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(
        constants: &'a Constants,
        host: &'a dyn Host,
        scratch: &'a mut Scratch,
    ) -> Self {
        scratch.text.clear();
        scratch.items.clear();
        scratch.stack.clear();
        scratch.elements.clear();
        Self {
            constants,
            host,
            scratch,
            steps_left: STEPS_MAX,
        }
    }

    pub(crate) fn value(&mut self, node: &Node) -> Run<Value> {
        self.step()?;
        Ok(match node {
            Node::Constant(value) => *value,
            Node::Call(function, arguments) => self.call(*function, arguments)?,
            Node::Builtin(builtin, arguments) => self.builtin(*builtin, arguments)?,
            Node::InNetwork(inner, network) => {
                let value = self.value(inner)?;
                Value::Bool(network.contains(&self.address(value)?))
            }
            Node::Matches(inner, regex) => {
                let value = self.value(inner)?;
                let text = self.text(value)?;
                Value::Bool(regex.is_match(self.str(text)))
            }
            Node::InTexts(inner, texts) => {
                let value = self.value(inner)?;
                match value {
                    Value::Text(_) | Value::Address(_) => {
                        let text = self.text(value)?;
                        let text = self.str(text);
                        Value::Bool(texts.binary_search_by(|own| (**own).cmp(text)).is_ok())
                    }
                    _ => Value::Bool(false),
                }
            }
            Node::All(terms) => {
                for term in terms {
                    if !self.condition(term)? {
                        return Ok(Value::Bool(false));
                    }
                }
                Value::Bool(true)
            }
            Node::Any(terms) => {
                for term in terms {
                    if self.condition(term)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Value::Bool(false)
            }
            Node::Not(inner) => Value::Bool(!self.condition(inner)?),
            Node::Negative(inner) => match self.value(inner)? {
                Value::Int(number) => Value::Int(number.wrapping_neg()),
                Value::Float(number) => Value::Float(-number),
                _ => return Err(RunError::Mismatch),
            },
            Node::Binary(Binary::Coalesce, sides) => match self.value(&sides.0)? {
                Value::Nil => self.value(&sides.1)?,
                value => value,
            },
            Node::Binary(binary, sides) => {
                let (left, right) = (self.value(&sides.0)?, self.value(&sides.1)?);
                self.binary(*binary, left, right)?
            }
            Node::Conditional(parts) => match self.condition(&parts.0)? {
                true => self.value(&parts.1)?,
                false => self.value(&parts.2)?,
            },
            Node::Array(elements) => self.array(elements)?,
            Node::Quantifier(quantifier, parts) => {
                let array = self.value(&parts.0)?;
                self.quantifier(*quantifier, array, &parts.1)?
            }
            Node::Element => *self.scratch.elements.last().ok_or(RunError::Mismatch)?,
        })
    }

    pub(crate) fn step(&mut self) -> Run<()> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(RunError::TooMuch)?;
        Ok(())
    }

    fn condition(&mut self, node: &Node) -> Run<bool> {
        match self.value(node)? {
            Value::Bool(holds) => Ok(holds),
            _ => Err(RunError::Mismatch),
        }
    }

    fn array(&mut self, elements: &[Node]) -> Run<Value> {
        let base = self.scratch.stack.len();
        for element in elements {
            let value = self.value(element)?;
            self.scratch.stack.push(value);
        }
        let start = self.scratch.items.len();
        if start + elements.len() > SCRATCH_ITEMS_MAX {
            return Err(RunError::TooMuch);
        }
        let Scratch { items, stack, .. } = &mut *self.scratch;
        items.extend(stack.drain(base..));
        Ok(Value::Array(self.span(start, self.scratch.items.len())))
    }

    /// A place in the scratch memory, whose size is bounded.
    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            home: Home::Scratch,
            start: start as u32,
            end: end as u32,
        }
    }

    pub(crate) fn str(&self, span: Span) -> &str {
        let text = match span.home {
            Home::Constants => &self.constants.text,
            Home::Scratch => &self.scratch.text,
        };
        text.get(span.range()).unwrap_or_default()
    }

    /// Appends text to the scratch memory.
    fn make(&mut self, write: impl FnOnce(&mut String)) -> Run<Span> {
        let start = self.scratch.text.len();
        write(&mut self.scratch.text);
        match self.scratch.text.len() {
            end if end > SCRATCH_OCTETS_MAX => Err(RunError::TooMuch),
            end => Ok(self.span(start, end)),
        }
    }

    /// A value that is a text, as one.
    fn text(&mut self, value: Value) -> Run<Span> {
        match value {
            Value::Text(span) => Ok(span),
            Value::Address(address) => self.make(|out| {
                let _ = write!(out, "{address}");
            }),
            _ => Err(RunError::Mismatch),
        }
    }

    fn address(&self, value: Value) -> Run<IpAddr> {
        let found = match value {
            Value::Address(address) => Some(address),
            Value::Text(span) => address(self.str(span)),
            _ => return Err(RunError::Mismatch),
        };
        found
            .map(|address| address.to_canonical())
            .ok_or(RunError::Address)
    }

    fn call(&mut self, function: usize, arguments: &[Node]) -> Run<Value> {
        let mut values = [Value::Nil; 4];
        let given = values
            .get_mut(..arguments.len())
            .ok_or(RunError::Mismatch)?;
        for (value, node) in given.iter_mut().zip(arguments) {
            *value = match self.value(node)? {
                address @ Value::Address(_) => Value::Text(self.text(address)?),
                value => value,
            };
        }
        let mut written = std::mem::take(&mut self.scratch.written);
        written.clear();
        let shown = values.map(|value| match value {
            Value::Bool(value) => Argument::Bool(value),
            Value::Int(value) => Argument::Int(value),
            Value::Float(value) => Argument::Float(value),
            Value::Text(span) => Argument::Text(self.str(span)),
            _ => Argument::Other,
        });
        let returned = self
            .host
            .call(function, &shown[..arguments.len()], &mut written);
        let value = match returned {
            Returned::Nil => Ok(Value::Nil),
            Returned::Bool(value) => Ok(Value::Bool(value)),
            Returned::Int(value) => Ok(Value::Int(value)),
            Returned::Address(address) => Ok(Value::Address(address)),
            Returned::Text if self.scratch.text.len() + written.len() > SCRATCH_OCTETS_MAX => {
                Err(RunError::TooMuch)
            }
            Returned::Text => self.make(|out| out.push_str(&written)).map(Value::Text),
        };
        self.scratch.written = written;
        value
    }

    /// The element at an index, from the end when that is negative.
    pub(crate) fn element(&self, array: Value, index: i64) -> Option<Value> {
        let length = self.length(array)?;
        let index = if index < 0 {
            length.checked_add(index)?
        } else {
            index
        };
        if !(0..length).contains(&index) {
            return None;
        }
        match array {
            Value::Range(first, _) => first.checked_add(index).map(Value::Int),
            Value::Array(span) => {
                let items = match span.home {
                    Home::Constants => &self.constants.items,
                    Home::Scratch => &self.scratch.items,
                };
                items
                    .get(span.range())?
                    .get(usize::try_from(index).ok()?)
                    .copied()
            }
            _ => None,
        }
    }

    /// How many elements an array has.
    pub(crate) fn length(&self, array: Value) -> Option<i64> {
        match array {
            Value::Array(span) => i64::try_from(span.range().len()).ok(),
            Value::Range(first, last) if last < first => Some(0),
            Value::Range(first, last) => last.checked_sub(first)?.checked_add(1),
            _ => None,
        }
    }

    fn quantifier(&mut self, quantifier: Quantifier, array: Value, condition: &Node) -> Run<Value> {
        let length = self.length(array).ok_or(RunError::Mismatch)?;
        let mut count = 0;
        for index in 0..length {
            self.step()?;
            let element = self.element(array, index).ok_or(RunError::Index)?;
            self.scratch.elements.push(element);
            let holds = self.condition(condition);
            self.scratch.elements.pop();
            match (quantifier, holds?) {
                (Quantifier::All, false) | (Quantifier::None, true) => {
                    return Ok(Value::Bool(false));
                }
                (Quantifier::Any, true) => return Ok(Value::Bool(true)),
                (_, holds) => count += i64::from(holds),
            }
        }
        Ok(match quantifier {
            Quantifier::All | Quantifier::None => Value::Bool(true),
            Quantifier::Any => Value::Bool(false),
            Quantifier::One => Value::Bool(count == 1),
            Quantifier::Count => Value::Int(count),
        })
    }
}

fn number(value: Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(number as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}
