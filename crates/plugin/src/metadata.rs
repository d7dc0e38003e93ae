//! Values about a query that plugins tell one another, such as `geoip/country/code`.
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::Exchange;

/// A plugin that knows values about a query; offered with [`crate::Setup::provide`] as
/// `Arc<dyn MetadataProvider>`.
pub trait MetadataProvider: Send + Sync {
    /// The value behind this label, such as `geoip/country/code`; nothing if it is not this
    /// provider's. Asked only when somebody wants to know.
    fn value(&self, ex: &Exchange, label: &str) -> Option<String>;
}

/// Turns metadata on for the queries of a server block; what *metadata* puts into
/// [`crate::ServerOptions`].
pub trait MetadataCollector: Send + Sync {
    /// Called for each query before views are asked; calls [`Exchange::collect_metadata`] when the
    /// query's zone is one of those that metadata are wanted for.
    fn collect(&self, ex: &mut Exchange);
}

/// What is known about one query.
#[derive(Clone, Default)]
pub(crate) struct Metadata {
    on: bool,
    /// Kept when metadata are off: a worker meets the same block's again and again, and need not
    /// count a reference that it shares with the others each time.
    providers: Option<Arc<[Arc<dyn MetadataProvider>]>>,
    values: Vec<(Cow<'static, str>, String)>,
}

impl Metadata {
    pub(crate) fn clear(&mut self) {
        self.on = false;
        self.values.clear();
    }
}

impl Exchange {
    /// Turns metadata on for this query, with the providers of its block.
    pub fn collect_metadata(&mut self, providers: &Arc<[Arc<dyn MetadataProvider>]>) {
        self.metadata.on = true;
        let known = self.metadata.providers.as_ref();
        if !known.is_some_and(|known| Arc::ptr_eq(known, providers)) {
            self.metadata.providers = Some(Arc::clone(providers));
        }
    }

    /// Forgets what was collected for a block that does not take the query.
    pub fn forget_metadata(&mut self) {
        self.metadata.clear();
    }

    /// Whether anybody wants metadata of this query; whoever has to work for a value asks first.
    pub fn has_metadata(&self) -> bool {
        self.metadata.on
    }

    /// Sets a value while the query runs, such as `forward/upstream`. Does nothing unless metadata
    /// are on.
    pub fn set_metadata(&mut self, label: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        if !self.has_metadata() {
            return;
        }
        let (label, value) = (label.into(), value.into());
        let values = &mut self.metadata.values;
        match values.iter_mut().find(|(known, _)| *known == label) {
            Some((_, old)) => *old = value,
            None => values.push((label, value)),
        }
    }

    /// The value behind a label: one that was set, else a provider's. Nothing when metadata are
    /// off.
    pub fn metadata(&self, label: &str) -> Option<Cow<'_, str>> {
        let providers = self.metadata.providers.as_ref()?;
        if !self.metadata.on {
            return None;
        }
        let set = self
            .metadata
            .values
            .iter()
            .find(|(known, _)| known == label);
        if let Some((_, value)) = set {
            return Some(Cow::Borrowed(value));
        }
        providers
            .iter()
            .find_map(|provider| provider.value(self, label))
            .map(Cow::Owned)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.values.iter().map(|(label, value)| (label, value)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl MetadataProvider for One {
        fn value(&self, _: &Exchange, label: &str) -> Option<String> {
            (label == "one/value").then(|| "1".to_owned())
        }
    }

    #[test]
    fn values_are_of_one_query() {
        let providers: Arc<[Arc<dyn MetadataProvider>]> = vec![Arc::new(One) as _].into();
        let mut ex = Exchange::new();
        ex.set_metadata("a/b", "off");
        assert_eq!((ex.metadata("a/b"), ex.metadata("one/value")), (None, None));
        ex.collect_metadata(&providers);
        ex.set_metadata("a/b", "set");
        assert_eq!(ex.metadata("a/b").as_deref(), Some("set"));
        assert_eq!(ex.metadata("one/value").as_deref(), Some("1"));
        ex.recycle();
        assert!(!ex.has_metadata());
        assert_eq!((ex.metadata("a/b"), ex.metadata("one/value")), (None, None));
        ex.collect_metadata(&providers);
        assert_eq!(ex.metadata("one/value").as_deref(), Some("1"));
        assert_eq!(Arc::strong_count(&providers), 2, "counted once");
    }
}
