//! Case files: `cases/*/NAME.case`, each a test of its own. `cases/README.md` describes the format.
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::compare::differences;
use crate::run::Run;

/// A parsed case.
pub(crate) struct Case {
    pub(crate) sections: Vec<(String, String)>,
    /// Steps with the lines that are expected of them.
    pub(crate) steps: Vec<(String, Vec<String>)>,
}

impl Case {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            if let Some(name) = line
                .strip_prefix("-- ")
                .and_then(|line| line.strip_suffix(" --"))
            {
                sections.push((name.to_owned(), String::new()));
            } else if let Some((_, body)) = sections.last_mut() {
                body.push_str(line);
                body.push('\n');
            }
        }
        let case = Self::new(sections)?;
        match case.steps.is_empty() {
            true => Err("the case has no steps".into()),
            false => Ok(case),
        }
    }

    /// A case of these sections; the steps are read from `test`.
    pub(crate) fn new(sections: Vec<(String, String)>) -> Result<Self, String> {
        let test = sections
            .iter()
            .find(|(name, _)| name == "test")
            .map_or("", |(_, body)| body);
        let mut steps: Vec<(String, Vec<String>)> = Vec::new();
        for line in test
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        {
            match line.strip_prefix("    ") {
                Some(expected) => steps
                    .last_mut()
                    .ok_or("a result without a step")?
                    .1
                    .push(expected.trim_end().to_owned()),
                None => steps.push((line.trim_end().to_owned(), Vec::new())),
            }
        }
        Ok(Self { sections, steps })
    }

    pub(crate) fn section(&self, name: &str) -> Option<&str> {
        self.sections
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, body)| body.as_str())
    }

    /// Whether the case starts no server of its own: all its steps are `fails FILE`.
    pub(crate) fn only_refusals(&self) -> bool {
        !self.steps.is_empty()
            && self
                .steps
                .iter()
                .all(|(step, _)| step.starts_with("fails "))
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut paths: Vec<PathBuf> = folders(&root)
        .iter()
        .flat_map(|folder| folders(folder))
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "case")
    });
    paths.sort();
    assert!(!paths.is_empty(), "no cases under {}", root.display());
    let trial = |path: PathBuf| {
        let name = path.with_extension("");
        let name = name
            .strip_prefix(&root)
            .unwrap_or(&name)
            .display()
            .to_string();
        Trial::test(format!("cases/{name}"), move || run(&path))
    };
    paths.into_iter().map(trial).collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn run(path: &Path) -> Result<(), Failed> {
    check(&Case::read(path)?)
}

/// Runs a case; the error tells every difference, and what the server printed.
pub(crate) fn check(case: &Case) -> Result<(), Failed> {
    let mut run = Run::prepare(case)?;
    let mut problems = Vec::new();
    for (step, expected) in &case.steps {
        let actual = run.perform(step, expected)?;
        problems.extend(differences(step, expected, &actual));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\nthe server printed:\n{}",
        problems.join("\n"),
        run.printed().join("\n")
    )
    .into())
}
