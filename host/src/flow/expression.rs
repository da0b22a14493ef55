//! Conditions and mappings: CEL over the documents of a run. Pure, and bounded by what goes in: an expression is at
//! most [`SOURCE_BYTES_LIMIT`] long, nests comprehensions at most [`COMPREHENSION_DEPTH_LIMIT`] deep, and runs over
//! documents of at most 1 MiB.
//!
//! Most mappings only name a document (`${ steps.order }`). Those never reach the interpreter: the document's bytes are
//! passed on as they are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, Program, Value as Cel,
    common::ast::{EntryExpr, Expr, IdedExpr},
    objects::{Key, Map},
};
use serde_json::Value;

use super::document::Document;

/// Longest expression, bytes.
pub const SOURCE_BYTES_LIMIT: usize = 4 << 10;
/// Deepest nesting of `map`, `filter`, `all`, `exists`: each level multiplies the work by the length of a list.
pub const COMPREHENSION_DEPTH_LIMIT: usize = 2;
/// Deepest nesting of brackets. The parser is generated, and each level costs it some 160 KiB of stack when it is not
/// optimised; a thread has 2 MiB. Nobody reads an expression that is deeper.
pub const NESTING_LIMIT: usize = 8;
/// Most operators, dots and brackets: a chain of them is as deep as it is long, for the parser's stack and for
/// evaluation's. 2 000 dots exhaust 2 MiB.
pub const LINKS_LIMIT: usize = 256;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// What an expression may name. A document is found by the longest known prefix of a path.
pub trait Scope {
    /// The document at the start of a path such as `["steps", "order", "lines"]`, and how many parts name it.
    fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])>;
}

/// An expression that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct CompileError {
    /// What is wrong, and what to write instead.
    pub problem: String,
    /// Where in the expression, characters from its start.
    pub offset: usize,
}

/// An expression that failed on the documents it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{expression}` {problem}")]
pub struct EvaluateError {
    /// The expression.
    pub expression: String,
    /// What happened.
    pub problem: String,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    source: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Only names a document or a part of it.
    Path(Vec<String>),
    /// Anything else, with the paths that it reads.
    Program { program: Program, paths: Vec<Vec<String>> },
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// If it is not CEL or beyond a limit.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        let source = source.trim();
        check_size(source)?;
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first();
            CompileError {
                problem: first.map_or_else(|| "is not a CEL expression".to_owned(), |error| error.msg.clone()),
                offset: first.map_or(0, |error| usize::try_from(error.pos.1 - 1).unwrap_or(0)),
            }
        })?;
        let mut reading = Reading::default();
        reading.walk(program.expression(), 0);
        if reading.depth > COMPREHENSION_DEPTH_LIMIT {
            return Err(CompileError {
                problem: format!(
                    "nests list macros {} deep; the limit is {COMPREHENSION_DEPTH_LIMIT}: do this in a transform",
                    reading.depth
                ),
                offset: 0,
            });
        }
        let form = match path_of(program.expression()) {
            Some(path) => Form::Path(path),
            None => Form::Program { program, paths: reading.paths },
        };
        Ok(Self { source: source.to_owned(), form })
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates it to a document.
    ///
    /// # Errors
    /// If it names something that is not there, or an operation does not suit its operands.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Document, EvaluateError> {
        match &self.form {
            Form::Path(path) => self.part(path, scope),
            Form::Program { program, paths } => {
                let value = self.run(program, paths, scope)?;
                let json = value.json().map_err(|error| self.error(format!("has no JSON form: {error}")))?;
                Ok(Document::from(json))
            }
        }
    }

    /// Evaluates it to a truth value.
    ///
    /// # Errors
    /// Also if it is something else than true or false.
    pub fn is_true(&self, scope: &dyn Scope) -> Result<bool, EvaluateError> {
        let value = match &self.form {
            Form::Path(path) => self.part(path, scope)?.value().as_bool(),
            Form::Program { program, paths } => match self.run(program, paths, scope)? {
                Cel::Bool(value) => Some(value),
                _ => None,
            },
        };
        value.ok_or_else(|| self.error("is neither true nor false; compare it with something".to_owned()))
    }

    /// Evaluates it to text: a string as it is, a number or truth value as it prints.
    ///
    /// # Errors
    /// Also if it is null, a list or an object.
    pub fn text(&self, scope: &dyn Scope) -> Result<String, EvaluateError> {
        match self.evaluate(scope)?.value() {
            Value::String(text) => Ok(text.clone()),
            Value::Null => Err(self.error("is null where text is needed".to_owned())),
            Value::Array(_) | Value::Object(_) => Err(self.error("is not text; name one field of it".to_owned())),
            scalar => Ok(scalar.to_string()),
        }
    }

    fn part(&self, path: &[String], scope: &dyn Scope) -> Result<Document, EvaluateError> {
        let (document, rest) =
            scope.lookup(path).ok_or_else(|| self.error("names something that is not there".to_owned()))?;
        if rest.is_empty() {
            return Ok(document);
        }
        let mut value = document.value();
        for name in rest {
            value = value.get(name).ok_or_else(|| self.error(missing(name, value)))?;
        }
        Ok(Document::from(value.clone()))
    }

    fn run(&self, program: &Program, paths: &[Vec<String>], scope: &dyn Scope) -> Result<Cel, EvaluateError> {
        let mut roots = BTreeMap::new();
        for path in paths {
            // A path that leads nowhere is left out: `has()` may be asking just that. CEL then says what is missing.
            if let Some((document, rest)) = scope.lookup(path) {
                let known = path.get(..path.len() - rest.len()).unwrap_or_default();
                insert(&mut roots, known, &document);
            }
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, node) in roots {
            context.add_variable_from_value(name, node.into_cel());
        }
        program.execute(&context).map_err(|error| self.error(format!("fails: {error}")))
    }

    fn error(&self, problem: String) -> EvaluateError {
        EvaluateError { expression: self.source.clone(), problem }
    }
}

