//! Master files: zones as text (RFC 1035 section 5).
//!
//! | module | what it is |
//! |---|---|
//! | `chunks` | a file in pieces of whole lines |
//! | `reader` | entries and directives, one file in the other: records in the order in which they stand |
//! | `generate` | `$GENERATE` (BIND's) |
//! | `check` | what a zone should not hold, though it can be served |
//! | `error` | what is wrong, and where |
//! | `files` | the files of a zone as they were |
//!
//! What cannot be read is an error, and there is no zone. What can be read and is not meant to be in the
//! zone is left out, and what is there and will not do what its author expects is kept; both with a
//! warning.
//!
//! Files are read piece by piece: beside the zone, memory is bounded by the longest entry. Tokens and
//! records are [`corten_wire::text`]'s.
mod check;
mod chunks;
mod error;
mod files;
mod generate;
mod reader;

use std::path::Path;

use corten_wire::{Class, Name, RecordType, TextRecord};

use crate::build::Builder;
use crate::order::is_in;
use crate::zone::{Zone, ZoneError};
use check::Targets;
use reader::Reader;

pub use error::{MasterError, MasterErrorKind, Warning, WarningKind, Warnings};
pub use files::{FileVersion, Files, Look};

/// A zone, and what its author should know.
#[derive(Debug)]
pub struct Loaded {
    /// The zone.
    pub zone: Zone,
    /// What was left out, and what will not do what is expected of it.
    pub warnings: Warnings,
    /// The file and those that it includes, as they were when they were read.
    pub files: Files,
}

/// Reads the zone with this apex, a name in wire form, from a file.
///
/// # Errors
/// A file that cannot be read, or that changed meanwhile; whatever is no entry of a master file; a
/// zone without exactly one SOA record.
pub fn read_file(path: &Path, apex: &[u8]) -> Result<Loaded, MasterError> {
    load(path, apex, |reader| reader.file(path))
}

/// The same from a text that `path` stands for in messages. The text can include no files.
///
/// # Errors
/// As [`read_file`].
pub fn read(text: &[u8], path: &Path, apex: &[u8]) -> Result<Loaded, MasterError> {
    load(path, apex, |reader| reader.text(text, path))
}

/// Gives every record of a file to `sink`, in the order in which they stand, also those that are in no
/// zone of this apex. Owners keep their letter case.
///
/// # Errors
/// As [`read_file`]; what `sink` returns is told with the record's place.
pub fn records_of(
    path: &Path,
    apex: &[u8],
    sink: &mut dyn FnMut(&TextRecord) -> Result<(), ZoneError>,
) -> Result<Warnings, MasterError> {
    let origin = origin(path, apex)?;
    let mut reader = Reader::new(&origin, |record, _, _| sink(record));
    reader.file(path)?;
    Ok(reader.finish().0)
}

fn origin(path: &Path, apex: &[u8]) -> Result<Name, MasterError> {
    Name::from_wire(apex).map_err(|error| MasterError {
        path: path.into(),
        place: None,
        what: MasterErrorKind::Apex(error),
    })
}

fn load(
    path: &Path,
    apex: &[u8],
    run: impl FnOnce(&mut Reader<'_>) -> Result<(), MasterError>,
) -> Result<Loaded, MasterError> {
    let origin = origin(path, apex)?;
    let mut builder = Builder::new(origin.wire());
    let mut targets = Targets::default();
    let mut reader = Reader::new(&origin, |record, heard, warnings| {
        if let Some(what) = left_out(record, &origin) {
            warnings.push(heard.warning(what));
            return Ok(());
        }
        targets.note(record, &origin);
        builder.add(&record.owner, record.rtype, record.ttl, &record.rdata)
    });
    run(&mut reader)?;
    let (mut warnings, files) = reader.finish();
    let zone = builder.build().map_err(|error| MasterError {
        path: path.into(),
        place: None,
        what: match error {
            ZoneError::NoSoa => MasterErrorKind::NoSoa(Box::new(origin.clone())),
            error => MasterErrorKind::Zone(error),
        },
    })?;
    check::zone(&zone, targets, path, &mut warnings);
    Ok(Loaded {
        zone,
        warnings,
        files,
    })
}

/// Why a record does not belong into the zone, if it does not.
fn left_out(record: &TextRecord, origin: &Name) -> Option<WarningKind> {
    if record.class != Class::IN {
        return Some(WarningKind::Class(record.class));
    }
    // RFC 1035 section 5.2: no data of other zones, but for glue, which is below the apex.
    if !is_in(&record.owner, origin.wire()) {
        return Some(WarningKind::OutOfZone(named(&record.owner)));
    }
    if record.rtype == RecordType::SOA && record.owner.len() != origin.wire().len() {
        return Some(WarningKind::SoaBelowApex(named(&record.owner)));
    }
    None
}

/// A name in wire form that was read as one.
fn named(wire: &[u8]) -> Box<Name> {
    Box::new(Name::from_wire(wire).unwrap_or_default())
}

#[cfg(test)]
mod tests;
