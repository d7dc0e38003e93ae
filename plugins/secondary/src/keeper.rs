//! The tasks that keep zones fresh.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use corten_dnssec::zonemd;
use corten_plugin::wire::Name;
use corten_plugin::{Fallthrough, aside};
use corten_zone::{Delta, Listener, Zone, ZoneError};
use corten_zone_answer::ZoneTable;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apply::{Misfit, apply};
use crate::catalog::{self, CatalogError, Member};
use crate::client::{self, Failure, Primary, Request};
use crate::config::{Config, Source};
use crate::held::{Held, Schedule};
use crate::incoming::Received;

/// The zones of a block.
pub(crate) struct Keeper {
    sources: Vec<Arc<Source>>,
    fallthrough: Fallthrough,
    zones: ArcSwap<Zones>,
    /// Held while zones come or go.
    pub(crate) change: Mutex<Change>,
    stopped: CancellationToken,
    tasks: TaskTracker,
}

/// What queries see.
#[derive(Default)]
pub(crate) struct Zones {
    pub(crate) table: ZoneTable,
    by_apex: HashMap<Box<[u8]>, Arc<Held>>,
}

/// What only those see who change it.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) held: Vec<Arc<Held>>,
    /// What each catalog said last.
    pub(crate) catalogs: HashMap<Name, Vec<Member>>,
    listeners: Vec<Weak<dyn Listener>>,
    running: bool,
}

/// What came of asking the primaries.
enum News {
    /// Nothing newer.
    None,
    Newer,
    /// A version before ours, which confirms nothing: ours may be nobody's any more.
    Older(u32),
}

/// Why a version that came is not served.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Zone(#[from] ZoneError),
    #[error(transparent)]
    Misfit(#[from] Misfit),
    #[error("the zone is not what its ZONEMD record says (RFC 8976)")]
    Digest,
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the zone's version {got} is not newer than {have}")]
    Old { got: u32, have: u32 },
    #[error("the server is about to end")]
    Ending,
}

/// A version that may be served.
struct Fit {
    zone: Zone,
    delta: Option<Delta>,
    members: Option<Vec<Member>>,
}

impl Zones {
    /// The zone of this apex, in wire form.
    pub(crate) fn held(&self, apex: &[u8]) -> Option<&Arc<Held>> {
        self.by_apex.get(apex)
    }
}