fn missing(name: &str, value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let known: Vec<&str> = fields.keys().map(String::as_str).take(12).collect();
            format!("finds no `{name}`; there is {}", known.join(", "))
        }
        Value::Null => format!("asks null for `{name}`; guard it with `when` or `!= null`"),
        _ => format!("asks for `{name}` of something that is not an object"),
    }
}

fn check_size(source: &str) -> Result<(), CompileError> {
    if source.len() > SOURCE_BYTES_LIMIT {
        return Err(CompileError {
            problem: format!(
                "is {} bytes long; the limit is {SOURCE_BYTES_LIMIT}: do this in a transform or a rule",
                source.len()
            ),
            offset: 0,
        });
    }
    match too_deep(source) {
        None => Ok(()),
        Some((offset, problem)) => Err(CompileError { problem, offset }),
    }
}

/// Where an expression becomes too deep for the stack, if it does. Counts also what stands in texts, where it is rare.
pub(super) fn too_deep(source: &str) -> Option<(usize, String)> {
    let mut depth = 0_usize;
    let mut links = 0_usize;
    for (offset, char) in source.chars().enumerate() {
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        links += usize::from("([{.+-*/%?&|<>=!".contains(char));
        if depth > NESTING_LIMIT {
            return Some((offset, format!("it nests deeper than {NESTING_LIMIT} brackets")));
        }
        if links > LINKS_LIMIT {
            return Some((offset, format!("it has more than {LINKS_LIMIT} operators, dots and brackets")));
        }
    }
    None
}

/// The paths that an expression reads, and how deep its comprehensions nest.
#[derive(Default)]
struct Reading {
    paths: Vec<Vec<String>>,
    bound: Vec<String>,
    depth: usize,
}

impl Reading {
    fn walk(&mut self, node: &IdedExpr, depth: usize) {
        self.depth = self.depth.max(depth);
        if let Some(path) = path_of(node) {
            if path.first().is_some_and(|root| !self.bound.contains(root)) && !self.paths.contains(&path) {
                self.paths.push(path);
            }
            return;
        }
        match &node.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.walk(target, depth));
                call.args.iter().for_each(|argument| self.walk(argument, depth));
            }
            Expr::Comprehension(each) => {
                self.walk(&each.iter_range, depth);
                let bound = self.bound.len();
                self.bound.extend([each.iter_var.clone(), each.accu_var.clone()]);
                self.bound.extend(each.iter_var2.clone());
                for part in [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result] {
                    self.walk(part, depth + 1);
                }
                self.bound.truncate(bound);
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element, depth)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.walk_entry(&entry.expr, depth)),
            Expr::Struct(fields) => fields.entries.iter().for_each(|entry| self.walk_entry(&entry.expr, depth)),
            Expr::Select(select) => self.walk(&select.operand, depth),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn walk_entry(&mut self, entry: &EntryExpr, depth: usize) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value, depth),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key, depth);
                self.walk(&entry.value, depth);
            }
        }
    }
}

