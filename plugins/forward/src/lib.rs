//! placeholder
/// x
pub static PLUGIN: corten_plugin::Directive = corten_plugin::Directive { name: "forward", setup: |_| Ok(()), readme: "" };
