//! `corten certs [-conf FILE] [-json]`: the certificates that a Corefile wants, as they are stored.
use std::process::ExitCode;
use std::time::Duration;

use corten_plugin::Directive;
use corten_tls::{Report, span};

use crate::command::{Words, misused, run};
use crate::run::{complain, say};

const USAGE: &str = "\
Usage of corten certs:
  -conf string
    \tCorefile to load (default \"Corefile\")
  -json
    \tTell everything, as JSON
";
const HEADINGS: [&str; 5] = ["NAMES", "ISSUER", "EXPIRES", "RENEWAL", "LAST ERROR"];

/// Runs the command with the words behind `certs`. Status 1: a certificate is missing or has
/// expired; 2: something could not be read.
pub(crate) fn main(directives: Vec<&'static Directive>, words: &[String]) -> ExitCode {
    let words = match Words::read(words, &["json"]) {
        Ok(words) if words.rest.is_empty() => words,
        Ok(words) => return misused(&format!("extra words: {}", words.rest.join(" ")), USAGE),
        Err(error) => return misused(&error, USAGE),
    };
    run(directives, words.conf, |process| async move {
        let (mut told, mut status) = (Vec::new(), 0);
        for report in corten_tls::certificates(&process).await {
            match report {
                Ok(report) => {
                    let good = report.seconds_left.is_some_and(|left| left > 0);
                    status = status.max(u8::from(!good));
                    told.push(report);
                }
                Err(error) => {
                    complain(&error);
                    status = 2;
                }
            }
        }
        match words.json {
            true => say(&serde_json::to_string_pretty(&told).unwrap_or_default()),
            false if told.is_empty() && status == 0 => say("no block wants a certificate"),
            // What could not be read has been told.
            false if told.is_empty() => (),
            false => say(&table(told.iter().map(row).collect())),
        }
        status
    })
}

fn row(report: &Report) -> [String; 5] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let expires = match report.seconds_left {
        None => match &report.fallback_until {
            Some(until) => format!("no certificate; the local CA's serves until {until}"),
            None => "no certificate".to_owned(),
        },
        Some(left) if left <= 0 => format!("{} (EXPIRED)", or_dash(&report.valid_until)),
        Some(left) => {
            let left = span(Duration::from_secs(left.unsigned_abs()));
            format!("{} ({left})", or_dash(&report.valid_until))
        }
    };
    let renewal = match (&report.renewal, &report.next_attempt) {
        (_, Some(next)) => format!("{next} (attempt {})", report.failed_attempts + 1),
        (Some(renewal), None) => renewal.clone(),
        (None, None) => "at the next start".to_owned(),
    };
    [
        report.names.join(" "),
        or_dash(&report.issuer),
        expires,
        renewal,
        or_dash(&report.last_error),
    ]
}

/// Columns as wide as they must be, the last one as it is.
fn table(rows: Vec<[String; 5]>) -> String {
    let headings = HEADINGS.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(headings).chain(rows).collect();
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..HEADINGS.len() - 1).map(width).collect();
    let line = |row: &[String; 5]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += &format!("{cell:width$}  ");
        }
        line + &row[HEADINGS.len() - 1]
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_headings() {
        let row = ["a.example", "CN=x", "never", "soon", "-"].map(str::to_owned);
        assert_eq!(
            table(vec![row]),
            "NAMES      ISSUER  EXPIRES  RENEWAL  LAST ERROR\na.example  CN=x    never    soon     -"
        );
    }
}
