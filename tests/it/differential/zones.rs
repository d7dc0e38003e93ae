//! Random zones: few labels, so that names meet, and much of what is hard.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use super::questions::Question;
use super::random::Random;
use crate::server::Folder;

/// Labels of names; `*` only stands first, but for a few.
const LABELS: &[&str] = &["a", "b", "c", "d", "ns"];
/// SOA, and the TTL of everything that denies.
const TTL: u32 = 300;

/// How a zone is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signing {
    None,
    Nsec,
    Nsec3,
    /// Without records of insecure delegations, and of names that only lead to them (RFC 5155 section 6).
    OptOut,
}

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Alias,
    Cut,
    Redirection,
    /// An address at or below a cut.
    Glue,
}

/// A zone as it is written down.
pub(super) struct Zone {
    /// Such as `z3.test`.
    pub(super) name: String,
    pub(super) signing: Signing,
    /// Owners, relative to the zone; empty for the apex.
    pub(super) names: Vec<String>,
    lines: Vec<(String, String)>,
}

impl Zone {
    pub(super) fn random(number: usize, signing: Signing, random: &mut Random) -> Self {
        let mut maker = Maker {
            random,
            kinds: BTreeMap::new(),
            lines: Vec::new(),
            signed: signing != Signing::None,
        };
        maker.apex();
        let count = 15 + maker.random.below(45);
        for _ in 0..count {
            maker.node();
        }
        Self {
            name: format!("z{number}.test"),
            signing,
            names: maker.kinds.keys().cloned().chain([String::new()]).collect(),
            lines: maker.lines,
        }
    }

    /// The file that the servers read.
    pub(super) fn file(&self) -> String {
        format!("zones/db.{}", self.name)
    }

    /// Writes the file, signed where the zone is.
    pub(super) fn write(&self, folder: &Folder) {
        let mut text = format!("$ORIGIN {}.\n$TTL {TTL}\n", self.name);
        for (owner, rest) in &self.lines {
            let owner = if owner.is_empty() { "@" } else { owner };
            writeln!(text, "{owner} {rest}").unwrap();
        }
        if self.signing == Signing::None {
            return folder.write(&self.file(), &text);
        }
        folder.write(&format!("unsigned/{}", self.name), &text);
        folder.write(&format!("keys/{}/.made", self.name), "");
        folder.write("zones/.made", "");
        let keys = format!("keys/{}", self.name);
        run(
            folder,
            "dnssec-keygen",
            &[
                "-q",
                "-a",
                "ECDSAP256SHA256",
                "-f",
                "KSK",
                "-K",
                &keys,
                &self.name,
            ],
        );
        let (file, unsigned) = (self.file(), format!("unsigned/{}", self.name));
        let mut arguments = vec!["-z", "-S", "-K", &keys, "-o", &self.name, "-f", &file];
        match self.signing {
            Signing::None | Signing::Nsec => (),
            Signing::Nsec3 => arguments.extend(["-3", "-", "-H", "0"]),
            Signing::OptOut => arguments.extend(["-A", "-3", "beef", "-H", "5"]),
        }
        arguments.push(&unsigned);
        run(folder, "dnssec-signzone", &arguments);
    }

    /// The lines that have to do with a question, for messages.
    pub(super) fn excerpt(&self, question: &Question) -> String {
        let last = question.name.strip_suffix(&format!("{}.", self.name));
        let top = last
            .unwrap_or_default()
            .trim_end_matches('.')
            .rsplit('.')
            .next()
            .unwrap_or_default();
        let mut text = format!("  {} {:?}\n", self.name, self.signing);
        for (owner, rest) in &self.lines {
            let own_top = owner.rsplit('.').next().unwrap_or_default();
            if own_top == top
                || own_top == "*"
                || ["CNAME", "DNAME", "NS "]
                    .iter()
                    .any(|word| rest.contains(word))
            {
                writeln!(text, "  {owner} {rest}").unwrap();
            }
        }
        text
    }
}

fn run(folder: &Folder, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

struct Maker<'r> {
    random: &'r mut Random,
    kinds: BTreeMap<String, Kind>,
    lines: Vec<(String, String)>,
    signed: bool,
}

/// Whether a relative name is below another.
fn is_below(name: &str, other: &str) -> bool {
    name.strip_suffix(other)
        .is_some_and(|rest| rest.ends_with('.'))
}

