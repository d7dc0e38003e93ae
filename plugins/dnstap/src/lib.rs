//! *dnstap*: sends queries and responses to a dnstap collector.
mod config;
mod listener;
mod message;
mod queue;
mod sink;
mod stream;
mod tap;
mod tls;

use std::sync::{Arc, Mutex, PoisonError};

use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Plugin, Setup, SetupError, Stop, Tap, Updates,
    UpstreamExchange, async_trait,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use config::Config;
use tap::Point;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "dnstap",
    setup,
    readme: include_str!("../README.md"),
};

/// The taps of a server block.
struct Dnstap {
    taps: Arc<Taps>,
    /// Whether some tap wants messages in wire format.
    full: bool,
    tasks: TaskTracker,
    end: Mutex<Option<CancellationToken>>,
}

struct Taps(Vec<Point>);

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut points = Vec::new();
    for line in setup.occurrences()? {
        let config = config::read(&line)?;
        let before = setup.predecessor::<Dnstap>();
        let bound = before.and_then(|before| before.taps.bound(&config));
        let at = &line.name.at;
        points.push(Point::new(config, bound).map_err(|text| SetupError::new(text).at(at))?);
    }
    let full = points.iter().any(|point| point.config().full);
    let taps = Arc::new(Taps(points));
    setup.provide::<dyn Tap>(Arc::clone(&taps) as Arc<dyn Tap>);
    setup.push(Dnstap {
        taps,
        full,
        tasks: TaskTracker::new(),
        end: Mutex::default(),
    });
    Ok(())
}

impl Taps {
    /// The socket of a listener at the same place.
    fn bound(&self, config: &Config) -> Option<Arc<listener::Bound>> {
        let mut same = self
            .0
            .iter()
            .filter(|point| config.listen && point.config().endpoint == config.endpoint);
        same.find_map(Point::bound)
    }
}

impl Tap for Taps {
    fn upstream(&self, ex: &Exchange, exchange: &UpstreamExchange<'_>) {
        for point in &self.0 {
            point.upstream(ex, exchange);
        }
    }
}

#[async_trait]
impl Plugin for Dnstap {
    fn name(&self) -> &'static str {
        "dnstap"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn updates(&self) -> Updates {
        Updates::See
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        for point in &self.taps.0 {
            point.query(ex);
        }
        Flow::Watch
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        // Nothing is sent, so there is nothing to tell.
        if !ex.is_dropped() {
            tap::with_message(ex, self.full, |message| {
                for point in &self.taps.0 {
                    point.response(ex, message);
                }
            });
        }
        Flow::Respond
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        let end = CancellationToken::new();
        for point in &self.taps.0 {
            point.start(&self.tasks, &end).await;
        }
        self.tasks.close();
        let mut slot = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(end);
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        let end = self
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(end) = end {
            end.cancel();
            self.tasks.wait().await;
        }
        self.taps.0.iter().for_each(Point::release);
    }
}
