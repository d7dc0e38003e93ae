//! The program: the standard plugins and nothing else.

fn main() -> std::process::ExitCode {
    corten::Builder::new(corten::plugins::STANDARD).main()
}
