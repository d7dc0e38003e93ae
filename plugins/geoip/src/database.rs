//! A database in MaxMind's format, and what its records have.
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use corten_plugin::Process;
use maxminddb::{MaxMindDbError, PathElement, Reader, geoip2};

/// Octets of the largest database.
const FILE_OCTETS_MAX: u64 = 2 << 30;

/// Why a file is no database that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("failed to open database file: {}: {error}", file.display())]
    File { file: PathBuf, error: io::Error },
    #[error("failed to open database file: {}: {error}", file.display())]
    Format {
        file: PathBuf,
        error: MaxMindDbError,
    },
    #[error("database does not provide any supported schema (city, asn): it is a {0:?}")]
    Schema(String),
}

/// What records are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Schema {
    City,
    Asn,
}

pub(crate) struct Database {
    reader: Reader<Vec<u8>>,
    schema: Schema,
}

/// What tells a changed file from an unchanged one.
type Stamp = (Option<SystemTime>, u64);

/// Databases that are in use: server blocks often share one, and so do a configuration and its
/// successor.
type Shared = Mutex<HashMap<PathBuf, (Stamp, Weak<Database>)>>;

impl Database {
    /// The database of a file; read anew when no block has it, or when the file has changed.
    pub(crate) fn shared(process: &Process, file: &Path) -> Result<Arc<Self>, DatabaseError> {
        let failed = |error| DatabaseError::File {
            file: file.to_owned(),
            error,
        };
        let meta = fs::metadata(file).map_err(failed)?;
        let stamp = (meta.modified().ok(), meta.len());
        let shared = process.service(Shared::default);
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, (_, database)| database.strong_count() > 0);
        if let Some((known, database)) = shared.get(file)
            && *known == stamp
            && let Some(database) = database.upgrade()
        {
            return Ok(database);
        }
        if meta.len() > FILE_OCTETS_MAX {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let octets = fs::read(file).map_err(failed)?;
        let database = Arc::new(Self::read(octets).map_err(|error| match error {
            DatabaseError::Format { error, .. } => DatabaseError::Format {
                file: file.to_owned(),
                error,
            },
            other => other,
        })?);
        shared.insert(file.to_owned(), (stamp, Arc::downgrade(&database)));
        Ok(database)
    }

    pub(crate) fn read(octets: Vec<u8>) -> Result<Self, DatabaseError> {
        let reader = Reader::from_source(octets).map_err(|error| DatabaseError::Format {
            file: PathBuf::new(),
            error,
        })?;
        // Such as GeoLite2-City, GeoIP2-Enterprise, DBIP-City-Lite, GeoLite2-ASN, GeoIP2-ISP.
        let kind = &reader.metadata().database_type;
        let has = |words: [&str; 2]| words.iter().any(|word| kind.contains(word));
        let schema = if has(["City", "Enterprise"]) {
            Schema::City
        } else if has(["ASN", "ISP"]) {
            Schema::Asn
        } else {
            return Err(DatabaseError::Schema(kind.clone()));
        };
        Ok(Self { reader, schema })
    }

    /// The value of a label without its `geoip/`: nothing when this kind of database has none, empty
    /// when the address has none.
    pub(crate) fn value(&self, address: IpAddr, label: &str) -> Option<String> {
        use PathElement::Key;
        let path: &[&str] = match (self.schema, label) {
            (Schema::City, "city/name") => &["city", "names", "en"],
            (Schema::City, "country/code") => &["country", "iso_code"],
            (Schema::City, "country/name") => &["country", "names", "en"],
            (Schema::City, "country/is_in_european_union") => &["country", "is_in_european_union"],
            (Schema::City, "continent/code") => &["continent", "code"],
            (Schema::City, "continent/name") => &["continent", "names", "en"],
            (Schema::City, "latitude") => &["location", "latitude"],
            (Schema::City, "longitude") => &["location", "longitude"],
            (Schema::City, "timezone") => &["location", "time_zone"],
            (Schema::City, "postalcode") => &["postal", "code"],
            (Schema::City, "subdivisions/code") => &["subdivisions"],
            (Schema::Asn, "asn/number") => &["autonomous_system_number"],
            (Schema::Asn, "asn/org") => &["autonomous_system_organization"],
            _ => return None,
        };
        let keys: Vec<_> = path.iter().map(|key| Key(key)).collect();
        let keys = &keys[..];
        // An IPv6 address in a database of IPv4 is an error; there is no value then.
        let found = self.reader.lookup(address).ok()?;
        Some(match label {
            "country/is_in_european_union" => {
                let inside = found.decode_path::<bool>(keys).ok()?;
                inside.unwrap_or_default().to_string()
            }
            "latitude" | "longitude" => {
                let degrees = found.decode_path::<f64>(keys).ok()?;
                degrees
                    .map(|degrees| degrees.to_string())
                    .unwrap_or_default()
            }
            "asn/number" => {
                let number = found.decode_path::<u32>(keys).ok()?;
                number.unwrap_or_default().to_string()
            }
            "subdivisions/code" => {
                let all = found
                    .decode_path::<Vec<geoip2::city::Subdivision<'_>>>(keys)
                    .ok()?;
                let codes = all.iter().flatten();
                let codes: Vec<_> = codes.map(|one| one.iso_code.unwrap_or_default()).collect();
                codes.join(",")
            }
            _ => found
                .decode_path::<&str>(keys)
                .ok()?
                .unwrap_or_default()
                .to_owned(),
        })
    }
}
