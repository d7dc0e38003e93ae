//! What operators with two sides do.
use super::{Machine, Run, RunError, number};
use crate::SCRATCH_OCTETS_MAX;
use crate::program::{Binary, Home, Span, Value};

impl Machine<'_> {
    fn equal(&mut self, left: Value, right: Value) -> Run<bool> {
        self.step()?;
        Ok(match (left, right) {
            (Value::Nil, Value::Nil) => true,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::Int(one), Value::Int(other)) => one == other,
            (Value::Address(one), Value::Address(other)) => one == other,
            (Value::Text(_) | Value::Address(_), Value::Text(_) | Value::Address(_)) => {
                let (one, other) = (self.text(left)?, self.text(right)?);
                self.str(one) == self.str(other)
            }
            (Value::Array(_) | Value::Range(..), Value::Array(_) | Value::Range(..)) => {
                let length = self.length(left);
                if length != self.length(right) {
                    return Ok(false);
                }
                for index in 0..length.unwrap_or(0) {
                    let pair = self.element(left, index).zip(self.element(right, index));
                    let (one, other) = pair.ok_or(RunError::Index)?;
                    if !self.equal(one, other)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => number(left)
                .zip(number(right))
                .is_some_and(|(one, other)| one == other),
        })
    }

    pub(super) fn binary(&mut self, binary: Binary, left: Value, right: Value) -> Run<Value> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        Ok(match binary {
            Binary::Equal => Value::Bool(self.equal(left, right)?),
            Binary::Unequal => Value::Bool(!self.equal(left, right)?),
            Binary::Less => Value::Bool(self.order(left, right)? == Some(Less)),
            Binary::Greater => Value::Bool(self.order(left, right)? == Some(Greater)),
            Binary::LessOrEqual => {
                Value::Bool(matches!(self.order(left, right)?, Some(Less | Equal)))
            }
            Binary::GreaterOrEqual => {
                Value::Bool(matches!(self.order(left, right)?, Some(Greater | Equal)))
            }
            Binary::In => Value::Bool(self.is_in(left, right)?),
            Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                let (one, other) = (self.text(left)?, self.text(right)?);
                let (one, other) = (self.str(one), self.str(other));
                Value::Bool(match binary {
                    Binary::Contains => one.contains(other),
                    Binary::StartsWith => one.starts_with(other),
                    _ => one.ends_with(other),
                })
            }
            Binary::Range => match (left, right) {
                (Value::Int(first), Value::Int(last)) => Value::Range(first, last),
                _ => return Err(RunError::Mismatch),
            },
            Binary::Index => match right {
                Value::Int(index) => self.element(left, index).ok_or(RunError::Index)?,
                _ => return Err(RunError::Mismatch),
            },
            Binary::Add if matches!(left, Value::Text(_) | Value::Address(_)) => {
                let (one, other) = (self.text(left)?, self.text(right)?);
                let length = one.range().len() + other.range().len();
                if self.scratch.text.len() + length > SCRATCH_OCTETS_MAX {
                    return Err(RunError::TooMuch);
                }
                let start = self.scratch.text.len();
                self.append(one);
                self.append(other);
                Value::Text(self.span(start, self.scratch.text.len()))
            }
            Binary::Coalesce => left,
            Binary::Add
            | Binary::Subtract
            | Binary::Multiply
            | Binary::Divide
            | Binary::Remainder
            | Binary::Power => arithmetic(binary, left, right)?,
        })
    }

    /// Repeats a text behind all others.
    fn append(&mut self, span: Span) {
        match span.home {
            Home::Scratch => self.scratch.text.extend_from_within(span.range()),
            Home::Constants => {
                let text = self.constants.text.get(span.range());
                self.scratch.text.push_str(text.unwrap_or_default());
            }
        }
    }

    pub(super) fn order(&mut self, left: Value, right: Value) -> Run<Option<std::cmp::Ordering>> {
        if let (Value::Int(one), Value::Int(other)) = (left, right) {
            return Ok(Some(one.cmp(&other)));
        }
        if let (Some(one), Some(other)) = (number(left), number(right)) {
            return Ok(one.partial_cmp(&other));
        }
        let (one, other) = (self.text(left)?, self.text(right)?);
        Ok(Some(self.str(one).cmp(self.str(other))))
    }

    fn is_in(&mut self, element: Value, array: Value) -> Run<bool> {
        if let Value::Range(first, last) = array {
            return Ok(match element {
                Value::Int(number) => (first..=last).contains(&number),
                Value::Float(number) => {
                    number.fract() == 0.0 && (first as f64..=last as f64).contains(&number)
                }
                _ => false,
            });
        }
        if matches!(array, Value::Nil) {
            return Ok(false);
        }
        let length = self.length(array).ok_or(RunError::Mismatch)?;
        for index in 0..length {
            let own = self.element(array, index).ok_or(RunError::Index)?;
            if self.equal(element, own)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn arithmetic(binary: Binary, left: Value, right: Value) -> Run<Value> {
    if let (Value::Int(one), Value::Int(other)) = (left, right) {
        match binary {
            Binary::Add => return Ok(Value::Int(one.wrapping_add(other))),
            Binary::Subtract => return Ok(Value::Int(one.wrapping_sub(other))),
            Binary::Multiply => return Ok(Value::Int(one.wrapping_mul(other))),
            Binary::Remainder if other == 0 => return Err(RunError::Number),
            Binary::Remainder => return Ok(Value::Int(one.wrapping_rem(other))),
            _ => (),
        }
    }
    let (Some(one), Some(other)) = (number(left), number(right)) else {
        return Err(RunError::Mismatch);
    };
    Ok(Value::Float(match binary {
        Binary::Add => one + other,
        Binary::Subtract => one - other,
        Binary::Multiply => one * other,
        Binary::Divide => one / other,
        Binary::Power => one.powf(other),
        _ => return Err(RunError::Mismatch),
    }))
}
