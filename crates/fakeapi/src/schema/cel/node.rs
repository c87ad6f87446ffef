//! A compiled expression: its tree, with variables resolved to places.
//!
//! How text becomes a tree is in `parser`, what a tree means in `evaluate`.

use regex::Regex;

use super::functions::Function;

/// The names an expression may start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Root {
    /// The value the rule stands at (`x-kubernetes-validations`).
    This,
    /// Its value before the write.
    OldThis,
    /// The object of an admission request; null for DELETE.
    Object,
    /// The object before; null for CREATE.
    OldObject,
    /// The AdmissionRequest.
    Request,
    /// The Namespace of a namespaced object, else null (policies only).
    NamespaceObject,
    /// Always null: parameters are refused when a policy is written.
    Params,
}

/// Two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// What a macro over a list or map does with each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// Maps to an optional value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Optionally {
    /// `optMap`: what the body gives is wrapped.
    Map,
    /// `optFlatMap`: the body gives an optional itself.
    FlatMap,
}

#[derive(Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    Root(Root),
    /// A variable of a macro: its place among those in scope.
    Local(usize),
    /// `variables.name` of a policy: the place in its list.
    Variable(usize),
    /// The name of a type, as in `type(x) == string`.
    Type(&'static str),
    Select(Box<Node>, Box<str>),
    Has(Box<Node>, Box<str>),
    OptionalSelect(Box<Node>, Box<str>),
    Index(Box<Node>, Box<Node>),
    OptionalIndex(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    /// The flag: leave the element out when it is an empty optional.
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Macro(Box<Macro>),
    /// `cel.bind(name, value, body)`; the name's place is the number of locals then in scope.
    Bind(Box<Node>, Box<Node>),
    Optionally(Optionally, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    /// `matches` with a constant pattern, compiled once.
    Matches(Box<Node>, Regex),
}

/// `range.all(x, …)` and its kin.
#[derive(Debug)]
pub(super) struct Macro {
    pub quantifier: Quantifier,
    pub range: Node,
    /// Both index and element (or key and value) have a name.
    pub two: bool,
    pub filter: Option<Node>,
    pub body: Node,
}

impl Root {
    /// As expressions write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Root::This => "self",
            Root::OldThis => "oldSelf",
            Root::Object => "object",
            Root::OldObject => "oldObject",
            Root::Request => "request",
            Root::NamespaceObject => "namespaceObject",
            Root::Params => "params",
        }
    }
}

impl Node {
    /// Whether a name occurs anywhere below.
    pub(super) fn uses(&self, root: Root) -> bool {
        match self {
            Node::Root(found) => *found == root,
            Node::Literal(_) | Node::Local(_) | Node::Variable(_) | Node::Type(_) => false,
            Node::Select(operand, _)
            | Node::Has(operand, _)
            | Node::OptionalSelect(operand, _)
            | Node::Not(operand)
            | Node::Negate(operand)
            | Node::Matches(operand, _) => operand.uses(root),
            Node::Index(left, right)
            | Node::OptionalIndex(left, right)
            | Node::And(left, right)
            | Node::Or(left, right)
            | Node::Binary(_, left, right)
            | Node::Bind(left, right)
            | Node::Optionally(_, left, right) => left.uses(root) || right.uses(root),
            Node::Conditional(condition, yes, no) => {
                condition.uses(root) || yes.uses(root) || no.uses(root)
            }
            Node::List(elements) => elements.iter().any(|(element, _)| element.uses(root)),
            Node::Map(entries) => entries
                .iter()
                .any(|(key, value, _)| key.uses(root) || value.uses(root)),
            Node::Macro(inner) => {
                inner.range.uses(root)
                    || inner.body.uses(root)
                    || inner.filter.as_ref().is_some_and(|node| node.uses(root))
            }
            Node::Call(_, arguments) => arguments.iter().any(|argument| argument.uses(root)),
        }
    }
}
