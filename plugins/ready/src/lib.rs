//! *ready*: whether every plugin can do its work, over HTTP.
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

use corten_plugin::corefile::Occurrence;
use corten_plugin::endpoint::text;
use corten_plugin::http::{Request, Response};
use corten_plugin::{
    Announcement, BoxError, Context, Directive, Endpoint, Interest, Plugin, Setup, SetupError,
    async_trait,
};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "ready",
    setup,
    readme: include_str!("../README.md"),
};

/// CoreDNS's choice.
const ADDRESS: &str = ":8181";

/// How long a plugin is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Monitor {
    /// Until it has been ready once.
    UntilReady,
    /// For ever.
    Continuously,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let (address, monitor) = read(&setup.only_occurrence()?)?;
    let ready = Arc::new(Ready {
        monitor,
        own: OnceLock::new(),
        all: OnceLock::new(),
        leaving: AtomicBool::new(false),
    });
    setup.announce(Announcement {
        directive: "ready",
        address,
        path: "/ready",
        endpoint: Arc::clone(&ready) as Arc<dyn Endpoint>,
        tls: None,
    });
    setup.push_shared(ready);
    Ok(())
}

/// Reads `ready [ADDRESS] { monitor until-ready|continuously }`.
fn read(line: &Occurrence<'_>) -> Result<(String, Monitor), SetupError> {
    let address = match line.args_between(0, 1)?.first() {
        Some(token) => Announcement::address(token)?,
        None => ADDRESS.to_owned(),
    };
    let mut monitor = Monitor::UntilReady;
    for option in line.lines() {
        if option.name.text != "monitor" {
            return Err(option.unknown_property(&["monitor"]).into());
        }
        let kind = option.one_arg()?;
        monitor = match kind.text.as_str() {
            "until-ready" => Monitor::UntilReady,
            "continuously" => Monitor::Continuously,
            other => {
                let error = kind.error(format!("monitor type '{other}' not supported"));
                return Err(error.help("types are until-ready and continuously").into());
            }
        };
    }
    Ok((address, monitor))
}

/// The plugins of a block that are watched, and the endpoint, which speaks for all blocks that have
/// *ready*.
struct Ready {
    monitor: Monitor,
    own: OnceLock<Vec<Watched>>,
    /// This plugin of every block.
    all: OnceLock<Vec<Weak<dyn Plugin>>>,
    /// The process is about to exit.
    leaving: AtomicBool,
}

struct Watched {
    plugin: Weak<dyn Plugin>,
    was_ready: AtomicBool,
}

impl Ready {
    fn watch(&self, own: &[Weak<dyn Plugin>], all: Vec<Weak<dyn Plugin>>) {
        let watched = own.iter().map(|plugin| Watched {
            plugin: Weak::clone(plugin),
            was_ready: AtomicBool::new(false),
        });
        let _ = self.own.set(watched.collect());
        let _ = self.all.set(all);
    }

    /// Adds the names of the block's plugins that are not ready.
    fn missing(&self, names: &mut BTreeSet<&'static str>) {
        for watched in self.own.get().into_iter().flatten() {
            if self.monitor == Monitor::UntilReady && watched.was_ready.load(Relaxed) {
                continue;
            }
            match watched.plugin.upgrade() {
                Some(plugin) if !plugin.ready() => {
                    names.insert(plugin.name());
                }
                _ => watched.was_ready.store(true, Relaxed),
            }
        }
    }

    fn answer(&self) -> Response<Vec<u8>> {
        if self.leaving.load(Relaxed) {
            return text(503, "shutting down");
        }
        let mut names = BTreeSet::new();
        let all = self.all.get().into_iter().flatten();
        for plugin in all.filter_map(Weak::upgrade) {
            if let Some(ready) = (&*plugin as &dyn Any).downcast_ref::<Self>() {
                ready.missing(&mut names);
            }
        }
        if names.is_empty() {
            return text(200, "OK");
        }
        let names = names.into_iter().collect::<Vec<_>>().join(",");
        tracing::info!(target: "plugin/ready", "Plugins not ready: {names:?}");
        text(503, names)
    }
}

