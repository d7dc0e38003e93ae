//! *log*: one line for each query, in CoreDNS's formats.
mod classify;

use std::cell::RefCell;
use std::sync::Arc;

use corten_plugin::corefile::{Line, Occurrence};
use corten_plugin::{
    Directive, Exchange, Flow, Format, Interest, Plugin, Process, Setup, SetupError, Told, Zones,
};

use classify::{Class, kind};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "log",
    setup,
    readme: include_str!("../README.md"),
};

thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

/// What is logged of names in some zones.
#[derive(Debug)]
struct Rule {
    zones: Zones,
    format: Format,
    /// Nothing for all.
    classes: Vec<Class>,
}

struct Log {
    rules: Vec<Rule>,
    process: Arc<Process>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let rules = setup
        .occurrences()?
        .iter()
        .map(|line| rule(setup, line))
        .collect::<Result<_, _>>()?;
    let process = Arc::clone(setup.process);
    setup.push(Log { rules, process });
    Ok(())
}

fn rule(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Rule, SetupError> {
    // CoreDNS takes a format that stands alone for a name, and logs nothing; its manual says that
    // names are optional.
    let (names, format) = match line.args.split_last() {
        Some((last, names)) if last.text.contains('{') => {
            if names.is_empty() {
                tracing::warn!(
                    target: "plugin/log",
                    "{}:{} - '{}' stands without names in front and is taken as a format for all; \
                    'log . \"{}\"' means that to CoreDNS, too",
                    last.at.file, last.at.line, last.text, last.text
                );
            }
            (names, Format::read(&last.text))
        }
        _ => (&line.args[..], Format::common()),
    };
    let zones = match names {
        [] => Zones::new(vec![corten_plugin::wire::Name::root()]),
        names => setup.zones(names)?,
    };
    let mut classes = Vec::new();
    let mut all = false;
    for option in line.lines() {
        match option.name.text.as_str() {
            "class" => all |= read_classes(option, &mut classes)?,
            _ => return Err(option.unknown_property(&["class"]).into()),
        }
    }
    if all {
        classes.clear();
    }
    Ok(Rule {
        zones,
        format,
        classes,
    })
}

/// Adds the classes of a line; returns whether it names all.
fn read_classes(line: &Line<'_>, classes: &mut Vec<Class>) -> Result<bool, SetupError> {
    let mut all = false;
    for word in line.at_least(1)? {
        match word.text.as_str() {
            "success" => classes.push(Class::Success),
            "denial" => classes.push(Class::Denial),
            "error" => classes.push(Class::Error),
            "all" => all = true,
            other => {
                let error = word.error(format!("invalid Class: {other}"));
                return Err(error
                    .help("classes are success, denial, error and all")
                    .into());
            }
        }
    }
    Ok(all)
}

impl Log {
    /// Writes the line of an exchange that is over.
    fn write(&self, format: &Format, ex: &Exchange) {
        LINE.with(|line| {
            // A provider of metadata that has a query of its own logged would be in the way of
            // itself.
            let (mut kept, mut own) = (line.try_borrow_mut(), Vec::new());
            let line = kept.as_deref_mut().unwrap_or(&mut own);
            line.clear();
            match self.process.lines() {
                Some(lines) => {
                    line.extend_from_slice(b"[INFO] ");
                    format.fill(ex, Told::Reply, line);
                    line.push(b'\n');
                    lines.push(line);
                }
                None => {
                    format.fill(ex, Told::Reply, line);
                    tracing::info!(target: "query", "{}", String::from_utf8_lossy(line));
                }
            }
        });
    }
}

impl Plugin for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        // The first rule for the name decides, whatever its classes.
        let name = &ex.query.question.name;
        let Some(rule) = self
            .rules
            .iter()
            .find(|rule| rule.zones.matches(name).is_some())
        else {
            return Flow::Respond;
        };
        if rule.classes.is_empty() && !ex.has_metadata() {
            self.write(&rule.format, ex);
            return Flow::Respond;
        }
        let kind = kind(ex);
        ex.set_metadata("log/type", kind.word());
        ex.set_metadata("log/class", kind.class().word());
        if rule.classes.is_empty() || rule.classes.contains(&kind.class()) {
            self.write(&rule.format, ex);
        }
        Flow::Respond
    }
}

