//! *update*: dynamic updates of zones (RFC 2136), with a journal.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `policy` | who may change what |
//! | `message` | an update message taken apart |
//! | `apply` | prerequisites and changes, step by step |
//! | `commit` | updates done, those that wait together |
//! | `folder` | folders that are this process's alone |
//! | `journal` | the file in which updates are before they are answered |
//! | `overlay` | the difference to the zone's file |
//! | `owner` | whose a journal is, where several want it |
//! | `store` | what updates have made of a zone |
//! | here | the decisions, and the task that takes away what has expired |
mod apply;
mod commit;
mod config;
mod folder;
mod journal;
mod message;
mod overlay;
mod owner;
mod policy;
mod store;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corten_plugin::metrics::registry;
use corten_plugin::unix_seconds;
use corten_plugin::wire::{Name, Opcode, Rcode, RecordType};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Next, Pace, Phase, Plugin, Process, Setup,
    SetupError, Stop, Tasks, Updates, async_trait,
};
use corten_tsig::Keyring;
use corten_zone::{Catalogue, Slot};

use commit::Refusal;
use config::Config;
use folder::{Folders, Refused};
use message::Update;
use owner::Owner;
use store::{Store, journal_path};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "update",
    setup,
    readme: include_str!("../README.md"),
};

/// Time between two looks for what has expired, for zones that have come, and for what is to be
/// written back.
const ROUND: Duration = Duration::from_secs(2);

/// The zones that take updates, by their journals: one for the process, whatever the configuration.
#[derive(Default)]
struct Stores(Mutex<HashMap<PathBuf, Arc<Store>>>);

struct Updating {
    shared: Arc<Shared>,
    tasks: Tasks,
}

