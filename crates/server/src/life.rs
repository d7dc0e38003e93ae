//! Start, reload, stop: the life of a configuration.
//!
//! A new configuration is read, built and bound completely before the running one is touched; then
//! one pointer is exchanged. Sockets that both have stay open. The old generation ends when its
//! last exchange is over.
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use corten_corefile::Corefile;
use corten_plugin::{Directive, Plugin, Process, Reload, ReloadError, Running, Stop};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::batch;
use crate::build::build;
use crate::current::Publisher;
use crate::generation::{Generation, Listener};
use crate::http;
use crate::limits::DRAIN;
use crate::listen::{Sockets, open};
use crate::worker::Workers;

/// What is served when a Corefile has no server block (CoreDNS's choice).
pub const BUILT_IN: &str = ". {\n    whoami\n    log\n}\n";

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, read again at each reload; errors name it as it is written here.
    File(PathBuf),
    /// A text, such as standard input's.
    Text {
        /// What errors call it.
        name: String,
        /// The Corefile.
        text: String,
    },
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directives in chain order.
    pub directives: Vec<&'static Directive>,
    /// The configuration.
    pub source: Source,
    /// Port of plain DNS keys that name none.
    pub dns_port: u16,
}

/// Why a server does not start, or a reload is not carried out. The text is complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    /// A complete text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A running server.
pub struct Server {
    settings: Settings,
    process: Arc<Process>,
    current: Publisher,
    state: Mutex<State>,
}

/// Sockets of each worker by listener.
type Open = HashMap<Listener, usize>;

/// What only one reload at a time may touch.
struct State {
    workers: Option<Workers>,
    /// Sockets of each worker on the listeners that are open.
    open: Open,
    /// Ends with the current generation.
    ended: oneshot::Receiver<()>,
}

impl Server {
    /// Reads, builds, binds and serves. Nothing is left behind when it fails.
    pub async fn start(settings: Settings, process: Arc<Process>) -> Result<Arc<Self>, StartError> {
        batch::raise_file_limit();
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let workers =
            Workers::start(count).map_err(|error| StartError(format!("workers: {error}")))?;
        let corefile = read(&settings)?;
        let generation = build(
            &corefile,
            &settings.directives,
            settings.dns_port,
            &process,
            None,
        )
        .map_err(start_error)?;
        let (ended, generation) = alive(generation);
        let hosts = http::open_new(&generation, None).map_err(StartError)?;
        let (sockets, open) = open_new(&generation, &Open::new(), workers.count())?;
        let server = Arc::new(Self {
            settings,
            process,
            current: Publisher::new(Arc::clone(&generation)),
            state: Mutex::new(State {
                workers: None,
                open,
                ended,
            }),
        });
        let reload: Arc<dyn Reload> = Arc::clone(&server) as _;
        server.process.set_reload(Arc::downgrade(&reload));
        server.process.set_debug(generation.debug);
        start_plugins(&generation, &server.process).await?;
        let current = server.current.subscribe();
        for sockets in sockets {
            workers.serve(sockets, &current);
        }
        http::serve(hosts, &current);
        server.state.lock().await.workers = Some(workers);
        Ok(server)
    }

    /// One line for each zone and listener, sorted, such as `tls://example.org.:853 on 127.0.0.1`.
    pub fn banner(&self) -> Vec<String> {
        self.current.generation().banner.clone()
    }

    /// What about the configuration is worth a warning.
    pub fn warnings(&self) -> Vec<String> {
        self.current.generation().warnings.clone()
    }

    /// Swaps in what the source says now.
    pub async fn reload(&self) -> Result<(), StartError> {
        let mut state = self.state.lock().await;
        let Some(workers) = &state.workers else {
            return Err(StartError("the server has stopped".into()));
        };
        let before = self.current.generation();
        let corefile = read(&self.settings)?;
        let directives = &self.settings.directives;
        let generation = build(
            &corefile,
            directives,
            self.settings.dns_port,
            &self.process,
            Some(&before),
        )
        .map_err(start_error)?;
        let (ended, generation) = alive(generation);
        let hosts = http::open_new(&generation, Some(&before)).map_err(StartError)?;
        let (sockets, open) = open_new(&generation, &state.open, workers.count())?;
        start_plugins(&generation, &self.process).await?;
        for warning in &generation.warnings {
            tracing::warn!("{warning}");
        }
        self.process.set_debug(generation.debug);
        self.current.publish(generation);
        let current = self.current.subscribe();
        for sockets in sockets {
            workers.serve(sockets, &current);
        }
        http::serve(hosts, &current);
        state.open = open;
        let ended = std::mem::replace(&mut state.ended, ended);
        let plugins = plugins_of(&before);
        drop(before);
        tokio::spawn(async move {
            // Whatever is under way for longer goes on, but its plugins are told.
            let _ = timeout(DRAIN, ended).await;
            stop_plugins(plugins, Stop::Reload).await;
        });
        Ok(())
    }

