//! The server as a child process, in a folder of its own.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;

/// How long anything may take that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("corten-test-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The binary: `CORTEN_BIN`, else built here with the profile of the tests, once.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CORTEN_BIN") {
            return path.into();
        }
        build(&["--package", "corten"], "corten")
    })
}

/// Builds a program of the workspace, if need be, and returns its path below the folder of the
/// profile.
pub(crate) fn build(what: &[&str], program: &str) -> PathBuf {
    // .../target/PROFILE/deps/it-HASH
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet"])
        .args(what)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.env("CARGO_TARGET_DIR", profile.parent().unwrap());
    // What cargo says of the package under test would have build scripts of libraries run anew.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
        cargo.env_remove(name);
    }
    cargo
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH");
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(
        cargo.status().unwrap().success(),
        "{program} does not build"
    );
    profile.join(program)
}

/// A port that is free for UDP and TCP, below those that the system gives away.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    loop {
        let port = rand::random_range(10_000..32_768);
        let free = TcpListener::bind(("0.0.0.0", port)).is_ok()
            && UdpSocket::bind(("0.0.0.0", port)).is_ok();
        let mut given = GIVEN.lock().unwrap();
        if free && !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

/// Lines that a process has printed so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A running program.
pub(crate) struct Process {
    child: Child,
    log: Arc<Log>,
    /// Those who read what it prints, until there is no more.
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program; its input is `input`, its output is kept.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        env: &BTreeMap<String, String>,
        input: Option<&str>,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env_clear();
        for name in ["PATH", "HOME", "LANG"] {
            command.envs(std::env::var(name).ok().map(|value| (name, value)));
        }
        command
            .envs(env)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes()).unwrap();
        }
        let log = Arc::new(Log::default());
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        let readers = streams.map(|stream| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    log.lines.lock().unwrap().push(line);
                    log.more.notify_all();
                }
            })
        });
        Self {
            child,
            log,
            readers: readers.into(),
        }
    }

    /// Starts the server with a Corefile and waits until it has said that it serves.
    pub(crate) fn serve(folder: &Folder, corefile: &str) -> Self {
        folder.write("Corefile", corefile);
        let server = Self::start(
            binary(),
            &["-conf", "Corefile"],
            folder.path(),
            &BTreeMap::new(),
            None,
        );
        server.wait_for_log("^Corten-");
        server
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Every line so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// All that a process has printed that has ended.
    pub(crate) fn last_lines(&mut self) -> Vec<String> {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.lines()
    }

    /// Waits for a line, and returns it.
    pub(crate) fn wait_for_log(&self, pattern: &str) -> String {
        self.wait_for_logs(pattern, 1, PATIENCE)
    }

    /// Waits until `count` lines match, and returns the last of them.
    pub(crate) fn wait_for_logs(&self, pattern: &str, count: usize, patience: Duration) -> String {
        let regex = Regex::new(pattern).unwrap();
        let until = Instant::now() + patience;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines
                .iter()
                .filter(|line| regex.is_match(line))
                .nth(count - 1)
            {
                return line.clone();
            }
            let rest = until.saturating_duration_since(Instant::now());
            assert!(
                !rest.is_zero(),
                "no line like {pattern:?} ({count} times) in:\n{}",
                lines.join("\n")
            );
            lines = self.log.more.wait_timeout(lines, rest).unwrap().0;
        }
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let signal: Signal = format!("SIG{name}").parse().unwrap();
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Stops all of its threads where they are, until `signal("CONT")`; returns once none runs.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let stands = |task: &Path| {
            let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            // Behind the name, which may hold anything but ends with the last parenthesis.
            let state = stat
                .rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('T'));
            state.unwrap_or(true)
        };
        let until = Instant::now() + PATIENCE;
        while !std::fs::read_dir(&tasks)
            .unwrap()
            .flatten()
            .all(|task| stands(&task.path()))
        {
            assert!(Instant::now() < until, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Octets of memory that it has.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.unwrap().parse::<u64>().unwrap() << 10
    }

    /// Whether it has ended by now.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait_end(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Waits until the server says that it serves, or its port takes connections; says what it
    /// printed when it ends instead.
    pub(crate) fn wait_serving(&mut self, port: u16) {
        let until = Instant::now() + PATIENCE;
        let banner = |line: &String| line.starts_with("Corten-");
        while !self.lines().iter().any(banner) && TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                self.ended().is_none(),
                "the server ended:\n{}",
                self.lines().join("\n")
            );
            assert!(
                Instant::now() < until,
                "nothing listens on {port}:\n{}",
                self.lines().join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
