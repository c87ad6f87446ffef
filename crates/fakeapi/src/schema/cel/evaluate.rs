//! What a tree of the expression language means for given objects.
//!
//! Operators on numbers are in `arithmetic`, functions in `functions`. Source of the rules: the CEL
//! language definition, in particular that `&&`, `||`, `all` and `exists` swallow an error when the
//! other side decides.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::node::{Binary, Literal, Macro, Node, Optionally, Quantifier, Root};
use super::parser::unescaped;
use super::value::Value;
use super::{Program, arithmetic, functions};

/// What is known of one variable: not asked for yet, or its outcome.
type Computed<'a> = Option<Result<Value<'a>, String>>;

/// Variables of a policy, each evaluated when it is first asked for and then kept.
#[derive(Debug, Default)]
pub(crate) struct Variables<'a> {
    programs: &'a [(String, Arc<Program>)],
    computed: RefCell<Vec<Computed<'a>>>,
}

impl<'a> Variables<'a> {
    /// Names and programs in the order of the policy; each may use those before it.
    pub fn new(programs: &'a [(String, Arc<Program>)]) -> Self {
        Self {
            programs,
            computed: RefCell::new(vec![None; programs.len()]),
        }
    }
}

/// The objects an expression is evaluated on.
#[derive(Debug, Default)]
pub(crate) struct Bindings<'a> {
    roots: Vec<(Root, Value<'a>)>,
    pub variables: Variables<'a>,
}

impl<'a> Bindings<'a> {
    /// Names not given are errors when an expression asks for them.
    pub fn new(roots: Vec<(Root, Value<'a>)>) -> Self {
        Self {
            roots,
            variables: Variables::default(),
        }
    }

    fn variable(&self, place: usize) -> Outcome<'a> {
        let variables = &self.variables;
        if let Some(Some(known)) = variables.computed.borrow().get(place) {
            return known.clone();
        }
        let (name, program) = variables
            .programs
            .get(place)
            .ok_or_else(|| "no such attribute(s): variables".to_owned())?;
        let outcome = run(&program.root, self).map_err(|reason| {
            format!("composited variable \"{name}\" fails to evaluate: {reason}")
        });
        if let Some(slot) = variables.computed.borrow_mut().get_mut(place) {
            *slot = Some(outcome.clone());
        }
        outcome
    }
}

type Outcome<'a> = Result<Value<'a>, String>;

/// The error of an operator or function that does not take these types.
pub(super) fn no_overload<T>() -> Result<T, String> {
    Err("no such overload".to_owned())
}

/// `'a` is how long the tree lives, `'b` how long the objects do.
pub(super) fn run<'a, 'b: 'a>(node: &'a Node, bindings: &Bindings<'b>) -> Outcome<'a> {
    Frame {
        bindings,
        locals: Vec::new(),
    }
    .value(node)
}

struct Frame<'f, 'b, 'a> {
    bindings: &'f Bindings<'b>,
    locals: Vec<Value<'a>>,
}

