//! The plugins of the standard program.
use corten_plugin::Directive;

/// The order of this list is the order of every chain, and of set-up: CoreDNS's, for the plugins
/// that are here.
///
/// A plugin of a crate elsewhere is one line here and one in `Cargo.toml`. The compiler refuses a
/// plugin that stands in the list twice.
pub const STANDARD: &[&Directive] = corten_plugin::plugins![
    #[cfg(feature = "root")]
    corten_root::PLUGIN,
    #[cfg(feature = "reload")]
    corten_reload::PLUGIN,
    #[cfg(feature = "nsid")]
    corten_nsid::PLUGIN,
    #[cfg(feature = "bind")]
    corten_bind::PLUGIN,
    #[cfg(feature = "debug")]
    corten_debug::PLUGIN,
    #[cfg(feature = "errors")]
    corten_errors::PLUGIN,
    #[cfg(feature = "log")]
    corten_log::PLUGIN,
    #[cfg(feature = "local")]
    corten_local::PLUGIN,
    #[cfg(feature = "any")]
    corten_any::PLUGIN,
    #[cfg(feature = "chaos")]
    corten_chaos::PLUGIN,
    // Right above everything that answers from data, so that challenge answers can be signed once a
    // plugin for that stands above.
    #[cfg(feature = "tls")]
    corten_tls::PLUGIN,
    #[cfg(feature = "hosts")]
    corten_hosts::PLUGIN,
    #[cfg(feature = "forward")]
    corten_forward::PLUGIN,
    #[cfg(feature = "whoami")]
    corten_whoami::PLUGIN,
];
