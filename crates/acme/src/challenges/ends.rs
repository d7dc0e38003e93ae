//! Names that aliases (CNAME) of challenges' names lead to: the CA follows them, so the value must be
//! there, too.
//!
//! Whoever obtains a certificate finds them and notes them in the storage, for good; the other
//! servers of the certificate look there once a minute. So each of them knows for which names it is
//! to look for values when it is asked, and nobody can make it look for others.
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError};

use corten_wire::Name;

use super::elsewhere::Elsewhere;
use super::{Challenges, Kind, Managed, Pending, Token, base_of, wire};
use crate::alias::Alias;

/// Where ends are noted, a file for each name of a certificate.
const FOLDER: &str = "corten/aliases";
/// Ends of one name: of its challenge, and of accounts' own.
const ENDS_MAX: usize = 16;

/// A value that is served.
pub(crate) struct Published {
    /// At the challenge's name, and at the end of its alias.
    pub(crate) served: Vec<Pending>,
    /// The end was not known before: other servers learn of it within a minute.
    pub(crate) is_news: bool,
}

impl Challenges {
    /// Serves a value at a challenge's name, and where that is an alias at its end, by this process
    /// and the others of the certificate.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        record: &str,
        alias: &Alias,
        value: &str,
    ) -> Published {
        let is_news = self.note(record, alias).await;
        let mut served = vec![self.publish_name(record, value.to_owned())];
        let base = served[0].base.clone();
        // Where nobody could be asked what is remembered counts.
        let ends = match alias {
            Alias::None => Vec::new(),
            Alias::To(end) => vec![Name::clone(end)],
            Alias::Unknown => self.remembered(&base, record),
        };
        for end in ends {
            let name = end.wire().to_vec();
            let token = Token {
                name: name.clone(),
                value: value.to_owned(),
            };
            served.push(self.serve(Kind::End, name, base.clone(), token));
        }
        for pending in &served {
            pending.share().await;
        }
        Published { served, is_news }
    }

    /// Notes where the alias of a challenge's name leads, here and for other servers; returns
    /// whether it is news.
    pub(crate) async fn note(&self, record: &str, alias: &Alias) -> bool {
        let (record, end) = (record.to_ascii_lowercase(), alias.end());
        if *alias == Alias::Unknown {
            return false;
        }
        let mut is_news = false;
        let name = wire(&record);
        for place in self.elsewhere(base_of(&name).unwrap_or(&name)) {
            let before = place.aliases();
            let mut aliases = before.clone();
            match end {
                Some(end) => aliases.insert(record.clone(), end.to_string()),
                None => aliases.remove(&record),
            };
            if aliases == before {
                continue;
            }
            is_news |= end.is_some();
            if let Err(error) = place.keep_aliases(&aliases).await {
                tracing::warn!(target: "plugin/tls", "Other servers do not learn where the alias {record} leads: {error}");
            }
            self.take_up(&place, aliases);
        }
        is_news
    }

    /// Looks for values wherever these aliases lead, and nowhere else for this place.
    pub(super) fn take_up(&self, place: &Arc<Elsewhere>, aliases: BTreeMap<String, String>) {
        let ends = |aliases: &BTreeMap<String, String>| {
            let mut ends: Vec<_> = aliases.values().filter_map(|end| parse(end)).collect();
            ends.truncate(ENDS_MAX);
            ends.sort();
            ends.dedup();
            ends
        };
        let mut known = place.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (ends(&known), ends(&aliases));
        for end in new.iter().filter(|end| !old.contains(end)) {
            let place = Arc::clone(place);
            self.change(Kind::End, end, |base| base.elsewhere.push(place));
        }
        for end in old.iter().filter(|end| !new.contains(end)) {
            self.change(Kind::End, end, |base| {
                base.elsewhere.retain(|other| !Arc::ptr_eq(other, place));
            });
        }
        *known = aliases;
    }

    /// Where others' values for a certificate's name may be.
    pub(super) fn elsewhere(&self, base: &[u8]) -> Vec<Arc<Elsewhere>> {
        let places = self.place(base).load();
        let base = places.bases.get(base);
        base.map(|base| base.elsewhere.clone()).unwrap_or_default()
    }

    fn remembered(&self, base: &[u8], record: &str) -> Vec<Name> {
        let record = record.to_ascii_lowercase();
        let places = self.elsewhere(base).into_iter();
        let ends = places.filter_map(|place| place.aliases().get(&record)?.parse().ok());
        ends.take(1).collect()
    }
}

impl Managed {
    /// Takes up what other servers have found.
    pub(crate) async fn follow_aliases(&self) -> io::Result<()> {
        let Some((_, first)) = self.places.first() else {
            return Ok(());
        };
        // One call, where there are none.
        let kept = first.storage.list(FOLDER).await?;
        for (_, place) in &self.places {
            let aliases = match kept.contains(&place.file()) {
                true => place.kept_aliases().await?,
                false => BTreeMap::new(),
            };
            self.challenges.take_up(place, aliases);
        }
        Ok(())
    }
}

impl Elsewhere {
    fn file(&self) -> String {
        format!("{}.json", self.domain)
    }

    fn aliases(&self) -> BTreeMap<String, String> {
        self.aliases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn kept_aliases(&self) -> io::Result<BTreeMap<String, String>> {
        let key = format!("{FOLDER}/{}", self.file());
        let octets = self.storage.get(&key).await?.unwrap_or_default();
        Ok(serde_json::from_slice(&octets).unwrap_or_default())
    }

    async fn keep_aliases(&self, aliases: &BTreeMap<String, String>) -> io::Result<()> {
        let key = format!("{FOLDER}/{}", self.file());
        match aliases.is_empty() {
            true => self.storage.delete(&key).await,
            false => self.storage.put(&key, &serde_json::to_vec(aliases)?).await,
        }
    }
}

fn parse(end: &str) -> Option<Vec<u8>> {
    let name: Name = end.parse().ok()?;
    Some(name.wire().to_vec())
}
