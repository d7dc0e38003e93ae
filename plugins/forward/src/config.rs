//! The directive's lines.
use std::net::{IpAddr, SocketAddr};

use corten_plugin::corefile::{Line, Location, Occurrence};
use corten_plugin::wire::{Name, Rcode};
use corten_plugin::{Setup, SetupError, Zones, nameservers, socket_address};
use corten_upstream::{DohMethod, Policy, Settings};

use crate::targets::{Maker, Place, Target};

/// Upstreams of one directive (CoreDNS's limit).
pub(crate) const UPSTREAMS_MAX: usize = 15;
const PORT: u16 = 53;
const PROPERTIES: &[&str] = &[
    "doh_method",
    "except",
    "expire",
    "failfast_all_unhealthy_upstreams",
    "failover",
    "force_tcp",
    "health_check",
    "max_age",
    "max_concurrent",
    "max_connect_attempts",
    "max_fails",
    "max_idle_conns",
    "next",
    "next_on_nodata",
    "policy",
    "prefer_udp",
    "read_timeout",
    "resolver",
    "source_address",
    "tls",
    "tls_servername",
];

/// What a *forward* directive says.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) from: Name,
    pub(crate) except: Zones,
    pub(crate) targets: Vec<Target>,
    pub(crate) maker: Maker,
    pub(crate) settings: Settings,
    /// RCODEs after which the next *forward* has its turn.
    pub(crate) next: Vec<Rcode>,
    pub(crate) next_on_nodata: bool,
    /// Who resolves upstreams' names; the system where this is empty.
    pub(crate) resolver: Vec<SocketAddr>,
    /// Equal exactly when nothing that upstreams depend on has changed.
    pub(crate) identity: String,
}

/// Options that are only good together.
#[derive(Default)]
struct Draft {
    files: Vec<String>,
    server_name: Option<String>,
    max_age: Option<Location>,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Self, SetupError> {
        let [from, to @ ..] = line.at_least(2)? else {
            return Err(line.argument_error().into());
        };
        let zones = setup.zones(&[from])?;
        let [first, others @ ..] = zones.names() else {
            return Err(from.error("no zone").into());
        };
        if !others.is_empty() {
            tracing::warn!(target: "plugin/forward", "Unsupported CIDR notation: '{}' expands to multiple zones. Using only '{first}'.", from.text);
        }
        let targets = to
            .iter()
            .map(|word| Target::read(setup, word))
            .collect::<Result<Vec<_>, _>>()?;
        let mut config = Self {
            from: first.clone(),
            except: Zones::default(),
            targets,
            maker: Maker::default(),
            settings: Settings::default(),
            next: Vec::new(),
            next_on_nodata: false,
            resolver: Vec::new(),
            identity: String::new(),
        };
        let count = config.count();
        if count > UPSTREAMS_MAX {
            let text = format!("more than {UPSTREAMS_MAX} TOs configured: {count}");
            return Err(line.name.error(text).into());
        }
        let mut draft = Draft::default();
        for option in line.lines() {
            config.option(setup, option, &mut draft)?;
        }
        let (age, expire) = (config.settings.max_age, config.settings.expire);
        if let (Some(age), Some(at)) = (age.filter(|age| *age < expire), &draft.max_age) {
            let text = format!("max_age ({age:?}) must not be less than expire ({expire:?})");
            return Err(SetupError::new(text).at(at));
        }
        let files: Vec<_> = draft.files.iter().map(|file| setup.path(file)).collect();
        config.maker = Maker::new(&config.targets, &files, draft.server_name)
            .map_err(|error| error.at(&line.name.at))?;
        config.identity = identity(line, &files);
        Ok(config)
    }

    /// How many upstreams there are, as far as that is known.
    fn count(&self) -> usize {
        let of = |target: &Target| match &target.place {
            Place::File(path) => nameservers(path).map_or(1, |servers| servers.len()),
            _ => 1,
        };
        self.targets.iter().map(of).sum()
    }

    fn option(
        &mut self,
        setup: &Setup<'_>,
        line: &Line<'_>,
        draft: &mut Draft,
    ) -> Result<(), SetupError> {
        match line.name.text.as_str() {
            "except" => {
                let more = setup.zones(line.at_least(1)?)?;
                self.except = Zones::new([self.except.names(), more.names()].concat());
            }
            "next" => self.next = rcodes(line)?,
            "next_on_nodata" => {
                line.no_args()?;
                self.next_on_nodata = true;
            }
            "resolver" => {
                for word in line.at_least(1)? {
                    let address = socket_address(&word.text, PORT).ok_or_else(|| {
                        word.error(format!("resolver: '{}' is not an IP address", word.text))
                            .help("a name would have to be resolved itself; write IP or IP:PORT")
                    })?;
                    self.resolver.push(address);
                }
            }
            "tls" => {
                draft.files = line
                    .args_between(0, 3)?
                    .iter()
                    .map(|word| word.text.clone())
                    .collect();
            }
            "tls_servername" => draft.server_name = Some(line.one_arg()?.text.clone()),
            "max_age" => {
                let age = line.one_arg()?.parse_duration()?;
                self.settings.max_age = Some(age).filter(|age| !age.is_zero());
                draft.max_age = Some(line.name.at.clone());
            }
            _ => return setting(&mut self.settings, line),
        }
        Ok(())
    }
}

