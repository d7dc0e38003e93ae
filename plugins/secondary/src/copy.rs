//! A zone's copy on disk, so that a restart needs no primary.
//!
//! One file for each zone: what it is, the records, and a digest of all of it. It is written beside
//! the old one and takes its place when it is whole. When it was last known to be the primary's is
//! the file's time of change.
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use corten_plugin::wire::{Name, RecordType};
use corten_zone::{Builder, Zone};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::incoming::Bounds;

const MAGIC: &[u8; 16] = b"corten zone 0001";
const DIGEST_OCTETS: usize = 32;

/// Where copies are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store(PathBuf);

/// A copy that was read.
pub(crate) struct Kept {
    pub(crate) zone: Zone,
    /// When it was last the primary's.
    pub(crate) refreshed: SystemTime,
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Store {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The file of a zone: its name, with what is no letter, digit, dot or hyphen as `%XX`.
    fn file(&self, name: &Name) -> PathBuf {
        let mut text = String::new();
        for octet in name.to_string().bytes() {
            match octet {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(octet)),
                _ => text.push_str(&format!("%{octet:02x}")),
            }
        }
        // The longest names have four characters for an octet; file systems take 255.
        if text.len() > 200 {
            let digest = Sha256::digest(name.wire());
            text.truncate(160);
            text.extend(digest.iter().take(16).map(|octet| format!("{octet:02x}")));
        }
        self.0.join(format!("zone-{text}copy"))
    }

