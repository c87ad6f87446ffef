//! Completions: scripts for shells, and the words that kubectl asks for behind `kubectl crossfade`.
//!
//! kubectl calls `kubectl_complete-crossfade` with the words typed so far, the last of them unfinished,
//! and reads one proposal per line, a tab and its meaning behind it, and last `:` with cobra's directive
//! to the shell. Everything comes from the declaration of the arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory, ValueHint};
use kube::ResourceExt;
use kube::api::ListParams;

use crate::args::{Arguments, Global};
use crate::called::Called;
use crate::cluster::{Cluster, call};
use crate::exit::{Exit, Failure};
use crate::output;

/// Who types waits for this; names that come later are of no use.
const LIMIT: Duration = Duration::from_secs(2);

/// The script of a shell, for the name this program was called by.
pub fn script(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let text = script_for(shell, Called::now())?;
    output::say(&text)?;
    Ok(Exit::Done)
}

fn script_for(shell: clap_complete::Shell, called: Called) -> Result<String, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), called.file(), &mut text);
    String::from_utf8(text).map_err(|error| Failure::new(error.to_string()))
}

/// Answers kubectl. What cannot be known is left out: an error would stand in the line being typed.
pub async fn answer(words: &[String]) -> Result<Exit, Failure> {
    let mut command = Arguments::command();
    command.build();
    let mut proposal = propose(&command, words);
    if proposal.workload {
        let global = proposal.global();
        let names = tokio::time::timeout(LIMIT, workloads(&global)).await;
        if let Ok(Ok(names)) = names {
            proposal.add(names.into_iter().map(|name| (name, String::new())));
        }
    }
    output::say(&proposal.text())?;
    Ok(Exit::Done)
}

/// Names of the Rollouts; whoever types wants one of them.
async fn workloads(global: &Global) -> Result<Vec<String>, Failure> {
    let cluster = Cluster::connect(global).await?;
    let all = call(
        "list the Rollouts",
        cluster.rollouts().list(&ListParams::default()),
    )
    .await?;
    Ok(all.iter().map(ResourceExt::name_any).collect())
}

/// What may stand in the place of the last word.
#[derive(Debug, Default)]
struct Proposal {
    /// What was typed of it.
    typed: String,
    /// Before the value, as in `--output=json`.
    prefix: String,
    entries: Vec<(String, String)>,
    /// A path is wanted.
    files: bool,
    /// A workload of the cluster is wanted.
    workload: bool,
    /// Values of options that stand before, by their name.
    options: BTreeMap<String, String>,
}

impl Proposal {
    fn add(&mut self, entries: impl IntoIterator<Item = (String, String)>) {
        let fitting = entries
            .into_iter()
            .filter(|(value, _)| value.starts_with(&self.typed));
        self.entries.extend(fitting);
    }

    /// The values that an argument takes.
    fn values(&mut self, argument: &Arg) {
        let values: Vec<(String, String)> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| {
                let help = value.get_help().map(ToString::to_string);
                (value.get_name().to_owned(), help.unwrap_or_default())
            })
            .collect();
        self.add(values);
        self.workload = argument.get_id() == "workload";
        self.files = matches!(
            argument.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath
        );
    }

    fn global(&self) -> Global {
        let option = |name: &str| self.options.get(name).cloned();
        Global {
            namespace: option("namespace"),
            context: option("context"),
            kubeconfig: option("kubeconfig").map(Into::into),
        }
    }

    /// With cobra's directive: 0 lets the shell complete paths, 4 keeps it from that.
    fn text(&self) -> String {
        let mut text = String::new();
        for (value, help) in &self.entries {
            let meaning = help.lines().next().unwrap_or_default();
            let tab = if meaning.is_empty() { "" } else { "\t" };
            text.push_str(&format!("{}{value}{tab}{meaning}\n", self.prefix));
        }
        text.push_str(if self.files { ":0" } else { ":4" });
        text
    }
}

