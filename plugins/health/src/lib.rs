//! *health*: whether the process is alive, over HTTP.
mod check;

use std::sync::Arc;
use std::time::Duration;

use corten_plugin::corefile::{Occurrence, go_duration};
use corten_plugin::endpoint::text;
use corten_plugin::http::{Request, Response};
use corten_plugin::{
    Announcement, BoxError, Context, Directive, Endpoint, Interest, Plugin, Setup, SetupError,
    Stop, Tasks, async_trait,
};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "health",
    setup,
    readme: include_str!("../README.md"),
};

/// CoreDNS's choice.
const ADDRESS: &str = ":8080";
const PATH: &str = "/health";

/// What a block's directive says.
#[derive(Debug, PartialEq, Eq)]
struct Config {
    address: String,
    lameduck: Duration,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = read(&setup.occurrences()?)?;
    setup.announce(Announcement {
        directive: "health",
        address: config.address.clone(),
        path: PATH,
        endpoint: Arc::new(Alive),
        tls: None,
    });
    setup.push(Health {
        config,
        tasks: Tasks::default(),
    });
    Ok(())
}

/// Reads `health [ADDRESS] { lameduck DURATION }`; what comes later counts.
fn read(lines: &[Occurrence<'_>]) -> Result<Config, SetupError> {
    let mut config = Config {
        address: ADDRESS.to_owned(),
        lameduck: Duration::ZERO,
    };
    for line in lines {
        if let Some(token) = line.args_between(0, 1)?.first() {
            config.address = Announcement::address(token)?;
        }
        for option in line.lines() {
            match option.name.text.as_str() {
                "lameduck" => config.lameduck = option.one_arg()?.parse_duration()?,
                _ => return Err(option.unknown_property(&["lameduck"]).into()),
            }
        }
    }
    Ok(config)
}

/// The endpoint: who gets an answer knows enough.
struct Alive;

#[async_trait]
impl Endpoint for Alive {
    async fn respond(&self, _: &Request<()>) -> Response<Vec<u8>> {
        text(200, "OK")
    }
}

struct Health {
    config: Config,
    tasks: Tasks,
}

#[async_trait]
impl Plugin for Health {
    fn name(&self) -> &'static str {
        "health"
    }

    fn interest(&self) -> Interest {
        Interest::Nothing
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        let check = check::every_second(self.config.address.clone(), PATH);
        self.tasks.spawn(check);
        Ok(())
    }

    async fn leave(&self) {
        let lameduck = self.config.lameduck;
        if !lameduck.is_zero() {
            let time = go_duration(lameduck);
            tracing::info!(target: "plugin/health", "Going into lameduck mode for {time}");
            tokio::time::sleep(lameduck).await;
        }
    }

    async fn stop(&self, _: Stop) {
        self.tasks.stop();
    }
}

#[cfg(test)]
mod tests {
    use corten_plugin::corefile::{Source, parse};

    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let text = format!(". {{\n{text}\n}}\n");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["health"], &|_| None).unwrap();
        let lines = corefile.blocks[0].directives.iter();
        let lines: Vec<_> = lines.map(|line| line.occurrence().unwrap()).collect();
        read(&lines).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_read() {
        for (text, address, lameduck) in [
            ("health", ":8080", 0),
            ("health localhost:8091", "localhost:8091", 0),
            ("health {\nlameduck 5s\n}", ":8080", 5),
            ("health :8081 {\nlameduck 1m\n}", ":8081", 60),
            ("health :8081\nhealth {\nlameduck 0s\n}", ":8081", 0),
        ] {
            let lameduck = Duration::from_secs(lameduck);
            let address = address.to_owned();
            assert_eq!(config(text), Ok(Config { address, lameduck }), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            (
                "health localhost",
                "address localhost: missing port in address",
            ),
            (
                "health :8080 :8081",
                "Wrong argument count or unexpected line ending after ':8081'",
            ),
            ("health {\nduck 5s\n}", "unknown property 'duck'"),
            ("health {\nlameduck\n}", "Wrong argument count"),
            ("health {\nlameduck 5\n}", "invalid duration '5'"),
        ] {
            let told = config(text).unwrap_err();
            assert!(told.contains(error), "{text}: {told}");
        }
    }
}
