//! By which name this program was called: `crossfade`, as kubectl's plugin, or by kubectl to complete the
//! plugin's words. Not here: what is completed.

use std::ffi::OsStr;
use std::path::Path;

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

#[cfg(test)]
mod tests {
    use super::*;

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
