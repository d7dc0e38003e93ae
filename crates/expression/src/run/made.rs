//! Texts that are made of other texts.
use super::{Machine, Run, RunError};
use crate::SCRATCH_OCTETS_MAX;
use crate::program::Value;

impl Machine<'_> {
    /// `text` with `to` wherever `from` was.
    pub(super) fn replaced(&mut self, text: Value, from: Value, to: Value) -> Run<Value> {
        let (text, from, to) = (self.text(text)?, self.text(from)?, self.text(to)?);
        let (text, from, to) = (self.str(text), self.str(from), self.str(to));
        let count = match from.is_empty() {
            true => text.chars().count() + 1,
            false => text.matches(from).count(),
        };
        if count.saturating_mul(to.len()) + text.len() > SCRATCH_OCTETS_MAX {
            return Err(RunError::TooMuch);
        }
        let made = text.replace(from, to);
        Ok(Value::Text(self.make(|out| out.push_str(&made))?))
    }

    /// The texts of an array with `separator` between them.
    pub(super) fn joined(&mut self, array: Value, separator: Value) -> Run<Value> {
        let separator = self.text(separator)?;
        let length = self.length(array).ok_or(RunError::Mismatch)?;
        let mut made = String::new();
        for index in 0..length {
            self.step()?;
            let element = self.element(array, index).ok_or(RunError::Index)?;
            let element = self.text(element)?;
            made.push_str(if index > 0 { self.str(separator) } else { "" });
            made.push_str(self.str(element));
            if made.len() > SCRATCH_OCTETS_MAX {
                return Err(RunError::TooMuch);
            }
        }
        Ok(Value::Text(self.make(|out| out.push_str(&made))?))
    }
}
