//! The application the end-to-end tests release, and their pause container.
//!
//! One static binary, because the image is made by hand and holds nothing else. `serve` answers requests and behaves as its environment
//! says (see `settings`); `pause` holds a pod's namespaces open. What a test expects of the answers does not belong here.

mod codec;
mod metrics;
mod pause;
mod serve;
mod settings;

fn main() -> anyhow::Result<()> {
    let manner = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "serve".to_owned());
    // One thread is enough for some hundred requests per second, and sixty such pods share two cores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match manner.as_str() {
        "pause" => runtime.block_on(pause::run()),
        "serve" => runtime.block_on(serve::run(settings::Settings::from_environment()?)),
        other => anyhow::bail!("unknown argument {other:?}: known are `serve` and `pause`"),
    }
}
