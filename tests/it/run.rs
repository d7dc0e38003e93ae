//! Carrying out a case: what stands around the server, its steps, and the comparison.
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use regex::{Captures, Regex};

use crate::axfr;
use crate::base64;
use crate::cases::Case;
use crate::certificates;
use crate::client::{self, NoAnswer, Options, Query, hex};
use crate::collectors::Collectors;
use crate::compare::differences;
use crate::http;
use crate::message::Message;
use crate::parallel::parallel;
use crate::server::{Folder, PATIENCE, Process, binary, free_port};
use crate::signed;
use crate::tsig::Signature;
use crate::upstream::Upstream;

/// A case under way.
pub(crate) struct Run<'c> {
    case: &'c Case,
    folder: Folder,
    env: BTreeMap<String, String>,
    ports: BTreeMap<String, u16>,
    upstreams: BTreeMap<String, Upstream>,
    collectors: Collectors,
    server: Option<Process>,
    log_at: usize,
}

impl<'c> Run<'c> {
    /// Writes the files, starts what stands around the server, and the server.
    pub(crate) fn prepare(case: &'c Case) -> Result<Self, String> {
        let folder = Folder::new();
        certificates::write(folder.path());
        let mut run = Self {
            case,
            folder,
            env: BTreeMap::new(),
            ports: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            collectors: Collectors::default(),
            server: None,
            log_at: 0,
        };
        for (name, body) in &case.sections {
            if let Some(rest) = name.strip_prefix("upstream ") {
                let (name, tls) = rest
                    .strip_suffix(" tls")
                    .map_or((rest, None), |name| (name, Some(run.folder.path())));
                let upstream = Upstream::start(body, tls);
                run.ports.insert(name.to_owned(), upstream.port);
                run.upstreams.insert(name.to_owned(), upstream);
            }
        }
        run.collectors = Collectors::start(case, run.folder.path(), &mut run.ports);
        let all: String = case
            .sections
            .iter()
            .map(|(_, body)| body.as_str())
            .collect();
        let names = Regex::new(r"\{[$%](\w+)[}%]").unwrap();
        let mentioned: Vec<_> = names
            .captures_iter(&all)
            .map(|found| found[1].to_owned())
            .chain(["PORT".to_owned()])
            .collect();
        for name in mentioned {
            if (name.starts_with("PORT") || name.ends_with("PORT"))
                && !run.ports.contains_key(&name)
            {
                run.ports.insert(name, free_port());
            }
        }
        run.env = run
            .ports
            .iter()
            .map(|(name, port)| (name.clone(), port.to_string()))
            .collect();
        for line in case.section("env").unwrap_or_default().lines() {
            if let Some((name, value)) = line.split_once('=') {
                run.env.insert(name.to_owned(), value.to_owned());
            }
        }
        for (name, body) in &case.sections {
            if let Some(name) = name.strip_prefix("base64 ") {
                let path = run.folder.path().join(name);
                std::fs::write(path, base64::decode(body)).expect("a file of the case");
            } else if !matches!(name.as_str(), "test" | "env" | "args" | "stdin")
                && !name.starts_with("upstream ")
                && !Collectors::is_section(name)
            {
                run.write(name, body);
            }
        }
        if !case.only_refusals() {
            run.start();
        }
        Ok(run)
    }

    fn start(&mut self) {
        let arguments = self.expand(self.case.section("args").unwrap_or("-conf Corefile"));
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        let mut server = Process::start(
            binary(),
            &arguments,
            self.folder.path(),
            &self.env,
            self.case.section("stdin"),
        );
        let first = self.case.steps.first().map_or("", |(step, _)| step);
        let refused = self.case.steps.iter().any(|(step, _)| step == "fails");
        if first.split(' ').next() != Some("exit") && !refused {
            server.wait_serving(self.ports["PORT"]);
        }
        self.server = Some(server);
    }