impl<'a, 'b: 'a> Frame<'_, 'b, 'a> {
    fn value(&mut self, node: &'a Node) -> Outcome<'a> {
        match node {
            Node::Literal(literal) => Ok(constant(literal)),
            Node::Root(root) => self.root(*root),
            Node::Local(place) => self
                .locals
                .get(*place)
                .cloned()
                .ok_or_else(|| "no such attribute".to_owned()),
            Node::Variable(place) => self.bindings.variable(*place),
            Node::Type(name) => Ok(Value::Type(name)),
            Node::Select(operand, name) => {
                let operand = self.value(operand)?;
                select(&operand, name)
            }
            Node::Has(operand, name) => {
                let operand = self.value(operand)?;
                // A field that may be null and is counts as one that is not there (`common.unstructuredMap` of
                // k8s.io/apiserver). Maps of any keys are not told from objects with fields here: in those a
                // null would count.
                let there = |inner: &Value<'_>| {
                    field(inner, name).is_some_and(|value| !matches!(value, Value::Null))
                };
                Ok(Value::Bool(match &operand {
                    Value::Optional(inner) => inner.as_deref().is_some_and(there),
                    _ => there(&operand),
                }))
            }
            Node::OptionalSelect(operand, name) => {
                let operand = self.value(operand)?;
                Ok(Value::Optional(
                    present(&operand)
                        .and_then(|inner| field(inner, name))
                        .map(Rc::new),
                ))
            }
            Node::Index(operand, index) => {
                let operand = self.value(operand)?;
                let index = self.value(index)?;
                if let Value::Optional(inner) = &operand {
                    let found = inner.as_deref().and_then(|inner| at(inner, &index).ok());
                    return Ok(Value::Optional(found.map(Rc::new)));
                }
                at(&operand, &index)
            }
            Node::OptionalIndex(operand, index) => {
                let operand = self.value(operand)?;
                let index = self.value(index)?;
                let found = present(&operand).and_then(|inner| at(inner, &index).ok());
                Ok(Value::Optional(found.map(Rc::new)))
            }
            Node::Not(operand) => match self.value(operand)? {
                Value::Bool(truth) => Ok(Value::Bool(!truth)),
                _ => no_overload(),
            },
            Node::Negate(operand) => arithmetic::negate(self.value(operand)?),
            Node::And(left, right) => self.junction(left, right, false),
            Node::Or(left, right) => self.junction(left, right, true),
            Node::Conditional(condition, yes, no) => match self.value(condition)? {
                Value::Bool(true) => self.value(yes),
                Value::Bool(false) => self.value(no),
                _ => no_overload(),
            },
            Node::Binary(operator, left, right) => {
                let left = self.value(left)?;
                let right = self.value(right)?;
                binary(*operator, &left, &right)
            }
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Macro(inner) => self.quantified(inner),
            Node::Bind(value, body) => {
                let value = self.value(value)?;
                self.with(&[value], body)
            }
            Node::Optionally(kind, operand, body) => match self.value(operand)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(inner)) => {
                    let outcome = self.with(&[inner.as_ref().clone()], body)?;
                    match (kind, outcome) {
                        (Optionally::Map, plain) => Ok(Value::some(plain)),
                        (Optionally::FlatMap, optional @ Value::Optional(_)) => Ok(optional),
                        (Optionally::FlatMap, _) => no_overload(),
                    }
                }
                _ => no_overload(),
            },
            Node::Call(function, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.value(argument)?);
                }
                functions::call(*function, &values)
            }
            Node::Matches(operand, pattern) => match self.value(operand)? {
                Value::Text(text) => Ok(Value::Bool(pattern.is_match(&text))),
                _ => no_overload(),
            },
        }
    }

    fn root(&self, root: Root) -> Outcome<'a> {
        self.bindings
            .roots
            .iter()
            .find(|(known, _)| *known == root)
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("no such attribute(s): {}", root.name()))
    }

    /// `&&` (decided by false) and `||` (decided by true).
    fn junction(&mut self, left: &'a Node, right: &'a Node, decisive: bool) -> Outcome<'a> {
        let left = truth(self.value(left));
        if left == Ok(decisive) {
            return Ok(Value::Bool(decisive));
        }
        let right = truth(self.value(right));
        if right == Ok(decisive) {
            return Ok(Value::Bool(decisive));
        }
        left.and(right).map(Value::Bool)
    }

    fn with(&mut self, values: &[Value<'a>], body: &'a Node) -> Outcome<'a> {
        let outside = self.locals.len();
        self.locals.extend_from_slice(values);
        let outcome = self.value(body);
        self.locals.truncate(outside);
        outcome
    }

    fn list(&mut self, elements: &'a [(Node, bool)]) -> Outcome<'a> {
        let mut all = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            let value = self.value(element)?;
            match (optional, value) {
                (false, value) => all.push(value),
                (true, Value::Optional(inner)) => {
                    all.extend(inner.map(|inner| inner.as_ref().clone()));
                }
                (true, _) => return no_overload(),
            }
        }
        Ok(Value::list(all))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Outcome<'a> {
        let mut all: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = self.value(key)?;
            let value = match (optional, self.value(value)?) {
                (false, value) => value,
                (true, Value::Optional(Some(inner))) => inner.as_ref().clone(),
                (true, Value::Optional(None)) => continue,
                (true, _) => return no_overload(),
            };
            all.push((key, value));
        }
        Ok(Value::Map(Rc::new(all)))
    }

    fn quantified(&mut self, inner: &'a Macro) -> Outcome<'a> {
        let range = self.value(&inner.range)?;
        let pairs = pairs(&range, inner.two)?;
        let mut made = Vec::new();
        let mut count = 0_usize;
        let mut failure = None;
        for pair in pairs {
            if let Some(filter) = &inner.filter
                && !truth(self.with(&pair, filter))?
            {
                continue;
            }
            let outcome = self.with(&pair, &inner.body);
            match inner.quantifier {
                Quantifier::All | Quantifier::Exists => {
                    let decisive = inner.quantifier == Quantifier::Exists;
                    match truth(outcome) {
                        Ok(found) if found == decisive => return Ok(Value::Bool(decisive)),
                        Ok(_) => {}
                        Err(reason) => failure = failure.or(Some(reason)),
                    }
                }
                Quantifier::ExistsOne => count += usize::from(truth(outcome)?),
                Quantifier::Map => made.push(outcome?),
                Quantifier::Filter => {
                    if truth(outcome)? {
                        made.extend(pair.into_iter().next());
                    }
                }
            }
        }
        if let Some(reason) = failure {
            return Err(reason);
        }
        Ok(match inner.quantifier {
            Quantifier::All => Value::Bool(true),
            Quantifier::Exists => Value::Bool(false),
            Quantifier::ExistsOne => Value::Bool(count == 1),
            Quantifier::Map | Quantifier::Filter => Value::list(made),
        })
    }
}

