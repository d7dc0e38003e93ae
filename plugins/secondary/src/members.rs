//! Zones that come and go with their catalogs (RFC 9432 section 5).
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use corten_plugin::wire::Name;

use crate::catalog::Member;
use crate::config::Source;
use crate::held::{Held, Membership};
use crate::keeper::{Change, Keeper};

impl Keeper {
    /// Does what a new version of a catalog says; returns the zones that came.
    pub(crate) fn apply_catalog(
        self: &Arc<Self>,
        catalog: &Name,
        source: &Arc<Source>,
        members: Vec<Member>,
    ) -> Vec<Arc<Held>> {
        let mut change = self.lock();
        let count = members.len();
        let (mut new, mut wanted, mut rejected) = (Vec::new(), HashSet::new(), 0);
        // There may be a hundred thousand of each.
        let held = change.held.iter();
        let known: HashMap<_, _> = held
            .map(|held| (held.name.clone(), Arc::clone(held)))
            .collect();
        let mut replaced = HashSet::new();
        for member in &members {
            if !source.takes_member(&member.zone) {
                rejected += 1;
                continue;
            }
            wanted.insert(&member.zone);
            let old = known.get(&member.zone);
            if let Some(held) = take(&change, old, catalog, source, member) {
                if old.is_some() {
                    replaced.insert(&member.zone);
                }
                new.push(held);
            }
        }
        change.held.retain(|held| {
            let ours = held.member.as_ref().is_some_and(|member| member.catalog == *catalog);
            let gone = replaced.contains(&held.name);
            let stays = !ours || wanted.contains(&held.name);
            if gone {
                held.stop.cancel();
            } else if !stays {
                held.stop.cancel();
                if let Some(store) = &held.source.store {
                    store.remove(&held.name);
                }
                tracing::info!(target: "plugin/secondary", "Removed catalog member zone {} from catalog {catalog}", held.name);
            }
            stays && !gone
        });
        for held in &new {
            self.add(&mut change, Arc::clone(held));
        }
        change.catalogs.insert(catalog.clone(), members);
        self.publish(&change);
        drop(change);
        if rejected > 0 {
            tracing::warn!(target: "plugin/secondary", "Skipped {rejected} member zones from catalog {catalog}: outside configured member zones");
        }
        tracing::info!(target: "plugin/secondary", "Parsed catalog zone {catalog} with {count} member zones");
        new
    }
}

/// A zone for a member, in place of the old one of the name, unless that stays.
fn take(
    change: &Change,
    old: Option<&Arc<Held>>,
    catalog: &Name,
    source: &Arc<Source>,
    member: &Member,
) -> Option<Arc<Held>> {
    let (zone, membership) = (
        &member.zone,
        Membership {
            catalog: catalog.clone(),
            id: member.id.clone(),
        },
    );
    let Some(old) = old else {
        tracing::info!(target: "plugin/secondary", "Added catalog member zone {zone} from catalog {catalog}");
        return Some(Held::new(zone, source, Some(membership), None));
    };
    if old.member.as_ref() == Some(&membership) {
        return None;
    }
    let like = match &old.member {
        // Another label: everything about the zone begins anew (section 5.4).
        Some(before) if before.catalog == *catalog => {
            let show = |id: &[u8]| String::from_utf8_lossy(id).into_owned();
            tracing::info!(
                target: "plugin/secondary",
                "Reset catalog member zone {zone} from {catalog} after member ID changed from {} to {}",
                show(&before.id), show(&member.id)
            );
            None
        }
        // It moves here if the catalog that has it says so (section 4.4.1).
        Some(before) if leaves(change, &before.catalog, member, catalog) => {
            let keeps = before.id == member.id;
            tracing::info!(
                target: "plugin/secondary",
                "Migrated catalog member zone {zone} from catalog {} to {catalog}{}",
                before.catalog,
                if keeps { ", preserving state" } else { " with state reset" }
            );
            keeps.then_some(&**old)
        }
        _ => {
            tracing::warn!(target: "plugin/secondary", "Skipping catalog member zone {zone} from {catalog}: zone already exists");
            return None;
        }
    };
    Some(Held::new(zone, source, Some(membership), like))
}

/// Whether a catalog gives a member away to another.
fn leaves(change: &Change, from: &Name, member: &Member, to: &Name) -> bool {
    let said = change.catalogs.get(from);
    said.is_some_and(|members| {
        let mut same = members.iter().filter(|other| other.zone == member.zone);
        same.any(|other| other.moves_to.as_ref() == Some(to))
    })
}
