//! Registration: the ordered list of what a binary knows.
use crate::{Setup, SetupError};

/// A directive that this binary knows; one `pub static PLUGIN` per plugin crate.
#[derive(Debug)]
pub struct Directive {
    /// Name in the Corefile.
    pub name: &'static str,
    /// Reads the tokens and adds plugins; called once per server block that has the directive.
    pub setup: fn(&mut Setup<'_>) -> Result<(), SetupError>,
    /// The plugin's README, the manual of the directive.
    pub readme: &'static str,
}

/// An ordered list of directives, checked while compiling: no name twice.
///
/// ```
/// # use corten_plugin::{Directive, plugins};
/// # mod first {
/// #     pub static PLUGIN: corten_plugin::Directive =
/// #         corten_plugin::Directive { name: "first", setup: |_| Ok(()), readme: "" };
/// # }
/// # mod second {
/// #     pub static PLUGIN: corten_plugin::Directive =
/// #         corten_plugin::Directive { name: "second", setup: |_| Ok(()), readme: "" };
/// # }
/// const LIST: &[&Directive] = plugins![first::PLUGIN, second::PLUGIN];
/// assert_eq!(LIST[1].name, "second");
/// ```
///
/// ```compile_fail,E0080
/// # use corten_plugin::{Directive, plugins};
/// # mod first {
/// #     pub static PLUGIN: corten_plugin::Directive =
/// #         corten_plugin::Directive { name: "first", setup: |_| Ok(()), readme: "" };
/// # }
/// const LIST: &[&Directive] = plugins![first::PLUGIN, first::PLUGIN];
/// ```
#[macro_export]
macro_rules! plugins {
    ($($(#[$attr:meta])* $plugin:path),* $(,)?) => {{
        const LIST: &[&$crate::Directive] = &[$($(#[$attr])* &$plugin),*];
        const { $crate::checked(LIST) }
    }};
}

/// The list itself, if no name stands in it twice.
///
/// # Panics
/// While compiling, when a plugin is listed twice.
pub const fn checked(list: &'static [&'static Directive]) -> &'static [&'static Directive] {
    let mut one = 0;
    while one < list.len() {
        let mut other = one + 1;
        while other < list.len() {
            assert!(
                !same(list[one].name.as_bytes(), list[other].name.as_bytes()),
                "a plugin is listed twice"
            );
            other += 1;
        }
        one += 1;
    }
    list
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}
