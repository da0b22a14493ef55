//! What an expression refers to. Evaluating expressions is not done here.

use std::collections::BTreeSet;

use cel::{
    Program,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators},
};

use crate::flow::expression;

/// A name with its fields: `steps.order.id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// `steps`, `order`, `id`.
    pub(super) path: Vec<String>,
    /// Where it begins in the expression, in characters.
    pub(super) offset: usize,
}

/// What an expression refers to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) references: Vec<Reference>,
    /// Functions that are called, operators left out, each with its place.
    pub(super) functions: Vec<(String, usize)>,
    /// Paths that are compared with null or tested with `has`: `steps.order`.
    pub(super) guards: BTreeSet<String>,
    /// Where amounts, which are texts, are compared or computed with as they are.
    pub(super) texts_as_amounts: Vec<usize>,
}

/// Why an expression cannot be read.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// Where, in characters.
    pub(super) offset: usize,
    /// What the parser says.
    pub(super) problem: String,
}

/// Reads an expression.
pub(super) fn read(source: &str) -> Result<Reading, SyntaxError> {
    if let Some((offset, problem)) = expression::too_deep(source) {
        return Err(SyntaxError { offset, problem });
    }
    let program = Program::compile(source).map_err(|errors| {
        let (offset, problem) = errors
            .errors
            .first()
            .map_or((0, String::new()), |error| (offset_of(source, error.pos.0, error.pos.1), error.msg.clone()));
        SyntaxError { offset, problem: tidy(&problem) }
    })?;
    let mut walk = Walk { info: program.source_info(), bound: Vec::new(), reading: Reading::default() };
    walk.visit(program.expression());
    Ok(walk.reading)
}

/// A line and column (from 1) as an offset in characters.
fn offset_of(source: &str, line: isize, column: isize) -> usize {
    let line = usize::try_from(line - 1).unwrap_or(0);
    let column = usize::try_from(column - 1).unwrap_or(0);
    let before: usize = source.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    (before + column).min(source.chars().count().saturating_sub(1))
}

/// The first sentence of the parser's message, without its list of everything that it would have taken.
fn tidy(problem: &str) -> String {
    let line = problem.lines().next().unwrap_or_default();
    let line = line.split(" expecting ").next().unwrap_or_default();
    line.trim_start_matches("Syntax error: ").trim().replace("'<EOF>'", "end").replace("<EOF>", "end")
}

struct Walk<'p> {
    info: &'p SourceInfo,
    bound: Vec<String>,
    reading: Reading,
}

impl Walk<'_> {
    fn visit(&mut self, expression: &IdedExpr) {
        if let Some((path, root)) = path(expression) {
            self.reference(path, root);
            return;
        }
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
            Expr::Call(call) => {
                if matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS)
                    && call.args.iter().any(is_null)
                {
                    self.guard(call.args.iter().filter_map(path));
                }
                if takes_amounts_as_texts(&call.func_name, &call.args) {
                    self.reading.texts_as_amounts.push(self.offset(expression.id));
                }
                if call.func_name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
                    && call.func_name.chars().any(|char| char.is_ascii_alphanumeric())
                {
                    self.reading.functions.push((call.func_name.clone(), self.offset(expression.id)));
                }
                call.target.iter().for_each(|target| self.visit(target));
                call.args.iter().for_each(|argument| self.visit(argument));
            }
            Expr::Select(select) => {
                if select.test {
                    let tested = path(&select.operand).map(|(mut path, root)| {
                        path.push(select.field.clone());
                        (path, root)
                    });
                    self.guard(tested.into_iter());
                }
                self.visit(&select.operand);
            }
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range);
                self.visit(&comprehension.accu_init);
                let before = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                self.bound.push(comprehension.accu_var.clone());
                self.visit(&comprehension.loop_cond);
                self.visit(&comprehension.loop_step);
                self.visit(&comprehension.result);
                self.bound.truncate(before);
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(structure) => structure.entries.iter().for_each(|entry| self.entry(&entry.expr)),
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
        }
    }

    fn reference(&mut self, path: Vec<String>, root: u64) {
        let known = path.first().is_none_or(|root| root.starts_with('@') || self.bound.contains(root));
        if !known {
            let offset = self.offset(root);
            self.reading.references.push(Reference { path, offset });
        }
    }

    /// A path is guarded together with all that leads to it.
    fn guard(&mut self, paths: impl Iterator<Item = (Vec<String>, u64)>) {
        for (path, _) in paths {
            self.reading.guards.insert(path.join("."));
        }
    }

    /// Where a node is, in characters; the parser counts bytes.
    fn offset(&self, id: u64) -> usize {
        let bytes = self.info.offset_for(id).map_or(0, |(start, _)| usize::try_from(start).unwrap_or(0));
        self.info.source.char_indices().take_while(|&(at, _)| at < bytes).count()
    }
}

