//! Conditions and mappings: CEL over the documents of a run. Pure, and bounded by what goes in: an expression is at
//! most [`SOURCE_BYTES_LIMIT`] long, nests comprehensions at most [`COMPREHENSION_DEPTH_LIMIT`] deep, and does not begin
//! over documents that would make it do more than `work` allows. Patterns are constant, bounded, and matched in linear
//! time. Amounts are compared through `decimal` alone.
//!
//! Most mappings only name a document (`${ steps.order }`). Those never reach the interpreter: the document's bytes are
//! passed on as they are.

mod decimal;
mod refusal;
mod result;
mod rows;
mod work;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, Program, Value as Cel,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators},
    objects::{Key, Map},
};
use serde_json::Value;

use self::{
    rows::Tables,
    work::{Estimate, WORK_LIMIT},
};
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

/// The root under which expressions name reference tables.
const TABLES: &str = "tables";

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let extended = env.add_extension(decimal::extend);
    // INVARIANT: the standard library declares nothing of this name; a test evaluates `decimal()`.
    debug_assert!(extended.is_ok(), "{extended:?}");
    Arc::new(env)
});

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
    Program(Box<Compiled>),
}

#[derive(Debug)]
struct Compiled {
    program: Program,
    paths: Vec<Vec<String>>,
    estimate: Estimate,
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
        if let Some(problem) = refusal::of(program.expression()) {
            return Err(CompileError { problem, offset: 0 });
        }
        // What is looked up in a document goes through the interpreter, as it always did; a whole table does not.
        let only_names = |path: &Vec<String>| {
            matches!(path.as_slice(), [root, _] if root == TABLES) || is_dotted(program.expression())
        };
        let form = match path_of(program.expression()).filter(only_names) {
            Some(path) => Form::Path(path),
            None => {
                let estimate = Estimate::of(program.expression(), source, &reading.paths).ok_or_else(|| {
                    let problem = "nests list macros in too many ways: do this in a transform".to_owned();
                    CompileError { problem, offset: 0 }
                })?;
                Form::Program(Box::new(Compiled { program, paths: reading.paths, estimate }))
            }
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
            Form::Program(compiled) => {
                let context = self.context(compiled, scope)?;
                let value = Cel::resolve_val(compiled.program.expression(), &context)
                    .map_err(|error| self.error(format!("fails: {error}")))?;
                result::json(value.as_ref()).map(Document::from).map_err(|problem| self.error(problem))
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
            Form::Program(_) => self.evaluate(scope)?.value().as_bool(),
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

    fn context(&self, compiled: &Compiled, scope: &dyn Scope) -> Result<Context<'static, 'static>, EvaluateError> {
        let Compiled { paths, estimate, .. } = compiled;
        // A path that leads nowhere is left out: `has()` may be asking just that. CEL then says what is missing.
        let found: Vec<_> = paths.iter().map(|path| scope.lookup(path)).collect();
        let named = found.iter().zip(paths).map(|(found, path)| {
            // A look at a table costs one row, however many it has.
            let (document, rest) = found.as_ref().filter(|_| path.first().is_none_or(|root| root != TABLES))?;
            rest.iter().try_fold(document.value(), |value, name| value.get(name))
        });
        let work = estimate.work(named);
        if work > WORK_LIMIT {
            return Err(self.error(format!(
                "would go over {work} values, the limit is {WORK_LIMIT}: its lists are too long for an expression; do \
                 this in a transform"
            )));
        }
        let mut roots = BTreeMap::new();
        let mut tables = BTreeMap::new();
        for (path, found) in paths.iter().zip(found) {
            if let Some((document, rest)) = found {
                let known = path.get(..path.len() - rest.len()).unwrap_or_default();
                match known {
                    [root, name] if root == TABLES => drop(tables.insert(name.clone(), document)),
                    known => insert(&mut roots, known, &document),
                }
            }
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, node) in roots {
            context.add_variable_from_value(name, node.into_cel());
        }
        if !tables.is_empty() {
            context.add_variable_as_val(TABLES, Box::new(Tables(Arc::new(tables))));
        }
        Ok(context)
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

/// The path that an expression consists of, if it is one: `a.b.c`, or `a['b'].c`.
fn path_of(node: &IdedExpr) -> Option<Vec<String>> {
    let (operand, name) = match &node.expr {
        Expr::Ident(name) => return Some(vec![name.clone()]),
        Expr::Select(select) if !select.test => (&*select.operand, select.field.clone()),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                (operand, key.inner().to_owned())
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut path = path_of(operand)?;
    path.push(name);
    Some(path)
}

/// Whether a path is written with dots alone.
fn is_dotted(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => is_dotted(&select.operand),
        _ => false,
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
mod tests;
