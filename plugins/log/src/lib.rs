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
