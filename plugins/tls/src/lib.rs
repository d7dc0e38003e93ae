//! *tls*: certificates and settings of a block's TLS listeners, from files, from an ACME CA, or
//! from a local one.
//!
//! | module | what it is |
//! |---|---|
//! | `config`, `options` | the directive's forms, and their options |
//! | `claims` | which block wants which certificate |
//! | `identity` | what a listener shakes hands with |
//! | `client` | which client certificates are taken |
//! | `challenge` | the link that answers ACME challenges in every block |
//! | `place` | where certificates are kept |
//! | `owner` | which addresses the machine has, and who listens where |
//! | `sight` | the commands `certs` and `trust` |
//! | `rehearsal` | the command `acme test` |
//! | `bootstrap` | the responder for challenges where no block listens on their port |
//!
//! The certificates themselves are [`corten_acme`]'s.
mod bootstrap;
mod challenge;
mod claims;
mod client;
mod config;
mod identity;
mod options;
mod owner;
mod place;
mod rehearsal;
mod sight;

use std::sync::{Arc, Mutex, PoisonError};

use corten_acme::{Entry, Issuer, Manager};
use corten_plugin::corefile::Transport;
use corten_plugin::{
    BoxError, Context, Directive, Gates, Interest, Owed, Plugin, Process, Resolvers, Setup,
    SetupError, Stop, Tasks, async_trait,
};

use bootstrap::{Bootstrap, Place, Wish};
use challenge::{Challenge, Names};
use claims::{Claim, Claims};
use config::{Config, OnRenewal, Source};
use identity::Identity;

pub use corten_acme::{Report, root_hash, span};
pub use rehearsal::test;
pub use sight::{certificates, local_roots};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "tls",
    setup,
    readme: include_str!("../README.md"),
};

/// Keeps a block's certificate; queries do not pass it.
struct Tls {
    managed: Option<Managed>,
    process: Arc<Process>,
    tasks: Tasks,
    /// Where challenges arrive, while the generation serves.
    wish: Mutex<Option<Wish>>,
}

/// Certificates that look after themselves.
struct Managed {
    entries: Vec<Arc<Entry>>,
    claims: Vec<Arc<Claim>>,
    startup_waits: bool,
    manager: Arc<Manager>,
    challenge_port: u16,
    bind: Option<Vec<std::net::SocketAddr>>,
    on_renewal: OnRenewal,
}

impl Managed {
    /// Whether a CA asks for the names.
    fn is_challenged(&self) -> bool {
        let mut issuers = self.entries.iter().map(|entry| &entry.spec().issuer);
        issuers.any(|issuer| matches!(issuer, Issuer::Acme { .. }))
    }
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup)?;
    let manager = setup.process.service(Manager::default);
    let (identity, managed) = match config.source {
        Source::Files { certificate, key } => (
            Identity::from_files(&certificate, &key, &config.client)?,
            None,
        ),
        Source::Managed(wanted) => {
            let known = setup.process.service(Claims::default);
            let (mut entries, mut claims) = (Vec::new(), Vec::new());
            for spec in wanted.specs {
                let bind = setup.options.bind.clone();
                claims.push(known.add(&spec, &wanted.at, wanted.challenge_port, bind)?);
                entries.push(manager.entry(spec));
            }
            let identity =
                Identity::from_entries(entries.clone(), wanted.strict_names, &config.client)?;
            let managed = Managed {
                entries,
                claims,
                startup_waits: wanted.startup_waits,
                manager: Arc::clone(&manager),
                challenge_port: wanted.challenge_port,
                bind: setup.options.bind.clone(),
                on_renewal: wanted.on_renewal,
            };
            (identity, Some(managed))
        }
    };
    setup.options.tls = Some(Arc::new(identity));
    let challenged = managed.as_ref().is_some_and(Managed::is_challenged);
    if challenged {
        let challenge = setup
            .process
            .service(|| Arc::new(Challenge::new(Arc::clone(manager.challenges()))));
        setup.push_everywhere(Arc::clone(&*challenge) as _);
        let names = Names(Arc::clone(manager.challenges()));
        setup.process.service(Owed::default).set(Arc::new(names));
    }
    let process = Arc::clone(setup.process);
    setup.push(Tls {
        managed,
        process,
        tasks: Tasks::default(),
        wish: Mutex::default(),
    });
    Ok(())
}

#[async_trait]
impl Plugin for Tls {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn interest(&self) -> Interest {
        Interest::Nothing
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let Some(managed) = &self.managed else {
            return Ok(());
        };
        if managed.is_challenged() {
            self.await_challenges(managed, context);
        }
        for claim in &managed.claims {
            claim.start();
        }
        for resolvers in context.peers.all::<Resolvers>() {
            managed.manager.add_upstreams(resolvers.0.iter().copied());
        }
        for entry in &managed.entries {
            entry.start();
            if managed.on_renewal == OnRenewal::Reload {
                let (entry, process) = (Arc::clone(entry), Arc::clone(&self.process));
                self.tasks.spawn(reload_on_renewal(entry, process));
            }
            if managed.startup_waits {
                let entry = Arc::clone(entry);
                let gate = async move { entry.until_ready().await };
                context.process.service(Gates::default).add(gate);
            }
        }
        Ok(())
    }

    fn ready(&self) -> bool {
        self.managed.as_ref().is_none_or(|managed| {
            managed
                .entries
                .iter()
                .all(|entry| entry.current().is_some())
        })
    }

    async fn stop(&self, _: Stop) {
        drop(
            self.wish
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.tasks.stop();
    }
}

impl Tls {
    /// Sees to it that the CA reaches somebody when it asks.
    fn await_challenges(&self, managed: &Managed, context: &Context) {
        let port = managed.challenge_port;
        let plain = context
            .listeners
            .iter()
            .filter(|(transport, address)| *transport == Transport::Dns && address.port() == port);
        let own = plain.map(|(_, address)| address.ip()).collect();
        let challenges = managed.manager.challenges();
        let bootstrap = self
            .process
            .service(|| Bootstrap::new(Arc::clone(challenges)));
        let place = Place {
            port,
            bind: managed.bind.clone(),
        };
        let wish = bootstrap.want(place, own);
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner) = Some(wish);
        challenges.set_responder(Arc::clone(&*bootstrap) as _);
    }
}

/// Starts a graceful reload whenever a certificate replaces another.
async fn reload_on_renewal(entry: Arc<Entry>, process: Arc<Process>) {
    let mut live = entry.subscribe();
    live.mark_unchanged();
    let mut first = entry.current().is_none();
    while live.changed().await.is_ok() {
        if std::mem::take(&mut first) {
            continue;
        }
        let Some(reload) = process.reload() else {
            continue;
        };
        // In a task of its own: this one ends with the generation that is replaced.
        let done = tokio::spawn(async move { reload.reload().await }).await;
        if let Ok(Err(error)) = done {
            tracing::error!(target: "plugin/tls", "The certificate was renewed and is live, but the reload failed: {error}");
        }
    }
}