impl Maker<'_> {
    fn line(&mut self, owner: &str, rest: impl Into<String>) {
        self.lines.push((owner.to_owned(), rest.into()));
    }

    fn apex(&mut self) {
        self.line(
            "",
            format!("SOA ns.out.invalid. post 1 3600 600 86400 {TTL}"),
        );
        self.line("", "NS ns.out.invalid.");
        if self.random.percent(50) {
            self.line("", "NS ns");
            self.line("ns", "A 192.0.2.53");
            self.kinds.insert("ns".to_owned(), Kind::Data);
        }
        if self.random.percent(50) {
            self.line("", "TXT \"apex\"");
            self.line("", "MX 10 a.b");
        }
    }

    fn name(&mut self) -> String {
        let depth = 1 + self.random.below(4);
        let mut labels: Vec<_> = (0..depth).map(|_| *self.random.of(LABELS)).collect();
        if self.random.percent(25) {
            labels[0] = "*";
        } else if self.random.percent(3) {
            let at = self.random.below(depth);
            labels[at] = "*";
        }
        labels.join(".")
    }

    /// What a record leads to: mostly into the zone.
    fn target(&mut self) -> String {
        match self.random.below(10) {
            0 => "x.elsewhere.invalid.".to_owned(),
            1 => format!("x.{}", self.name().replace('*', "a")),
            _ => self.name(),
        }
    }

    fn node(&mut self) {
        let name = self.name();
        let hidden = self.kinds.iter().any(|(other, kind)| {
            matches!(kind, Kind::Cut | Kind::Redirection) && is_below(&name, other)
        });
        if hidden || self.kinds.contains_key(&name) {
            return;
        }
        let covers = self.kinds.keys().any(|other| is_below(other, &name));
        let wildcard = name.split('.').any(|label| label == "*");
        match self.random.below(100) {
            0..20 => self.alias(&name),
            20..34 if !wildcard && !covers => self.cut(&name),
            34..44 if !wildcard && !covers => self.redirection(&name),
            _ => self.data(&name),
        }
    }

    fn alias(&mut self, name: &str) {
        let target = self.target();
        self.line(name, format!("CNAME {target}"));
        self.kinds.insert(name.to_owned(), Kind::Alias);
    }

    fn redirection(&mut self, name: &str) {
        let target = self.target().replace('*', "d");
        self.line(name, format!("DNAME {target}"));
        if self.random.percent(50) {
            self.line(name, "TXT \"beside\"");
        }
        self.kinds.insert(name.to_owned(), Kind::Redirection);
    }

    fn cut(&mut self, name: &str) {
        self.kinds.insert(name.to_owned(), Kind::Cut);
        for number in 0..1 + self.random.below(2) {
            let server = match self.random.below(4) {
                0 => "ns.elsewhere.invalid.".to_owned(),
                1 => self.name().replace('*', "b"),
                2 if number == 0 => name.to_owned(),
                _ => format!("ns{number}.{name}"),
            };
            self.line(name, format!("NS {server}"));
            if is_below(&server, name) || server == name {
                self.line(&server, format!("A 192.0.2.{number}"));
                if self.random.percent(50) {
                    self.line(&server, format!("AAAA 2001:db8::{number}"));
                }
                self.kinds.entry(server).or_insert(Kind::Glue);
            }
        }
        if self.signed && self.random.percent(50) {
            let digest = "ab".repeat(32);
            self.line(name, format!("DS 4711 13 2 {digest}"));
        }
    }

    fn data(&mut self, name: &str) {
        self.kinds.insert(name.to_owned(), Kind::Data);
        for _ in 0..1 + self.random.below(3) {
            let record = match self.random.below(7) {
                0 | 1 => format!("A 192.0.2.{}", self.random.below(200)),
                2 => format!("AAAA 2001:db8::{}", self.random.below(200)),
                3 => format!("600 TXT \"{name}\""),
                4 => format!("MX 10 {}", self.target().replace('*', "a")),
                5 => format!("SRV 1 2 3 {}", self.target().replace('*', "a")),
                _ => "TYPE65400 \\# 2 abcd".to_owned(),
            };
            let there = (name.to_owned(), record);
            if !self.lines.contains(&there) {
                self.lines.push(there);
            }
        }
    }
}
