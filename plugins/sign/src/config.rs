//! From the directive's lines to what they mean.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_dnssec::dnskey::KeyRole;
use corten_dnssec::key::SigningKey;
use corten_dnssec::keyfile;
use corten_dnssec::zone::{Denial, Digest};
use corten_plugin::corefile::{Line, Occurrence, ParseError, Token};
use corten_plugin::wire::Name;
use corten_plugin::{Setup, SetupError};

/// Where signed zones go, by default.
const DIRECTORY_DEFAULT: &str = "/var/lib/coredns";
/// Keys of one zone: each is one more signature for every RRset.
const KEYS_MAX: usize = 16;
/// Files of a folder of keys that are looked at.
const ENTRIES_MAX: usize = 10_000;
const PROPERTIES: &[&str] = &["key", "directory", "denial", "zonemd"];

/// One zone to sign, as one occurrence of the directive wants it.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) origin: Name,
    /// The zone file.
    pub(crate) source: PathBuf,
    /// Folder of the signed one.
    pub(crate) directory: PathBuf,
    pub(crate) keys: Arc<[SigningKey]>,
    pub(crate) denial: Denial,
    pub(crate) digest: Digest,
}

/// What the options of an occurrence say.
struct Options<'a> {
    files: Vec<&'a Token>,
    folders: Vec<&'a Token>,
    directory: PathBuf,
    denial: Denial,
    digest: Digest,
}

impl Config {
    /// Reads one occurrence: a zone file for one zone or several.
    pub(crate) fn read(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Vec<Self>, SetupError> {
        let Some((source, zones)) = line.args.split_first() else {
            return Err(line.argument_error().into());
        };
        let mut options = Options {
            files: Vec::new(),
            folders: Vec::new(),
            directory: setup.path(DIRECTORY_DEFAULT),
            denial: Denial::default(),
            digest: Digest::default(),
        };
        for option in line.lines() {
            options.read(setup, option)?;
        }
        if options.files.is_empty() && options.folders.is_empty() {
            return Err(line
                .name
                .error("there is no key to sign with")
                .help("add 'key file KEY' in braces; 'dnssec-keygen -a ECDSAP256SHA256 -f KSK ZONE' makes one")
                .into());
        }
        let mut configs = Vec::new();
        for origin in setup.zones(zones)?.names() {
            let config = Self {
                origin: origin.clone(),
                source: setup.path(&source.text),
                directory: options.directory.clone(),
                keys: options.keys(setup, origin)?.into(),
                denial: options.denial,
                digest: options.digest,
            };
            if config.signed() == config.source {
                let what = format!("'{}' would be replaced by its signed form", source.text);
                return Err(source
                    .error(what)
                    .help("name the unsigned file otherwise, or choose another 'directory'")
                    .into());
            }
            configs.push(config);
        }
        Ok(configs)
    }

    /// The signed zone's file. The zone's name ends with a dot.
    pub(crate) fn signed(&self) -> PathBuf {
        let path = self.directory.join(format!("db.{}signed", self.origin));
        path.strip_prefix(".")
            .map_or_else(|_| path.clone(), Path::to_owned)
    }
}

impl<'a> Options<'a> {
    fn read(&mut self, setup: &Setup<'_>, line: &Line<'a>) -> Result<(), SetupError> {
        match line.name.text.as_str() {
            "key" => {
                line.no_block()?;
                let [source, names @ ..] = &line.at_least(2)? else {
                    return Err(line.argument_error().into());
                };
                match source.text.as_str() {
                    "file" => self.files.extend(names),
                    "directory" => self.folders.extend(names),
                    other => {
                        return Err(source
                            .error(format!("unknown source of keys '{other}'"))
                            .help("use 'key file KEY...' or 'key directory DIR...'")
                            .into());
                    }
                }
            }
            "directory" => match line.args[..] {
                [only] => self.directory = setup.path(&only.text),
                _ => {
                    let what = "can only be one argument after \"directory\"";
                    return Err(line.name.error(what).into());
                }
            },
            "denial" => {
                let word = line.one_arg()?;
                self.denial = match word.text.as_str() {
                    "nsec" => Denial::Nsec,
                    "nsec3" => Denial::Nsec3,
                    other => {
                        return Err(word
                            .error(format!("unknown way of denial '{other}'"))
                            .help("use 'nsec' or 'nsec3'")
                            .into());
                    }
                };
            }
            "zonemd" => {
                line.no_args()?;
                self.digest = Digest::Zonemd;
            }
            _ => return Err(line.unknown_property(PROPERTIES).into()),
        }
        Ok(())
    }

    fn keys(&self, setup: &Setup<'_>, origin: &Name) -> Result<Vec<SigningKey>, SetupError> {
        let mut keys = Vec::new();
        for token in &self.files {
            add(&mut keys, &setup.path(&token.text), token)?;
        }
        for token in &self.folders {
            let folder = setup.path(&token.text);
            let found = keys_in(&folder, origin)
                .map_err(|error| token.error(format!("{}: {error}", folder.display())))?;
            if found.is_empty() {
                let what = format!("there is no key K{origin}+*.key in {}", folder.display());
                return Err(token.error(what).into());
            }
            for path in found {
                add(&mut keys, &path, token)?;
            }
        }
        Ok(keys)
    }
}

fn add(keys: &mut Vec<SigningKey>, path: &Path, token: &Token) -> Result<(), ParseError> {
    let key = keyfile::load(path).map_err(|error| token.error(error.to_string()))?;
    if key.public().role() != KeyRole::KeySigning {
        return Err(token
            .error(format!("DNSKEY in \"{}\" is not a CSK/KSK", path.display()))
            .help("its flags must be 257: make the key with 'dnssec-keygen -f KSK'"));
    }
    if keys.iter().any(|known| known.public() == key.public()) {
        tracing::warn!(
            target: "plugin/sign",
            "{}:{}: key {} is there twice; it signs once", token.at.file, token.at.line, path.display()
        );
        return Ok(());
    }
    if keys.len() >= KEYS_MAX {
        return Err(token.error(format!("more than {KEYS_MAX} keys")));
    }
    keys.push(key);
    Ok(())
}

/// The public files of a zone's keys in a folder: `KNAME+ALGORITHM+TAG.key`.
fn keys_in(folder: &Path, origin: &Name) -> std::io::Result<Vec<PathBuf>> {
    let start = format!("K{origin}+");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(ENTRIES_MAX) {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let is_key = name
            .get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(&start))
            && name.ends_with(".key");
        if is_key {
            found.push(folder.join(&*name));
        }
    }
    found.sort();
    Ok(found)
}
