//! What is CEL and still refused: patterns that are not constant or too large, and decimals compared with what would
//! silently never be equal.

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use regex::RegexBuilder;

/// Largest compiled pattern, bytes. Matching is linear in the text, with this as its factor.
const PATTERN_BYTES_LIMIT: usize = 64 << 10;

/// Why an expression is refused, if it is.
pub(super) fn of(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Call(call) => {
            if call.func_name == "matches"
                && let Some(problem) = pattern(call.args.last())
            {
                return Some(problem);
            }
            if matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS)
                && let [left, right] = call.args.as_slice()
                && is_decimal(left) != is_decimal(right)
                && !(is_number(left) || is_number(right))
            {
                return Some("compares a decimal with something else: wrap the other side in `decimal()`".to_owned());
            }
            call.target.iter().map(AsRef::as_ref).chain(&call.args).find_map(of)
        }
        Expr::Comprehension(each) => {
            [&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result].into_iter().find_map(of)
        }
        Expr::List(list) => list.elements.iter().find_map(of),
        Expr::Map(map) => map.entries.iter().find_map(|entry| of_entry(&entry.expr)),
        Expr::Struct(fields) => fields.entries.iter().find_map(|entry| of_entry(&entry.expr)),
        Expr::Select(select) => of(&select.operand),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => None,
    }
}

fn of_entry(entry: &EntryExpr) -> Option<String> {
    match entry {
        EntryExpr::StructField(field) => of(&field.value),
        EntryExpr::MapEntry(entry) => of(&entry.key).or_else(|| of(&entry.value)),
    }
}

/// A pattern is part of the pipeline, never of a document: who sends an event does not choose what it costs.
fn pattern(node: Option<&IdedExpr>) -> Option<String> {
    let Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. }) = node else {
        return Some("has a pattern for `matches` that is not written out: write it as a text".to_owned());
    };
    match RegexBuilder::new(pattern.inner()).size_limit(PATTERN_BYTES_LIMIT).build() {
        Ok(_) => None,
        Err(regex::Error::CompiledTooBig(_)) => {
            Some(format!("has a pattern that takes more than {PATTERN_BYTES_LIMIT} bytes: make it simpler"))
        }
        Err(error) => {
            let problem = error.to_string();
            let last = problem.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Some(format!("has a pattern that cannot be read: {last}"))
        }
    }
}

/// Whether an expression surely is a decimal.
fn is_decimal(node: &IdedExpr) -> bool {
    let Expr::Call(call) = &node.expr else { return false };
    match call.func_name.as_str() {
        "decimal" => call.target.is_none(),
        operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::NEGATE => {
            call.args.iter().any(is_decimal)
        }
        operators::CONDITIONAL => call.args.iter().skip(1).any(is_decimal),
        _ => false,
    }
}

/// Whether an expression is a number that is written out; numbers and decimals are equal by value.
fn is_number(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)) => true,
        Expr::Call(call) if call.func_name == operators::NEGATE => call.args.iter().all(is_number),
        _ => false,
    }
}
