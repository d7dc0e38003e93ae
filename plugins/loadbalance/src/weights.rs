//! The file of weights: a name on a line of its own, then its addresses and their weights.
use std::collections::HashMap;
use std::fs;
use std::hash::RandomState;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use corten_plugin::wire::{Name, Record, View};

use crate::order::address;

/// Octets of the largest file.
const FILE_OCTETS_MAX: u64 = 1 << 26;

/// Weights of addresses, for each name.
#[derive(Debug, Default)]
pub(crate) struct Weights(HashMap<Name, Vec<(IpAddr, u8)>, RandomState>);

/// Why a file cannot be used; CoreDNS's words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeightsError {
    #[error("{0}: {1}")]
    Unreadable(PathBuf, io::Error),
    #[error("wrong domain name:\"{0}\" in weight file{1}")]
    Name(String, &'static str),
    #[error("wrong IP address:\"{0}\" in weight file")]
    Address(String),
    #[error("wrong weight value:\"{0}\" in weight file")]
    Weight(String),
    #[error("missing domain name in weight file")]
    NoName,
    #[error("could not parse weight line:\"{0}\" in weight file")]
    Line(String),
}

impl Weights {
    pub(crate) fn read(text: &str) -> Result<Self, WeightsError> {
        let (mut weights, mut name) = (Self::default(), None);
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [word] => {
                    if word.parse::<IpAddr>().is_ok() {
                        let why = " (maybe a missing weight value?)";
                        return Err(WeightsError::Name(word.to_owned(), why));
                    }
                    let owner: Name = word
                        .parse()
                        .map_err(|_| WeightsError::Name(word.to_owned(), ""))?;
                    name = Some(owner);
                }
                [address, weight] => {
                    let ip: IpAddr = address
                        .parse()
                        .map_err(|_| WeightsError::Address(address.to_owned()))?;
                    let value = weight.parse().ok().filter(|weight| *weight > 0);
                    let value = value.ok_or_else(|| WeightsError::Weight(weight.to_owned()))?;
                    let name = name.clone().ok_or(WeightsError::NoName)?;
                    weights
                        .0
                        .entry(name)
                        .or_default()
                        .push((ip.to_canonical(), value));
                }
                _ => return Err(WeightsError::Line(line.to_owned())),
            }
        }
        Ok(weights)
    }

    /// The weight of a record's address, 1 if the file has none. `last` remembers where the owner
    /// of the last record lay, and its weights: those of an RRset share one.
    pub(crate) fn of<'a>(
        &'a self,
        reply: View<'_>,
        record: &Record,
        last: &mut Option<(u16, &'a [(IpAddr, u8)])>,
    ) -> u8 {
        let place = reply.owner_pointer(record);
        let known = match *last {
            Some((at, known)) if Some(at) == place => known,
            _ => {
                let owner = reply.owner(record);
                let known = owner.and_then(|owner| self.0.get(&owner));
                let known = known.map(Vec::as_slice).unwrap_or_default();
                *last = place.map(|at| (at, known));
                known
            }
        };
        let address = address(reply, record);
        let weight = known.iter().find(|(ip, _)| Some(*ip) == address);
        weight.map_or(1, |(_, weight)| *weight)
    }
}

/// The file, and what it said when it was good last.
pub(crate) struct File {
    path: PathBuf,
    reload: Duration,
    /// What was read last, good or bad: the same is not read again.
    seen: Mutex<Option<Vec<u8>>>,
    weights: ArcSwap<Weights>,
}

impl File {
    /// Reads the file. One that is not there may come later, if it is looked at again.
    pub(crate) fn open(path: PathBuf, reload: Duration) -> Result<Self, WeightsError> {
        let file = Self {
            path,
            reload,
            seen: Mutex::default(),
            weights: ArcSwap::default(),
        };
        match file.update() {
            Err(WeightsError::Unreadable(path, error)) if file.changes() => {
                let (path, seconds) = (path.display(), file.reload.as_secs_f64());
                tracing::warn!(
                    target: "plugin/loadbalance",
                    "Failed to open weight file:{path}: {error}. Will try again in {seconds}s"
                );
                Ok(file)
            }
            other => other.map(|()| file),
        }
    }

    /// Whether the file is looked at again.
    pub(crate) fn changes(&self) -> bool {
        !self.reload.is_zero()
    }

    pub(crate) fn weights(&self) -> arc_swap::Guard<Arc<Weights>> {
        self.weights.load()
    }

    fn update(&self) -> Result<(), WeightsError> {
        let unreadable = |error| WeightsError::Unreadable(self.path.clone(), error);
        let octets = read(&self.path).map_err(unreadable)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() == Some(&octets) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&octets).into_owned();
        *seen = Some(octets);
        self.weights.store(Arc::new(Weights::read(&text)?));
        let path = self.path.display();
        tracing::info!(target: "plugin/loadbalance", "Successfully reloaded weight file {path}");
        Ok(())
    }

    /// Reads the file again and again. One that is gone or bad leaves the last weights in place.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.reload).await;
            let file = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || file.update()).await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => {
                    let path = self.path.display();
                    tracing::error!(target: "plugin/loadbalance", "{path}: {error}");
                }
                // The runtime is about to end.
                Err(_) => return,
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    fs::File::open(path)?
        .take(FILE_OCTETS_MAX + 1)
        .read_to_end(&mut octets)?;
    match octets.len() as u64 > FILE_OCTETS_MAX {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is too large",
        )),
        false => Ok(octets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let text =
            "# weights\n\nWWW.example\n 192.0.2.1 3\n192.0.2.2\t255\n\nother.example.\n::1 1\n";
        let weights = Weights::read(text).unwrap();
        let of = |name: &str| {
            weights
                .0
                .get(&name.parse().unwrap())
                .cloned()
                .unwrap_or_default()
        };
        let (one, two) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert_eq!(of("www.example"), [(one, 3), (two, 255)]);
        assert_eq!(of("other.example").len(), 1);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("192.0.2.1 3", "missing domain name"),
            ("a.example\n192.0.2.1", "wrong domain name:\"192.0.2.1\""),
            ("a..example", "wrong domain name:\"a..example\""),
            ("a.example\n192.0.2 3", "wrong IP address:\"192.0.2\""),
            ("a.example\n192.0.2.1 0", "wrong weight value:\"0\""),
            ("a.example\n192.0.2.1 256", "wrong weight value:\"256\""),
            ("a.example\n192.0.2.1 3 4", "could not parse weight line"),
        ] {
            let told = Weights::read(text).unwrap_err().to_string();
            assert!(told.starts_with(error), "{told}");
        }
    }
}
