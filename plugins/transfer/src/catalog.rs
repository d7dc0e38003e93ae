//! Catalog zones (RFC 9432): zones that are made here and say which zones there are, so that secondaries get
//! new ones by themselves.
//!
//! The serial is the time in seconds since 1970: it does not go back when the server starts anew, and nothing
//! has to be kept for that.
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corten_plugin::wire::{Name, RecordType};
use corten_plugin::{aside, unix_seconds};
use corten_zone::{Builder, Catalogue, Listener, Slot, Zone, ZoneError, serial_newer};
use corten_zone_answer::ZoneTable;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::config::Policies;

/// Time between two versions: one has a second's serial for itself.
const PAUSE: Duration = Duration::from_secs(1);
/// Octets of a member's label: half as many of a digest.
const LABEL_OCTETS: usize = 32;
/// Octets in front of the catalog's name: `group.LABEL.zones.`
pub(crate) const FRONT_OCTETS: usize = 6 + 1 + LABEL_OCTETS + 6;
/// A name server that is none (RFC 9432 section 4.1).
const INVALID: &[u8] = b"\x07invalid\0";
/// Refresh, retry, expire and minimum of a catalog: consumers that hear nothing ask after an hour, and keep
/// what they have.
const TIMERS: [u32; 4] = [3_600, 600, 0x7fff_ffff, 0];

/// The catalogs of a block.
pub(crate) struct Catalogs {
    policies: Arc<Policies>,
    /// The zones, and where queries find them.
    pub(crate) table: ZoneTable,
    catalogues: OnceLock<Vec<Arc<dyn Catalogue>>>,
    wake: Notify,
}

/// Members with their groups.
type Members = BTreeMap<Box<[u8]>, Option<Box<str>>>;

impl Listener for Catalogs {
    /// One of the catalogs: another generation of the configuration may have put in what it knows.
    fn changed(&self, _: &Slot) {
        self.wake.notify_one();
    }

    fn listed(&self) {
        self.wake.notify_one();
    }
}

impl Catalogs {
    /// Takes over what the running generation has of the same catalogs.
    pub(crate) fn new(policies: &Arc<Policies>, before: Option<&Self>) -> Arc<Self> {
        let slots = policies.catalogs().map(|name| {
            let known = before.and_then(|before| before.table.get(name.wire()));
            match known {
                Some(slot) => Arc::clone(slot),
                None => Arc::new(Slot::new(name.wire())),
            }
        });
        Arc::new(Self {
            policies: Arc::clone(policies),
            table: ZoneTable::new(slots),
            catalogues: OnceLock::new(),
            wake: Notify::new(),
        })
    }

    /// Makes the first versions from what the block's plugins serve.
    ///
    /// # Errors
    /// A catalog has the name of a zone.
    pub(crate) async fn start(
        self: &Arc<Self>,
        catalogues: &[Arc<dyn Catalogue>],
    ) -> Result<(), String> {
        for slot in self.table.slots() {
            if catalogues.iter().any(|all| all.slot(slot.apex()).is_some()) {
                let name = Name::from_wire(slot.apex()).unwrap_or_default();
                return Err(format!(
                    "the catalog \"{name}\" is a zone of another plugin; give it a name of its own"
                ));
            }
        }
        if self.table.slots().is_empty() {
            return Ok(());
        }
        let own = catalogues.iter().filter(|catalogue| catalogue.is_primary());
        let _ = self.catalogues.set(own.cloned().collect());
        let listener: Arc<dyn Listener> = Arc::<Self>::clone(self);
        for catalogue in self.catalogues.get().into_iter().flatten() {
            catalogue.listen(&listener);
        }
        self.refresh().await;
        for slot in self.table.slots() {
            slot.listen(&listener);
        }
        Ok(())
    }

    /// Follows the zones that come and go.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            tokio::time::sleep(PAUSE).await;
            self.refresh().await;
        }
    }

    /// Looks which zones there are, on a thread that may block.
    async fn refresh(self: &Arc<Self>) {
        let own = Arc::clone(self);
        if let Err(error) = aside(move || own.look()).await {
            tracing::error!(target: "plugin/transfer", "catalogs could not be made: {error}");
        }
    }

    fn look(&self) {
        for slot in self.table.slots() {
            let Ok(name) = Name::from_wire(slot.apex()) else {
                continue;
            };
            let Some(members) = self.members(&name) else {
                // What cannot be seen is not gone.
                if slot.load().is_none() {
                    tracing::warn!(
                        target: "plugin/transfer",
                        "Catalog zone {name} is not served: it is not known yet which zones there are"
                    );
                }
                continue;
            };
            let now = unix_seconds() as u32;
            match next(slot.zone().as_deref(), slot.apex(), &members, now) {
                Ok(None) => (),
                Ok(Some(zone)) => {
                    let serial = zone.soa().serial;
                    slot.set(Arc::new(zone));
                    tracing::info!(
                        target: "plugin/transfer",
                        "Catalog zone {name} has {} member zones, SOA serial {serial}", members.len()
                    );
                }
                Err(error) => {
                    tracing::error!(target: "plugin/transfer", "Catalog zone {name}: {error}");
                }
            }
        }
    }

    /// The members of a catalog; nothing while some plugin does not know its zones.
    fn members(&self, catalog: &Name) -> Option<Members> {
        let mut members = Members::new();
        for catalogue in self.catalogues.get()? {
            for apex in catalogue.apexes()? {
                let name = Name::from_wire(&apex).ok()?;
                if let Some(own) = self.policies.catalog_of(&name)
                    && own.name == *catalog
                {
                    members.insert(apex, own.group.clone());
                }
            }
        }
        Some(members)
    }
}