impl Keeper {
    /// Takes over what the running generation has of the same zones from the same primaries.
    pub(crate) fn new(config: Config, before: Option<&Self>) -> Arc<Self> {
        let (old_held, old_catalogs) = before.map_or_else(Default::default, |old| {
            let old = old.lock();
            (old.held.clone(), old.catalogs.clone())
        });
        let mut change = Change::default();
        // A catalog may have brought a hundred thousand.
        let old_by_name: HashMap<_, _> = old_held.iter().map(|old| (&old.name, old)).collect();
        let mut own: HashMap<Name, Arc<Held>> = HashMap::new();
        for source in &config.sources {
            for name in &source.zones {
                if own.contains_key(name) {
                    continue;
                }
                let like = old_by_name
                    .get(name)
                    .filter(|old| old.member.is_none() && old.source.is_like(source));
                let held = Held::new(name, source, None, like.map(|old| &***old));
                change.held.push(Arc::clone(&held));
                own.insert(name.clone(), held);
            }
        }
        // Members stay as long as their catalogs do; the next version of a catalog decides anew.
        for old in &old_held {
            let Some(member) = &old.member else { continue };
            let catalog = own.get(&member.catalog).filter(|held| {
                held.source.is_like(&old.source) && held.source.takes_member(&old.name)
            });
            // No two members have one name.
            if let (Some(catalog), false) = (catalog, own.contains_key(&old.name)) {
                let held = Held::new(&old.name, &catalog.source, old.member.clone(), Some(old));
                change.held.push(held);
            }
        }
        change.catalogs = old_catalogs;
        let keeper = Self {
            sources: config.sources,
            fallthrough: config.fallthrough,
            zones: ArcSwap::default(),
            change: Mutex::new(change),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        keeper.publish(&keeper.lock());
        Arc::new(keeper)
    }

    pub(crate) fn zones(&self) -> Guard<Arc<Zones>> {
        self.zones.load()
    }

    pub(crate) fn fallthrough(&self) -> &Fallthrough {
        &self.fallthrough
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Change> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the listener of versions of every zone, of those that come later, too.
    pub(crate) fn listen(&self, listener: &Arc<dyn Listener>) {
        let mut change = self.lock();
        change.listeners.push(Arc::downgrade(listener));
        for held in &change.held {
            held.slot.listen(listener);
        }
    }

    /// Shows the zones that there are now to queries.
    pub(crate) fn publish(&self, change: &Change) {
        let by_apex = change
            .held
            .iter()
            .map(|held| (Box::from(held.name.wire()), Arc::clone(held)));
        self.zones.store(Arc::new(Zones {
            table: ZoneTable::new(change.held.iter().map(|held| Arc::clone(&held.slot))),
            by_apex: by_apex.collect(),
        }));
    }

    /// Reads copies, then begins to ask primaries.
    pub(crate) async fn start(self: &Arc<Self>) {
        let all = self.lock().held.clone();
        for held in &all {
            self.read_copy(held).await;
        }
        // Copies of catalogs have brought members by now.
        let mut change = self.lock();
        change.running = true;
        for held in &change.held {
            self.spawn(held);
        }
    }

    pub(crate) async fn stop(&self) {
        self.stopped.cancel();
        self.lock().running = false;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Adds a zone; its task begins when the others have.
    pub(crate) fn add(self: &Arc<Self>, change: &mut Change, held: Arc<Held>) {
        for listener in change.listeners.iter().filter_map(Weak::upgrade) {
            held.slot.listen(&listener);
        }
        if change.running {
            self.spawn(&held);
        }
        change.held.push(held);
    }

    fn spawn(self: &Arc<Self>, held: &Arc<Held>) {
        let (keeper, held) = (Arc::clone(self), Arc::clone(held));
        self.tasks.spawn(async move {
            let (stopped, stop) = (keeper.stopped.clone(), held.stop.clone());
            tokio::select! {
                () = stopped.cancelled() => (),
                () = stop.cancelled() => (),
                () = keeper.keep(&held) => (),
            }
        });
    }

    /// Takes a zone from its copy on disk, unless it is there already.
    async fn read_copy(self: &Arc<Self>, held: &Arc<Held>) {
        let Some(store) = held
            .source
            .store
            .clone()
            .filter(|_| held.slot.load().is_none())
        else {
            return;
        };
        let (name, bounds) = (held.name.clone(), held.source.bounds);
        let is_catalog = self.is_catalog(held);
        let read = aside(move || {
            let Some(kept) = store
                .read(&name, bounds)
                .map_err(|error| error.to_string())?
            else {
                return Ok(None);
            };
            let fit = fit(kept.zone, None, is_catalog).map_err(|error| error.to_string())?;
            Ok::<_, String>(Some((fit, kept.refreshed)))
        });
        let (fit, refreshed) = match read.await {
            Ok(Ok(Some(kept))) => kept,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                let zone = &held.name;
                return tracing::warn!(target: "plugin/secondary", "Copy of {zone} on disk: {error}");
            }
        };
        let age = SystemTime::now()
            .duration_since(refreshed)
            .unwrap_or_default();
        if age >= Duration::from_secs(fit.zone.soa().expire.into()) {
            return tracing::warn!(target: "plugin/secondary", "Copy of {} on disk has expired", held.name);
        }
        let serial = fit.zone.soa().serial;
        tracing::info!(target: "plugin/secondary", "Read {} with serial {serial} from its copy on disk", held.name);
        // A clock that begins with the machine may not go back so far.
        held.set_refreshed(Instant::now().checked_sub(age).unwrap_or_else(Instant::now));
        held.slot.set(Arc::new(fit.zone));
        if let Some(members) = fit.members {
            for held in self.apply_catalog(&held.name, &held.source, members) {
                Box::pin(self.read_copy(&held)).await;
            }
        }
    }

    /// One zone's life.
    async fn keep(self: &Arc<Self>, held: &Arc<Held>) {
        let mut schedule = Schedule::default();
        // A zone that a reload has brought along is as fresh as it was; one from disk may be old.
        let mut wait = held.slot.load().is_some() && held.source.store.is_none();
        let mut in_vain = false;
        loop {
            if wait {
                let soa = held.slot.load().as_ref().map(|zone| zone.soa());
                let due = schedule.next(Instant::now(), held.refreshed(), soa, rand::random());
                held.until_due(due, in_vain, || expire(held)).await;
            }
            wait = true;
            let notifier = held.take_notifier();
            in_vain = false;
            let refresh = async {
                // Never closed. Primaries of others are not waited for.
                let _under_way = held.source.under_way.acquire().await;
                self.refresh(held).await
            };
            match held.until_done(refresh, || expire(held)).await {
                Ok(News::Newer) => schedule.succeeded(),
                Ok(_) => {
                    schedule.succeeded();
                    if let Some(client) = notifier {
                        in_vain = true;
                        tracing::info!(target: "plugin/file", "Notify from {client} for {}: no SOA serial increase seen", held.name);
                    }
                }
                Err(error) => {
                    schedule.failed();
                    in_vain = notifier.is_some();
                    match held.slot.load().is_some() {
                        true => {
                            tracing::warn!(target: "plugin/file", "Failed refresh check of {}: {error}", held.name)
                        }
                        false => tracing::warn!(
                            target: "plugin/secondary",
                            "All '{}' masters failed to transfer, retrying in {:?}: {error}",
                            held.name, schedule.backoff()
                        ),
                    }
                }
            }
        }
    }

    /// Asks the primaries in turn until one of them has an answer.
    async fn refresh(self: &Arc<Self>, held: &Arc<Held>) -> Result<News, String> {
        let mut last = String::from("there is no primary");
        let mut news = None;
        for primary in &held.source.primaries {
            match self.ask(held, primary).await {
                Ok(News::Newer) => return Ok(News::Newer),
                Ok(News::None) => news = Some(News::None),
                Ok(News::Older(serial)) => {
                    let (zone, server) = (&held.name, primary.address);
                    tracing::info!(
                        target: "plugin/secondary",
                        "{server} has an older version of {zone}: serial {serial}"
                    );
                    last = format!("{server} has an older version, serial {serial}");
                }
                Err(error) => {
                    let (zone, server) = (&held.name, primary.address);
                    tracing::error!(target: "plugin/file", "Failed to transfer `{zone}' from \"{server}\": {error}");
                    last = error;
                }
            }
        }
        news.ok_or(last)
    }

    async fn ask(self: &Arc<Self>, held: &Arc<Held>, primary: &Primary) -> Result<News, String> {
        let have = held.slot.zone();
        let mut changes = true;
        loop {
            let request = Request {
                zone: &held.name,
                have: have.as_deref(),
                key: held.source.key.as_ref(),
                source: held.source.source,
                bounds: held.source.bounds,
                changes,
            };
            let asks_changes = changes && have.is_some();
            let answered = match client::ask(primary, &request).await {
                Ok(answered) => answered,
                Err(error) if asks_changes && Failure::is_about_changes(&error) => {
                    tracing::info!(target: "plugin/secondary", "No changes of {} from {}: {error}; asking for the whole zone", held.name, primary.address);
                    changes = false;
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            if answered.strays > 0 {
                let (zone, strays) = (&held.name, answered.strays);
                tracing::warn!(target: "plugin/secondary", "Left out {strays} records from {} that are not in {zone}", primary.address);
            }
            if let Received::Current(serial) = answered.received {
                let Some(have) = have.filter(|have| have.soa().serial == serial) else {
                    return Ok(News::Older(serial));
                };
                held.set_refreshed(Instant::now());
                keep_copy(held, have, false).await;
                return Ok(News::None);
            }
            let are_changes = matches!(answered.received, Received::Changes(_));
            let is_catalog = self.is_catalog(held);
            let before = have.clone();
            let made = aside(move || make(answered.received, before, is_catalog));
            match made.await.unwrap_or(Err(Unfit::Ending)) {
                Ok(fit) => {
                    self.serve(
                        held,
                        fit,
                        have.as_deref().map(|zone| zone.soa().serial),
                        primary,
                    )
                    .await;
                    return Ok(News::Newer);
                }
                Err(error) if are_changes => {
                    tracing::info!(target: "plugin/secondary", "Changes of {} from {}: {error}; asking for the whole zone", held.name, primary.address);
                    changes = false;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Takes a new version up.
    async fn serve(
        self: &Arc<Self>,
        held: &Arc<Held>,
        fit: Fit,
        before: Option<u32>,
        primary: &Primary,
    ) {
        let now = held.slot.load().as_ref().map(|zone| zone.soa().serial);
        if now != before {
            // Another generation of the configuration was faster.
            return;
        }
        let zone = Arc::new(fit.zone);
        held.set_refreshed(Instant::now());
        match fit.delta {
            Some(delta) => held.slot.set_with(Arc::clone(&zone), delta),
            None => held.slot.set(Arc::clone(&zone)),
        }
        tracing::info!(target: "plugin/file", "Transferred: {} from {}", held.name, primary.address);
        keep_copy(held, zone, true).await;
        if let Some(members) = fit.members {
            self.apply_catalog(&held.name, &held.source, members);
        }
    }

    fn is_catalog(&self, held: &Held) -> bool {
        held.member.is_none()
            && held.source.catalog.is_some()
            && self
                .sources
                .iter()
                .any(|source| Arc::ptr_eq(source, &held.source))
    }
}

/// Has the copy on disk be this version, which is the primary's now; it is there already unless it is new, or
/// could not be written before.
async fn keep_copy(held: &Held, zone: Arc<Zone>, is_new: bool) {
    let Some(store) = held.source.store.clone() else {
        return;
    };
    let (name, write) = (held.name.clone(), is_new || !held.has_copy());
    let kept = aside(move || match write {
        false if store.touch(&name).is_ok() => Ok(()),
        _ => store.write(&name, &zone),
    });
    let Ok(kept) = kept.await else { return };
    held.set_copied(kept.is_ok());
    if let Err(error) = kept {
        tracing::error!(target: "plugin/secondary", "Copy of {} was not written: {error}", held.name);
    }
}

/// Gives a zone up.
fn expire(held: &Held) {
    held.slot.clear();
    tracing::error!(target: "plugin/file", "Zone {} is expired", held.name);
}

/// Builds what came; takes long for large zones.
fn make(received: Received, have: Option<Arc<Zone>>, is_catalog: bool) -> Result<Fit, Unfit> {
    let (zone, delta) = match (received, &have) {
        (Received::Whole(builder), _) => (builder.build()?, None),
        (Received::Changes(steps), Some(have)) => {
            let (zone, delta) = apply(have, &steps)?;
            (zone, Some(delta))
        }
        (Received::Changes(_) | Received::Current(_), _) => return Err(Misfit::NotThere.into()),
    };
    if let Some(have) = have {
        let (got, have) = (zone.soa().serial, have.soa().serial);
        if !corten_zone::serial_newer(got, have) {
            return Err(Unfit::Old { got, have });
        }
    }
    fit(zone, delta, is_catalog)
}

/// Whether a zone may be served.
fn fit(zone: Zone, delta: Option<Delta>, is_catalog: bool) -> Result<Fit, Unfit> {
    if zonemd::verify(&zone) == zonemd::Verdict::Bad {
        return Err(Unfit::Digest);
    }
    let members = match is_catalog {
        true => Some(catalog::members(&zone)?),
        false => None,
    };
    Ok(Fit {
        zone,
        delta,
        members,
    })
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
