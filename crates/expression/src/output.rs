//! A program's value, for those who want to know more than whether it holds.
use crate::program::{Program, Value};
use crate::run::{Host, Machine, RunError, Scratch};

/// A value that an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// `nil`.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// Values in an order.
    Array(Vec<Self>),
}

/// Arrays inside one another; expressions cannot be deeper.
const DEPTH_MAX: usize = crate::DEPTH_MAX;

impl Program {
    /// The expression's value.
    ///
    /// # Errors
    /// When it has none.
    pub fn value(&self, host: &dyn Host, scratch: &mut Scratch) -> Result<Output, RunError> {
        let mut machine = Machine::new(&self.constants, host, scratch);
        let value = machine.value(&self.root)?;
        machine.output(value, 0)
    }
}

impl Machine<'_> {
    fn output(&mut self, value: Value, depth: usize) -> Result<Output, RunError> {
        self.step()?;
        if depth > DEPTH_MAX {
            return Err(RunError::TooMuch);
        }
        Ok(match value {
            Value::Nil => Output::Nil,
            Value::Bool(value) => Output::Bool(value),
            Value::Int(number) => Output::Int(number),
            Value::Float(number) => Output::Float(number),
            Value::Text(span) => Output::Text(self.str(span).to_owned()),
            Value::Address(address) => Output::Text(address.to_string()),
            Value::Array(_) | Value::Range(..) => {
                let length = self.length(value).unwrap_or(0);
                let mut elements = Vec::new();
                for index in 0..length {
                    let element = self.element(value, index).ok_or(RunError::Index)?;
                    elements.push(self.output(element, depth + 1)?);
                }
                Output::Array(elements)
            }
        })
    }
}
