//! placeholder
/// x
pub static PLUGIN: corten_plugin::Directive = corten_plugin::Directive { name: "tls", setup: |_| Ok(()), readme: "" };