#[cfg(test)]
mod tests {
    use corten_plugin::corefile::{Source, parse};
    use corten_plugin::wire::{Gate, Rcode};
    use corten_plugin::{Block, Parts, Peers, ServerOptions, Spool, SpoolLimit};

    use super::*;

    /// The plugin of a block with these lines.
    fn plugin(lines: &str, process: &Arc<Process>) -> Result<Arc<dyn Plugin>, String> {
        let text = format!("example {{\n{lines}\n}}");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["log"], &|_| None).unwrap();
        let block = Block {
            zones: vec!["example".parse().unwrap()],
            transports: Vec::new(),
        };
        let (mut options, mut offers) = (ServerOptions::default(), Peers::default());
        let (mut made, mut everywhere) = (Vec::new(), Vec::new());
        let mut parts = Setup {
            directive: "log",
            block: &block,
            options: &mut options,
            process,
            parts: Parts {
                lines: &corefile.blocks[0].directives,
                before: &[],
                made: &mut made,
                everywhere: &mut everywhere,
                offers: &mut offers,
            },
        };
        setup(&mut parts).map_err(|error| error.to_string())?;
        Ok(made.remove(0))
    }

    fn process() -> Arc<Process> {
        let limit = SpoolLimit {
            entries: 10,
            octets: 10_000,
        };
        let process = Arc::new(Process::default());
        process.set_lines(Arc::new(Spool::new(limit, || ())));
        process
    }

    fn lines(process: &Process, spare: &mut Vec<u8>) -> String {
        let mut text = String::new();
        let lines = process.lines().unwrap();
        lines.drain(spare, |octets, _| {
            text.push_str(std::str::from_utf8(octets).unwrap())
        });
        text
    }

    fn over(rcode: Rcode) -> Exchange {
        let mut ex = Exchange::new();
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
        assert_eq!(ex.query.read(query), Gate::Pass);
        let _ = ex.answer(rcode);
        ex
    }

    #[test]
    fn the_first_rule_for_the_name_decides() {
        for (rules, rcode, line) in [
            ("log", Rcode::NOERROR, None),
            (
                "log a.example b.example {name}\nlog example {rcode}",
                Rcode::REFUSED,
                Some("[INFO] REFUSED\n"),
            ),
            (
                "log example {name} {\nclass denial\n}\nlog . {rcode}",
                Rcode::REFUSED,
                Some(""),
            ),
            (
                "log . {name} {\nclass denial error\n}",
                Rcode::REFUSED,
                Some("[INFO] www.example.\n"),
            ),
            (
                "log . {name} {\nclass denial\nclass all\n}",
                Rcode::REFUSED,
                Some("[INFO] www.example.\n"),
            ),
            ("log {combined}", Rcode::NXDOMAIN, None),
        ] {
            let process = process();
            let plugin = plugin(rules, &process).unwrap();
            let _ = plugin.on_response(&mut over(rcode));
            let text = lines(&process, &mut Vec::new());
            match line {
                Some(line) => assert_eq!(text, line, "{rules}"),
                None => assert!(
                    text.starts_with(
                        "[INFO] 0.0.0.0:0 - 4660 \"A IN www.example. udp 29 false 512\""
                    ),
                    "{text}"
                ),
            }
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (rules, error) in [
            ("log {\nclass\n}", "Wrong argument count"),
            ("log {\nclass warnings\n}", "invalid Class: warnings"),
            ("log {\nclas error\n}", "unknown property 'clas'"),
        ] {
            let Err(text) = plugin(rules, &process()) else {
                panic!("{rules} is taken");
            };
            assert!(text.contains(error), "{text}");
        }
    }

    #[test]
    fn a_line_allocates_nothing() {
        let (process, mut spare) = (process(), Vec::new());
        let plugin = plugin("log", &process).unwrap();
        let mut ex = over(Rcode::NOERROR);
        // Two buffers change places, and both have to grow: to two lines, since one is longer than
        // another when its query took longer.
        for _ in 0..2 {
            let _ = plugin.on_response(&mut ex);
            let _ = plugin.on_response(&mut ex);
            process.lines().unwrap().drain(&mut spare, |_, _| ());
        }
        let info = allocation_counter::measure(|| {
            let _ = plugin.on_response(&mut ex);
            process.lines().unwrap().drain(&mut spare, |_, _| ());
        });
        assert_eq!(info.count_total, 0);
    }
}
