//! Entries and directives of a file and of those that it includes.
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_wire::text::entry::{Entries, Entry, Token};
use corten_wire::text::{self, TTL_MAX, TextErrorKind, TtlFrom};
use corten_wire::{Name, RecordType, TextRecord};

use super::chunks::{Chunks, ENTRY_OCTETS_MAX};
use super::error::{MasterError, MasterErrorKind, Warning, WarningKind, Warnings};
use super::files::{FileVersion, Files};
use super::generate::Generate;
use crate::zone::ZoneError;

/// The byte order mark of Unicode.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Files that one file may be included by, one in the other (CoreDNS's limit).
const DEPTH_MAX: usize = 7;
/// Files that are read for one zone, at most.
const FILES_MAX: u32 = 10_000;
/// Records of one zone, at most.
const RECORDS_MAX: u32 = 100_000_000;

/// Takes records; may warn.
pub(super) type Sink<'s> =
    dyn FnMut(&TextRecord, &Heard<'_>, &mut Warnings) -> Result<(), ZoneError> + 's;

/// Where a record stands.
pub(super) struct Heard<'f> {
    path: &'f Arc<Path>,
    line: u32,
}

impl Heard<'_> {
    /// A warning about the record.
    pub(super) fn warning(&self, what: WarningKind) -> Warning {
        Warning {
            path: Arc::clone(self.path),
            line: Some(self.line),
            what,
        }
    }
}

/// Reads files and gives their records away.
pub(super) struct Reader<'s> {
    apex: &'s Name,
    sink: Box<Sink<'s>>,
    warnings: Warnings,
    read: Files,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    files: u32,
    records: u32,
}

/// What holds from one entry to the next.
struct State {
    path: Arc<Path>,
    origin: Name,
    default: Option<DefaultTtl>,
    /// The record before; its owner is that of lines that begin with a blank.
    record: TextRecord,
    /// The same for records of `$GENERATE`.
    generated: TextRecord,
}

/// The TTL of records that state none.
#[derive(Clone, Copy)]
struct DefaultTtl {
    seconds: u32,
    /// `$TTL` (RFC 2308 section 4); otherwise the last one stated (RFC 1035 section 5.1).
    by_directive: bool,
}

impl<'s> Reader<'s> {
    pub(super) fn new(
        apex: &'s Name,
        sink: impl FnMut(&TextRecord, &Heard<'_>, &mut Warnings) -> Result<(), ZoneError> + 's,
    ) -> Self {
        Self {
            apex,
            sink: Box::new(sink),
            warnings: Warnings::default(),
            read: Files::default(),
            open: Vec::new(),
            files: 0,
            records: 0,
        }
    }

    /// What there was to warn of, and the files that were read.
    pub(super) fn finish(self) -> (Warnings, Files) {
        (self.warnings, self.read)
    }

    /// Reads a file.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), MasterError> {
        let path: Arc<Path> = path.into();
        let (file, about) = open(&path).map_err(|error| MasterError {
            path: Arc::clone(&path),
            place: None,
            what: MasterErrorKind::Open { error },
        })?;
        let state = State::new(&path, self.apex.clone(), None);
        self.opened(file, &about, state)?;
        // Files that were put in the place of others meanwhile are not of one zone.
        match self.read.changed() {
            None => Ok(()),
            Some(path) => Err(MasterError {
                path: Arc::clone(path),
                place: None,
                what: MasterErrorKind::Changed,
            }),
        }
    }

    /// Reads a text.
    pub(super) fn text(&mut self, text: &[u8], path: &Path) -> Result<(), MasterError> {
        let state = State::new(&path.into(), self.apex.clone(), None);
        self.entries(text, state).map(|_| ())
    }

    fn opened(&mut self, file: File, about: &Metadata, state: State) -> Result<(), MasterError> {
        let path = Arc::clone(&state.path);
        let error = |what| MasterError {
            path: Arc::clone(&path),
            place: None,
            what,
        };
        if !about.is_file() {
            return Err(error(MasterErrorKind::NotAFile));
        }
        let identity = fs::canonicalize(&path).unwrap_or_else(|_| path.to_path_buf());
        if self.open.contains(&identity) {
            return Err(error(MasterErrorKind::Loop(path.display().to_string())));
        }
        self.files += 1;
        if self.files > FILES_MAX {
            return Err(error(MasterErrorKind::TooManyFiles(FILES_MAX)));
        }
        self.open.push(identity);
        let octets = self.entries(&file, state)?;
        self.open.pop();
        // A file that somebody is writing ends anywhere.
        let now = file
            .metadata()
            .map_err(|cause| error(MasterErrorKind::Read(cause)))?;
        if FileVersion::known(about) != FileVersion::known(&now) || octets != now.len() {
            return Err(error(MasterErrorKind::Changed));
        }
        self.read.push(&path, about);
        Ok(())
    }