/// Everything that *forward* depends on in its lines and files.
fn identity(line: &Occurrence<'_>, files: &[std::path::PathBuf]) -> String {
    fn words(line: &Occurrence<'_>, text: &mut String) {
        for word in &line.args {
            text.push_str(&format!("{:?} ", word.text));
        }
        for inner in line.lines() {
            text.push_str(&format!("{{{:?} ", inner.name.text));
            words(inner, text);
            text.push('}');
        }
    }
    let mut text = String::new();
    words(line, &mut text);
    for file in files {
        // They have just been read; a new certificate is a new configuration.
        text.push_str(&format!(
            "{} {:?}",
            file.display(),
            std::fs::read(file).ok()
        ));
    }
    text
}

/// Options that are nothing but a setting.
fn setting(settings: &mut Settings, line: &Line<'_>) -> Result<(), SetupError> {
    match line.name.text.as_str() {
        "force_tcp" => {
            line.no_args()?;
            settings.force_tcp = true;
        }
        "prefer_udp" => {
            line.no_args()?;
            settings.prefer_udp = true;
        }
        "failfast_all_unhealthy_upstreams" => {
            line.no_args()?;
            settings.failfast = true;
        }
        "expire" => settings.expire = line.one_arg()?.parse_duration()?,
        "read_timeout" => {
            let word = line.one_arg()?;
            settings.read_timeout = word.parse_duration()?;
            if settings.read_timeout.is_zero() {
                return Err(word.error("read_timeout must be greater than zero").into());
            }
        }
        "max_fails" => settings.max_fails = line.one_arg()?.parse("a number of failed checks")?,
        "max_connect_attempts" => {
            let attempts: usize = line.one_arg()?.parse("a number of attempts")?;
            settings.attempts_max = if attempts == 0 { usize::MAX } else { attempts };
        }
        "max_concurrent" => {
            settings.concurrent_max = line.one_arg()?.parse("a number of queries")?;
        }
        "max_idle_conns" => settings.idle_max = line.one_arg()?.parse("a number of connections")?,
        "policy" => settings.policy = policy(line)?,
        "health_check" => health_check(settings, line)?,
        "failover" => {
            settings.failover = rcodes(line)?;
            if let Some(word) = line
                .args
                .iter()
                .find(|word| word.text.eq_ignore_ascii_case("NOERROR"))
            {
                return Err(word.error("NoError cannot be used in failover").into());
            }
        }
        "doh_method" => {
            let word = line.one_arg()?;
            settings.doh_method = match word.text.as_str() {
                "GET" => DohMethod::Get,
                "POST" => DohMethod::Post,
                other => {
                    let error = word.error(format!("unknown doh_method '{other}'"));
                    return Err(error.help("methods are GET and POST").into());
                }
            };
        }
        "source_address" => {
            let word = line.one_arg()?;
            let ip: IpAddr = word.parse("an IP address")?;
            settings.source_address = Some(ip);
        }
        _ => return Err(line.unknown_property(PROPERTIES).into()),
    }
    Ok(())
}

fn policy(line: &Line<'_>) -> Result<Policy, SetupError> {
    let word = line.one_arg()?;
    match word.text.as_str() {
        "random" => Ok(Policy::Random),
        "round_robin" => Ok(Policy::RoundRobin),
        "sequential" => Ok(Policy::Sequential),
        other => Err(word
            .error(format!("unknown policy '{other}'"))
            .help("policies are random, round_robin and sequential")
            .into()),
    }
}

/// `health_check DURATION [no_rec] [domain FQDN]`
fn health_check(settings: &mut Settings, line: &Line<'_>) -> Result<(), SetupError> {
    let [interval, words @ ..] = line.at_least(1)? else {
        return Err(line.argument_error().into());
    };
    let check = &mut settings.health_check;
    check.interval = interval.parse_duration()?;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "no_rec" => check.recursion_desired = false,
            "domain" => {
                let domain = words.next().ok_or_else(|| line.argument_error())?;
                check.domain = domain.text.parse().map_err(|error| {
                    domain.error(format!(
                        "health_check: invalid domain name '{}': {error}",
                        domain.text
                    ))
                })?;
            }
            other => {
                return Err(word
                    .error(format!("health_check: unknown option '{other}'"))
                    .help("options are no_rec and domain")
                    .into());
            }
        }
    }
    Ok(())
}

fn rcodes(line: &Line<'_>) -> Result<Vec<Rcode>, SetupError> {
    line.at_least(1)?
        .iter()
        .map(|word| Ok(word.parse("an RCODE, such as SERVFAIL")?))
        .collect()
}
