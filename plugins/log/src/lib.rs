//! *log*: one line for each query, in CoreDNS's formats.
mod format;

use corten_plugin::corefile::{Line, Occurrence};
use corten_plugin::wire::{Opcode, Rcode, RecordType, Section};
use corten_plugin::{Directive, Exchange, Flow, Interest, Plugin, Setup, SetupError, Zones};

use format::Format;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "log",
    setup,
    readme: include_str!("../README.md"),
};

/// Kinds of replies that a rule can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Success,
    Denial,
    Error,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denial => "denial",
            Self::Error => "error",
        }
    }
}

/// What is logged of names in some zones.
struct Rule {
    zones: Zones,
    format: Format,
    /// Nothing for all.
    classes: Vec<Class>,
}

struct Log {
    rules: Vec<Rule>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let rules = setup
        .occurrences()?
        .iter()
        .map(|line| rule(setup, line))
        .collect::<Result<_, _>>()?;
    setup.push(Log { rules });
    Ok(())
}

fn rule(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Rule, SetupError> {
    // CoreDNS takes a format that stands alone for a name, and logs nothing; its manual says that
    // names are optional.
    let (names, format) = match line.args.split_last() {
        Some((last, names)) if last.text.contains('{') => (names, last.text.as_str()),
        _ => (&line.args[..], "{common}"),
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
        format: Format::read(format),
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
                let error = word.error(format!("unknown class '{other}'"));
                return Err(error
                    .help("classes are success, denial, error and all")
                    .into());
            }
        }
    }
    Ok(all)
}

/// What kind of reply this is; names and rules are those of CoreDNS's `response.Typify`. A reply
/// with signatures that have expired is taken like others.
fn typify(ex: &Exchange) -> (&'static str, Class) {
    let (reply, question) = (&ex.reply, &ex.query.question);
    if ex.is_dropped() {
        return ("OTHERERROR", Class::Error);
    }
    if ex.query.opcode() != Opcode::QUERY
        || matches!(question.rtype, RecordType::AXFR | RecordType::IXFR)
    {
        return ("META", Class::Error);
    }
    let answered = reply.count(Section::Answer) > 0;
    let authority = |rtype| {
        let mut records = reply.records().iter();
        records.any(|record| record.section == Section::Authority && record.rtype == rtype)
    };
    match reply.rcode {
        Rcode::NOERROR if answered => ("NOERROR", Class::Success),
        Rcode::NOERROR if authority(RecordType::SOA) => ("NODATA", Class::Denial),
        Rcode::NOERROR if authority(RecordType::NS) => ("DELEGATION", Class::Success),
        Rcode::NOERROR => ("NOERROR", Class::Success),
        Rcode::NXDOMAIN if !answered => ("NXDOMAIN", Class::Denial),
        Rcode::SERVFAIL | Rcode::NOTIMP => ("SERVERERROR", Class::Error),
        _ => ("OTHERERROR", Class::Error),
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
        let mut rules = self.rules.iter();
        let Some(rule) = rules.find(|rule| rule.zones.matches(name).is_some()) else {
            return Flow::Respond;
        };
        let (kind, class) = typify(ex);
        ex.set_metadata("log/type", kind);
        ex.set_metadata("log/class", class.name());
        if rule.classes.is_empty() || rule.classes.contains(&class) {
            tracing::info!(target: "query", "{}", rule.format.line(ex));
        }
        Flow::Respond
    }
}