    /// Reads entries to the end; returns how many octets that were.
    fn entries(&mut self, from: impl Read, mut state: State) -> Result<u64, MasterError> {
        let mut chunks = Chunks::new(from);
        let (mut line, mut begins) = (1, true);
        loop {
            let too_long = MasterErrorKind::EntryTooLong(ENTRY_OCTETS_MAX);
            let piece = match chunks.piece() {
                Ok(Some(piece)) => piece,
                Ok(None) => return Err(state.error((line, 1), too_long)),
                Err(error) => {
                    let what = MasterErrorKind::Read(error);
                    return Err(state.error((line, 1), what));
                }
            };
            let last = piece.last;
            // Editors of another system put it in front of UTF-8.
            let octets = match begins {
                true => piece.octets.strip_prefix(MARK).unwrap_or(piece.octets),
                false => piece.octets,
            };
            let mark = piece.octets.len() - octets.len();
            begins = false;
            let mut entries = Entries::from_line(octets, line);
            let mut entry = Entry::default();
            loop {
                match entries.read(&mut entry) {
                    Ok(true) => self.entry(&entry, &mut state)?,
                    Ok(false) => break,
                    // It is closed in the next piece.
                    Err(error) if !last && error.what == TextErrorKind::OpenParenthesis => break,
                    Err(error) => return Err(MasterError::text(&state.path, error)),
                }
            }
            let (used, next) = entries.rest();
            if last {
                if piece.octets.last().is_some_and(|octet| *octet != b'\n') {
                    let heard = Heard {
                        path: &state.path,
                        line: next,
                    };
                    self.warnings.push(heard.warning(WarningKind::CutShort));
                }
                return Ok(chunks.total);
            }
            line = next;
            chunks.consume(mark + used);
        }
    }

    fn entry(&mut self, entry: &Entry<'_>, state: &mut State) -> Result<(), MasterError> {
        let Some(first) = entry.tokens.first() else {
            return Ok(());
        };
        let dollar = !first.quoted && first.octets.starts_with(b"$") && !entry.begins_with_blank;
        if !dollar {
            return self.record(entry, state);
        }
        let is = |directive: &str| first.octets.eq_ignore_ascii_case(directive.as_bytes());
        if is("$ORIGIN") {
            let [token] = arguments(entry, state, "$ORIGIN", ["name"])?;
            state.origin = state.name(token)?;
            state.nothing_behind(entry, 2)
        } else if is("$TTL") {
            let [token] = arguments(entry, state, "$TTL", ["TTL"])?;
            let seconds = token.text().and_then(text::duration);
            let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
            let Some(seconds) = seconds.filter(|seconds| *seconds <= TTL_MAX) else {
                return Err(state.error(token.place, MasterErrorKind::Ttl(token.shown())));
            };
            state.default = Some(DefaultTtl {
                seconds,
                by_directive: true,
            });
            state.nothing_behind(entry, 2)
        } else if is("$INCLUDE") {
            self.include(entry, state)
        } else if is("$GENERATE") {
            self.generate(entry, state)
        } else {
            // An owner may begin with a dollar.
            let what = MasterErrorKind::Directive(first.shown());
            let unknown = state.error(first.place, what);
            self.record(entry, state).map_err(|_| unknown)
        }
    }

    fn record(&mut self, entry: &Entry<'_>, state: &mut State) -> Result<(), MasterError> {
        let place = entry.tokens.first().map_or((1, 1), |token| token.place);
        let default = state.default.map(|default| default.seconds);
        let from = match entry.read(&state.origin, default, &mut state.record) {
            Ok(from) => from,
            Err(error)
                if error.what == TextErrorKind::NoTtl && state.record.rtype == RecordType::SOA =>
            {
                self.minimum(entry, state, place.0)?
            }
            Err(error) => return Err(MasterError::text(&state.path, error)),
        };
        let by_directive = state.default.is_some_and(|default| default.by_directive);
        if from == TtlFrom::Record && !by_directive {
            state.default = Some(DefaultTtl {
                seconds: state.record.ttl,
                by_directive,
            });
        }
        self.give(&state.record, &state.path, place)
    }

    /// A SOA record without any TTL has its minimum, as records without one had before RFC 2308, and
    /// those behind it have that too.
    fn minimum(
        &mut self,
        entry: &Entry<'_>,
        state: &mut State,
        line: u32,
    ) -> Result<TtlFrom, MasterError> {
        entry
            .read(&state.origin, Some(0), &mut state.record)
            .map_err(|error| MasterError::text(&state.path, error))?;
        let minimum = state.record.rdata.last_chunk().copied();
        state.record.ttl = u32::from_be_bytes(minimum.unwrap_or_default()).min(TTL_MAX);
        let heard = Heard {
            path: &state.path,
            line,
        };
        self.warnings
            .push(heard.warning(WarningKind::TtlFromMinimum(state.record.ttl)));
        Ok(TtlFrom::Record)
    }