/// Walks the words that are finished and proposes the last. `command` has been built.
fn propose(command: &Command, words: &[String]) -> Proposal {
    let (typed, before) = words
        .split_last()
        .map_or(("", [].as_slice()), |(last, before)| (last, before));
    let mut proposal = Proposal {
        typed: typed.to_owned(),
        ..Proposal::default()
    };
    let mut at = command;
    let mut open: Option<&Arg> = None;
    let mut positionals = 0;
    for word in before {
        if let Some(argument) = open.take() {
            let name = argument.get_id().to_string();
            proposal.options.insert(name, word.clone());
        } else if let Some((argument, value)) = option(at, word) {
            match value {
                Some(value) => {
                    let name = argument.get_id().to_string();
                    proposal.options.insert(name, value.to_owned());
                }
                None => open = Some(argument).filter(|argument| takes_value(argument)),
            }
        } else if let Some(inner) = at.find_subcommand(word).filter(|_| positionals == 0) {
            at = inner;
        } else if !word.starts_with('-') {
            positionals += 1;
        }
    }
    if let Some(argument) = open {
        proposal.values(argument);
    } else if let Some((argument, Some(value))) = option(at, typed) {
        proposal.prefix = typed.strip_suffix(value).unwrap_or_default().to_owned();
        proposal.typed = value.to_owned();
        proposal.values(argument);
    } else if typed.starts_with('-') {
        let flags = at
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        proposal.add(flags.filter_map(|argument| {
            let help = argument.get_help().map(ToString::to_string);
            Some((
                format!("--{}", argument.get_long()?),
                help.unwrap_or_default(),
            ))
        }));
    } else if let Some(argument) = at.get_positionals().nth(positionals) {
        proposal.values(argument);
    } else {
        let inner = at.get_subcommands().filter(|inner| !inner.is_hide_set());
        proposal.add(inner.filter(|_| positionals == 0).map(|inner| {
            let help = inner.get_about().map(ToString::to_string);
            (inner.get_name().to_owned(), help.unwrap_or_default())
        }));
    }
    proposal
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

/// The option a word is, and its value if that is in the same word.
fn option<'a, 'w>(command: &'a Command, word: &'w str) -> Option<(&'a Arg, Option<&'w str>)> {
    let mut arguments = command.get_arguments();
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let argument = arguments.find(|argument| argument.get_long() == Some(name))?;
        return Some((argument, value));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let first = letters.next()?;
    let argument = arguments.find(|argument| argument.get_short() == Some(first))?;
    let rest = letters.as_str();
    let attached = !rest.is_empty() && takes_value(argument);
    Some((
        argument,
        attached.then(|| rest.strip_prefix('=').unwrap_or(rest)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(line: &str) -> Proposal {
        let mut command = Arguments::command();
        command.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        propose(&command, &words)
    }

    fn values(line: &str) -> Vec<String> {
        let entries = proposed(line).entries.into_iter();
        entries.map(|(value, _)| value).collect()
    }

    #[test]
    fn commands_flags_and_values() {
        assert_eq!(values("pro"), ["promote"]);
        assert_eq!(values("set im"), ["image"]);
        assert_eq!(values("abort --fo"), ["--force"]);
        assert_eq!(values("status web --output "), ["json", "yaml", "name"]);
        assert_eq!(values("status web -o y"), ["yaml"]);
        assert_eq!(values("completions z"), ["zsh"]);
        let every = values("");
        assert!(every.contains(&"status".to_owned()) && every.contains(&"undo".to_owned()));
        assert!(
            values("promote --").contains(&"--namespace".to_owned()),
            "global flags too"
        );
        assert!(values("nothing-like-that ").is_empty());
    }

    #[test]
    fn a_value_behind_an_equals_sign_keeps_its_flag() {
        let proposal = proposed("status --output=j");
        assert_eq!(proposal.text(), "--output=json\n:4");
    }

    #[test]
    fn workloads_are_asked_for_where_options_say() {
        let proposal = proposed("-n shop --context=east promote --full we");
        assert!(proposal.workload && !proposal.files);
        assert_eq!(proposal.typed, "we");
        let global = proposal.global();
        assert_eq!(global.namespace.as_deref(), Some("shop"));
        assert_eq!(global.context.as_deref(), Some("east"));
        assert!(!proposed("promote web ").workload, "there is only one");
        assert!(!proposed("promote -n ").workload, "the namespace is meant");
    }

    #[test]
    fn paths_are_left_to_the_shell() {
        assert_eq!(proposed("plan -f ").text(), ":0");
        assert_eq!(proposed("status ").text(), ":4");
    }

    #[test]
    fn lines_are_as_kubectl_reads_them() {
        let text = proposed("retr").text();
        assert_eq!(text, "retry\tRelease the rejected template again\n:4");
    }

    #[test]
    fn scripts_are_for_the_name_that_was_called() {
        use clap_complete::Shell;
        let script = |shell, called| script_for(shell, called).unwrap();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(
                script(shell, Called::Plugin).contains("kubectl-crossfade"),
                "{shell}"
            );
            assert!(
                !script(shell, Called::Itself).contains("kubectl-crossfade"),
                "{shell}"
            );
        }
    }
}