#[async_trait]
impl Endpoint for Ready {
    async fn respond(&self, _: &Request<()>) -> Response<Vec<u8>> {
        self.answer()
    }
}

#[async_trait]
impl Plugin for Ready {
    fn name(&self) -> &'static str {
        "ready"
    }

    fn interest(&self) -> Interest {
        Interest::Nothing
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let plugins = context.blocks.iter().flat_map(|block| &block.plugins);
        let all = plugins.filter(|plugin| plugin.upgrade().is_some_and(|it| it.name() == "ready"));
        let own = context.roster().map_or(&[][..], |roster| &roster.plugins);
        self.watch(own, all.cloned().collect());
        Ok(())
    }

    async fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use corten_plugin::corefile::{Source, parse};

    use super::*;

    fn config(text: &str) -> Result<(String, Monitor), String> {
        let text = format!(". {{\n{text}\n}}\n");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["ready"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_read() {
        for (text, address, monitor) in [
            ("ready", ":8181", Monitor::UntilReady),
            (
                "ready localhost:1234",
                "localhost:1234",
                Monitor::UntilReady,
            ),
            (
                "ready {\nmonitor until-ready\n}",
                ":8181",
                Monitor::UntilReady,
            ),
            (
                "ready {\nmonitor continuously\n}",
                ":8181",
                Monitor::Continuously,
            ),
        ] {
            assert_eq!(config(text), Ok((address.to_owned(), monitor)), "{text}");
        }
        for (text, error) in [
            ("ready 8181", "address 8181: missing port in address"),
            ("ready :8181 :8182", "Wrong argument count"),
            ("ready {\ncheck once\n}", "unknown property 'check'"),
            (
                "ready {\nmonitor sometimes\n}",
                "monitor type 'sometimes' not supported",
            ),
            ("ready {\nmonitor\n}", "Wrong argument count"),
        ] {
            let told = config(text).unwrap_err();
            assert!(told.contains(error), "{text}: {told}");
        }
    }

    struct Sleepy(&'static str, AtomicBool);

    impl Plugin for Sleepy {
        fn name(&self) -> &'static str {
            self.0
        }

        fn ready(&self) -> bool {
            self.1.load(Relaxed)
        }
    }

    #[tokio::test]
    async fn every_block_is_spoken_for_in_its_own_mode() {
        let sleepy = |name| Arc::new(Sleepy(name, AtomicBool::new(false)));
        let (a, b) = (sleepy("a"), sleepy("b"));
        let ready = |monitor| {
            Arc::new(Ready {
                monitor,
                own: OnceLock::new(),
                all: OnceLock::new(),
                leaving: AtomicBool::new(false),
            })
        };
        let (latches, watches) = (ready(Monitor::UntilReady), ready(Monitor::Continuously));
        let weak = |plugin: Arc<dyn Plugin>| Arc::downgrade(&plugin);
        let all = || vec![weak(latches.clone()), weak(watches.clone())];
        latches.watch(&[weak(b.clone())], all());
        watches.watch(&[weak(a.clone()), weak(watches.clone())], all());
        let told = |ready: &Ready| {
            let answer = ready.answer();
            let body = String::from_utf8(answer.body().clone()).unwrap();
            (answer.status().as_u16(), body)
        };
        let not = |names: &str| (503, names.to_owned());
        let fine = || (200, "OK".to_owned());
        assert_eq!(told(&latches), not("a,b"));
        assert_eq!(told(&watches), not("a,b"));
        b.1.store(true, Relaxed);
        assert_eq!(told(&watches), not("a"));
        a.1.store(true, Relaxed);
        assert_eq!(told(&watches), fine());
        b.1.store(false, Relaxed);
        assert_eq!(told(&watches), fine());
        a.1.store(false, Relaxed);
        assert_eq!(told(&latches), not("a"));
        a.1.store(true, Relaxed);
        latches.leave().await;
        assert_eq!(told(&latches), not("shutting down"));
    }
}