    /// Reads a zone's copy; nothing if there is none.
    pub(crate) fn read(&self, name: &Name, bounds: Bounds) -> io::Result<Option<Kept>> {
        let file = match File::open(self.file(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        if meta.len() > bounds.octets_max.saturating_mul(2).saturating_add(4096) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let zone = read(BufReader::new(file), name)?;
        Ok(Some(Kept {
            zone,
            refreshed: meta.modified()?,
        }))
    }

    /// Writes a zone's copy.
    pub(crate) fn write(&self, name: &Name, zone: &Zone) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.file(name);
        let beside = path.with_extension("new");
        let file = alone(&beside)?;
        let moved = write(&file, name, zone).and_then(|()| fs::rename(&beside, &path));
        if moved.is_err() {
            let _ = fs::remove_file(&beside);
        }
        moved?;
        // The name is on the disk only when the folder is.
        File::open(&self.0)?.sync_all()
    }

    /// Notes that the copy is the primary's still.
    pub(crate) fn touch(&self, name: &Name) -> io::Result<()> {
        let file = File::options().append(true).open(self.file(name))?;
        file.set_modified(SystemTime::now())
    }

    /// Removes the copy of a zone that is no longer served.
    pub(crate) fn remove(&self, name: &Name) {
        let _ = fs::remove_file(self.file(name));
    }
}

/// An empty file of this name that nobody else writes into until it is closed: one process takes over from
/// another, and one generation of a configuration from another, while both write.
fn alone(path: &Path) -> io::Result<File> {
    loop {
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        // Whoever had it before has moved it to its place, or removed it.
        let is = |meta: &fs::Metadata| (meta.dev(), meta.ino());
        let there = fs::metadata(path).ok();
        if there.is_some_and(|there| file.metadata().is_ok_and(|own| is(&own) == is(&there))) {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

fn write(file: &File, name: &Name, zone: &Zone) -> io::Result<()> {
    let mut out = Digesting {
        inner: BufWriter::with_capacity(1 << 16, file),
        digest: Sha256::new(),
    };
    out.write_all(MAGIC)?;
    put(&mut out, name.wire())?;
    for record in zone.records() {
        put(&mut out, record.owner)?;
        out.write_all(&record.rtype.0.to_be_bytes())?;
        out.write_all(&record.ttl.to_be_bytes())?;
        put(&mut out, record.rdata)?;
    }
    put(&mut out, &[])?;
    let digest = out.digest.finalize();
    out.inner.write_all(&digest)?;
    out.inner.flush()?;
    file.sync_all()
}

/// Digests what is written through it.
struct Digesting<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(octets)?;
        self.digest
            .update(octets.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The same for what is read.
impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(octets)?;
        self.digest.update(octets.get(..length).unwrap_or_default());
        Ok(length)
    }
}

/// Octets with their length in front.
fn put(out: &mut impl Write, octets: &[u8]) -> io::Result<()> {
    let length = u16::try_from(octets.len()).map_err(|_| broken("a record is too long"))?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(octets)
}

fn take(from: &mut impl Read, into: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 2];
    from.read_exact(&mut length)?;
    into.resize(usize::from(u16::from_be_bytes(length)), 0);
    from.read_exact(into)
}

fn read(file: impl Read, name: &Name) -> io::Result<Zone> {
    let mut from = Digesting {
        inner: file,
        digest: Sha256::new(),
    };
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    let (mut owner, mut rdata) = (Vec::new(), Vec::new());
    take(&mut from, &mut owner)?;
    if magic != *MAGIC || owner != name.wire() {
        return Err(broken("the file is no copy of this zone"));
    }
    let mut builder = Builder::new(name.wire());
    loop {
        take(&mut from, &mut owner)?;
        if owner.is_empty() {
            break;
        }
        let (mut rtype, mut ttl) = ([0; 2], [0; 4]);
        from.read_exact(&mut rtype)?;
        from.read_exact(&mut ttl)?;
        take(&mut from, &mut rdata)?;
        let rtype = RecordType(u16::from_be_bytes(rtype));
        builder
            .add(&owner, rtype, u32::from_be_bytes(ttl), &rdata)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    let made = from.digest.finalize();
    let mut written = [0; DIGEST_OCTETS];
    from.inner.read_exact(&mut written)?;
    if made[..] != written {
        return Err(broken("the copy is damaged"));
    }
    builder
        .build()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        records_max: 100,
        octets_max: 10_000,
    };

    fn zone(name: &Name) -> Zone {
        let mut builder = Builder::new(name.wire());
        let mut soa = vec![0, 0];
        soa.extend([0, 0, 0, 7]);
        soa.extend([0; 16]);
        builder.add(name.wire(), RecordType::SOA, 60, &soa).unwrap();
        builder
            .add(name.wire(), RecordType::NS, 30, b"\x02NS\0")
            .unwrap();
        builder.build().unwrap()
    }

    fn folder() -> PathBuf {
        let number: u64 = rand::random();
        std::env::temp_dir().join(format!("corten-copy-{number:016x}"))
    }

    #[test]
    fn what_was_written_is_read() {
        let store = Store::new(folder());
        for text in [
            "example",
            ".",
            r"a\/b\.c.Example",
            &"x".repeat(63),
            &r"\255".repeat(60),
        ] {
            let name: Name = text.parse().unwrap();
            assert!(store.read(&name, BOUNDS).unwrap().is_none(), "{text}");
            store.write(&name, &zone(&name)).unwrap();
            let kept = store.read(&name, BOUNDS).unwrap().unwrap();
            let all = |zone: &Zone| zone.records().map(|r| r.to_owned()).collect::<Vec<_>>();
            assert_eq!(all(&kept.zone), all(&zone(&name)));
            store.touch(&name).unwrap();
            let later = store.read(&name, BOUNDS).unwrap().unwrap();
            assert!(later.refreshed >= kept.refreshed);
            store.remove(&name);
            assert!(store.read(&name, BOUNDS).unwrap().is_none());
        }
        assert_eq!(fs::read_dir(&store.0).unwrap().count(), 0);
        fs::remove_dir_all(&store.0).unwrap();
    }

    #[test]
    fn a_damaged_copy_is_not_served() {
        let store = Store::new(folder());
        let name: Name = "example".parse().unwrap();
        store.write(&name, &zone(&name)).unwrap();
        let path = store.file(&name);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 1;
            fs::write(&path, &other).unwrap();
            assert!(store.read(&name, BOUNDS).is_err(), "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(store.read(&name, BOUNDS).is_err(), "cut at {at}");
        }
        let small = Bounds {
            octets_max: 0,
            ..BOUNDS
        };
        fs::write(&path, vec![0; 5000]).unwrap();
        let error = store.read(&name, small).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        fs::remove_dir_all(&store.0).unwrap();
    }

    /// Two that write at once, as when one process takes over from another, do not write into each
    /// other's file.
    #[test]
    fn whoever_writes_is_alone() {
        let store = Store::new(folder());
        let name: Name = "example".parse().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        store.write(&name, &zone(&name)).unwrap();
                        assert!(store.read(&name, BOUNDS).unwrap().is_some());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(&store.0).unwrap().count(), 1);
        fs::remove_dir_all(&store.0).unwrap();
    }
}
