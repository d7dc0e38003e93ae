//! Rules about who depends on whom (docs/architecture.md, "Direction").
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

/// One of our packages: name, folder under the root, names of its dependencies that are not for
/// tests.
struct Package {
    name: String,
    folder: String,
    dependencies: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn packages() -> Vec<Package> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let package = |package: &Value| {
        let dependencies = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null());
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let folder = manifest
            .parent()
            .unwrap()
            .strip_prefix(root())
            .unwrap()
            .display()
            .to_string();
        Package {
            name: text(&package["name"]),
            folder,
            dependencies: dependencies
                .map(|dependency| text(&dependency["name"]))
                .collect(),
        }
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(package)
        .collect()
}

/// Every Rust file of a folder, with its path.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

fn none(broken: Vec<String>) -> Result<(), Failed> {
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken.join("\n").into())
    }
}

/// A plugin depends on libraries, never on another plugin, the server or the program.
fn plugins_stand_alone() -> Result<(), Failed> {
    let packages = packages();
    let plugins: Vec<_> = packages
        .iter()
        .filter(|package| package.folder.starts_with("plugins/"))
        .collect();
    assert!(plugins.len() > 10, "the plugins are found");
    let forbidden = |name: &str| {
        name == "corten"
            || name == "corten-server"
            || plugins.iter().any(|plugin| plugin.name == name)
    };
    none(
        plugins
            .iter()
            .flat_map(|plugin| {
                let bad = plugin.dependencies.iter().filter(|name| forbidden(name));
                bad.map(|name| format!("{} depends on {name}", plugin.name))
                    .collect::<Vec<_>>()
            })
            .collect(),
    )
}

/// The leaves know no runtime and no socket; time comes in as an argument.
fn leaves_are_pure() -> Result<(), Failed> {
    let mut broken = Vec::new();
    let leaves = [
        "corefile",
        "dnssec",
        "expression",
        "gotemplate",
        "metrics",
        "tsig",
        "web",
        "wire",
        "zone",
    ];
    let is_leaf = |name: &str| leaves.iter().any(|leaf| name == format!("corten-{leaf}"));
    for leaf in leaves {
        let name = format!("corten-{leaf}");
        let package = packages()
            .into_iter()
            .find(|package| package.name == name)
            .unwrap();
        broken.extend(
            package
                .dependencies
                .iter()
                .filter(|name| *name == "tokio" || name.starts_with("corten-") && !is_leaf(name))
                .map(|other| format!("{name} depends on {other}")),
        );
        for (path, text) in sources(&root().join("crates").join(leaf).join("src")) {
            // Tests may look at a clock.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for word in ["Instant::now", "SystemTime::now", "UdpSocket", "TcpStream"] {
                if text.contains(word) && !path.ends_with("tests.rs") {
                    broken.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    none(broken)
}

/// hickory-proto is named by `wire` alone, so that its next minor release is one crate's business.
fn one_crate_names_hickory() -> Result<(), Failed> {
    let bad = packages().into_iter().filter(|package| {
        package.name != "corten-wire"
            && package
                .dependencies
                .iter()
                .any(|name| name.starts_with("hickory"))
    });
    none(bad.map(|package| package.name).collect())
}

/// `unsafe` only where docs/architecture.md lists it.
fn unsafe_code_is_in_one_place() -> Result<(), Failed> {
    let word = ["unsafe", " {"].concat();
    let folders = ["crates", "plugins", "examples"].map(|folder| root().join(folder));
    let all = folders.iter().flat_map(|folder| sources(folder));
    none(
        all.filter(|(path, text)| text.contains(&word) && !path.ends_with("server/src/batch.rs"))
            .map(|(path, _)| path.display().to_string())
            .collect(),
    )
}

/// The server knows no directive: those that change a listener set options.
fn the_server_names_no_directive() -> Result<(), Failed> {
    let names: Vec<_> = packages()
        .iter()
        .filter_map(|package| Some(format!("\"{}\"", package.folder.strip_prefix("plugins/")?)))
        .collect();
    let mut broken = Vec::new();
    for (path, text) in sources(&root().join("crates/server/src")) {
        broken.extend(
            names
                .iter()
                .filter(|name| text.contains(*name))
                .map(|name| format!("{}: {name}", path.display())),
        );
    }
    none(broken)
}

/// Every plugin has a manual in CoreDNS's order.
fn every_plugin_has_a_manual() -> Result<(), Failed> {
    let mut broken = Vec::new();
    for package in packages()
        .iter()
        .filter(|package| package.folder.starts_with("plugins/"))
    {
        let text = std::fs::read_to_string(root().join(&package.folder).join("README.md"))
            .unwrap_or_default();
        let mut at = 0;
        for heading in [
            "## Name",
            "## Description",
            "## Syntax",
            "## Examples",
            "## Differences from CoreDNS",
        ] {
            match text[at..].find(heading) {
                Some(found) => at += found,
                None => broken.push(format!(
                    "{}/README.md: no '{heading}' in its place",
                    package.folder
                )),
            }
        }
    }
    none(broken)
}

/// Every metric that a plugin registers stands in its manual.
fn manuals_name_every_metric() -> Result<(), Failed> {
    let metric = regex::Regex::new(r#""((?:coredns|corten)_[a-z_]+)""#).unwrap();
    let mut broken = Vec::new();
    for package in packages()
        .iter()
        .filter(|package| package.folder.starts_with("plugins/"))
    {
        let folder = root().join(&package.folder);
        let manual = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        for (path, text) in sources(&folder.join("src")) {
            let unnamed = metric
                .captures_iter(&text)
                .filter(|found| !manual.contains(&format!("`{}", &found[1])));
            broken.extend(unnamed.map(|found| format!("{}: {}", path.display(), &found[1])));
        }
    }
    none(broken)
}

/// Files stay small enough to be read.
fn files_are_short() -> Result<(), Failed> {
    let folders = ["crates", "plugins", "tests", "examples"].map(|folder| root().join(folder));
    let all = folders.iter().flat_map(|folder| sources(folder));
    none(
        all.filter(|(_, text)| text.lines().count() > 500)
            .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
            .collect(),
    )
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("architecture::plugins_stand_alone", plugins_stand_alone),
        Trial::test("architecture::leaves_are_pure", leaves_are_pure),
        Trial::test(
            "architecture::one_crate_names_hickory",
            one_crate_names_hickory,
        ),
        Trial::test(
            "architecture::unsafe_code_is_in_one_place",
            unsafe_code_is_in_one_place,
        ),
        Trial::test(
            "architecture::the_server_names_no_directive",
            the_server_names_no_directive,
        ),
        Trial::test(
            "architecture::every_plugin_has_a_manual",
            every_plugin_has_a_manual,
        ),
        Trial::test(
            "architecture::manuals_name_every_metric",
            manuals_name_every_metric,
        ),
        Trial::test("architecture::files_are_short", files_are_short),
    ]
}
