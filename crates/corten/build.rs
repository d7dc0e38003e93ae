//! Tells the program which compiler and commit it was made from, for `-version`.
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let first_line = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(
            String::from_utf8(output.stdout)
                .ok()?
                .lines()
                .next()?
                .trim()
                .to_owned(),
        )
    };
    // A file that does not exist would have this run at every build; a worktree's is elsewhere.
    if let Some(head) = first_line("git", &["rev-parse", "--git-path", "HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let compiler = first_line(&rustc, &["--version"]).unwrap_or_else(|| "unknown compiler".into());
    // "rustc 1.95.0 (59807616e 2026-04-14)" -> "rustc1.95.0", as Go's versions look.
    let compiler: String = compiler.split(' ').take(2).collect();
    println!("cargo::rustc-env=CORTEN_COMPILER={compiler}");
    let commit = first_line("git", &["rev-parse", "--short=9", "HEAD"]).unwrap_or_default();
    println!("cargo::rustc-env=CORTEN_COMMIT={commit}");
}
