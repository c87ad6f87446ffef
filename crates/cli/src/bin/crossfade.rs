//! `crossfade`. Everything is in the library.

fn main() -> std::process::ExitCode {
    crossfade_cli::main()
}
