//! Where a query was answered, as metrics call it.
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A listener and the view that was chosen on it: the labels `server` and `view` of metrics.
///
/// Known to the whole process by a small number, so that counters are found without a map: see
/// [`BySite`]. Sites come from the configuration; the process remembers every one it ever had, up
/// to [`Site::MAX`].
#[derive(Clone, Copy)]
pub struct Site(&'static Entry);

struct Entry {
    index: usize,
    server: String,
    view: String,
}

impl Site {
    /// Most sites of a process; those that come later, after many reloads with ever new listeners,
    /// are counted as one.
    pub const MAX: usize = CHUNK * CHUNKS;

    /// The site of this listener and view; `view` is empty without one.
    pub fn new(server: &str, view: &str) -> Self {
        static SITES: Mutex<Vec<Site>> = Mutex::new(Vec::new());
        let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |site: &&Self| site.server() == server && site.view() == view;
        if let Some(site) = sites.iter().find(known) {
            return *site;
        }
        if let Some(last) = sites.get(Self::MAX - 1) {
            return *last;
        }
        let entry = Entry {
            index: sites.len(),
            server: server.to_owned(),
            view: view.to_owned(),
        };
        // Kept for the process's life: exchanges refer to it without counting.
        let site = Self(Box::leak(Box::new(entry)));
        sites.push(site);
        site
    }

    /// The listener, such as `dns://:53`.
    pub fn server(self) -> &'static str {
        &self.0.server
    }

    /// The view; empty without one.
    pub fn view(self) -> &'static str {
        &self.0.view
    }
}

impl PartialEq for Site {
    fn eq(&self, other: &Self) -> bool {
        self.0.index == other.0.index
    }
}

impl Eq for Site {}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.server(), self.view())
    }
}

const CHUNK: usize = 32;
const CHUNKS: usize = 64;

type Chunk<T> = Box<[OnceLock<T>; CHUNK]>;

/// Something for each site, such as counters with its labels; made when a query first needs it.
///
/// Reading takes no lock and allocates nothing once the site has its own.
pub struct BySite<T> {
    chunks: Box<[OnceLock<Chunk<T>>; CHUNKS]>,
    make: Box<dyn Fn(Site) -> T + Send + Sync>,
}

impl<T> BySite<T> {
    /// Nothing yet; `make` is called once for each site.
    pub fn new(make: impl Fn(Site) -> T + Send + Sync + 'static) -> Self {
        Self {
            chunks: Box::new([const { OnceLock::new() }; CHUNKS]),
            make: Box::new(make),
        }
    }

    /// What belongs to this site.
    pub fn at(&self, site: Site) -> &T {
        let chunk = self.chunks[site.0.index / CHUNK]
            .get_or_init(|| Box::new([const { OnceLock::new() }; CHUNK]));
        chunk[site.0.index % CHUNK].get_or_init(|| (self.make)(site))
    }
}

impl<T> fmt::Debug for BySite<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BySite")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    fn a_site_is_known_again_and_has_things_of_its_own() {
        let one = Site::new("dns://:53", "");
        let other = Site::new("dns://:53", "inside");
        assert_eq!(one, Site::new("dns://:53", ""));
        assert_ne!(one, other);
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let by_site = BySite::new(|site| {
            MADE.fetch_add(1, Relaxed);
            site.view().len()
        });
        assert_eq!((*by_site.at(one), *by_site.at(other)), (0, 6));
        assert_eq!((*by_site.at(one), MADE.load(Relaxed)), (0, 2));
    }
}
