//! The upstreams of one directive: servers, and the task that follows names and files.
//!
//! An engine outlives a reload that leaves its directive as it is, with its connections and what it
//! knows about the servers' health.
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use corten_plugin::nameservers;
use corten_upstream::{Group, Server};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::{Config, UPSTREAMS_MAX};
use crate::resolve::Resolver;
use crate::targets::{Maker, Place, Target};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Time until a name that did not resolve is tried again, and its double, and so on.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Engine {
    pub(crate) identity: String,
    pub(crate) group: Group,
    targets: Vec<Target>,
    /// Addresses of each target when the engine was made.
    first: Vec<Vec<SocketAddr>>,
    maker: Maker,
    resolver: Resolver,
    task: OnceLock<AbortHandle>,
}

impl Engine {
    /// Reads files; names are resolved once the engine has been started.
    pub(crate) fn new(config: Config) -> Self {
        let engine = Self {
            first: config.targets.iter().map(first_addresses).collect(),
            identity: config.identity,
            group: Group::new(Vec::new(), config.settings),
            targets: config.targets,
            maker: config.maker,
            resolver: Resolver::new(&config.resolver),
            task: OnceLock::new(),
        };
        engine.take(&engine.first);
        engine
    }

    /// Starts to follow names and files, once.
    pub(crate) fn start(self: &Arc<Self>) {
        let fixed = |target: &Target| matches!(target.place, Place::Address(_));
        if self.targets.iter().all(fixed) {
            return;
        }
        self.task.get_or_init(|| {
            let engine = Arc::downgrade(self);
            tokio::spawn(follow(engine)).abort_handle()
        });
    }

    /// Makes servers of the addresses of each target.
    fn take(&self, known: &[Vec<SocketAddr>]) {
        let pairs = self.targets.iter().zip(known);
        let mut servers: Vec<Server> = Vec::new();
        for (target, address) in
            pairs.flat_map(|(target, all)| all.iter().map(move |a| (target, *a)))
        {
            match self.maker.server(target, address) {
                Ok(server) if !servers.contains(&server) => servers.push(server),
                Ok(_) => (),
                Err(error) => tracing::warn!(target: "plugin/forward", "{address}: {error}"),
            }
        }
        if servers.len() > UPSTREAMS_MAX {
            tracing::warn!(
                target: "plugin/forward",
                "more than {UPSTREAMS_MAX} upstreams: {}; the last ones are left out", servers.len()
            );
            servers.truncate(UPSTREAMS_MAX);
        }
        self.group.replace(servers);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// What is known before anybody has been asked.
fn first_addresses(target: &Target) -> Vec<SocketAddr> {
    match &target.place {
        Place::Address(address) => vec![*address],
        Place::Name { .. } => Vec::new(),
        Place::File(path) => nameservers(path).unwrap_or_default(),
    }
}

/// A target that may move.
struct Followed {
    /// When to look next.
    due: Instant,
    retry: Duration,
    stamp: Stamp,
    /// Whether the last look failed, so that a failure is logged once.
    failed: bool,
}

/// What tells a changed file from an unchanged one.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(file: &Path) -> Stamp {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Looks at names and files when they are due, as long as the engine is there.
async fn follow(engine: Weak<Engine>) {
    let Some(first) = engine.upgrade() else {
        return;
    };
    let mut known = first.first.clone();
    let mut followed: Vec<_> = first
        .targets
        .iter()
        .map(|_| Followed {
            due: Instant::now(),
            retry: RETRY,
            // Files were read with the configuration; they may have changed since.
            stamp: None,
            failed: false,
        })
        .collect();
    drop(first);
    loop {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let mut changed = false;
        let mut next = Instant::now() + RETRY_MAX;
        for ((target, own), addresses) in engine.targets.iter().zip(&mut followed).zip(&mut known) {
            if matches!(target.place, Place::Address(_)) {
                continue;
            }
            if own.due <= Instant::now()
                && let Some(new) = look(&engine, target, own).await
                && new != *addresses
            {
                *addresses = new;
                changed = true;
            }
            next = next.min(own.due);
        }
        if changed {
            engine.take(&known);
        }
        drop(engine);
        sleep_until(next).await;
        // Several that are due at about the same time are one change.
        sleep(Duration::from_millis(10)).await;
    }
}

/// Looks at one target; nothing when there is nothing new.
async fn look(engine: &Engine, target: &Target, own: &mut Followed) -> Option<Vec<SocketAddr>> {
    let (shown, found) = match &target.place {
        Place::Address(_) => return None,
        Place::File(path) => {
            own.due = Instant::now() + LOOK;
            let now = stamp(path);
            if now == own.stamp {
                return None;
            }
            own.stamp = now;
            (path.display().to_string(), nameservers(path))
        }
        Place::Name { host, port } => {
            let found = engine.resolver.resolve(host).await;
            let at_port = |ip: &IpAddr| SocketAddr::new(*ip, *port);
            let found = found.map(|(ips, keep)| {
                own.due = Instant::now() + keep;
                ips.iter().map(at_port).collect()
            });
            if found.is_err() {
                own.due = Instant::now() + own.retry;
                own.retry = (own.retry * 2).min(RETRY_MAX);
            }
            (host.clone(), found)
        }
    };
    match found {
        Ok(addresses) => {
            if own.failed {
                tracing::info!(target: "plugin/forward", "{shown}: found again");
            }
            (own.failed, own.retry) = (false, RETRY);
            Some(addresses)
        }
        Err(reason) => {
            // What was known last is better than nothing.
            if !own.failed {
                tracing::warn!(target: "plugin/forward", "{shown}: {reason}; trying again, the last known addresses stay");
            }
            own.failed = true;
            engine.group.explain_absence(&format!("{shown}: {reason}"));
            None
        }
    }
}
