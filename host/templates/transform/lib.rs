//! Turns a customer as a shop writes it into the form that the pipelines use.

use crossdock_plugin::{Failure, Step};

crossdock_plugin::transform!(apply);

/// What the transform is given, as `schemas/input.json` says.
#[derive(serde::Deserialize)]
struct Customer {
    name: String,
    #[serde(default)]
    email: String,
}

/// What it makes of it, as `schemas/output.json` says.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Canonical {
    name: String,
    email: String,
}

fn apply(customer: Customer, _step: &Step) -> Result<Canonical, Failure> {
    let name = customer.name.trim();
    if name.is_empty() {
        return Err(Failure::invalid("customer.nameless", "the customer has no name"));
    }
    Ok(Canonical { name: name.to_owned(), email: customer.email.trim().to_lowercase() })
}

#[cfg(test)]
mod tests {
    use crossdock_plugin::testing::step;

    #[test]
    fn nobody_is_called_nothing() {
        let customer = super::Customer { name: "  ".into(), email: String::new() };
        assert!(super::apply(customer, &step("{}")).is_err());
    }
}
