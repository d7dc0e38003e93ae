//! What the documents promise: the first steps of the README, the example program, and the examples
//! in every plugin's manual and in the page about zones.
//!
//! In a manual a block marked `corefile` is served as it stands. Blocks behind it are files that it
//! reads (marked `file NAME`), and queries with their answers (marked `query`) in the form of the
//! case files' steps. A database that it reads (`NAME.mmdb`) is that of the plugin's cases.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::cases::{Case, check};
use crate::client;
use crate::server::{Folder, Process, build, free_port};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn kdig(folder: &Folder, arguments: &str) -> String {
    let mut kdig = Command::new("kdig");
    kdig.args(arguments.split(' ')).arg("+short");
    let output = kdig.current_dir(folder.path()).output();
    let output = output.expect("kdig (Debian: knot-dnsutils)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first command of the README, on ports that are free, and the queries it tells.
fn first_steps() -> Result<(), Failed> {
    let (folder, plain, tls, https) = (Folder::new(), free_port(), free_port(), free_port());
    let corefile = std::fs::read_to_string(root().join("Corefile.example"))?
        .replace("5300", &plain.to_string())
        .replace("8530", &tls.to_string())
        .replace("8443", &https.to_string());
    let server = Process::serve(&folder, &corefile);
    server.wait_for_log("certificate for localhost is live");
    let told: Vec<_> = corefile
        .lines()
        .filter_map(|line| line.strip_prefix("#   kdig "))
        .collect();
    assert_eq!(told.len(), 4, "queries in Corefile.example");
    for arguments in told {
        assert_eq!(kdig(&folder, arguments), "192.0.2.1\n", "kdig {arguments}");
    }
    let tcp = format!("@127.0.0.1 -p {plain} +tcp www.home.arpa AAAA");
    assert_eq!(kdig(&folder, &tcp), "2001:db8::1\n");
    Ok(())
}

/// The program of `docs/plugins.md`: a plugin from outside, compiled in, listed and served.
fn example_program() -> Result<(), Failed> {
    let program = build(&["--package", "corten-sinkhole"], "corten-sinkhole");
    let (folder, port, no_env) = (Folder::new(), free_port(), BTreeMap::new());
    let listed = Command::new(&program).arg("-plugins").output()?;
    let listed = String::from_utf8(listed.stdout)?;
    assert!(
        listed.contains("dns.sinkhole"),
        "-plugins names it:\n{listed}"
    );
    let corefile = format!(
        ".:{port} {{\n bind 127.0.0.1\n sinkhole 192.0.2.9 ads.example\n hosts /dev/null {{\n  \
         192.0.2.1 ads.example www.example\n }}\n}}\n"
    );
    folder.write("Corefile", &corefile);
    let server = Process::start(
        &program,
        &["-conf", "Corefile"],
        folder.path(),
        &no_env,
        None,
    );
    server.wait_for_log("^Corten-");
    let answer = |name| client::ask(port, name, "A").map(|reply| reply.answers().join(" "));
    assert_eq!(answer("deep.ads.example").unwrap(), "192.0.2.9");
    assert_eq!(answer("www.example").unwrap(), "192.0.2.1");
    folder.write("wrong", ". {\n sinkhole nowhere ads.example\n}\n");
    let mut wrong = Process::start(&program, &["-conf", "wrong"], folder.path(), &no_env, None);
    wrong.wait_for_log(r"plugin/sinkhole: wrong:2 - .*'nowhere' is not an IP address");
    assert!(wrong.wait_end(crate::server::PATIENCE).is_some());
    Ok(())
}

/// The fenced blocks of a text: what stands behind the fence, and the lines.
fn blocks(text: &str) -> Vec<(String, String)> {
    let (mut blocks, mut open) = (Vec::new(), None::<(String, String)>);
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(kind), None) => open = Some((kind.trim().to_owned(), String::new())),
            (None, Some((_, body))) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => (),
        }
    }
    blocks
}

/// Cases of the examples in a manual.
fn examples(text: &str, plugin: &str) -> Vec<Case> {
    let mut cases: Vec<Vec<(String, String)>> = Vec::new();
    for (kind, body) in blocks(text) {
        // Ports of the examples are those of the documents; the servers of the tests share a machine.
        let body = body
            .replace(":8853", ":{$TLS_PORT}")
            .replace(":5300", ":{$OTHER_PORT}")
            .replace(":9153", ":{$METRICS_PORT}")
            .replace(":8080", ":{$HEALTH_PORT}")
            .replace(":8181", ":{$READY_PORT}")
            .replace(":6053", ":{$PPROF_PORT}");
        let section = match kind.split_once(' ') {
            Some(("file", name)) => name,
            None if kind == "corefile" => {
                let args = "-conf Corefile -dns.port {$PORT}\n".to_owned();
                cases.push(vec![("args".to_owned(), args)]);
                "Corefile"
            }
            None if kind == "query" => "test",
            _ => continue,
        };
        let case = cases.last_mut().expect("a 'corefile' block stands first");
        case.push((section.to_owned(), body));
    }
    let cases = cases.into_iter().map(|mut sections| {
        let corefile = sections.iter().find(|(name, _)| name == "Corefile");
        let databases = corefile.map(|(_, text)| databases(text, plugin));
        sections.extend(databases.unwrap_or_default());
        Case::new(sections)
    });
    cases.collect::<Result<_, _>>().expect("sound steps")
}

/// The databases that a Corefile names, with the content that the plugin's cases have for theirs.
fn databases(corefile: &str, plugin: &str) -> Vec<(String, String)> {
    let words = corefile.split_whitespace();
    let mut names: Vec<_> = words.filter(|word| word.ends_with(".mmdb")).collect();
    names.dedup();
    let own = std::fs::read_dir(root().join("tests/cases").join(plugin));
    let cases = own.into_iter().flatten().flatten();
    let content = cases
        .filter_map(|case| Case::read(&case.path()).ok())
        .find_map(|case| case.section("base64 city.mmdb").map(str::to_owned));
    let section = |name| content.clone().map(|body| (format!("base64 {name}"), body));
    names.into_iter().filter_map(section).collect()
}

fn manual(path: &Path) -> Result<(), Failed> {
    let folder = path.parent().and_then(Path::file_name);
    let plugin = folder.unwrap_or_default().to_string_lossy().into_owned();
    let cases = examples(&std::fs::read_to_string(path)?, &plugin);
    if cases.is_empty() {
        return Err("the manual has no example marked 'corefile'".into());
    }
    cases.iter().try_for_each(check)
}

pub(crate) fn trials() -> Vec<Trial> {
    let plugins = std::fs::read_dir(root().join("plugins")).expect("the plugins' folder");
    let mut trials: Vec<_> = plugins
        .flatten()
        .map(|plugin| {
            let name = plugin.file_name().to_string_lossy().into_owned();
            let path = plugin.path().join("README.md");
            Trial::test(format!("readme::{name}"), move || manual(&path))
        })
        .collect();
    let zones = root().join("docs/zones.md");
    trials.push(Trial::test("readme::page_zones", move || manual(&zones)));
    trials.push(Trial::test("readme::first_steps", first_steps));
    trials.push(Trial::test("readme::example_program", example_program));
    trials
}