/// What the names of a macro stand for, element by element.
fn pairs<'a>(range: &Value<'a>, two: bool) -> Result<Vec<Vec<Value<'a>>>, String> {
    if let Some(elements) = range.elements() {
        return Ok(elements
            .into_iter()
            .enumerate()
            .map(|(index, element)| {
                if two {
                    let index = i64::try_from(index).unwrap_or(i64::MAX);
                    vec![Value::Int(index), element]
                } else {
                    vec![element]
                }
            })
            .collect());
    }
    let entries = range.entries().map_or_else(no_overload, Ok)?;
    Ok(entries
        .into_iter()
        .map(|(key, value)| if two { vec![key, value] } else { vec![key] })
        .collect())
}

fn truth(outcome: Outcome<'_>) -> Result<bool, String> {
    match outcome? {
        Value::Bool(truth) => Ok(truth),
        _ => no_overload(),
    }
}

fn constant(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(truth) => Value::Bool(*truth),
        Literal::Int(number) => Value::Int(*number),
        Literal::Uint(number) => Value::Uint(*number),
        Literal::Double(number) => Value::Double(*number),
        Literal::Text(text) => Value::Text(Cow::Borrowed(text)),
        Literal::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
    }
}

/// A value itself, or what an optional holds.
fn present<'v, 'a>(value: &'v Value<'a>) -> Option<&'v Value<'a>> {
    match value {
        Value::Optional(inner) => inner.as_deref(),
        plain => Some(plain),
    }
}

/// A field by its name, or by the name that the escaped spelling stands for.
fn field<'a>(operand: &Value<'a>, name: &str) -> Option<Value<'a>> {
    operand.field(name).or_else(|| {
        name.contains("__")
            .then(|| operand.field(&unescaped(name)))
            .flatten()
    })
}

fn select<'a>(operand: &Value<'a>, name: &str) -> Outcome<'a> {
    if let Value::Optional(inner) = operand {
        let found = inner.as_deref().and_then(|inner| field(inner, name));
        return Ok(Value::Optional(found.map(Rc::new)));
    }
    field(operand, name).ok_or_else(|| format!("no such key: {name}"))
}

fn at<'a>(operand: &Value<'a>, index: &Value<'a>) -> Outcome<'a> {
    match operand {
        Value::Object(_) | Value::Map(_) => operand
            .entry(index)
            .ok_or_else(|| format!("no such key: {}", functions::plain(index))),
        Value::Array(_) | Value::List(_) => {
            let place = match index {
                Value::Int(place) => usize::try_from(*place).ok(),
                Value::Uint(place) => usize::try_from(*place).ok(),
                _ => return no_overload(),
            };
            let found = match (operand, place) {
                (Value::Array(array), Some(place)) => array.get(place).map(Value::from),
                (Value::List(list), Some(place)) => list.get(place).cloned(),
                _ => None,
            };
            found.ok_or_else(|| format!("index out of bounds: {}", functions::plain(index)))
        }
        _ => no_overload(),
    }
}

fn binary<'a>(operator: Binary, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    let ordered = |wanted: fn(std::cmp::Ordering) -> bool| {
        left.compare(right)
            .map_or_else(no_overload, |order| Ok(Value::Bool(wanted(order))))
    };
    match operator {
        Binary::Equal => Ok(Value::Bool(left.equals(right))),
        Binary::NotEqual => Ok(Value::Bool(!left.equals(right))),
        Binary::Less => ordered(std::cmp::Ordering::is_lt),
        Binary::LessOrEqual => ordered(std::cmp::Ordering::is_le),
        Binary::Greater => ordered(std::cmp::Ordering::is_gt),
        Binary::GreaterOrEqual => ordered(std::cmp::Ordering::is_ge),
        Binary::In => match right {
            Value::Object(_) | Value::Map(_) => Ok(Value::Bool(right.entry(left).is_some())),
            Value::Array(array) => Ok(Value::Bool(
                array.iter().any(|element| left.equals(&element.into())),
            )),
            Value::List(list) => Ok(Value::Bool(list.iter().any(|element| left.equals(element)))),
            _ => no_overload(),
        },
        _ => arithmetic::binary(operator, left, right),
    }
}