    /// Tells the plugins, and waits as long as they want; then stops listening, answers what was
    /// asked, stops the plugins, ends the threads, within the drain time.
    pub async fn stop(&self) {
        let mut state = self.state.lock().await;
        let Some(workers) = state.workers.take() else {
            return;
        };
        let plugins = plugins_of(&self.current.generation());
        leave(&plugins).await;
        let (_, nothing) = alive(Generation::nothing());
        self.current.publish(nothing);
        let _ = timeout(DRAIN, &mut state.ended).await;
        stop_plugins(plugins, Stop::Exit).await;
        workers.stop();
    }
}

#[async_trait]
impl Reload for Server {
    async fn read(&self) -> Result<Running, ReloadError> {
        let corefile = read(&self.settings).map_err(|error| ReloadError(error.0))?;
        Ok(Running {
            fingerprint: corefile.fingerprint_input().into(),
        })
    }

    fn running(&self) -> Running {
        self.current.generation().running.clone()
    }

    async fn reload(&self) -> Result<(), ReloadError> {
        tracing::info!("Reloading");
        Self::reload(self)
            .await
            .map_err(|error| ReloadError(error.0))?;
        tracing::info!("Reloading complete");
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

pub(crate) fn start_error(error: impl fmt::Display) -> StartError {
    StartError(error.to_string())
}

/// Reads and parses the configuration.
pub(crate) fn read(settings: &Settings) -> Result<Corefile, StartError> {
    let (name, text, path) = match &settings.source {
        Source::Text { name, text } => (name.clone(), text.clone(), None),
        Source::File(path) => {
            let name = path.display().to_string();
            let text = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
            let text = String::from_utf8(text)
                .map_err(|_| StartError(format!("{name}: the file is not UTF-8")))?;
            (name, text, Some(path.as_path()))
        }
    };
    let known: Vec<&str> = settings
        .directives
        .iter()
        .map(|directive| directive.name)
        .collect();
    let parse = |source: &corten_corefile::Source<'_>| {
        corten_corefile::parse(source, &known, &|name| std::env::var(name).ok())
            .map_err(start_error)
    };
    let corefile = parse(&corten_corefile::Source {
        name: &name,
        text: &text,
        path,
    })?;
    match corefile.blocks.is_empty() {
        true => parse(&corten_corefile::Source {
            name: "built-in configuration",
            text: BUILT_IN,
            path: None,
        }),
        false => Ok(corefile),
    }
}

/// CoreDNS's words for a Corefile that cannot be read.
fn unreadable(path: &Path, error: &io::Error) -> StartError {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    };
    StartError(format!(
        "loading Caddyfile via flag: open {}: {reason}",
        path.display()
    ))
}

/// Puts a generation into service's hands; the receiver ends when nobody has it any more.
fn alive(mut generation: Generation) -> (oneshot::Receiver<()>, Arc<Generation>) {
    let (sender, ended) = oneshot::channel();
    generation.alive = Some(sender);
    (ended, Arc::new(generation))
}

/// Opens the sockets that are not there yet, all or none; and tells which there are then. Those
/// that are there stay as long as their listener: closing one would lose what it has queued.
fn open_new(
    generation: &Generation,
    before: &Open,
    workers: usize,
) -> Result<(Vec<Vec<Sockets>>, Open), StartError> {
    let mut listeners: Vec<_> = generation.tables.iter().collect();
    listeners.sort_by_key(|(listener, _)| **listener);
    let (mut opened, mut all) = (Vec::new(), Open::new());
    for (&listener, table) in listeners {
        let there = before.get(&listener).copied().unwrap_or(0);
        let wanted = table.tuning.sockets_per_worker(workers).max(there);
        if wanted > there {
            opened.push(open(listener, (wanted - there) * workers).map_err(start_error)?);
        }
        all.insert(listener, wanted);
    }
    Ok((opened, all))
}

/// Starts the plugins in list order; when one fails, those before it are stopped again.
async fn start_plugins(generation: &Generation, process: &Arc<Process>) -> Result<(), StartError> {
    let mut started = Vec::new();
    for (plugin, block) in generation.plugins() {
        let context = generation.context(process, block);
        let result = plugin.start(&context).await;
        started.push(Arc::clone(plugin));
        if let Err(error) = result {
            let name = plugin.name();
            stop_plugins(started, Stop::Reload).await;
            return Err(StartError(format!("plugin/{name}: {error}")));
        }
    }
    Ok(())
}

fn plugins_of(generation: &Generation) -> Vec<Arc<dyn Plugin>> {
    generation
        .plugins()
        .map(|(plugin, _)| Arc::clone(plugin))
        .collect()
}

/// Tells every plugin that the end is near; returns when all are content.
async fn leave(plugins: &[Arc<dyn Plugin>]) {
    let mut leaving = JoinSet::new();
    for plugin in plugins {
        let plugin = Arc::clone(plugin);
        leaving.spawn(async move { plugin.leave().await });
    }
    while leaving.join_next().await.is_some() {}
}

async fn stop_plugins(plugins: Vec<Arc<dyn Plugin>>, why: Stop) {
    for plugin in plugins.into_iter().rev() {
        plugin.stop(why).await;
    }
}