/// The path that an expression consists of, if it is one: `a.b.c`.
fn path_of(node: &IdedExpr) -> Option<Vec<String>> {
    match &node.expr {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) if !select.test => {
            let mut path = path_of(&select.operand)?;
            path.push(select.field.clone());
            Some(path)
        }
        _ => None,
    }
}

/// The variables of one evaluation: documents where paths end, maps above them.
enum Node {
    Branch(BTreeMap<String, Node>),
    Leaf(Document),
}

impl Node {
    fn into_cel(self) -> Cel {
        match self {
            Self::Leaf(document) => to_cel(document.value()),
            Self::Branch(members) => Cel::Map(Map {
                map: Arc::new(members.into_iter().map(|(name, node)| (Key::from(name), node.into_cel())).collect()),
            }),
        }
    }
}

fn insert(roots: &mut BTreeMap<String, Node>, path: &[String], document: &Document) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        roots.insert(first.clone(), Node::Leaf(document.clone()));
        return;
    }
    let node = roots.entry(first.clone()).or_insert_with(|| Node::Branch(BTreeMap::new()));
    if let Node::Branch(members) = node {
        insert(members, rest, document);
    }
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => number
            .as_i64()
            .map(Cel::Int)
            .or_else(|| number.as_u64().map(Cel::UInt))
            .unwrap_or_else(|| Cel::Float(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => Cel::Map(Map {
            map: Arc::new(
                fields.iter().map(|(name, value)| (Key::from(name.clone()), to_cel(value))).collect::<HashMap<_, _>>(),
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Expression, Scope};
    use crate::flow::document::Document;

    struct Two {
        event: Document,
        order: Document,
    }

    impl Scope for Two {
        fn lookup<'p>(&self, path: &'p [String]) -> Option<(Document, &'p [String])> {
            match path {
                [root, rest @ ..] if root == "event" => Some((self.event.clone(), rest)),
                [root, step, rest @ ..] if root == "steps" && step == "order" => Some((self.order.clone(), rest)),
                _ => None,
            }
        }
    }

    #[track_caller]
    fn check(expression: &str, expected: &str) {
        let scope = Two {
            event: json!({"data": {"status": "paid", "lines": [{"q": 1}, {"q": 2}]}, "subject": null}).into(),
            order: json!({"total": "10.00", "count": 3}).into(),
        };
        let shown = match Expression::compile(expression) {
            Err(error) => format!("compile: {error}"),
            Ok(compiled) => match compiled.evaluate(&scope) {
                Ok(document) => document.value().to_string(),
                Err(error) => format!("evaluate: {error}"),
            },
        };
        assert!(shown.contains(expected), "{expression} gave {shown}, expected {expected}");
    }

    #[test]
    fn a_path_gives_the_document_or_its_part() {
        check("steps.order", r#"{"count":3,"total":"10.00"}"#);
        check("event.data.status", r#""paid""#);
        check("event.data.nope", "evaluate: `event.data.nope` finds no `nope`; there is");
        check("event.subject.x", "asks null for `x`");
        check("steps.later", "names something that is not there");
    }

    #[test]
    fn anything_else_is_cel() {
        check(r#"event.data.status == "paid""#, "true");
        check("size(event.data.lines) + steps.order.count", "5");
        check("event.data.lines.map(line, line.q * 2)", "[2,4]");
        check("has(event.data.nope) ? 1 : 2", "2");
        check("event.subject == null", "true");
        check(r#"{"a": steps.order.total}"#, r#"{"a":"10.00"}"#);
        check("1 +", "compile:");
        check("event.data.status + 1", "evaluate:");
    }

    #[test]
    fn an_expression_cannot_run_away() {
        check("[1].map(a, [1].map(b, [1].map(c, c)))", "compile: nests list macros 3 deep");
        check(&"(".repeat(40), "compile: it nests deeper");
        check(&"1+".repeat(1000), "compile: it has more than 256 operators");
        check(&"1".repeat(6000), "compile: is 6000 bytes");
    }

    #[test]
    fn a_whole_document_passes_through_byte_for_byte() {
        let json = crate::model::json::Json::parse(&br#"{"b" : 1.10,"a":2}"#[..]).expect("valid");
        let scope = Two { event: Document::new(json.clone()), order: json!(null).into() };
        let passed = Expression::compile("event").expect("compiles").evaluate(&scope).expect("evaluates");
        assert_eq!(passed.json(), &json);
    }
}