/// The version behind one, unless it says the same.
fn next(
    before: Option<&Zone>,
    apex: &[u8],
    members: &Members,
    now: u32,
) -> Result<Option<Zone>, ZoneError> {
    let Some(before) = before else {
        return make(apex, members, now).map(Some);
    };
    let known = before.soa().serial;
    if make(apex, members, known)?.has_same_records(before) {
        return Ok(None);
    }
    let serial = match serial_newer(now, known) {
        true => now,
        false => known.wrapping_add(1),
    };
    make(apex, members, serial).map(Some)
}

/// The zone (RFC 9432 section 4).
fn make(apex: &[u8], members: &Members, serial: u32) -> Result<Zone, ZoneError> {
    let mut builder = Builder::new(apex);
    let mut soa = [INVALID, INVALID].concat();
    for number in [serial].into_iter().chain(TIMERS) {
        soa.extend(number.to_be_bytes());
    }
    builder.add(apex, RecordType::SOA, 0, &soa)?;
    builder.add(apex, RecordType::NS, 0, INVALID)?;
    let version = [b"\x07version", apex].concat();
    builder.add(&version, RecordType::TXT, 0, b"\x012")?;
    for (member, group) in members {
        let label = label(member);
        let owner = [&[LABEL_OCTETS as u8], &label[..], b"\x05zones", apex].concat();
        builder.add(&owner, RecordType::PTR, 0, member)?;
        if let Some(group) = group {
            let owner = [b"\x05group", &owner[..]].concat();
            let text = [&[group.len() as u8], group.as_bytes()].concat();
            builder.add(&owner, RecordType::TXT, 0, &text)?;
        }
    }
    builder.build()
}

/// A member's label: the same for the same zone, whatever becomes of the server.
fn label(member: &[u8]) -> [u8; LABEL_OCTETS] {
    let digest = Sha256::digest(member);
    let mut label = [0; LABEL_OCTETS];
    for (digits, octet) in label.chunks_mut(2).zip(digest.iter()) {
        let digit = |number: u8| b"0123456789abcdef"[usize::from(number & 15)];
        digits.copy_from_slice(&[digit(octet >> 4), digit(*octet)]);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        text.parse::<Name>().unwrap().wire().to_vec()
    }

    fn shown(zone: &Zone) -> Vec<String> {
        let records = zone.records().map(|record| {
            let owner = Name::from_wire(record.owner).unwrap();
            let data = match record.rtype {
                RecordType::PTR => Name::from_wire(record.rdata).unwrap().to_string(),
                _ => String::from_utf8_lossy(&record.rdata[1..]).into_owned(),
            };
            format!("{owner} {} {data}", record.rtype)
        });
        records.skip(2).collect()
    }

    #[test]
    fn members_have_labels_that_stay() {
        let mut members = Members::new();
        members.insert(wire("a.example").into(), None);
        members.insert(wire("example.org").into(), Some("gold".into()));
        let apex = wire("cat.test");
        let zone = next(None, &apex, &members, 1_000).unwrap().unwrap();
        assert_eq!(zone.soa().serial, 1_000);
        let first = shown(&zone);
        let [a, org] = ["a.example", "example.org"]
            .map(|name| String::from_utf8(label(&wire(name)).to_vec()).unwrap());
        assert_eq!(first.len(), 4);
        for line in [
            "version.cat.test. TXT 2".to_owned(),
            format!("{a}.zones.cat.test. PTR a.example."),
            format!("{org}.zones.cat.test. PTR example.org."),
            format!("group.{org}.zones.cat.test. TXT gold"),
        ] {
            assert!(first.contains(&line), "{line} in {first:?}");
        }
        // Nothing new is no version; one that is has a newer serial, whatever the clock says.
        assert!(next(Some(&zone), &apex, &members, 2_000).unwrap().is_none());
        members.remove(&wire("a.example")[..]);
        for (now, serial) in [(2_000, 2_000), (1_000, 1_001), (10, 1_001)] {
            let changed = next(Some(&zone), &apex, &members, now).unwrap().unwrap();
            assert_eq!(changed.soa().serial, serial);
            let gone = format!("{a}.zones.cat.test. PTR a.example.");
            let rest: Vec<_> = first
                .iter()
                .filter(|line| **line != gone)
                .cloned()
                .collect();
            assert_eq!(shown(&changed), rest);
        }
    }

    #[test]
    fn the_longest_name_has_room_for_members() {
        let long = |octets: usize| {
            let mut name = Vec::new();
            while name.len() + 64 < octets {
                name.extend([&[63][..], &[b'x'; 63]].concat());
            }
            let rest = octets - name.len() - 2;
            name.extend([&[rest as u8][..], &vec![b'x'; rest], &[0]].concat());
            name
        };
        let mut members = Members::new();
        members.insert(wire("a.example").into(), Some("g".repeat(255).into()));
        assert!(make(&long(255 - FRONT_OCTETS), &members, 1).is_ok());
        assert!(make(&long(256 - FRONT_OCTETS), &members, 1).is_err());
    }
}
