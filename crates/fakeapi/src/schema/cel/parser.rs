//! Grammar of the Common Expression Language: from tokens to the tree, macros and names resolved.
//!
//! Written here because the parser of the `cel` crate (0.13) reads `!!x` as `!x` and `--x` as `-x`,
//! and its evaluator keeps objects in hash-ordered maps. What a tree means does not belong here.
//! There is no type check: an operator on wrong types is an error at evaluation, as on values whose
//! type the real server does not know either.

use super::functions::{self, Function};
use super::lexer::{self, Token};
use super::node::{Binary, Literal, Macro, Node, Optionally, Quantifier, Root};
use super::regular;

/// Which names an expression may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment<'e> {
    pub roots: &'e [(&'static str, Root)],
    /// Names of a policy's variables defined so far; None where `variables` is no word.
    pub variables: Option<&'e [String]>,
}

/// Deeper nesting is refused, so that evaluation cannot run out of stack.
const DEPTH: usize = 96;

/// Longer expressions are refused for the same reason: a chain of operators nests too.
const LENGTH: usize = 2000;

/// Words that may not be names (language definition, section "Syntax").
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const TYPES: [(&str, &str); 11] = [
    ("bool", "bool"),
    ("bytes", "bytes"),
    ("double", "double"),
    ("int", "int"),
    ("list", "list"),
    ("map", "map"),
    ("null_type", "null_type"),
    ("string", "string"),
    ("type", "type"),
    ("uint", "uint"),
    ("optional_type", "optional_type"),
];

/// Reads a whole expression.
///
/// # Errors
///
/// The reason with its place and the line, in the shape the real server prints.
pub(super) fn parse(source: &str, environment: Environment<'_>) -> Result<Node, String> {
    let tokens = lexer::tokens(source).map_err(|reason| located(source, source.len(), &reason))?;
    if tokens.len() > LENGTH {
        return Err(format!("expression of more than {LENGTH} words"));
    }
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        scope: Vec::new(),
        environment,
    };
    let whole = parser.expression().and_then(|node| {
        if *parser.peek() == Token::End {
            Ok(node)
        } else {
            Err(parser.unexpected())
        }
    });
    whole.map_err(|reason| located(source, parser.place(), &reason))
}

fn located(source: &str, place: usize, reason: &str) -> String {
    let before = source.get(..place).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().len() + 1;
    let text = source.lines().nth(line - 1).unwrap_or_default();
    format!(
        "ERROR: <input>:{line}:{column}: {reason}\n | {text}\n | {}^",
        ".".repeat(column - 1)
    )
}

struct Parser<'e> {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    scope: Vec<String>,
    environment: Environment<'e>,
}

type Parsed = Result<Node, String>;

