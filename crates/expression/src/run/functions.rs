//! What the language's own functions do.
use super::{Machine, Run, RunError, network, number};
use crate::SCRATCH_ITEMS_MAX;
use crate::builtin::Builtin;
use crate::program::{Node, Span, Value};

impl Machine<'_> {
    pub(super) fn builtin(&mut self, builtin: Builtin, arguments: &[Node]) -> Run<Value> {
        let first = arguments.first().ok_or(RunError::Mismatch)?;
        let first = self.value(first)?;
        let second = match arguments.get(1) {
            Some(node) => self.value(node)?,
            None => Value::Nil,
        };
        Ok(match builtin {
            Builtin::InCidr => {
                let address = self.address(first)?;
                let text = self.text(second)?;
                let network = network(self.str(text)).ok_or(RunError::Network)?;
                Value::Bool(network.contains(&address))
            }
            Builtin::Len => match self.length(first) {
                Some(length) => Value::Int(length),
                None => {
                    let text = self.text(first)?;
                    // As Go counts: characters.
                    Value::Int(self.str(text).chars().count() as i64)
                }
            },
            Builtin::Int => match first {
                Value::Int(_) => first,
                Value::Float(number) => Value::Int(number as i64),
                _ => {
                    let text = self.text(first)?;
                    Value::Int(self.str(text).parse().map_err(|_| RunError::Number)?)
                }
            },
            Builtin::Float => match number(first) {
                Some(number) => Value::Float(number),
                None => {
                    let text = self.text(first)?;
                    Value::Float(self.str(text).parse().map_err(|_| RunError::Number)?)
                }
            },
            Builtin::String => Value::Text(self.shown(first)?),
            Builtin::Abs => match first {
                Value::Int(number) => Value::Int(number.wrapping_abs()),
                Value::Float(number) => Value::Float(number.abs()),
                _ => return Err(RunError::Mismatch),
            },
            Builtin::Min | Builtin::Max => {
                let less = self
                    .order(first, second)?
                    .is_some_and(std::cmp::Ordering::is_lt);
                if less == (builtin == Builtin::Min) {
                    first
                } else {
                    second
                }
            }
            Builtin::Split => self.split(first, second)?,
            Builtin::Replace => {
                let third = arguments.get(2).ok_or(RunError::Mismatch)?;
                let third = self.value(third)?;
                self.replaced(first, second, third)?
            }
            Builtin::Join => self.joined(first, second)?,
            _ => self.on_text(builtin, first, second)?,
        })
    }

    /// Functions of a text, and perhaps another.
    fn on_text(&mut self, builtin: Builtin, first: Value, second: Value) -> Run<Value> {
        let span = self.text(first)?;
        let other = match second {
            Value::Nil => self.make(|_| ())?,
            second => self.text(second)?,
        };
        let (text, other) = (self.str(span), self.str(other));
        // A part of a text lies where that lies.
        let part = |part: &str| {
            let skipped = part.as_ptr() as usize - text.as_ptr() as usize;
            let start = span.start + skipped as u32;
            Value::Text(Span {
                start,
                end: start + part.len() as u32,
                ..span
            })
        };
        Ok(match builtin {
            Builtin::HasPrefix => Value::Bool(text.starts_with(other)),
            Builtin::HasSuffix => Value::Bool(text.ends_with(other)),
            Builtin::IndexOf => Value::Int(text.find(other).map_or(-1, |at| at as i64)),
            Builtin::Trim => part(text.trim()),
            Builtin::TrimPrefix => part(text.strip_prefix(other).unwrap_or(text)),
            Builtin::TrimSuffix => part(text.strip_suffix(other).unwrap_or(text)),
            Builtin::Lower | Builtin::Upper => {
                let changed = match builtin {
                    Builtin::Lower => text.to_lowercase(),
                    _ => text.to_uppercase(),
                };
                Value::Text(self.make(|out| out.push_str(&changed))?)
            }
            _ => return Err(RunError::Mismatch),
        })
    }

    fn split(&mut self, text: Value, separator: Value) -> Run<Value> {
        let (span, separator) = (self.text(text)?, self.text(separator)?);
        let width = separator.range().len();
        if width == 0 {
            return Err(RunError::Mismatch);
        }
        let start = self.scratch.items.len();
        let mut at = span.start;
        loop {
            let rest = Span { start: at, ..span };
            let found = self.str(rest).find(self.str(separator));
            let end = found.map_or(span.end, |found| at + found as u32);
            self.step()?;
            if self.scratch.items.len() >= SCRATCH_ITEMS_MAX {
                return Err(RunError::TooMuch);
            }
            let part = Span {
                start: at,
                end,
                ..span
            };
            self.scratch.items.push(Value::Text(part));
            if found.is_none() {
                return Ok(Value::Array(self.span(start, self.scratch.items.len())));
            }
            at = end + width as u32;
        }
    }

    fn shown(&mut self, value: Value) -> Run<Span> {
        let shown = match value {
            Value::Text(_) | Value::Address(_) => return self.text(value),
            Value::Nil => "<nil>".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Array(_) | Value::Range(..) => return Err(RunError::Mismatch),
        };
        self.make(|out| out.push_str(&shown))
    }
}
