//! `kubectl crossfade`: the same under the name that kubectl looks for.

fn main() -> std::process::ExitCode {
    crossfade_cli::main()
}