/// Whether an operator is given amounts that nothing has made numbers. A path that ends in `amount` is one: the
/// canonical documents call it so.
fn takes_amounts_as_texts(operator: &str, operands: &[IdedExpr]) -> bool {
    let is_amount =
        |operand: &IdedExpr| path(operand).is_some_and(|(path, _)| path.last().is_some_and(|n| n == "amount"));
    let is_text = |operand: &IdedExpr| {
        matches!(&operand.expr, Expr::Literal(LiteralValue::String(text))
            if text.inner().bytes().any(|byte| byte.is_ascii_digit()))
    };
    match operator {
        operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
        | operators::SUBSTRACT
        | operators::MULTIPLY => operands.iter().any(is_amount),
        operators::ADD => !operands.is_empty() && operands.iter().all(is_amount),
        operators::EQUALS | operators::NOT_EQUALS => {
            operands.iter().any(is_amount) && operands.iter().all(|operand| is_amount(operand) || is_text(operand))
        }
        _ => false,
    }
}

fn is_null(expression: &IdedExpr) -> bool {
    matches!(expression.expr, Expr::Literal(LiteralValue::Null))
}

/// The path that an expression spells, with the id of its root: `a.b["c"]` is `a`, `b`, `c`.
fn path(expression: &IdedExpr) -> Option<(Vec<String>, u64)> {
    match &expression.expr {
        Expr::Ident(name) => Some((vec![name.clone()], expression.id)),
        Expr::Select(select) if !select.test => {
            let (mut path, root) = path(&select.operand)?;
            path.push(select.field.clone());
            Some((path, root))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                let (mut path, root) = path(operand)?;
                path.push(key.inner().to_owned());
                Some((path, root))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::flow::expression::NESTING_LIMIT as NESTING_MAX;

    #[track_caller]
    fn check(source: &str, expected: &[(&str, usize)]) {
        let reading = read(source).unwrap();
        let found: Vec<_> = reading.references.iter().map(|one| (one.path.join("."), one.offset)).collect();
        let found: Vec<_> = found.iter().map(|(path, offset)| (path.as_str(), *offset)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn references_have_their_place_and_macro_variables_are_none() {
        check("steps.a.b == 'ü' && steps.c", &[("steps.a.b", 0), ("steps.c", 20)]);
        check("item.rows.map(r, r.order + vars.x)", &[("item.rows", 0), ("vars.x", 27)]);
        check("steps['a'].b[0]", &[("steps.a.b", 0)]);
        check("has(steps.a.b)", &[("steps.a", 4)]);
    }

    #[test]
    fn comparing_with_null_and_testing_are_guards() {
        let reading = read("steps.a != null && has(steps.b.c)").unwrap();
        assert!(reading.guards.contains("steps.a") && reading.guards.contains("steps.b.c"));
    }

    #[test]
    fn whatever_is_within_the_bounds_fits_on_the_stack_of_a_thread() {
        let nested = |open: &str, close: &str| open.repeat(NESTING_MAX) + "a" + &close.repeat(NESTING_MAX);
        let sources = [
            nested("(", ")"),
            nested("[", "]"),
            nested("{'a':", "}"),
            nested("a[", "]"),
            nested("f(", ")"),
            nested("(a?a:", ")"),
            nested("(a||a&&a==a+a*-", ")"),
            nested("a.map(x, x", ")"),
            nested("x.all(y, y==a||", ")"),
            "!".repeat(256),
            "-".repeat(256),
            format!("a{}", ".b".repeat(255)),
            format!("a{}", "+a".repeat(255)),
            format!("a{}", "[0]".repeat(255)),
            format!("a{}", "&&a".repeat(127)),
            format!("a{}", "?a:a".repeat(90)),
            format!("a{}", "?a:a".repeat(255)),
        ];
        for source in sources {
            let _ = read(&source);
        }
    }

    #[test]
    fn what_would_exhaust_the_stack_is_refused_unread() {
        assert_eq!(read(&"(".repeat(4_000)).unwrap_err().offset, NESTING_MAX);
        assert_eq!(read(&"!".repeat(4_000)).unwrap_err().offset, 256);
        assert!(read(&format!("a{}", ".b".repeat(2_000))).is_err());
    }

    #[test]
    fn syntax_errors_have_their_place() {
        let error = read("steps.a == ").unwrap_err();
        assert_eq!((error.offset, error.problem.as_str()), (10, "mismatched input end"));
        let error = read("1 +\n  * 2").unwrap_err();
        assert_eq!(error.offset, 6);
        let error = read("'ü' == )").unwrap_err();
        assert_eq!(error.offset, 7);
    }
}
