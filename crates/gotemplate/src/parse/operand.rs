//! Commands and their operands.
use super::Parser;
use crate::ParseError;
use crate::functions;
use crate::lex::Kind;
use crate::node::{Command, Operand, What};
use crate::number::Number;
use crate::quote::{quote, unquote};

/// Parentheses inside one another. Go allows 10,000; each costs stack.
const PARENS_MAX: usize = 64;
impl Parser<'_> {
    pub(super) fn command(&mut self) -> Result<Command, ParseError> {
        let pos = self.peek_non_space().pos;
        let mut operands = Vec::new();
        loop {
            self.peek_non_space();
            operands.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.at -= 1,
                Kind::Pipe => (),
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        match operands.is_empty() {
            true => Err(self.error("empty command")),
            false => Ok(Command { pos, operands }),
        }
    }

    /// A term and the fields behind it.
    fn operand(&mut self) -> Result<Option<Operand>, ParseError> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        let pos = self.peek().pos;
        let mut fields: Vec<Box<str>> = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text[1..].into());
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        let what = match term.what {
            What::Field(mut names) => {
                names.extend(fields);
                What::Field(names)
            }
            What::Variable(name, _) => What::Variable(name, fields),
            ref plain if plain.is_plain() => {
                let shown = quote(&term.to_string());
                return Err(self.error(format!("unexpected . after term {shown}")));
            }
            _ => What::Chain(Box::new(term), fields),
        };
        Ok(Some(Operand { pos, what }))
    }

    fn term(&mut self) -> Result<Option<Operand>, ParseError> {
        let token = self.next_non_space();
        let text = token.text;
        let what = match token.kind {
            Kind::Identifier => {
                let function = functions::find(self.functions, text)
                    .ok_or_else(|| self.error(format!("function {} not defined", quote(text))))?;
                What::Function(function)
            }
            Kind::Dot => What::Dot,
            Kind::Nil => What::Nil,
            Kind::Variable => {
                if !self.variables.iter().any(|known| **known == *text) {
                    return Err(self.error(format!("undefined variable {}", quote(text))));
                }
                What::Variable(text.into(), Vec::new())
            }
            Kind::Field => What::Field(vec![text[1..].into()]),
            Kind::Bool => What::Bool(text == "true"),
            Kind::Number => {
                let number = Number::read(text);
                let what = match number {
                    Some(number) if number.fits() || text.contains(['.', 'e', 'E']) => {
                        Ok(What::Number(text.into(), number))
                    }
                    Some(_) => Err("integer overflow"),
                    None => Err("illegal number syntax"),
                };
                what.map_err(|what| self.error(format!("{what}: {}", quote(text))))?
            }
            Kind::CharConstant => {
                let character = unquote(text).and_then(|text| text.chars().next());
                let character = character
                    .ok_or_else(|| self.error(format!("malformed character constant: {text}")))?;
                What::Number(text.into(), Number::of(character))
            }
            Kind::LeftParen => {
                if self.parens >= PARENS_MAX {
                    return Err(self.error("max expression depth exceeded"));
                }
                self.parens += 1;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.parens -= 1;
                What::Pipe(pipe)
            }
            Kind::String | Kind::RawString => {
                let value = unquote(text).ok_or_else(|| self.error("invalid syntax"))?;
                let (quoted, text) = (text.into(), value.into());
                What::Text { quoted, text }
            }
            _ => {
                self.at -= usize::from(self.at > 0);
                return Ok(None);
            }
        };
        let pos = token.pos;
        Ok(Some(Operand { pos, what }))
    }
}
