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
    #[cfg(feature = "metadata")]
    corten_metadata::PLUGIN,
    #[cfg(feature = "geoip")]
    corten_geoip::PLUGIN,
    #[cfg(feature = "cancel")]
    corten_cancel::PLUGIN,
    #[cfg(feature = "quic")]
    corten_quic::PLUGIN,
    #[cfg(feature = "grpc_server")]
    corten_grpc_server::PLUGIN,
    #[cfg(feature = "https")]
    corten_https::PLUGIN,
    #[cfg(feature = "https3")]
    corten_https3::PLUGIN,
    #[cfg(feature = "proxyproto")]
    corten_proxyproto::PLUGIN,
    #[cfg(feature = "timeouts")]
    corten_timeouts::PLUGIN,
    #[cfg(feature = "multisocket")]
    corten_multisocket::PLUGIN,
    #[cfg(feature = "reload")]
    corten_reload::PLUGIN,
    #[cfg(feature = "nsid")]
    corten_nsid::PLUGIN,
    #[cfg(feature = "bufsize")]
    corten_bufsize::PLUGIN,
    #[cfg(feature = "bind")]
    corten_bind::PLUGIN,
    #[cfg(feature = "debug")]
    corten_debug::PLUGIN,
    #[cfg(feature = "trace")]
    corten_trace::PLUGIN,
    #[cfg(feature = "ready")]
    corten_ready::PLUGIN,
    #[cfg(feature = "health")]
    corten_health::PLUGIN,
    #[cfg(feature = "pprof")]
    corten_pprof::PLUGIN,
    #[cfg(feature = "shed")]
    corten_shed::PLUGIN,
    #[cfg(feature = "prometheus")]
    corten_prometheus::PLUGIN,
    #[cfg(feature = "errors")]
    corten_errors::PLUGIN,
    #[cfg(feature = "log")]
    corten_log::PLUGIN,
    #[cfg(feature = "dnstap")]
    corten_dnstap::PLUGIN,
    #[cfg(feature = "local")]
    corten_local::PLUGIN,
    // CoreDNS has none; it answers for names that stay on this machine, as *local* does.
    #[cfg(feature = "ddr")]
    corten_ddr::PLUGIN,
    #[cfg(feature = "dns64")]
    corten_dns64::PLUGIN,
    #[cfg(feature = "any")]
    corten_any::PLUGIN,
    #[cfg(feature = "chaos")]
    corten_chaos::PLUGIN,
    #[cfg(feature = "loadbalance")]
    corten_loadbalance::PLUGIN,
    #[cfg(feature = "tsig")]
    corten_tsig_plugin::PLUGIN,
    #[cfg(feature = "rewrite")]
    corten_rewrite::PLUGIN,
    #[cfg(feature = "autopath")]
    corten_autopath::PLUGIN,
    #[cfg(feature = "acl")]
    corten_acl::PLUGIN,
    #[cfg(feature = "cache")]
    corten_cache::PLUGIN,
    #[cfg(feature = "header")]
    corten_header::PLUGIN,
    #[cfg(feature = "dnssec")]
    corten_dnssec_plugin::PLUGIN,
    // Right above everything that answers from data, so that challenge answers are signed.
    #[cfg(feature = "tls")]
    corten_tls::PLUGIN,
    #[cfg(feature = "minimal")]
    corten_minimal::PLUGIN,
    #[cfg(feature = "template")]
    corten_template::PLUGIN,
    #[cfg(feature = "transfer")]
    corten_transfer::PLUGIN,
    #[cfg(feature = "hosts")]
    corten_hosts::PLUGIN,
    #[cfg(feature = "file")]
    corten_file::PLUGIN,
    #[cfg(feature = "auto")]
    corten_auto::PLUGIN,
    #[cfg(feature = "secondary")]
    corten_secondary::PLUGIN,
    #[cfg(feature = "update")]
    corten_update::PLUGIN,
    #[cfg(feature = "loop")]
    corten_loop::PLUGIN,
    #[cfg(feature = "forward")]
    corten_forward::PLUGIN,
    #[cfg(feature = "grpc")]
    corten_grpc::PLUGIN,
    #[cfg(feature = "erratic")]
    corten_erratic::PLUGIN,
    #[cfg(feature = "whoami")]
    corten_whoami::PLUGIN,
    #[cfg(feature = "sign")]
    corten_sign::PLUGIN,
    #[cfg(feature = "view")]
    corten_view::PLUGIN,
];
