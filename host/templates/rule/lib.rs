//! Asks people before more than a hundred pieces of one article are ordered.

use crossdock_plugin::{Failure, Step, Verdict};

crossdock_plugin::rule!(evaluate);

/// What the rule is given, as `schemas/input.json` says.
#[derive(serde::Deserialize)]
struct Line {
    quantity: u32,
}

fn evaluate(line: Line, _step: &Step) -> Result<Verdict, Failure> {
    if line.quantity > 100 {
        return Ok(Verdict::hold("buyers").because("quantity.large", "more than 100 pieces").at("/quantity"));
    }
    Ok(Verdict::proceed())
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::{Outcome, testing::step};

    #[test]
    fn a_hundred_pieces_are_fine() {
        let verdict = super::evaluate(super::Line { quantity: 100 }, &step("{}")).expect("decided");
        assert_eq!(verdict.outcome, Outcome::Proceed);
    }
}
