//! Paths, keys and query options of OData V2, as far as a sales order connector uses them. The rest is refused by name.

use super::{SERVICE_PATH, document::unpadded, failure::SapFailure, property::HEADER};
use crate::sandbox::server::Received;

/// What a path names. Numbers are without leading zeros.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The service document.
    Root,
    /// `A_SalesOrder`.
    Orders,
    /// `A_SalesOrder('4711')`.
    Order(String),
    /// `A_SalesOrder('4711')/to_Item`.
    Items(String),
    /// `A_SalesOrderItem(SalesOrder='4711',SalesOrderItem='10')`.
    Item { order: String, item: String },
}

impl Target {
    pub(super) fn of(path: &str) -> Result<Self, SapFailure> {
        let rest = path.strip_prefix(SERVICE_PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let rest = rest.ok_or_else(|| SapFailure::not_found(path.trim_matches('/')))?.trim_matches('/');
        let not_found = || SapFailure::not_found(rest);
        let segments: Vec<&str> = rest.split('/').collect();
        match segments.as_slice() {
            [""] => Ok(Self::Root),
            ["A_SalesOrder"] => Ok(Self::Orders),
            [entity] => match keys(entity).ok_or_else(not_found)? {
                ("A_SalesOrder", keys) => order_key(&keys).map(Self::Order).ok_or_else(not_found),
                ("A_SalesOrderItem", keys) => {
                    let key = |name| keys.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone());
                    let (order, item) = key("SalesOrder").zip(key("SalesOrderItem")).ok_or_else(not_found)?;
                    Ok(Self::Item { order, item })
                }
                _ => Err(not_found()),
            },
            [entity, "to_Item"] => match keys(entity).ok_or_else(not_found)? {
                ("A_SalesOrder", keys) => order_key(&keys).map(Self::Items).ok_or_else(not_found),
                _ => Err(not_found()),
            },
            _ => Err(not_found()),
        }
    }
}

/// `Set('key')` or `Set(Name='key',…)`, the unnamed key under the name "".
fn keys(entity: &str) -> Option<(&str, Vec<(&str, String)>)> {
    let (set, predicate) = entity.strip_suffix(')')?.split_once('(')?;
    let keys = predicate.split(',').map(|pair| {
        let (name, literal) = pair.split_once('=').unwrap_or(("", pair));
        let value = literal.trim().strip_prefix('\'')?.strip_suffix('\'')?;
        Some((name.trim(), unpadded(value).to_owned()))
    });
    Some((set, keys.collect::<Option<_>>()?))
}

fn order_key(keys: &[(&str, String)]) -> Option<String> {
    match keys {
        [("" | "SalesOrder", key)] => Some(key.clone()),
        _ => None,
    }
}

/// Query options.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Properties and what they must equal, all of them.
    pub(super) filter: Vec<(String, String)>,
    pub(super) expand_items: bool,
    /// Only these properties.
    pub(super) select: Option<Vec<String>>,
    pub(super) skip: usize,
    pub(super) top: Option<usize>,
    /// The newest first.
    pub(super) descending: bool,
    pub(super) count: bool,
}

impl Wanted {
    pub(super) fn of(request: &Received) -> Result<Self, SapFailure> {
        let mut wanted = Self::default();
        for (name, value) in &request.query {
            match (name.as_str(), value.as_str()) {
                ("$filter", text) => wanted.filter = filter(text)?,
                ("$expand", "") | ("$inlinecount", "none") | ("$format", "json") => {}
                ("$expand", "to_Item") => wanted.expand_items = true,
                ("$select", text) => wanted.select = Some(text.split(',').map(|name| name.trim().to_owned()).collect()),
                ("$skip", text) => wanted.skip = count(name, text)?,
                ("$top", text) => wanted.top = Some(count(name, text)?),
                ("$orderby", "SalesOrder" | "SalesOrder asc" | "CreationDate" | "CreationDate asc") => {}
                ("$orderby", "SalesOrder desc" | "CreationDate desc") => wanted.descending = true,
                ("$inlinecount", "allpages") => wanted.count = true,
                (option, text) if option.starts_with('$') => {
                    return Err(SapFailure::bad_request(format!(
                        "Query option '{option}={text}' is not supported here"
                    )));
                }
                _ => {}
            }
        }
        Ok(wanted)
    }
}

fn count(option: &str, text: &str) -> Result<usize, SapFailure> {
    text.parse().map_err(|_| SapFailure::bad_request(format!("{option} is a whole number, not '{text}'")))
}

/// `Property eq 'literal'`, joined with `and`. A quote within a literal is doubled.
fn filter(text: &str) -> Result<Vec<(String, String)>, SapFailure> {
    let unsupported =
        || SapFailure::bad_request(format!("The filter '{text}' is not of the form Property eq 'value' [and …]"));
    let mut rest = text.trim();
    let mut terms = Vec::new();
    loop {
        let (name, tail) = rest.split_once(' ').ok_or_else(unsupported)?;
        if !HEADER.iter().any(|property| property.name == name) {
            return Err(SapFailure::property(name, format!("Property '{name}' not found in type 'A_SalesOrderType'")));
        }
        let tail = tail.trim_start().strip_prefix("eq ").ok_or_else(unsupported)?;
        let (literal, tail) = quoted(tail.trim_start()).ok_or_else(unsupported)?;
        terms.push((name.to_owned(), literal));
        rest = tail.trim_start();
        if rest.is_empty() {
            return Ok(terms);
        }
        rest = rest.strip_prefix("and ").ok_or_else(unsupported)?.trim_start();
    }
}

/// A literal in quotes at the start, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut literal = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let (part, tail) = rest.split_once('\'')?;
        literal.push_str(part);
        match tail.strip_prefix('\'') {
            Some(more) => {
                literal.push('\'');
                rest = more;
            }
            None => return Some((literal, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[(&str, &str)]>) {
        let expected = expected.map(|terms| terms.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect::<Vec<_>>());
        assert_eq!(filter(text).ok(), expected, "{text}");
    }

    #[test]
    fn a_filter_is_equalities_joined_with_and() {
        check("PurchaseOrderByCustomer eq '#1001'", Some(&[("PurchaseOrderByCustomer", "#1001")]));
        check("SoldToParty eq 'O''Brien'", Some(&[("SoldToParty", "O'Brien")]));
        check("SoldToParty eq '1' and SalesOrder eq '2'", Some(&[("SoldToParty", "1"), ("SalesOrder", "2")]));
        check("SoldToParty eq 'a and b'", Some(&[("SoldToParty", "a and b")]));
        check("SoldToParty eq 'open", None);
        check("SoldToParty ne '1'", None);
        check("Nonsense eq '1'", None);
        check("SoldToParty eq '1' or SalesOrder eq '2'", None);
    }

    #[test]
    fn a_path_names_an_entity_by_its_unpadded_key() {
        let target = |rest: &str| Target::of(&format!("{SERVICE_PATH}{rest}")).ok();
        assert_eq!(target(""), Some(Target::Root));
        assert_eq!(target("/A_SalesOrder('0000004711')"), Some(Target::Order("4711".into())));
        assert_eq!(target("/A_SalesOrder(SalesOrder='4711')/to_Item"), Some(Target::Items("4711".into())));
        let item = Target::Item { order: "4711".into(), item: "10".into() };
        assert_eq!(target("/A_SalesOrderItem(SalesOrder='4711',SalesOrderItem='000010')"), Some(item));
        assert_eq!(target("/A_SalesOrder(4711)"), None);
        assert_eq!(target("X/A_SalesOrder"), None);
    }
}
