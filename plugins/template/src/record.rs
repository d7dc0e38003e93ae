//! A template of a record.
use corten_gotemplate::{
    ExecError, Function, Limits, PARSE_INT, ParseError, Piece, Template, Value,
};
use corten_plugin::wire::text::entry::Entries;
use corten_plugin::wire::{Class, Name, Owner, RecordType, Reply, Section, TextError, TextRecord};

use crate::data::Data;

/// Seconds: the TTL of a record that names none, CoreDNS's.
const TTL_DEFAULT: u32 = 3600;

/// A record's RDATA may have 65,535 octets, and more digits.
const LIMITS: Limits = Limits {
    steps_max: 20_000,
    output_octets_max: 256 << 10,
};

static FUNCTIONS: [Function; 1] = [PARSE_INT];

/// Stands for the question's name while a template is looked at.
const QUESTION: &str = "question.invalid.";

/// A template and, where it always gives the same, what it gives.
pub(crate) struct RecordTemplate {
    template: Template,
    /// As Go writes it: a label of metrics.
    pub(crate) shown: String,
    /// One for each zone of the rule; nothing when the template must be executed.
    fixed: Option<Vec<Result<Option<Fixed>, TextError>>>,
}

/// A record that was encoded when the configuration was read.
struct Fixed {
    /// The owner is the question's name.
    of_question: bool,
    record: TextRecord,
}

/// Why a template gave no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Template(#[from] ExecError),
    #[error("not a record: {0}")]
    Record(#[from] TextError),
}

/// What a rule is for: values that are the same for every query that it takes.
#[derive(Clone, Copy)]
pub(crate) struct Constants {
    pub(crate) class: Class,
    pub(crate) rtype: RecordType,
}

impl RecordTemplate {
    /// Parses a template; `section` is what errors call it.
    pub(crate) fn parse(section: &str, text: &str) -> Result<Self, ParseError> {
        let template = Template::parse(section, text, &FUNCTIONS)?;
        Ok(Self {
            shown: template.to_string(),
            template,
            fixed: None,
        })
    }

    /// Encodes the record for each zone if it is the same for every query.
    pub(crate) fn fix(&mut self, constants: Constants, zones: &[Name]) {
        let texts: Option<Vec<_>> = zones
            .iter()
            .map(|zone| self.constant(constants, zone))
            .collect();
        self.fixed = texts.map(|texts| {
            let fixed = |(of_question, text): (bool, String)| {
                let record = read(&text)?;
                Ok(record.map(|record| Fixed {
                    of_question,
                    record,
                }))
            };
            texts.into_iter().map(fixed).collect()
        });
    }

    /// The text of the record, if every query gives the same; its owner may be the question's name.
    fn constant(&self, constants: Constants, zone: &Name) -> Option<(bool, String)> {
        let pieces = self.template.pieces()?;
        let of_question = match pieces[..] {
            [Piece::Field("Name"), Piece::Text(behind), ..] => behind.starts_with([' ', '\t']),
            _ => false,
        };
        let mut text = String::new();
        for (index, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Field("Name") if index == 0 && of_question => text.push_str(QUESTION),
                Piece::Field("Zone") => text.push_str(&zone.to_string()),
                // A query of class or type ANY is answered as the rule's own.
                Piece::Field("Class") if constants.class != Class::ANY => {
                    text.push_str(constants.class.mnemonic()?);
                }
                Piece::Field("Type") if constants.rtype != RecordType::ANY => {
                    text.push_str(constants.rtype.mnemonic()?);
                }
                Piece::Field(_) => return None,
            }
        }
        Some((of_question, text))
    }

    /// Whether the template need not be executed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// The error of a template that never gives a record.
    pub(crate) fn broken(&self) -> Option<&TextError> {
        self.fixed
            .iter()
            .flatten()
            .find_map(|fixed| fixed.as_ref().err())
    }

    /// Adds the record of a fixed template to a reply; returns its type and RDATA. `zone` is the
    /// place of the zone in the rule.
    pub(crate) fn push_fixed<'r>(
        &'r self,
        zone: usize,
        reply: &mut Reply,
        section: Section,
    ) -> Result<Option<(RecordType, &'r [u8])>, Failure> {
        let Some(fixed) = self.fixed.as_ref().and_then(|fixed| fixed.get(zone)) else {
            return Ok(None);
        };
        let Some(fixed) = fixed.as_ref().map_err(|error| error.clone())? else {
            return Ok(None);
        };
        let owner = match fixed.of_question {
            true => Owner::Question,
            false => Owner::Wire(&fixed.record.owner),
        };
        push(reply, section, owner, &fixed.record);
        Ok(Some((fixed.record.rtype, &fixed.record.rdata)))
    }

    /// Executes the template, and adds its record to a reply.
    pub(crate) fn render(
        &self,
        data: &Data<'_>,
        text: &mut String,
        reply: &mut Reply,
        section: Section,
    ) -> Result<Option<TextRecord>, Failure> {
        text.clear();
        self.template.execute(Value::Object(data), &LIMITS, text)?;
        let record = read(text)?;
        if let Some(record) = &record {
            push(reply, section, Owner::Wire(&record.owner), record);
        }
        Ok(record)
    }
}

fn push(reply: &mut Reply, section: Section, owner: Owner<'_>, record: &TextRecord) {
    let TextRecord {
        rtype, class, ttl, ..
    } = *record;
    let fits = reply.push_class(section, owner, rtype, class, ttl, |rdata| {
        rdata.octets(&record.rdata);
    });
    reply.truncated |= !fits;
}

/// The record that a text begins with; nothing for an empty text, and what stands behind the first
/// record is left alone, as CoreDNS does it.
fn read(text: &str) -> Result<Option<TextRecord>, TextError> {
    match Entries::new(text.as_bytes()).next().transpose()? {
        None => Ok(None),
        Some(entry) => entry
            .record(&Name::root(), Some(TTL_DEFAULT), None)
            .map(Some),
    }
}
