//! *header*: sets and clears AA, RA and RD.
use corten_plugin::corefile::{Line, ParseError, Token};
use corten_plugin::wire::Flag;
use corten_plugin::{Directive, Exchange, Flow, Interest, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "header",
    setup,
    readme: include_str!("../README.md"),
};

/// What becomes of one bit.
type Rule = (Flag, bool);

/// Rules in file order: the last one for a bit wins.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    query: Vec<Rule>,
    response: Vec<Rule>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut header = Header::default();
    let lines = setup.occurrences()?;
    for line in &lines {
        line.no_args()?;
        for rule in line.lines() {
            header.read(rule)?;
        }
    }
    if header == Header::default()
        && let Some(line) = lines.first()
    {
        let error = line.argument_error();
        return Err(error
            .help("rules stand between braces, such as 'response set ra'")
            .into());
    }
    setup.push(header);
    Ok(())
}

impl Header {
    fn read(&mut self, line: &Line<'_>) -> Result<(), ParseError> {
        line.no_block()?;
        let rules = match line.name.text.to_lowercase().as_str() {
            "query" => &mut self.query,
            "response" => &mut self.response,
            other => {
                let what = "setting up rule: invalid selector";
                let text = format!("{what}={other} should be query or response");
                return Err(line.name.error(text));
            }
        };
        let [action, flags @ ..] = &line.args[..] else {
            let text = "setting up rule: no flag action provided";
            return Err(line.name.error(text).help("it is 'set' or 'clear'"));
        };
        if flags.is_empty() {
            let text = "setting up rule: invalid length for flags, at least one should be provided";
            return Err(action.error(text));
        }
        let on = match action.text.to_lowercase().as_str() {
            "set" => true,
            "clear" => false,
            other => {
                let what = "setting up rule: unknown flag action";
                return Err(action.error(format!("{what}={other}, should be set or clear")));
            }
        };
        for word in flags {
            rules.push((flag(word)?, on));
        }
        Ok(())
    }
}

fn flag(word: &Token) -> Result<Flag, ParseError> {
    match word.text.to_lowercase().as_str() {
        "aa" => Ok(Flag::Authoritative),
        "ra" => Ok(Flag::RecursionAvailable),
        "rd" => Ok(Flag::RecursionDesired),
        other => Err(word
            .error(format!("setting up rule: unknown/unsupported flag={other}"))
            .help("the flags are aa, ra and rd")),
    }
}

impl Plugin for Header {
    fn name(&self) -> &'static str {
        "header"
    }

    fn interest(&self) -> Interest {
        match self.query.is_empty() {
            true => Interest::Response,
            false => Interest::Query,
        }
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        for (flag, on) in &self.query {
            ex.query.set_flag(*flag, *on);
        }
        match self.response.is_empty() {
            true => Flow::Pass,
            false => Flow::Watch,
        }
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        for (flag, on) in &self.response {
            match flag {
                Flag::Authoritative => ex.reply.authoritative = *on,
                Flag::RecursionAvailable => ex.reply.recursion_available = *on,
                // A reply's RD is the query's.
                other => ex.query.set_flag(*other, *on),
            }
        }
        Flow::Respond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::wire::{Class, Query, Question, Rcode, RecordType};

    #[test]
    fn the_last_rule_for_a_flag_wins() {
        let header = Header {
            query: vec![
                (Flag::RecursionDesired, false),
                (Flag::Authoritative, true),
                (Flag::Authoritative, false),
            ],
            response: vec![
                (Flag::RecursionAvailable, false),
                (Flag::RecursionAvailable, true),
                (Flag::Authoritative, true),
                (Flag::RecursionDesired, true),
            ],
        };
        let mut ex = Exchange::new();
        let question = Question {
            name: "www.example".parse().unwrap(),
            rtype: RecordType::A,
            class: Class::IN,
        };
        ex.query = Query::ask(1, &question);
        assert_eq!(header.on_query(&mut ex), Flow::Watch);
        assert!(!ex.query.recursion_desired() && !ex.query.flag(Flag::Authoritative));
        ex.start(Rcode::SERVFAIL);
        assert_eq!(header.on_response(&mut ex), Flow::Respond);
        assert!(ex.reply.recursion_available && ex.reply.authoritative);
        assert!(ex.query.recursion_desired());
    }
}
