//! What the command line prints for programs and shells: plans of a cluster and of files, the formats behind `-o`, completions. What
//! commands do belongs to `commands`.

use std::process::Stdio;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::fixture::cli::binary;
use crate::fixture::{Crossfade, WEB};
use crate::harness::api::text;
use crate::harness::context::Context;

/// Before any release: the plan of the workload as it is in the cluster and as its files say.
pub(super) async fn plans(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let shown = crossfade.cli(&["plan", WEB]).await?;
    context.check(
        "plan shows pods, weights and what waits for a person",
        shown.code == 0
            && ["2 pods", "50%", "approval"]
                .iter()
                .all(|word| shown.stdout.contains(word)),
        shown.words(),
    );
    let here = crossfade.cli(&["plan", WEB, "-o", "json"]).await?;
    let mut files = Vec::new();
    for (resource, name) in [
        ("deployments", WEB),
        ("services", WEB),
        ("rolloutpolicies", "default"),
    ] {
        let path = context.folder().join(format!("{resource}.json"));
        let object = context.get(resource, name).await?;
        std::fs::write(&path, object.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path.display().to_string());
    }
    let mut arguments = vec!["plan", "-o", "json"];
    arguments.extend(files.iter().flat_map(|file| ["-f", file]));
    let there = crossfade.cli(&arguments).await?;
    let parsed: Vec<Value> = [&here, &there]
        .iter()
        .filter_map(|answer| serde_json::from_str(&answer.stdout).ok())
        .collect();
    // Names of policies as sources differ in nothing either.
    let same = matches!(&parsed[..], [here, there] if ["forecast", "plan", "services", "problems"]
        .iter()
        .all(|part| !here[part].is_null() && here[part] == there[part]));
    context.check(
        "plan of the cluster and of its files are one",
        here.code == 0 && there.code == 0 && same,
        format!("{} | {}", here.words(), there.words()),
    );
    Ok(())
}

/// While a release is under way: the formats behind `-o`.
pub(super) async fn formats(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let name = format!("rollout.crossfade.dev/{WEB}");
    for arguments in [
        ["status", WEB, "-o", "name"],
        ["explain", WEB, "-o", "name"],
    ] {
        let said = crossfade.cli(&arguments).await?;
        context.check(
            &format!("{} -o name", arguments[0]),
            said.code == 0 && said.stdout.trim() == name,
            said.words(),
        );
    }
    let yaml = crossfade.cli(&["status", WEB, "-o", "yaml"]).await?;
    context.check(
        "status -o yaml",
        yaml.code == 0
            && ["\nkind: Rollout\n", "\n  phase: Progressing\n"]
                .iter()
                .all(|line| format!("\n{}", yaml.stdout).contains(line)),
        yaml.words(),
    );
    let list = crossfade.cli(&["list", "-o", "json"]).await?;
    let listed: Value = serde_json::from_str(&list.stdout).unwrap_or_default();
    context.check(
        "list -o json",
        list.code == 0 && text(&listed, "/items/0/metadata/name") == WEB,
        list.words(),
    );
    Ok(())
}

/// While an approval is waited for: the same as kubectl's plugin, and the view that ends there.
pub(super) async fn views(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let folder = context.folder().join("plugin");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let called = folder.join("kubectl-crossfade");
    if !called.exists() {
        std::os::unix::fs::symlink(binary(context), &called)
            .with_context(|| format!("cannot make {}", called.display()))?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut kubectl = Command::new("kubectl");
    kubectl
        .args([
            "crossfade",
            "--namespace",
            &context.namespace,
            "status",
            WEB,
        ])
        .env("PATH", format!("{}:{path}", folder.display()));
    let shown = output(kubectl, context).await?;
    context.check(
        "kubectl crossfade status",
        shown.contains(WEB) && shown.contains("Progressing"),
        shown,
    );
    let watched = crossfade.cli(&["status", WEB, "-w"]).await?;
    context.check(
        "status -w ends where a person is waited for",
        watched.code == 6 && watched.stdout.contains(&format!("{WEB} Progressing")),
        watched.words(),
    );
    Ok(())
}

/// In the warm stay: the view that goes on.
pub(super) async fn follows(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let mut watching = Command::new(binary(context));
    watching.args(["--namespace", &context.namespace, "status", WEB, "-w"]);
    let line = format!("{WEB} Warm");
    let seen = first_lines(watching, context, &line).await?;
    context.check("status -w goes on", seen.contains(&line), seen);
    Ok(())
}

/// What a program that does not end has said when a word of it has come.
async fn first_lines(
    mut command: Command,
    context: &Context,
    word: &str,
) -> anyhow::Result<String> {
    let mut child = command
        .env("KUBECONFIG", &context.user.kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start it")?;
    let mut out = child
        .stdout
        .take()
        .context("its output is not ours to read")?;
    let mut said = String::new();
    let mut buffer = vec![0; 4096];
    let read = async {
        while !said.contains(word) {
            let count = out.read(&mut buffer).await?;
            anyhow::ensure!(count > 0, "it ended: {said}");
            said.push_str(&String::from_utf8_lossy(
                buffer.get(..count).unwrap_or_default(),
            ));
        }
        anyhow::Ok(())
    };
    let reached = tokio::time::timeout(crate::fixture::SOON, read).await;
    let goes_on = child.try_wait()?.is_none();
    child.kill().await?;
    reached.with_context(|| format!("it never says {word}"))??;
    anyhow::ensure!(goes_on, "it ended by itself: {said}");
    Ok(said)
}

/// Scripts that the shell takes and that propose what there is; and what kubectl asks for.
pub(super) async fn completions(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let script = crossfade.cli(&["completions", "bash"]).await?;
    let path = context.folder().join("completions.bash");
    std::fs::write(&path, &script.stdout)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let typed = r#"source "$1" && COMP_WORDS=(crossfade pro) COMP_CWORD=1 && _crossfade crossfade pro crossfade && echo "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["-c", typed, "bash"]).arg(&path);
    let proposed = output(bash, context).await?;
    context.check(
        "bash completes a command",
        proposed.trim() == "promote",
        proposed,
    );
    // kubectl finds it by this name.
    let called = context.folder().join("kubectl_complete-crossfade");
    if !called.exists() {
        std::os::unix::fs::symlink(binary(context), &called)
            .with_context(|| format!("cannot make {}", called.display()))?;
    }
    let mut kubectl = Command::new(&called);
    kubectl.args(["--namespace", &context.namespace, "status", ""]);
    let proposed = output(kubectl, context).await?;
    context.check(
        "kubectl completes the name of a workload",
        proposed.lines().any(|line| line.trim() == WEB),
        proposed,
    );
    Ok(())
}

/// What a program says on stdout, with the administrator's kubeconfig.
async fn output(mut command: Command, context: &Context) -> anyhow::Result<String> {
    let ended = command
        .env("KUBECONFIG", &context.user.kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(crate::fixture::SOON, ended)
        .await
        .context("it does not end")??;
    Ok(format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    ))
}
