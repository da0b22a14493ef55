//! What a component really imports and exports, with types: read from its bytes, never from what its author says. The
//! contract has the same form, so that the two can be compared and a difference be told in words.

use std::{collections::BTreeMap, fmt};

use super::id::Digest;

/// The functions of one interface, by name.
pub type Interface = BTreeMap<String, Function>;

/// The typed interfaces of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    /// What it needs, by name with version, such as `crossdock:plugin/log@1.0.0`. Only functions that it uses.
    pub imports: BTreeMap<String, Interface>,
    /// What it offers.
    pub exports: BTreeMap<String, Interface>,
    /// Digest of the bill of materials that the toolchain embedded (`cargo auditable`), if it did.
    pub sbom: Option<Digest>,
}

/// A function's type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Parameters in order.
    pub params: Vec<(String, Shape)>,
    /// What it returns.
    pub result: Option<Shape>,
}

/// A type of the component model, without aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A type without parts, or one that the contract never uses, such as `u32`.
    Simple(String),
    /// `list<…>`.
    List(Box<Self>),
    /// `option<…>`.
    Option(Box<Self>),
    /// `result<…, …>`.
    Result(Option<Box<Self>>, Option<Box<Self>>),
    /// `tuple<…>`.
    Tuple(Vec<Self>),
    /// A record, with its name and fields in order.
    Record(String, Vec<(String, Self)>),
    /// A variant, with its name and cases in order.
    Variant(String, Vec<(String, Option<Self>)>),
    /// An enum, with its name and cases in order.
    Enum(String, Vec<String>),
    /// Flags, with their name and their names in order.
    Flags(String, Vec<String>),
}

impl fmt::Display for Shape {
    /// As WIT writes it where it is used: what has a name, by its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shape: &Option<Box<Self>>| shape.as_ref().map_or_else(|| "_".to_owned(), ToString::to_string);
        match self {
            Self::Simple(name) | Self::Record(name, _) | Self::Variant(name, _) | Self::Enum(name, _) => {
                f.write_str(name)
            }
            Self::Flags(name, _) => f.write_str(name),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Option(item) => write!(f, "option<{item}>"),
            Self::Result(ok, error) => write!(f, "result<{}, {}>", part(ok), part(error)),
            Self::Tuple(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                write!(f, "tuple<{}>", items.join(", "))
            }
        }
    }
}
