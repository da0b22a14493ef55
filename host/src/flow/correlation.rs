//! What ties a signal to a run: the equality in a wait's `match`, such as `signal.data.pick == steps.pick.id`.

use cel::{
    Program,
    common::ast::{Expr, IdedExpr, operators},
};

/// The part of the signal and the part of the run that a `match` compares, as paths; absent: there is no equality of
/// two plain paths among what must hold.
#[must_use]
pub fn split(source: &str) -> Option<(String, String)> {
    let program = Program::compile(source).ok()?;
    equality(program.expression())
}

fn equality(node: &IdedExpr) -> Option<(String, String)> {
    let Expr::Call(call) = &node.expr else { return None };
    let [left, right] = call.args.as_slice() else { return None };
    match call.func_name.as_str() {
        operators::LOGICAL_AND => equality(left).or_else(|| equality(right)),
        operators::EQUALS => {
            let (left, right) = (path(left)?, path(right)?);
            match (of_signal(&left), of_signal(&right)) {
                (true, false) => Some((left, right)),
                (false, true) => Some((right, left)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn of_signal(path: &str) -> bool {
    path.starts_with("signal.")
}

fn path(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!("{}.{}", path(&select.operand)?, select.field)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[track_caller]
    fn check(source: &str, expected: Option<(&str, &str)>) {
        let found = split(source);
        assert_eq!(found.as_ref().map(|(signal, run)| (signal.as_str(), run.as_str())), expected, "{source}");
    }

    #[test]
    fn the_equality_is_found_on_either_side_and_among_others() {
        check("signal.data.pick == steps.pick.id", Some(("signal.data.pick", "steps.pick.id")));
        check("event.subject == signal.subject", Some(("signal.subject", "event.subject")));
        check("signal.data.ok && signal.subject == event.subject", Some(("signal.subject", "event.subject")));
    }

    #[test]
    fn what_does_not_have_to_hold_ties_nothing() {
        check("signal.subject == event.subject || signal.data.any", None);
        check("signal.subject == signal.data.x", None);
        check("signal.data.n + 1 == steps.a", None);
    }
}
