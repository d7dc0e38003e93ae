//! The file in which updates are before they are answered.
//!
//! A magic, the zone's name behind its length, then entries: length, checksum, octets. An entry is on
//! disk before its update is acknowledged. What a crash cut off at the end was never acknowledged; it is
//! taken away.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use corten_plugin::wire::RecordType;
use corten_zone::RecordBuf;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"CORTENU1";
/// Octets in front of an entry's own.
const HEAD_OCTETS: usize = 12;

/// One change as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// It stands for everything before it.
    pub(crate) whole: bool,
    /// Serial of the version that the zone's file had.
    pub(crate) base: u32,
    /// Serial of the version that came of it.
    pub(crate) serial: u32,
    pub(crate) removed: Vec<RecordBuf>,
    /// Each with the time at which it expires, in seconds since 1970; 0 for never.
    pub(crate) added: Vec<(RecordBuf, u64)>,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Octets of what is whole.
    octets: u64,
    /// There may be something behind that: what could not be written, nor taken away.
    torn: bool,
}

/// What was read when a file was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) entries: Vec<Entry>,
    /// Octets behind the last entry that was whole; they are in a file beside.
    pub(crate) damaged: u64,
    /// Those are what a crash leaves of the last entry: it was never acknowledged. Otherwise somebody
    /// has changed the file.
    pub(crate) is_cut: bool,
}

impl Journal {
    /// Opens the file of a zone, or makes it.
    pub(crate) fn open(path: &Path, apex: &[u8]) -> io::Result<Opened> {
        let head = [MAGIC, &[apex.len() as u8][..], apex].concat();
        let mut octets = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                file.read_to_end(&mut octets)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
        if octets.len() < head.len() && head.starts_with(&octets) {
            // It is new, or the crash came while it was.
            replace(path, &head)?;
            octets.clone_from(&head);
        }
        let Some(mut rest) = octets.strip_prefix(&head[..]) else {
            let what = match octets.starts_with(MAGIC) {
                true => "is the journal of another zone",
                // Or of a version of ours that writes other ones.
                false => "is no journal, or none that this version reads",
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        let mut entries = Vec::new();
        while let Some((entry, behind)) = entry(rest) {
            entries.push(entry);
            rest = behind;
        }
        let whole = (octets.len() - rest.len()) as u64;
        let file = OpenOptions::new().append(true).open(path)?;
        if !rest.is_empty() {
            // Only when that is on disk for certain.
            replace(&path.with_extension("damaged"), rest)?;
            file.set_len(whole)?;
            file.sync_all()?;
        }
        Ok(Opened {
            entries,
            damaged: rest.len() as u64,
            is_cut: is_cut(rest),
            journal: Self {
                path: path.into(),
                file,
                octets: whole,
                torn: false,
            },
        })
    }

    /// Octets of the file.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// Adds entries. They are on disk when this returns; after an error nothing of them is.
    pub(crate) fn append(&mut self, entries: &[&Entry]) -> io::Result<()> {
        self.write(entries).map_err(|error| {
            let what = format!("{}: {error}", self.path.display());
            io::Error::new(error.kind(), what)
        })
    }

    fn write(&mut self, entries: &[&Entry]) -> io::Result<()> {
        let octets: Vec<_> = entries
            .iter()
            .map(|entry| framed(entry))
            .collect::<io::Result<_>>()?;
        let octets = octets.concat();
        if self.torn {
            // What is behind something torn would not be read again.
            self.file.set_len(self.octets)?;
            self.torn = false;
        }
        let written = self
            .file
            .write_all(&octets)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.torn = self.file.set_len(self.octets).is_err();
            return Err(error);
        }
        self.octets += octets.len() as u64;
        Ok(())
    }

    /// Replaces everything by one entry.
    pub(crate) fn compact(&mut self, apex: &[u8], entry: &Entry) -> io::Result<()> {
        let entry = framed(entry)?;
        let octets = [MAGIC, &[apex.len() as u8][..], apex, &entry].concat();
        let new = Beside::write(&self.path, &octets)?;
        new.put()?;
        // From here on nothing may go into the old file, whatever becomes of the folder.
        self.file = new.file;
        self.octets = octets.len() as u64;
        self.torn = false;
        new.folder.sync_all()
    }
}

/// Makes the folder of journals, if it is not there; it is there after a power cut, too.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        parent(folder)?.sync_all()?;
    }
    Ok(())
}

/// The folder that a name is in: a name is on disk only when that is.
fn parent(path: &Path) -> io::Result<File> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))
}

/// Writes a file whole or not at all, for the owner's eyes.
pub(crate) fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let new = Beside::write(path, octets)?;
    new.put()?;
    new.folder.sync_all()
}

