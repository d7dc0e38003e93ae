//! The directive's lines.
use std::collections::HashSet;
use std::fs::File;
use std::hash::Hash;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use corten_plugin::corefile::{Line, Token};
use corten_plugin::wire::{Name, Opcode, RecordType};
use corten_plugin::{Setup, SetupError, Zones};
use corten_tsig::{Key, Keyring, Secret, file};

const PROPERTIES: &[&str] = &["secret", "secrets", "require", "require_opcode"];
/// Octets of the largest file of keys.
const FILE_OCTETS_MAX: u64 = 1 << 20;

/// What the directive says.
pub(crate) struct Config {
    /// Queries for others are left alone.
    pub(crate) zones: Zones,
    /// Keys of the block.
    pub(crate) keys: Arc<Keyring>,
    /// Types that must be signed.
    pub(crate) types: Required<RecordType>,
    /// Operations that must be signed.
    pub(crate) opcodes: Required<Opcode>,
}

/// What must be signed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Required<T: Eq + Hash> {
    /// These; `none` is the empty list.
    These(HashSet<T>),
    /// `all`.
    All,
}

impl<T: Eq + Hash> Default for Required<T> {
    fn default() -> Self {
        Self::These(HashSet::new())
    }
}

impl<T: Eq + Hash> Required<T> {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::These(these) if these.is_empty())
    }

    pub(crate) fn has(&self, one: &T) -> bool {
        match self {
            Self::These(these) => these.contains(one),
            Self::All => true,
        }
    }
}

impl Config {
    /// Reads the block's one directive and the files that it names.
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let line = setup.only_occurrence()?;
        let mut keys = Keyring::default();
        let (mut types, mut opcodes) = (Required::default(), Required::default());
        for option in line.lines() {
            option.no_block()?;
            match option.name.text.as_str() {
                "secret" => secret(option, &mut keys)?,
                "secrets" => secrets(option, &mut keys)?,
                "require" => types = required(option, "query type")?,
                "require_opcode" => opcodes = required(option, "opcode")?,
                _ => return Err(option.unknown_property(PROPERTIES).into()),
            }
        }
        Ok(Self {
            zones: setup.zones(&line.args)?,
            keys: Arc::new(keys),
            types,
            opcodes,
        })
    }
}

/// `secret NAME KEY`. Mistakes do not show the line, which has the secret.
fn secret(line: &Line<'_>, keys: &mut Keyring) -> Result<(), SetupError> {
    let [name, secret] = line.args[..] else {
        let text = "Wrong argument count or unexpected line ending after 'secret'; \
            it is: secret NAME KEY, the key in base64";
        return Err(SetupError::new(text).at(&line.name.at));
    };
    let wrong = |text: String| SetupError::new(text).at(&name.at);
    let key: Name = name
        .text
        .parse()
        .map_err(|error| wrong(format!("key '{}': {error}", name.text)))?;
    let secret = Secret::from_base64(&secret.text)
        .map_err(|error| wrong(format!("key \"{key}\": {error}")))?;
    match keys.add(Key::new(key.clone(), None, secret)) {
        true => Ok(()),
        false => Err(wrong(format!("key \"{key}\" redefined"))),
    }
}

/// `secrets FILE`; as in CoreDNS the path does not follow *root*.
fn secrets(line: &Line<'_>, keys: &mut Keyring) -> Result<(), SetupError> {
    let word = line.one_arg()?;
    let text = read(&word.text).map_err(|error| word.error(format!("{}: {error}", word.text)))?;
    let found =
        file::parse(&text).map_err(|error| word.error(format!("{}: {error}", word.text)))?;
    for key in found {
        let name = key.name.clone();
        if !keys.add(key) {
            return Err(word.error(format!("key \"{name}\" redefined")).into());
        }
    }
    Ok(())
}

fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let read = File::open(Path::new(path))?
        .take(FILE_OCTETS_MAX + 1)
        .read_to_string(&mut text)?;
    match read as u64 > FILE_OCTETS_MAX {
        true => Err(std::io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

/// Words behind `require` and `require_opcode`.
fn required<T: FromStr + Eq + Hash>(
    line: &Line<'_>,
    what: &str,
) -> Result<Required<T>, SetupError> {
    let words = line.at_least(1)?;
    match words {
        [only] if only.text == "all" => return Ok(Required::All),
        [only] if only.text == "none" => return Ok(Required::default()),
        _ => (),
    }
    let read = |word: &&Token| {
        word.text
            .parse()
            .map_err(|_| word.error(format!("unknown {what} '{}'", word.text)).into())
    };
    words
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map(Required::These)
}