    /// What the server has printed.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.server.as_ref().map(Process::lines).unwrap_or_default()
    }

    fn expand(&self, text: &str) -> String {
        let reference = Regex::new(r"\{\$(\w+)\}").unwrap();
        reference
            .replace_all(text, |found: &Captures<'_>| {
                self.env
                    .get(&found[1])
                    .map_or_else(|| found[0].to_owned(), Clone::clone)
            })
            .into_owned()
    }

    fn write(&self, name: &str, body: &str) {
        // Corefiles are left to the server.
        let body = if name.starts_with("Corefile") {
            body.to_owned()
        } else {
            self.expand(body)
        };
        self.folder.write(name, &body);
    }

    /// Carries out a step and returns what it prints.
    pub(crate) fn perform(
        &mut self,
        step: &str,
        expected: &[String],
    ) -> Result<Vec<String>, String> {
        let expanded = self.expand(step);
        let words: Vec<_> = expanded.split_whitespace().collect();
        let [kind, words @ ..] = &words[..] else {
            return Err("an empty step".into());
        };
        if *kind == "within" {
            let until = Instant::now()
                + Duration::from_secs_f64(words[0].parse().map_err(|_| "within SECONDS")?);
            loop {
                let actual = self.perform(&words[1..].join(" "), expected)?;
                if differences(step, expected, &actual).is_empty() || Instant::now() > until {
                    return Ok(actual);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(match *kind {
            "query" => self.query(words),
            "repeat" => self.repeat(words),
            "parallel" => {
                let count = words[0].parse().map_err(|_| "parallel N query ...")?;
                parallel(count, || self.query(&words[2..]))
            }
            "raw" => self.raw(words),
            "axfr" => {
                let (opts, port, rest) = self.options(words);
                axfr::lines(rest[0], &opts, port, self.folder.path())
            }
            "stream" => self.stream(words),
            "log" => self.log(words, expected),
            "upstream" => self
                .upstreams
                .get(words[0])
                .ok_or("no such upstream")?
                .step(&words[1..]),
            "write" => {
                self.write(
                    words[0],
                    self.case.section(words[1]).ok_or("no such section")?,
                );
                Vec::new()
            }
            "remove" => {
                std::fs::remove_file(self.folder.path().join(words[0]))
                    .map_err(|error| error.to_string())?;
                Vec::new()
            }
            "sleep" => {
                std::thread::sleep(Duration::from_secs_f64(
                    words[0].parse().map_err(|_| "sleep SECONDS")?,
                ));
                Vec::new()
            }
            "signal" => {
                self.server.as_ref().ok_or("no server")?.signal(words[0]);
                Vec::new()
            }
            "exit" => {
                let patience = words
                    .first()
                    .map_or(Ok(10.0), |word| word.parse())
                    .map_err(|_| "exit [SECONDS]")?;
                let end = self
                    .server
                    .as_mut()
                    .ok_or("no server")?
                    .wait_end(Duration::from_secs_f64(patience));
                vec![end.map_or_else(
                    || "still running".to_owned(),
                    |status| format!("status {}", status.code().unwrap_or(-1)),
                )]
            }
            "fails" => self.fails(words),
            "http" => http::step(words, self.folder.path()),
            "metric" => http::metric(words, &self.env, self.folder.path(), |l| self.mask(l)),
            "files" => self.files(words[0]),
            "tap" | "collector" => {
                let (mut all, folder) = (std::mem::take(&mut self.collectors), self.folder.path());
                let mask = |line: &str| self.mask(line);
                let lines = all.step(kind, words[0], folder, expected.len(), mask);
                self.collectors = all;
                lines?
            }
            other => return Err(format!("a step '{other}' is not known here")),
        })
    }

    pub(crate) fn query(&self, words: &[&str]) -> Vec<String> {
        let (opts, port, rest) = self.options(words);
        let query = Query::new(rest[0], rest.get(1).copied().unwrap_or("A"), &opts);
        match client::send(&query, &opts, port, self.folder.path()) {
            Ok(reply) => {
                let mut lines = reply.lines(&query.asked, &opts);
                if opts.contains_key("verify") {
                    lines.extend(signed::verify(&reply, port, self.folder.path()));
                }
                let shown = !opts.contains_key("brief") && !opts.contains_key("header");
                let signature = query.signature.as_ref().filter(|_| shown);
                lines.extend(signature.map(Signature::line));
                lines
            }
            Err(NoAnswer(text)) => vec![text.to_owned()],
        }
    }

    fn options<'w>(&self, words: &[&'w str]) -> (Options, u16, Vec<&'w str>) {
        let (mut opts, mut port, mut rest) = (Options::new(), self.ports["PORT"], Vec::new());
        for word in words {
            if let Some(option) = word.strip_prefix('+') {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                opts.insert(key.to_owned(), value.to_owned());
            } else if let Some(name) = word.strip_prefix('@') {
                port = self.env[name].parse().unwrap();
            } else {
                rest.push(*word);
            }
        }
        (opts, port, rest)
    }

    fn raw(&self, words: &[&str]) -> Vec<String> {
        let data = hex(&words
            .iter()
            .filter(|word| !word.starts_with('+'))
            .copied()
            .collect::<String>());
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports["PORT"]));
        let answer = if words.contains(&"+tcp") {
            let mut stream = client::tcp(address, Duration::from_secs(2)).unwrap();
            stream
                .write_all(&[&(data.len() as u16).to_be_bytes()[..], &data].concat())
                .unwrap();
            client::read_message(&mut stream).ok()
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(1)))
                .unwrap();
            socket.send_to(&data, address).unwrap();
            let mut buffer = vec![0; 65_535];
            socket
                .recv(&mut buffer)
                .ok()
                .map(|length| buffer[..length].to_vec())
        };
        let Some(answer) = answer else {
            return vec!["no answer".to_owned()];
        };
        let message = Message::read(&answer).unwrap();
        let mut lines = Vec::new();
        if words.contains(&"+counts") {
            let [question, answer, authority, additional] = message.counts;
            lines.push(format!("{question} question, {answer} answer, {authority} authority, {additional} additional records"));
        }
        lines.push(format!(
            "{} {} opcode {}",
            message.rcode_name(),
            message.flag_names(),
            message.opcode_name()
        ));
        lines
    }

    fn stream(&self, words: &[&str]) -> Vec<String> {
        let (opts, port, rest) = self.options(words);
        let (count, name, rtype) = (
            rest[0].parse::<usize>().unwrap(),
            rest[1],
            rest.get(2).copied().unwrap_or("A"),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let number = |opt: &str, default: f64| {
            opts.get(opt)
                .and_then(|value| value.parse().ok())
                .unwrap_or(default)
        };
        let (gap, wait) = (
            Duration::from_secs_f64(number("gap", 0.0)),
            Duration::from_secs_f64(number("wait", 0.3)),
        );
        let framed = |_| {
            let query = Query::new(name, rtype, &Options::new()).wire;
            [&(query.len() as u16).to_be_bytes()[..], &query].concat()
        };
        let queries: Vec<Vec<u8>> = (0..count).map(framed).collect();
        let groups: Vec<(Vec<u8>, usize)> = match opts.contains_key("pipeline") {
            true => vec![(queries.concat(), count)],
            false => queries.into_iter().map(|query| (query, 1)).collect(),
        };
        let (answered, end) = if opts.contains_key("tls") {
            let mut stream =
                client::tls(address, Duration::from_secs(2), &opts, self.folder.path()).unwrap();
            let timer = stream.sock.try_clone().unwrap();
            client::talk(&mut stream, &timer, groups, gap, wait)
        } else {
            let mut stream = client::tcp(address, Duration::from_secs(2)).unwrap();
            let timer = stream.try_clone().unwrap();
            client::talk(&mut stream, &timer, groups, gap, wait)
        };
        vec![format!("{answered} answered, then {end}")]
    }

    /// New lines that match; waits a moment for those that are expected.
    fn log(&mut self, words: &[&str], expected: &[String]) -> Vec<String> {
        let (option, words) = match words {
            [option @ ("+count" | "+sort"), words @ ..] => (*option, words),
            words => ("", words),
        };
        let pattern = Regex::new(&if words.is_empty() {
            ".".to_owned()
        } else {
            words.join(" ")
        })
        .unwrap();
        let server = self.server.as_ref().unwrap();
        // Lines are written behind answers; silence is only known after a while.
        let until = Instant::now()
            + if expected.is_empty() {
                Duration::from_millis(300)
            } else {
                PATIENCE
            };
        loop {
            let lines = server.lines();
            let new: Vec<_> = lines[self.log_at..]
                .iter()
                .map(|line| self.mask(line))
                .filter(|line| pattern.is_match(line))
                .collect();
            let actual = match option {
                "+count" => vec![format!("{} lines", new.len())],
                _ => new,
            };
            let met = !expected.is_empty() && differences("log ", expected, &actual).is_empty();
            if met || Instant::now() > until {
                self.log_at = lines.len();
                return actual;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn mask(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (name, port) in &self.ports {
            line = Regex::new(&format!(r"\b{port}\b"))
                .unwrap()
                .replace_all(&line, format!("<{name}>"))
                .into_owned();
        }
        for (pattern, text) in [
            (r"\b\d+(\.\d+)?(e[-+]?\d+)?(ns|µs|us|ms|s)\b", "<duration>"),
            (r"(127\.0\.0\.\d+|\[::1\]):\d+", "$1:<port>"),
            (r#"- \d{1,5} ""#, "- <id> \""),
        ] {
            line = Regex::new(pattern)
                .unwrap()
                .replace_all(&line, text)
                .into_owned();
        }
        line.trim_end().to_owned()
    }

    /// Exit status, place and plugin of a server that must not start.
    fn fails(&mut self, words: &[&str]) -> Vec<String> {
        let mut other;
        let server = match words.first() {
            Some(file) => {
                other = Process::start(
                    binary(),
                    &["-conf", file],
                    self.folder.path(),
                    &self.env,
                    None,
                );
                &mut other
            }
            None => self.server.as_mut().unwrap(),
        };
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = server.ended() {
                break status;
            }
            // Connections are taken before it is known whether it can serve.
            let serves = server
                .lines()
                .iter()
                .any(|line| line.starts_with("Corten-"));
            if serves || Instant::now() > until {
                return vec!["started".to_owned()];
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = server.last_lines().join("\n");
        let mut lines = vec![format!("status {}", status.code().unwrap_or(-1))];
        let first = |pattern: &str| {
            Regex::new(pattern)
                .unwrap()
                .captures(&text)
                .map(|found| found[1].to_owned())
        };
        lines.extend(first(r"([\w.-]*Corefile[\w.-]*:\d+)").map(|place| format!("at {place}")));
        lines.extend(first(r"plugin/(\w+):").map(|plugin| format!("plugin {plugin}")));
        lines
    }

    fn files(&self, text: &str) -> Vec<String> {
        let pattern =
            Regex::new(&format!("^{}$", regex::escape(text).replace(r"\*", ".*"))).unwrap();
        let inside = text.rsplit_once('/').map_or("", |(folder, _)| folder);
        let entries = std::fs::read_dir(self.folder.path().join(inside)).unwrap();
        let named = |name: &str| match inside {
            "" => name.to_owned(),
            inside => format!("{inside}/{name}"),
        };
        let mut names: Vec<_> = entries
            .flatten()
            .map(|entry| named(&entry.file_name().to_string_lossy()))
            .filter(|name| pattern.is_match(name))
            .collect();
        names.sort();
        names
    }
}
