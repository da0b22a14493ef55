//! How much an expression would do over given documents, estimated from above before it runs: what an author wrote for
//! ten lines must not stall a hub when a partner sends a hundred thousand.
//!
//! Each mention of a document costs its weight, once for each round of the list macros around it. What a macro binds
//! costs, over all of its rounds, what its list costs.

use std::collections::HashMap;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use serde_json::Value;

use super::path_of;

/// Most work of one evaluation, in weights: a value weighs 1, and a text 1 more for each 64 bytes.
pub(super) const WORK_LIMIT: u64 = 2_000_000;
/// What one `matches` weighs: its pattern is compiled anew each time.
const PATTERN_WEIGHT: u64 = 64;
/// Most terms of an estimate; an expression that has more is refused.
const TERMS_LIMIT: usize = 4_096;

/// A mention: a path (absent: a value of its own), and how many rounds there are around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Term {
    path: Option<usize>,
    rounds: u32,
}

/// An estimate that waits for documents.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    terms: HashMap<Term, u64>,
    /// How many times longer than its longest list what an expression builds may be.
    longer: u64,
    /// Length of the longest list that is written out in the expression.
    written: u64,
    deep: bool,
}

impl Estimate {
    /// Of an expression that reads these paths. Absent: it is too long to say.
    pub(super) fn of(expression: &IdedExpr, source: &str, paths: &[Vec<String>]) -> Option<Self> {
        let mut walk = Walk { paths, bound: Vec::new(), written: 1, deep: false };
        let terms = walk.terms(expression, 0)?;
        // Lists grow by being put together.
        let grows = source.chars().filter(|char| *char == '+').count();
        Some(Self { terms, longer: 1 + grows as u64, written: walk.written, deep: walk.deep })
    }

    /// The work over documents, in the order of the paths; `None` where a path leads nowhere.
    pub(super) fn work<'v>(&self, documents: impl Iterator<Item = Option<&'v Value>>) -> u64 {
        if !self.deep {
            return 0;
        }
        let measures: Vec<Measure> = documents.map(|document| document.map_or(Measure::ONE, Measure::of)).collect();
        let longest = measures.iter().map(|measure| measure.longest).max().unwrap_or(0).max(self.written);
        let rounds = longest.saturating_mul(self.longer);
        let cost = |(term, number): (&Term, &u64)| {
            let weight = term.path.and_then(|path| measures.get(path)).map_or(1, |measure| measure.weight);
            rounds.saturating_pow(term.rounds).saturating_mul(weight).saturating_mul(*number)
        };
        self.terms.iter().map(cost).fold(0, u64::saturating_add)
    }
}

/// What matters of a document.
struct Measure {
    weight: u64,
    longest: u64,
}

impl Measure {
    const ONE: Self = Self { weight: 1, longest: 1 };

    fn of(value: &Value) -> Self {
        let mut measure = Self { weight: 0, longest: 0 };
        measure.add(value);
        measure
    }

    fn add(&mut self, value: &Value) {
        self.weight += 1;
        match value {
            Value::String(text) => self.weight += text.len() as u64 / 64,
            Value::Array(items) => {
                self.longest = self.longest.max(items.len() as u64);
                items.iter().for_each(|item| self.add(item));
            }
            Value::Object(fields) => {
                self.longest = self.longest.max(fields.len() as u64);
                self.weight += fields.keys().map(|name| name.len() as u64 / 64).sum::<u64>();
                fields.values().for_each(|field| self.add(field));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

struct Walk<'p> {
    paths: &'p [Vec<String>],
    /// What macros bind: name, at how many rounds, what its list costs.
    bound: Vec<(String, u32, Terms)>,
    written: u64,
    deep: bool,
}

type Terms = HashMap<Term, u64>;

impl Walk<'_> {
    fn terms(&mut self, node: &IdedExpr, rounds: u32) -> Option<Terms> {
        let mut terms = Terms::from([(Term { path: None, rounds }, 1)]);
        if let Some(path) = path_of(node) {
            let bound = path.first().and_then(|root| self.bound.iter().rev().find(|(name, ..)| name == root));
            match bound {
                Some((_, at, of)) => {
                    let more = rounds.saturating_sub(*at);
                    let each =
                        of.iter().map(|(term, number)| (Term { rounds: term.rounds + more, ..term.clone() }, *number));
                    add(&mut terms, each)?;
                }
                None => {
                    let index = self.paths.iter().position(|known| *known == path);
                    add(&mut terms, [(Term { path: index, rounds }, 1)])?;
                }
            }
            return Some(terms);
        }
        match &node.expr {
            Expr::Call(call) => {
                if call.func_name == "matches" {
                    add(&mut terms, [(Term { path: None, rounds }, PATTERN_WEIGHT)])?;
                }
                for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                    add(&mut terms, self.terms(part, rounds)?)?;
                }
            }
            Expr::Comprehension(each) => {
                self.deep = true;
                let range = self.terms(&each.iter_range, rounds)?;
                let before = self.bound.len();
                for name in [&each.iter_var].into_iter().chain(each.iter_var2.as_ref()) {
                    self.bound.push((name.clone(), rounds + 1, range.clone()));
                }
                // The result so far is moved from round to round, not copied.
                self.bound.push((each.accu_var.clone(), rounds + 1, Terms::new()));
                add(&mut terms, range)?;
                for part in [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result] {
                    add(&mut terms, self.terms(part, rounds + 1)?)?;
                }
                self.bound.truncate(before);
            }
            Expr::List(list) => {
                self.written = self.written.max(list.elements.len() as u64);
                for element in &list.elements {
                    add(&mut terms, self.terms(element, rounds)?)?;
                }
            }
            Expr::Map(map) => {
                self.written = self.written.max(map.entries.len() as u64);
                self.entries(&map.entries, rounds, &mut terms)?;
            }
            Expr::Struct(fields) => self.entries(&fields.entries, rounds, &mut terms)?,
            Expr::Select(select) => add(&mut terms, self.terms(&select.operand, rounds)?)?,
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
        Some(terms)
    }

    fn entries(&mut self, entries: &[cel::common::ast::IdedEntryExpr], rounds: u32, terms: &mut Terms) -> Option<()> {
        for entry in entries {
            match &entry.expr {
                EntryExpr::StructField(field) => add(terms, self.terms(&field.value, rounds)?)?,
                EntryExpr::MapEntry(entry) => {
                    add(terms, self.terms(&entry.key, rounds)?)?;
                    add(terms, self.terms(&entry.value, rounds)?)?;
                }
            }
        }
        Some(())
    }
}

/// Adds terms; nothing if there are too many of them.
fn add(terms: &mut Terms, more: impl IntoIterator<Item = (Term, u64)>) -> Option<()> {
    for (term, number) in more {
        let sum = terms.entry(term).or_insert(0);
        *sum = sum.saturating_add(number);
    }
    (terms.len() <= TERMS_LIMIT).then_some(())
}