/// What the task shares with the plugin.
struct Shared {
    config: Config,
    process: Arc<Process>,
    owner: Arc<Owner>,
    catalogues: Mutex<Vec<Arc<dyn Catalogue>>>,
    /// The zones, by apex.
    stores: Mutex<HashMap<Box<[u8]>, Arc<Store>>>,
    /// What is in the way of others, by apex; told once.
    told: Mutex<HashMap<Box<[u8]>, String>>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup, &setup.only_occurrence()?)?;
    setup.push(Updating {
        shared: Arc::new(Shared {
            config,
            process: Arc::clone(setup.process),
            owner: Owner::new(),
            catalogues: Mutex::default(),
            stores: Mutex::default(),
            told: Mutex::default(),
        }),
        tasks: Tasks::default(),
    });
    Ok(())
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Keeps the folders to this process. Blocks.
    fn claim(&self) -> Result<(), Refused> {
        let folders = self.process.service(Folders::default);
        folders.claim(&self.config.journal, "journal")?;
        let Some(folder) = &self.config.write_back else {
            return Ok(());
        };
        folders.claim(folder, "write_back")
    }

    /// Takes charge of every zone of the block that is made here, and of none that has gone. Blocks.
    fn attach(&self) {
        let slots: Vec<_> = {
            let catalogues = lock(&self.catalogues);
            catalogues
                .iter()
                .flat_map(|catalogue| catalogue.slots())
                .collect()
        };
        let there: HashSet<&[u8]> = slots.iter().map(|slot| slot.apex()).collect();
        lock(&self.stores).retain(|apex, _| there.contains(&**apex));
        for slot in &slots {
            let Ok(apex) = Name::from_wire(slot.apex()) else {
                continue;
            };
            if self.config.zones.matches(&apex).is_some()
                && let Err(error) = self.attach_one(slot, &apex)
                && lock(&self.told).insert(slot.apex().into(), error.clone()) != Some(error.clone())
            {
                tracing::error!(target: "plugin/update", "{error}; zone \"{apex}\" takes no updates and is served without those that it had");
            }
        }
    }

    fn attach_one(&self, slot: &Arc<Slot>, apex: &Name) -> Result<(), String> {
        let path = journal_path(&self.config.journal, apex);
        let all = self.process.service(Stores::default);
        let store = {
            let mut all = lock(&all.0);
            match all.get(&path) {
                Some(store) => Arc::clone(store),
                None => {
                    self.claim().map_err(|error| error.to_string())?;
                    let store = Store::open(&path, apex)
                        .map_err(|error| format!("{}: {error}", path.display()))?;
                    let store = Arc::new(store);
                    all.insert(path.clone(), Arc::clone(&store));
                    store
                }
            }
        };
        if store.apex() != apex {
            return Err(format!("{}: it is another zone's", path.display()));
        }
        match store.attach(slot, &self.owner) {
            true => {
                lock(&self.stores).insert(slot.apex().into(), store);
                lock(&self.told).remove(slot.apex());
                Ok(())
            }
            // It goes on with what the newer generation serves.
            false if lock(&self.stores).contains_key(slot.apex()) => Ok(()),
            false => Err(format!(
                "{}: it is that of another server block, and each needs its own ('journal DIR')",
                path.display()
            )),
        }
    }

    /// Does an update. Blocks.
    fn update(&self, zone: &Name, key: &Name, octets: &[u8], client: SocketAddr) -> Rcode {
        let Some(store) = lock(&self.stores).get(zone.wire()).cloned() else {
            return Rcode::NOTAUTH;
        };
        let refuse = |rcode: Rcode, why: String| {
            tracing::warn!(
                target: "plugin/update",
                "update of zone \"{zone}\" by key \"{key}\" from {client}: {rcode}, {why}"
            );
            rcode
        };
        let update = match message::read(octets, zone) {
            Ok(update) => update,
            Err(rcode) => return refuse(rcode, "the message is not in order".to_owned()),
        };
        let mut permitted = match self
            .config
            .policy
            .permit(key, update.changes, unix_seconds())
        {
            Ok(permitted) => permitted,
            Err(denied) => return refuse(Rcode::REFUSED, denied.to_string()),
        };
        let shown: Vec<_> = permitted
            .changes
            .iter()
            .take(8)
            .map(policy::shown)
            .collect();
        let more = permitted.changes.len() - shown.len();
        let update = Update {
            prerequisites: update.prerequisites,
            changes: std::mem::take(&mut permitted.changes),
        };
        match store.commit(update, permitted) {
            Ok(serial) => {
                tracing::info!(
                    target: "plugin/update",
                    "update of zone \"{zone}\" by key \"{key}\" from {client}: {}{}; {}",
                    shown.join(", "),
                    if more > 0 { format!(" and {more} more") } else { String::new() },
                    serial.map_or_else(|| "nothing changed".to_owned(), |serial| format!("serial {serial}"))
                );
                Rcode::NOERROR
            }
            Err(Refusal::Rcode(rcode)) => refuse(rcode, "a prerequisite does not hold".to_owned()),
            Err(Refusal::Challenges) => refuse(
                Rcode::REFUSED,
                "there would be too many challenges at a name, or altogether".to_owned(),
            ),
            Err(Refusal::Others) => refuse(
                Rcode::REFUSED,
                "a name to be deleted has records that the key may not change".to_owned(),
            ),
            Err(Refusal::Signed) => refuse(
                Rcode::REFUSED,
                "the zone's file is signed, and nobody could sign the change; let 'dnssec' sign it"
                    .to_owned(),
            ),
            Err(Refusal::NoZone) => refuse(
                Rcode::SERVFAIL,
                "there is no version of the zone yet".to_owned(),
            ),
            Err(Refusal::Zone(error)) => refuse(Rcode::REFUSED, error.to_string()),
            Err(Refusal::Journal(error)) => {
                tracing::error!(target: "plugin/update", "journal of zone \"{zone}\": {error}");
                Rcode::SERVFAIL
            }
        }
    }

    fn count(zone: &Name, rcode: Rcode) {
        registry()
            .counter(
                "coredns_update_requests_total",
                "Counter of dynamic updates by zone and status code.",
                &[("rcode", &rcode.to_string()), ("zone", &zone.to_string())],
            )
            .increment();
    }

    /// What there is to do now and then. Blocks.
    fn round(&self) {
        self.attach();
        let stores: Vec<_> = lock(&self.stores).values().cloned().collect();
        for store in stores {
            store.expire(unix_seconds());
            if let Some(folder) = &self.config.write_back {
                store.write_back(folder);
            }
        }
    }
}

