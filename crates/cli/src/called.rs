//! By which name this program was called: `crossfade`, as kubectl's plugin, or by kubectl to complete the
//! plugin's words; and for which cluster. So that a command shown to a person can be given as it stands.
//! Not here: what is completed.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

use crate::args::Global;

/// The name, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// `crossfade`, or whatever the file was named.
    Itself,
    /// `kubectl crossfade`.
    Plugin,
    /// kubectl completes the words behind `kubectl crossfade`.
    Completion,
}

impl Called {
    /// By this process's first argument.
    pub fn now() -> Self {
        std::env::args_os()
            .next()
            .map_or(Self::Itself, |name| Self::by(&name))
    }

    fn by(name: &OsStr) -> Self {
        let stem = Path::new(name).file_stem().and_then(OsStr::to_str);
        match stem {
            Some("kubectl-crossfade") => Self::Plugin,
            Some("kubectl_complete-crossfade") => Self::Completion,
            _ => Self::Itself,
        }
    }

    /// The file that a shell looks for: what its completions are registered for.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Itself => "crossfade",
            Self::Plugin | Self::Completion => "kubectl-crossfade",
        }
    }

    /// What users type, for help texts.
    pub const fn typed(self) -> &'static str {
        match self {
            Self::Itself => "crossfade",
            Self::Plugin | Self::Completion => "kubectl crossfade",
        }
    }
}

/// How the next command has to be written to mean the same cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    typed: &'static str,
    /// `--context` and `--kubeconfig` as they were given; ours and kubectl's have the same names.
    flags: String,
}

/// Of this process. What a text says next is made in many places, few of which know the arguments.
static OURS: OnceLock<Caller> = OnceLock::new();

impl Caller {
    pub fn new(called: Called, global: &Global) -> Self {
        let mut flags = String::new();
        if let Some(context) = &global.context {
            flags.push_str(&format!(" --context {}", quoted(context)));
        }
        if let Some(path) = &global.kubeconfig {
            let path = path.display().to_string();
            flags.push_str(&format!(" --kubeconfig {}", quoted(&path)));
        }
        Self {
            typed: called.typed(),
            flags,
        }
    }

    /// A command of ours, in a namespace or, as `list -A`, in none.
    pub fn crossfade(&self, namespace: Option<&str>, command: &str) -> String {
        self.written(self.typed, namespace, command)
    }

    /// One of kubectl.
    pub fn kubectl(&self, namespace: Option<&str>, command: &str) -> String {
        self.written("kubectl", namespace, command)
    }

    fn written(&self, program: &str, namespace: Option<&str>, command: &str) -> String {
        let namespace = namespace.map_or_else(String::new, |name| format!(" -n {name}"));
        format!("{program}{namespace}{} {command}", self.flags)
    }
}

/// Remembers the arguments of this process.
pub fn remember(caller: Caller) {
    // One process has one command: a second word could only be the same.
    drop(OURS.set(caller));
}

/// As this process was called; before its arguments are read, by its plain name.
pub fn ours() -> Caller {
    #[cfg(test)]
    if let Some(caller) = tests::elsewhere() {
        return caller;
    }
    OURS.get().cloned().unwrap_or_else(|| Caller {
        typed: Called::Itself.typed(),
        flags: String::new(),
    })
}

/// A command of ours for the cluster of this process.
pub fn crossfade(namespace: &str, command: &str) -> String {
    ours().crossfade(Some(namespace), command)
}

/// One of kubectl.
pub fn kubectl(namespace: &str, command: &str) -> String {
    ours().kubectl(Some(namespace), command)
}

/// One word for a shell. Paths have spaces, names of contexts anything.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
pub mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static ELSEWHERE: RefCell<Option<Caller>> = const { RefCell::new(None) };
    }

    pub(super) fn elsewhere() -> Option<Caller> {
        ELSEWHERE.with_borrow(Clone::clone)
    }

    /// While it lives this thread was called as kubectl's plugin with `--context east`.
    pub struct Plugin;

    pub fn as_plugin() -> Plugin {
        let global = Global {
            namespace: None,
            context: Some("east".to_owned()),
            kubeconfig: None,
        };
        ELSEWHERE.set(Some(Caller::new(Called::Plugin, &global)));
        Plugin
    }

    impl Drop for Plugin {
        fn drop(&mut self) {
            ELSEWHERE.set(None);
        }
    }

    /// What a source says to people: without comments and without what is for tests only.
    fn said(source: &str) -> String {
        let shipped = source.split("#[cfg(test)]\nmod tests").next();
        let shipped = shipped.and_then(|text| text.split("#[cfg(test)]\npub mod tests").next());
        let lines = shipped.unwrap_or_default().lines();
        let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if path.is_dir() {
                sources(&path, found);
            } else if name.ends_with(".rs") && !["tests.rs", "planned.rs"].contains(&name) {
                found.push(path);
            }
        }
    }

    /// A command in a text of its own drops the namespace, the context and the plugin's name. Records of who gave
    /// a command are no commands.
    #[test]
    fn no_text_writes_a_command_by_itself() {
        use clap::CommandFactory;
        let ours = crate::args::Arguments::command();
        let mut commands: Vec<String> = (ours.get_subcommands())
            .map(|command| format!("crossfade {}", command.get_name()))
            .collect();
        let theirs = [
            "-n", "annotate", "delete", "describe", "edit", "get", "patch", "rollout", "scale",
            "version",
        ];
        commands.extend(theirs.map(|command| format!("kubectl {command}")));
        let mut files = Vec::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut files,
        );
        assert!(files.len() > 20, "{files:?}");
        let mut wrong = Vec::new();
        for file in files {
            let source = said(&std::fs::read_to_string(&file).unwrap());
            let lines = source
                .lines()
                .filter(|line| !line.contains("Some(\"crossfade "));
            for line in lines {
                if commands.iter().any(|command| line.contains(command)) {
                    wrong.push(format!("{}: {}", file.display(), line.trim()));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_next_command_means_the_same_cluster() {
        let mut global = Global {
            namespace: None,
            context: None,
            kubeconfig: None,
        };
        let plain = Caller::new(Called::Itself, &global);
        assert_eq!(
            plain.crossfade(Some("shop"), "abort web"),
            "crossfade -n shop abort web"
        );
        assert_eq!(plain.kubectl(None, "get nodes"), "kubectl get nodes");
        global.context = Some("it's prod".to_owned());
        global.kubeconfig = Some("/etc/kube/config".into());
        let plugin = Caller::new(Called::Plugin, &global);
        assert_eq!(
            plugin.crossfade(Some("shop"), "abort web"),
            "kubectl crossfade -n shop --context 'it'\\''s prod' --kubeconfig /etc/kube/config abort web"
        );
        assert_eq!(
            plugin.kubectl(Some("shop"), "get pods"),
            "kubectl -n shop --context 'it'\\''s prod' --kubeconfig /etc/kube/config get pods"
        );
    }

    #[test]
    fn known_by_the_name_of_the_file() {
        for (name, called) in [
            ("crossfade", Called::Itself),
            ("/usr/local/bin/crossfade", Called::Itself),
            ("kubectl-crossfade", Called::Plugin),
            ("/opt/krew/bin/kubectl-crossfade", Called::Plugin),
            ("kubectl-crossfade.exe", Called::Plugin),
            ("./kubectl_complete-crossfade", Called::Completion),
            ("", Called::Itself),
        ] {
            assert_eq!(Called::by(OsStr::new(name)), called, "{name}");
        }
    }
}