/// A file beside its place, on disk.
struct Beside<'p> {
    path: PathBuf,
    place: &'p Path,
    /// Open for more.
    file: File,
    /// Opened before anything changes: there may be no room for another open file later.
    folder: File,
}

impl<'p> Beside<'p> {
    fn write(place: &'p Path, octets: &[u8]) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        // Behind the whole name: `db.a.new` may be another zone's file.
        let mut path = place.as_os_str().to_owned();
        path.push(".new~");
        let path = PathBuf::from(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let folder = parent(place)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)?;
        let written = file.write_all(octets).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // What is left of it would be in the way where the disk is full.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            path,
            place,
            file,
            folder,
        })
    }

    /// Moves it to its place.
    fn put(&self) -> io::Result<()> {
        fs::rename(&self.path, self.place)
    }
}

fn checksum(octets: &[u8]) -> [u8; 8] {
    let digest = Sha256::digest(octets);
    digest.first_chunk().copied().unwrap_or_default()
}

/// Whether octets that are no entry are the beginning of one: a crash cuts the last one off, or
/// leaves zeros where it was to be.
fn is_cut(octets: &[u8]) -> bool {
    let length = octets
        .first_chunk()
        .map_or(usize::MAX, |length| u32::from_be_bytes(*length) as usize);
    octets.len().saturating_sub(HEAD_OCTETS) <= length || octets.iter().all(|octet| *octet == 0)
}

fn framed(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut own = vec![u8::from(entry.whole)];
    own.extend(entry.base.to_be_bytes());
    own.extend(entry.serial.to_be_bytes());
    own.extend((entry.removed.len() as u32).to_be_bytes());
    for record in &entry.removed {
        write(record, 0, &mut own);
    }
    for (record, expires) in &entry.added {
        write(record, *expires, &mut own);
    }
    let length = u32::try_from(own.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut octets = length.to_be_bytes().to_vec();
    octets.extend(checksum(&own));
    octets.extend(own);
    Ok(octets)
}

fn write(record: &RecordBuf, expires: u64, out: &mut Vec<u8>) {
    out.push(record.owner.len() as u8);
    out.extend_from_slice(&record.owner);
    out.extend(record.rtype.0.to_be_bytes());
    out.extend(record.ttl.to_be_bytes());
    out.extend(expires.to_be_bytes());
    out.extend((record.rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(&record.rdata);
}

/// The first entry and what is behind it.
fn entry(octets: &[u8]) -> Option<(Entry, &[u8])> {
    let length = u32::from_be_bytes(*octets.first_chunk()?) as usize;
    let sum = octets.get(4..HEAD_OCTETS)?;
    let own = octets
        .get(HEAD_OCTETS..HEAD_OCTETS.checked_add(length)?)
        .filter(|own| checksum(own) == *sum)?;
    let mut rest = own.get(13..)?;
    let number = |at: usize| Some(u32::from_be_bytes(*own.get(at..)?.first_chunk()?));
    let mut entry = Entry {
        whole: own.first() == Some(&1),
        base: number(1)?,
        serial: number(5)?,
        ..Entry::default()
    };
    for _ in 0..number(9)? {
        let (record, _, behind) = record(rest)?;
        entry.removed.push(record);
        rest = behind;
    }
    while !rest.is_empty() {
        let (record, expires, behind) = record(rest)?;
        entry.added.push((record, expires));
        rest = behind;
    }
    Some((entry, octets.get(HEAD_OCTETS + length..)?))
}

fn record(octets: &[u8]) -> Option<(RecordBuf, u64, &[u8])> {
    let (length, rest) = octets.split_first()?;
    let (owner, rest) = rest.split_at_checked(usize::from(*length))?;
    let (rtype, rest) = rest.split_first_chunk()?;
    let (ttl, rest) = rest.split_first_chunk()?;
    let (expires, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let record = RecordBuf {
        owner: owner.into(),
        rtype: RecordType(u16::from_be_bytes(*rtype)),
        ttl: u32::from_be_bytes(*ttl),
        rdata: rdata.into(),
    };
    Some((record, u64::from_be_bytes(*expires), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What could not be taken away when the disk was full is taken away before something else comes.
    #[test]
    fn nothing_is_written_behind_what_is_torn() {
        let path = std::env::temp_dir().join(format!("corten-torn-{}.journal", std::process::id()));
        let _ = fs::remove_file(&path);
        let mut journal = Journal::open(&path, b"\0").unwrap().journal;
        journal.append(&[&Entry::default()]).unwrap();
        journal.file.write_all(b"half of an ent").unwrap();
        journal.torn = true;
        let last = Entry {
            serial: 7,
            ..Entry::default()
        };
        journal.append(&[&last]).unwrap();
        let opened = Journal::open(&path, b"\0").unwrap();
        assert_eq!(opened.entries, [Entry::default(), last]);
        fs::remove_file(&path).unwrap();
    }
}