    fn give(
        &mut self,
        record: &TextRecord,
        path: &Arc<Path>,
        place: (u32, u32),
    ) -> Result<(), MasterError> {
        let error = |what| MasterError {
            path: Arc::clone(path),
            place: Some(place),
            what,
        };
        self.records += 1;
        if self.records > RECORDS_MAX {
            return Err(error(MasterErrorKind::TooManyRecords(RECORDS_MAX)));
        }
        let line = place.0;
        (self.sink)(record, &Heard { path, line }, &mut self.warnings)
            .map_err(|cause| error(MasterErrorKind::Zone(cause)))
    }

    fn include(&mut self, entry: &Entry<'_>, state: &mut State) -> Result<(), MasterError> {
        let [token] = arguments(entry, state, "$INCLUDE", ["file"])?;
        let origin = match entry.tokens.get(2) {
            Some(token) => state.name(token)?,
            None => state.origin.clone(),
        };
        state.nothing_behind(entry, 3)?;
        if self.open.is_empty() {
            return Err(state.error(token.place, MasterErrorKind::IncludeForbidden));
        }
        if self.open.len() > DEPTH_MAX {
            return Err(state.error(token.place, MasterErrorKind::TooDeep(DEPTH_MAX)));
        }
        let beside = state.path.parent().unwrap_or_else(|| Path::new(""));
        let path: Arc<Path> = beside.join(OsStr::from_bytes(token.octets)).into();
        let (file, about) = open(&path).map_err(|error| {
            let path = path.display().to_string();
            state.error(token.place, MasterErrorKind::Include { path, error })
        })?;
        // What it sets ends with it; the records behind it are relative to the origin before.
        let inner = State::new(&path, origin, state.default);
        self.opened(file, &about, inner)
            .map_err(|error| match error {
                // It is this line that leads back.
                MasterError {
                    place: None,
                    what: MasterErrorKind::Loop(path),
                    ..
                } => state.error(token.place, MasterErrorKind::Loop(path)),
                error => error,
            })
    }

    fn generate(&mut self, entry: &Entry<'_>, state: &mut State) -> Result<(), MasterError> {
        let place = |at: usize| entry.tokens.get(at).map_or((1, 1), |token| token.place);
        let generate = Generate::read(entry).map_err(|(at, what)| state.error(place(at), what))?;
        let default = state.default.map(|default| default.seconds);
        let mut line = Vec::new();
        for number in generate.numbers() {
            generate.line(number, &mut line);
            let mut made = Entry::default();
            let mut entries = Entries::new(&line);
            entries
                .read(&mut made)
                .and_then(|_| made.read(&state.origin, default, &mut state.generated))
                .map_err(|error| {
                    let what = MasterErrorKind::Generated {
                        number,
                        line: text::shown(&line),
                        error: error.what,
                    };
                    state.error(place(0), what)
                })?;
            self.give(&state.generated, &state.path, place(0))?;
        }
        Ok(())
    }
}

impl State {
    fn new(path: &Arc<Path>, origin: Name, default: Option<DefaultTtl>) -> Self {
        Self {
            path: Arc::clone(path),
            origin,
            default,
            record: TextRecord::default(),
            generated: TextRecord::default(),
        }
    }

    fn error(&self, place: (u32, u32), what: MasterErrorKind) -> MasterError {
        MasterError {
            path: Arc::clone(&self.path),
            place: Some(place),
            what,
        }
    }

    /// The name that a token stands for.
    fn name(&self, token: &Token<'_>) -> Result<Name, MasterError> {
        text::relative_name(token.octets, &self.origin).map_err(|error| {
            let text = token.shown();
            let what = TextErrorKind::Name { text, error };
            self.error(token.place, MasterErrorKind::Text(what))
        })
    }

    fn nothing_behind(&self, entry: &Entry<'_>, count: usize) -> Result<(), MasterError> {
        match entry.tokens.get(count) {
            Some(token) => Err(self.error(token.place, MasterErrorKind::Trailing(token.shown()))),
            None => Ok(()),
        }
    }
}

/// The words behind a directive.
fn arguments<'e, 't, const COUNT: usize>(
    entry: &'e Entry<'t>,
    state: &State,
    directive: &'static str,
    names: [&'static str; COUNT],
) -> Result<[&'e Token<'t>; COUNT], MasterError> {
    let place = entry.tokens.first().map_or((1, 1), |token| token.place);
    let mut found = Vec::with_capacity(COUNT);
    for (at, missing) in names.into_iter().enumerate() {
        let token = entry.tokens.get(at + 1);
        found.push(
            token.ok_or_else(|| {
                state.error(place, MasterErrorKind::Missing { directive, missing })
            })?,
        );
    }
    match found.try_into() {
        Ok(found) => Ok(found),
        Err(_) => Err(state.error(
            place,
            MasterErrorKind::Missing {
                directive,
                missing: "word",
            },
        )),
    }
}

/// A file and what there is to know of it. Opening a pipe would wait for somebody to write.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let about = fs::metadata(path)?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    Ok((file, about))
}
