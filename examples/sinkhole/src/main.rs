//! Corten with one more plugin.
use std::process::ExitCode;

fn main() -> ExitCode {
    corten::Builder::new(corten::plugins::STANDARD)
        .insert_before(&corten_hosts::PLUGIN, &corten_sinkhole::PLUGIN)
        .main()
}
