//! The Common Expression Language as far as Kubernetes' definitions and policies use it.
//!
//! Compiled once per text and process; evaluation borrows the objects. Not here: the libraries for
//! URLs, IP addresses, quantities, semantic versions, formats and the authorizer (an expression that
//! uses one is refused when it is written, never skipped), cost limits, and type checking. Lists
//! marked as sets or maps compare in their order, where the real server compares without.

mod arithmetic;
mod evaluate;
mod functions;
mod lexer;
mod node;
mod parser;
pub(crate) mod regular;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod time;
mod value;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

pub(crate) use evaluate::{Bindings, Variables};
pub(crate) use node::Root;
pub(crate) use parser::Environment;
pub(crate) use value::{Value, json_equal};

/// Expressions kept compiled. Beyond this the memory is emptied: it saves time, it holds no truth.
const KEPT: usize = 4096;

/// One compilation of a text: the names it may use, and the program.
type Known = (Vec<Root>, Option<Vec<String>>, Arc<Program>);

static COMPILED: LazyLock<Mutex<BTreeMap<String, Vec<Known>>>> = LazyLock::new(Mutex::default);

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Program {
    root: node::Node,
    source: String,
}

impl Program {
    /// Compiles, or finds what the process compiled before.
    ///
    /// # Errors
    ///
    /// The reason in the shape the real server prints, with line and column.
    pub fn compile(source: &str, environment: Environment<'_>) -> Result<Arc<Program>, String> {
        let lock = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(roots, variables, _): &&Known| {
            let names = environment.roots.iter().map(|(_, root)| root);
            roots.iter().eq(names) && variables.as_deref() == environment.variables
        };
        if let Some((_, _, known)) = lock().get(source).and_then(|all| all.iter().find(same)) {
            return Ok(Arc::clone(known));
        }
        let program = Arc::new(Program {
            root: parser::parse(source, environment)?,
            source: source.to_owned(),
        });
        let mut known = lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.entry(source.to_owned()).or_default().push((
            environment.roots.iter().map(|(_, root)| *root).collect(),
            environment.variables.map(<[String]>::to_vec),
            Arc::clone(&program),
        ));
        Ok(program)
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a name occurs anywhere in it.
    pub fn uses(&self, root: Root) -> bool {
        self.root.uses(root)
    }

    /// Evaluates once.
    ///
    /// # Errors
    ///
    /// What went wrong, in the words of the real evaluator (`no such key: x`).
    pub fn evaluate<'a, 'b: 'a>(&'a self, bindings: &Bindings<'b>) -> Result<Value<'a>, String> {
        evaluate::run(&self.root, bindings)
    }
}
