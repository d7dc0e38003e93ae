//! *prometheus*: metrics over HTTP.
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | the directive's words |
//! | [`count`] | what is counted of a query |
//! | [`enabled`] | which plugins a zone has |
//! | [`page`] | the answer to a scrape |
//! | [`own`] | figures of the process itself |
//! | [`web`] | TLS and passwords, from Prometheus's web configuration |
mod config;
mod count;
mod enabled;
mod own;
mod page;
mod web;

use std::sync::{Arc, Mutex, PoisonError};

use corten_plugin::metrics::registry;
use corten_plugin::{
    Announcement, BoxError, Context, Directive, Exchange, Flow, Interest, Plugin, Process, Setup,
    SetupError, Stop, TlsIdentity, async_trait,
};

use count::{Counts, Dropped};
use enabled::Enabled;
use page::Scrapes;
use web::Web;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "prometheus",
    setup,
    readme: include_str!("../README.md"),
};

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = config::read(&setup.only_occurrence()?)?;
    let web = match &config.web {
        None => None,
        Some(file) => Some(Arc::new(Web::load(&file.path).map_err(|error| {
            SetupError::new(format!("{}: {error}", file.path.display())).at(&file.at)
        })?)),
    };
    if config.runtime_metrics {
        tracing::warn!(
            target: "plugin/prometheus",
            "'runtime_metrics' has no effect: it is about Go's runtime"
        );
    }
    let tls = web
        .as_ref()
        .filter(|web| web.speaks_tls())
        .map(|web| Arc::clone(web) as Arc<dyn TlsIdentity>);
    setup.announce(Announcement {
        directive: "prometheus",
        address: config.address,
        path: "/metrics",
        endpoint: Arc::new(Scrapes::new(web)),
        tls,
    });
    // The same for all blocks: queries that are nobody's belong to no block.
    let dropped: Arc<Dropped> = setup.process.service(Dropped::default);
    setup.options.refusals = Some(dropped);
    setup.push(Prometheus {
        counts: Counts::new(&setup.block.zones),
        process: Arc::clone(setup.process),
        enabled: Mutex::default(),
    });
    Ok(())
}

/// Counts the queries of a block.
struct Prometheus {
    counts: Counts,
    process: Arc<Process>,
    /// What was said about plugins, to be taken back.
    enabled: Mutex<Vec<enabled::Entry>>,
}

#[async_trait]
impl Plugin for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        self.counts.count(ex);
        Flow::Respond
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let build = self.process.build();
        let labels = [
            ("version", build.version),
            ("revision", build.revision),
            ("goversion", build.compiler),
        ];
        registry()
            .gauge(
                "coredns_build_info",
                "A metric with a constant '1' value labeled by version, revision, and goversion from which CoreDNS was built.",
                &labels,
            )
            .set(1);
        // It is there before the first panic, so that its rate can be asked for.
        let _ = registry().counter(
            "coredns_panics_total",
            "A metrics that counts the number of panics.",
            &[],
        );
        self.counts.add_zones(context.peers.all().cloned());
        let Some(roster) = context.roster() else {
            return Ok(());
        };
        self.counts.name_links(&roster.links);
        let entries = enabled::entries(roster);
        self.process.service(Enabled::default).add(&entries);
        *self.enabled.lock().unwrap_or_else(PoisonError::into_inner) = entries;
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        let entries =
            std::mem::take(&mut *self.enabled.lock().unwrap_or_else(PoisonError::into_inner));
        self.process.service(Enabled::default).remove(&entries);
    }
}