#[async_trait]
impl Plugin for Updating {
    fn name(&self) -> &'static str {
        "update"
    }

    fn updates(&self) -> Updates {
        Updates::Serve
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if ex.query.opcode() != Opcode::UPDATE {
            return Flow::Pass;
        }
        let zone = ex.query.question.name.clone();
        if self.shared.config.zones.matches(&zone).is_none() {
            return Flow::Pass;
        }
        // RFC 2136 section 3.1.1.
        if ex.query.question.rtype != RecordType::SOA {
            return ex.answer(Rcode::FORMERR);
        }
        if ex.signer().is_some() {
            return Flow::Wait;
        }
        let what = match ex.query.signed_octets() {
            Some(_) => "nobody has verified its signature: the block needs the directive 'tsig'",
            None => "it is not signed",
        };
        // Anybody can send this.
        static PACE: Pace = Pace::new(10);
        if PACE.admits() {
            tracing::warn!(
                target: "plugin/update",
                "update of zone \"{zone}\" from {}: REFUSED, {what}", ex.client
            );
        }
        ex.answer(Rcode::REFUSED)
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let Some(signer) = ex.signer().cloned() else {
            return ex.answer(Rcode::REFUSED);
        };
        let (shared, client) = (Arc::clone(&self.shared), ex.client);
        let (zone, octets) = (ex.query.question.name.clone(), ex.query.octets().to_vec());
        // Once it has begun it ends, whether or not the client waits.
        let done = tokio::task::spawn_blocking(move || {
            let rcode = shared.update(&zone, &signer.key, &octets, client);
            if rcode != Rcode::NOTAUTH {
                Shared::count(&zone, rcode);
            }
            rcode
        });
        let rcode = done.await.unwrap_or(Rcode::SERVFAIL);
        ex.answer(rcode)
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let keys: Vec<_> = context.peers.all::<Keyring>().collect();
        for grant in &self.shared.config.policy.grants {
            if !keys.iter().any(|keys| keys.get(&grant.key).is_some()) {
                return Err(format!(
                    "the key \"{}\" is none of those of 'tsig' in this block",
                    grant.key
                )
                .into());
            }
        }
        let primary = context
            .peers
            .all::<dyn Catalogue>()
            .filter(|catalogue| catalogue.is_primary());
        *lock(&self.shared.catalogues) = primary.cloned().collect();
        if lock(&self.shared.catalogues).is_empty() {
            tracing::warn!(
                target: "plugin/update",
                "neither 'file' nor 'auto' stands in this block; there is no zone to update"
            );
        }
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || shared.claim()).await? {
            Err(taken @ Refused::Taken { .. }) => return Err(taken.into()),
            // A folder that is not there may come; until then zones take no updates, and the log says so.
            Ok(()) | Err(Refused::Io { .. }) => (),
        }
        self.shared.owner.start();
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.attach()).await?;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(ROUND).await;
                let shared = Arc::clone(&shared);
                let round = tokio::task::spawn_blocking(move || shared.round()).await;
                if round.is_err_and(|error| error.is_cancelled()) {
                    // The runtime is about to end.
                    return;
                }
            }
        });
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.tasks.stop();
        let Some(folder) = self.shared.config.write_back.clone() else {
            return;
        };
        let stores: Vec<_> = lock(&self.shared.stores).values().cloned().collect();
        let written = tokio::task::spawn_blocking(move || {
            stores.iter().for_each(|store| store.write_back(&folder));
        });
        let _ = written.await;
    }
}

#[cfg(test)]
mod tests;
