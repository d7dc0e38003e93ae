//! A DNS server that reads Corefiles and looks after its own certificates.
//!
//! This crate puts the server and the plugins together: the ordered list of [`plugins`], the
//! command line, the log. A program with other plugins is ten lines over [`Builder`];
//! `docs/plugins.md` shows one.
#[cfg(feature = "tls")]
mod acme;
#[cfg(feature = "tls")]
mod certs;
#[cfg(feature = "tls")]
mod command;
mod flags;
mod logging;
pub mod plugins;
mod run;
#[cfg(feature = "tls")]
mod trust;

use std::process::ExitCode;

use corten_plugin::Directive;

/// A server program with a list of plugins of its own.
#[derive(Clone, Debug)]
pub struct Builder {
    directives: Vec<&'static Directive>,
}

impl Builder {
    /// Begins with a list, usually [`plugins::STANDARD`]. Its order is the order of every chain.
    pub fn new(list: &[&'static Directive]) -> Self {
        Self {
            directives: list.to_vec(),
        }
    }

    /// Adds a plugin in front of another.
    ///
    /// # Panics
    /// When `anchor` is not in the list, or a plugin of that name is there already: a mistake in
    /// the program.
    #[must_use]
    pub fn insert_before(self, anchor: &'static Directive, plugin: &'static Directive) -> Self {
        self.insert(anchor, plugin, 0)
    }

    /// Adds a plugin behind another.
    ///
    /// # Panics
    /// As [`Builder::insert_before`].
    #[must_use]
    pub fn insert_after(self, anchor: &'static Directive, plugin: &'static Directive) -> Self {
        self.insert(anchor, plugin, 1)
    }

    /// Takes a plugin out of the list; its directive is unknown then.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.directives.retain(|directive| directive.name != name);
        self
    }

    fn insert(
        mut self,
        anchor: &'static Directive,
        plugin: &'static Directive,
        behind: usize,
    ) -> Self {
        assert!(
            self.directives
                .iter()
                .all(|directive| directive.name != plugin.name),
            "plugin '{}' is listed twice",
            plugin.name
        );
        let place = self
            .directives
            .iter()
            .position(|directive| directive.name == anchor.name);
        let place = place.unwrap_or_else(|| {
            panic!(
                "no plugin '{}' to insert '{}' beside",
                anchor.name, plugin.name
            )
        });
        self.directives.insert(place + behind, plugin);
        self
    }

    /// Runs the program: reads the command line, serves until a signal ends it.
    pub fn main(self) -> ExitCode {
        run::main(self.directives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FIRST: Directive = Directive {
        name: "first",
        setup: |_| Ok(()),
        readme: "",
    };
    static LAST: Directive = Directive {
        name: "last",
        setup: |_| Ok(()),
        readme: "",
    };
    static NEW: Directive = Directive {
        name: "new",
        setup: |_| Ok(()),
        readme: "",
    };

    fn names(builder: &Builder) -> Vec<&str> {
        builder
            .directives
            .iter()
            .map(|directive| directive.name)
            .collect()
    }

    #[test]
    fn plugins_are_inserted_beside_others() {
        let list = Builder::new(&[&FIRST, &LAST]);
        assert_eq!(
            names(&list.clone().insert_before(&LAST, &NEW)),
            ["first", "new", "last"]
        );
        assert_eq!(
            names(&list.clone().insert_after(&LAST, &NEW)),
            ["first", "last", "new"]
        );
        assert_eq!(names(&list.without("first")), ["last"]);
    }
}