impl Parser<'_> {
    fn look(&self, ahead: usize) -> &Token {
        self.tokens
            .get(self.at + ahead)
            .map_or(&Token::End, |(token, _)| token)
    }

    fn peek(&self) -> &Token {
        self.look(0)
    }

    fn place(&self) -> usize {
        let last = self.tokens.last().map_or(0, |(_, place)| *place);
        self.tokens.get(self.at).map_or(last, |(_, place)| *place)
    }

    fn unexpected(&self) -> String {
        match self.peek() {
            Token::End => "Syntax error: mismatched input '<EOF>'".to_owned(),
            Token::Sign(sign) => format!("Syntax error: extraneous input '{sign}'"),
            other => format!("Syntax error: unexpected {other:?}"),
        }
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(next) if *next == sign);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.accept(sign) {
            Ok(())
        } else {
            Err(format!("{}, expecting '{sign}'", self.unexpected()))
        }
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("expression recursion limit exceeded: {DEPTH}"));
        }
        let condition = self.disjunction()?;
        let node = if self.accept("?") {
            let yes = self.disjunction()?;
            self.expect(":")?;
            let no = self.expression()?;
            Node::Conditional(Box::new(condition), Box::new(yes), Box::new(no))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    fn disjunction(&mut self) -> Parsed {
        let mut left = self.conjunction()?;
        while self.accept("||") {
            left = Node::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed {
        let mut left = self.relation()?;
        while self.accept("&&") {
            left = Node::And(Box::new(left), Box::new(self.relation()?));
        }
        Ok(left)
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let operator = match self.peek() {
                Token::Sign("==") => Binary::Equal,
                Token::Sign("!=") => Binary::NotEqual,
                Token::Sign("<") => Binary::Less,
                Token::Sign("<=") => Binary::LessOrEqual,
                Token::Sign(">") => Binary::Greater,
                Token::Sign(">=") => Binary::GreaterOrEqual,
                Token::Identifier(word) if word == "in" => Binary::In,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Binary(operator, Box::new(left), Box::new(self.sum()?));
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Token::Sign("+") => Binary::Add,
                Token::Sign("-") => Binary::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let operator = match self.peek() {
                Token::Sign("*") => Binary::Multiply,
                Token::Sign("/") => Binary::Divide,
                Token::Sign("%") => Binary::Modulo,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Node::Binary(operator, Box::new(left), Box::new(self.unary()?));
        }
    }

    fn unary(&mut self) -> Parsed {
        let mut count = 0_usize;
        if self.accept("!") {
            count += 1;
            while self.accept("!") {
                count += 1;
            }
            let operand = self.member()?;
            return Ok((0..count).fold(operand, |node, _| Node::Not(Box::new(node))));
        }
        while self.accept("-") {
            count += 1;
        }
        if count == 0 {
            return self.member();
        }
        // The sign belongs to the literal: the smallest int has no positive counterpart.
        let literal = match self.peek() {
            Token::Int(magnitude) => Some(
                0_i64
                    .checked_sub_unsigned(*magnitude)
                    .map(Literal::Int)
                    .ok_or("invalid int literal")?,
            ),
            Token::Double(number) => Some(Literal::Double(-number)),
            _ => None,
        };
        let operand = match literal {
            Some(literal) => {
                count -= 1;
                self.at += 1;
                self.members(Node::Literal(literal))?
            }
            None => self.member()?,
        };
        Ok((0..count).fold(operand, |node, _| Node::Negate(Box::new(node))))
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, mut node: Node) -> Parsed {
        loop {
            if self.accept("[") {
                let optional = self.accept("?");
                let index = self.expression()?;
                self.expect("]")?;
                node = if optional {
                    Node::OptionalIndex(Box::new(node), Box::new(index))
                } else {
                    Node::Index(Box::new(node), Box::new(index))
                };
            } else if self.accept(".") {
                let optional = self.accept("?");
                let name = self.identifier()?;
                node = if optional {
                    Node::OptionalSelect(Box::new(node), name.into())
                } else if self.accept("(") {
                    self.receiver_call(node, &name)?
                } else {
                    Node::Select(Box::new(node), name.into())
                };
            } else {
                return Ok(node);
            }
        }
    }

    fn identifier(&mut self) -> Result<String, String> {
        match self.peek() {
            Token::Identifier(name) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Node>, String> {
        let mut all = Vec::new();
        loop {
            if self.accept(end) {
                return Ok(all);
            }
            if !all.is_empty() {
                self.expect(",")?;
            }
            all.push(self.expression()?);
        }
    }

    /// A body in which one more name stands for a value.
    fn scoped(&mut self, names: &[String]) -> Parsed {
        let outside = self.scope.len();
        self.scope.extend_from_slice(names);
        let body = self.expression();
        self.scope.truncate(outside);
        body
    }

    fn receiver_call(&mut self, target: Node, name: &str) -> Parsed {
        let quantifier = match name {
            "all" => Some(Quantifier::All),
            "exists" => Some(Quantifier::Exists),
            "exists_one" | "existsOne" => Some(Quantifier::ExistsOne),
            "map" => Some(Quantifier::Map),
            "filter" => Some(Quantifier::Filter),
            _ => None,
        };
        if let Some(quantifier) = quantifier {
            return self.quantified(target, quantifier);
        }
        let optionally = match name {
            "optMap" => Some(Optionally::Map),
            "optFlatMap" => Some(Optionally::FlatMap),
            _ => None,
        };
        if let Some(kind) = optionally {
            let variable = self.simple_name()?;
            self.expect(",")?;
            let body = self.scoped(&[variable])?;
            self.expect(")")?;
            return Ok(Node::Optionally(kind, Box::new(target), Box::new(body)));
        }
        let mut arguments = self.arguments(")")?;
        if name == "matches"
            && arguments.len() == 1
            && let Some(Node::Literal(Literal::Text(pattern))) = arguments.first()
        {
            let compiled = regular::compile(pattern)?;
            return Ok(Node::Matches(Box::new(target), compiled));
        }
        let function = functions::receiver(name, arguments.len())
            .ok_or_else(|| format!("undeclared reference to '{name}' (in container '')"))?;
        arguments.insert(0, target);
        Ok(Node::Call(function, arguments))
    }

    fn simple_name(&mut self) -> Result<String, String> {
        self.identifier()
            .map_err(|_| "argument must be a simple name".to_owned())
    }

    fn quantified(&mut self, range: Node, quantifier: Quantifier) -> Parsed {
        let mut names = vec![self.simple_name()?];
        self.expect(",")?;
        let two = !matches!(quantifier, Quantifier::Map | Quantifier::Filter)
            && matches!(self.peek(), Token::Identifier(_))
            && *self.look(1) == Token::Sign(",");
        if two {
            names.push(self.simple_name()?);
            self.expect(",")?;
        }
        let mut body = self.scoped(&names)?;
        let mut filter = None;
        if quantifier == Quantifier::Map && self.accept(",") {
            filter = Some(body);
            body = self.scoped(&names)?;
        }
        self.expect(")")?;
        Ok(Node::Macro(Box::new(Macro {
            quantifier,
            range,
            two,
            filter,
            body,
        })))
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek().clone();
        self.at += 1;
        match token {
            Token::Int(number) => i64::try_from(number)
                .map(|number| Node::Literal(Literal::Int(number)))
                .map_err(|_| "invalid int literal".to_owned()),
            Token::Uint(number) => Ok(Node::Literal(Literal::Uint(number))),
            Token::Double(number) => Ok(Node::Literal(Literal::Double(number))),
            Token::Text(text) => Ok(Node::Literal(Literal::Text(text))),
            Token::Bytes(bytes) => Ok(Node::Literal(Literal::Bytes(bytes))),
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.map(),
            Token::Sign(".") => {
                let name = self.identifier()?;
                self.named(&name)
            }
            Token::Identifier(name) => self.named(&name),
            Token::Sign(_) | Token::End => {
                self.at -= 1;
                Err(self.unexpected())
            }
        }
    }

    fn list(&mut self) -> Parsed {
        let mut elements = Vec::new();
        while !self.accept("]") {
            let optional = self.accept("?");
            elements.push((self.expression()?, optional));
            if !self.accept(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(Node::List(elements))
    }

    fn map(&mut self) -> Parsed {
        let mut entries = Vec::new();
        while !self.accept("}") {
            let optional = self.accept("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?, optional));
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Node::Map(entries))
    }

    fn named(&mut self, name: &str) -> Parsed {
        match name {
            "true" => return Ok(Node::Literal(Literal::Bool(true))),
            "false" => return Ok(Node::Literal(Literal::Bool(false))),
            "null" => return Ok(Node::Literal(Literal::Null)),
            _ if RESERVED.contains(&name) => {
                self.at -= 1;
                return Err(format!("reserved identifier: {name}"));
            }
            _ => {}
        }
        if self.accept("(") {
            return self.global_call(name);
        }
        if let Some(place) = self.scope.iter().rposition(|local| local == name) {
            return Ok(Node::Local(place));
        }
        // Functions in a name space: `optional.of(…)`, `sets.contains(…)`, `cel.bind(…)`.
        if let (Token::Sign("."), Token::Identifier(member), Token::Sign("(")) =
            (self.peek(), self.look(1), self.look(2))
        {
            let member = member.clone();
            if name == "cel" && member == "bind" {
                self.at += 3;
                return self.bind();
            }
            if functions::is_space(name) {
                self.at += 3;
                return self.space_call(&format!("{name}.{member}"));
            }
        }
        if name == "variables"
            && let Some(variables) = self.environment.variables
        {
            self.expect(".")?;
            let variable = self.identifier()?;
            return variables
                .iter()
                .position(|known| *known == variable)
                .map(Node::Variable)
                .ok_or_else(|| format!("undefined field '{variable}'"));
        }
        if let Some((_, root)) = self
            .environment
            .roots
            .iter()
            .find(|(word, _)| *word == name)
        {
            return Ok(Node::Root(*root));
        }
        if let Some((_, kind)) = TYPES.iter().find(|(word, _)| *word == name) {
            return Ok(Node::Type(kind));
        }
        self.at -= 1;
        Err(format!(
            "undeclared reference to '{name}' (in container '')"
        ))
    }

    fn bind(&mut self) -> Parsed {
        let name = self.simple_name()?;
        self.expect(",")?;
        let value = self.expression()?;
        self.expect(",")?;
        let body = self.scoped(&[name])?;
        self.expect(")")?;
        Ok(Node::Bind(Box::new(value), Box::new(body)))
    }

    fn space_call(&mut self, name: &str) -> Parsed {
        let arguments = self.arguments(")")?;
        let function: Function = functions::global(name, arguments.len())
            .ok_or_else(|| format!("undeclared reference to '{name}' (in container '')"))?;
        Ok(Node::Call(function, arguments))
    }

    fn global_call(&mut self, name: &str) -> Parsed {
        let mut arguments = self.arguments(")")?;
        if name == "has" {
            return match (arguments.pop(), arguments.is_empty()) {
                (Some(Node::Select(operand, field)), true) => Ok(Node::Has(operand, field)),
                _ => Err("invalid argument to has() macro".to_owned()),
            };
        }
        let function = functions::global(name, arguments.len())
            .ok_or_else(|| format!("undeclared reference to '{name}' (in container '')"))?;
        Ok(Node::Call(function, arguments))
    }
}

/// The property that an escaped name stands for
/// (<https://kubernetes.io/docs/reference/using-api/cel/#escaping>).
pub(super) fn unescaped(name: &str) -> String {
    let word = name
        .strip_prefix("__")
        .and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word
        && (RESERVED.contains(&word) || matches!(word, "true" | "false" | "null" | "in"))
    {
        return word.to_owned();
    }
    name.replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__")
}
