//! YAML as a tree in which every node knows its place, without YAML's traps: duplicate keys, merge keys, tags, keys
//! that are not text, several documents and floods of aliases are refused.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};

use super::diagnostic::Diagnostic;
use crate::model::pipeline::Place;

/// Largest text, bytes: a pipeline is written by people.
pub(super) const TEXT_BYTES_MAX: usize = 256 << 10;
/// Deepest nesting: the deepest sensible pipeline needs about 20.
pub(super) const DEPTH_MAX: usize = 48;
/// Most nodes after aliases are followed, so that a short text cannot become a huge tree.
const NODES_MAX: usize = 50_000;
/// Most aliases.
const ALIASES_MAX: usize = 32;

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A scalar's text, how it is written, and where (indices of characters, for places inside it).
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) plain: bool,
    start: usize,
    end: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Place,
}

impl Node {
    /// What it is, for people.
    pub(super) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) if scalar.plain && scalar.text.is_empty() => "nothing",
            Value::Scalar(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// The text, for places inside scalars.
pub(super) struct Source {
    chars: Vec<char>,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        Self { chars: text.chars().collect() }
    }

    /// Where the character at `offset` (in characters) of a scalar is written. Follows quotes, escapes and folded lines
    /// by skipping what is not in the value.
    pub(super) fn place(&self, node: &Node, scalar: &Scalar, offset: usize) -> Place {
        let mut place = node.at;
        let mut step = |char: char| {
            if char == '\n' {
                place = Place { line: place.line + 1, column: 1 };
            } else {
                place.column += 1;
            }
        };
        let mut at = scalar.start;
        for (index, wanted) in scalar.text.chars().take(offset + 1).enumerate() {
            while let Some(&char) = self.chars.get(at).filter(|&&char| char != wanted && at < scalar.end) {
                step(char);
                at += 1;
            }
            if index == offset || at >= scalar.end {
                break;
            }
            step(wanted);
            at += 1;
        }
        place
    }
}

/// Reads one document. Problems that leave a tree are appended to `found`; `None` if there is none.
pub(super) fn read(text: &str, found: &mut Vec<Diagnostic>) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!("the text is {} bytes, the limit is {TEXT_BYTES_MAX}", text.len());
        found.push(Diagnostic::new(START, "yaml.too-large", problem, "split the pipeline with `run`"));
        return None;
    }
    let mut builder =
        Builder { parser: Parser::new_from_str(text), anchors: HashMap::new(), aliases: 0, nodes: 0, found };
    match builder.document() {
        Ok(node) => node,
        Err(Stop::Scan(error)) => {
            found.push(explain(text, &error));
            None
        }
        Err(Stop::Refused(diagnostic)) => {
            found.push(diagnostic);
            None
        }
    }
}

const START: Place = Place { line: 1, column: 1 };

enum Stop {
    Scan(ScanError),
    Refused(Diagnostic),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

struct Builder<'t, 'f> {
    parser: Parser<'t, serde_saphyr::granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    aliases: usize,
    nodes: usize,
    found: &'f mut Vec<Diagnostic>,
}

impl<'t> Builder<'t, '_> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    let problem = "there is more than one document";
                    return Err(refuse(place(span.start), "yaml.documents", problem, "one pipeline per file"));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        if root.is_none() {
            self.found.push(Diagnostic::new(
                START,
                "yaml.empty",
                "there is nothing",
                "begin with `pipeline: namespace/name`",
            ));
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Stop> {
        loop {
            match self.parser.next_event().transpose()? {
                Some((Event::Comment(..) | Event::Anchor(..), _)) => {}
                other => return Ok(other),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Stop> {
        let at = place(span.start);
        if depth > DEPTH_MAX {
            let problem = format!("nesting is deeper than {DEPTH_MAX}");
            return Err(refuse(at, "yaml.too-deep", problem, "split the pipeline with `run`"));
        }
        let tag = event.tag().map(|tag| tag.original());
        if let Some(tag) = &tag {
            let problem = format!("`{tag}` here is a YAML tag");
            let instead = "quote the whole value: an expression that begins with `!` is a tag to YAML";
            self.found.push(Diagnostic::new(at, "yaml.tag", problem, instead));
        }
        let before = self.nodes;
        self.count(at, 1)?;
        let anchor = event.anchor_id();
        let value = match event {
            Event::Scalar(text, style, ..) => Value::Scalar(Scalar {
                // A tag belongs to what was meant, so that the value is not called missing as well.
                text: tag.unwrap_or_default() + &text,
                plain: style == ScalarStyle::Plain,
                start: span.start.index(),
                end: span.end.index(),
            }),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(id) => return self.alias(id, at),
            _ => return Err(refuse(at, "yaml.syntax", "this is not a value", "a scalar, a list or a map")),
        };
        let node = Node { at, value };
        if let Some(anchor) = anchor.filter(|&id| id != 0) {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            let key_node = self.node(event, span, depth + 1)?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span, depth + 1)?;
            let at = key_node.at;
            let Value::Scalar(Scalar { text, .. }) = key_node.value else {
                let problem = "a key is a list or a map";
                let instead = "keys are text; an expression that begins with `{` or `[` has to be quoted";
                self.found.push(Diagnostic::new(at, "yaml.key", problem, instead));
                continue;
            };
            if text == "<<" {
                let problem = "merge keys (`<<`) hide what a step does";
                self.found.push(Diagnostic::new(at, "yaml.merge-key", problem, "write the fields out"));
            } else if let Some((first, _)) = entries.iter().find(|(key, _)| key.text == text) {
                let problem = format!("`{text}` is already there, in line {}", first.at.line);
                self.found.push(Diagnostic::new(at, "yaml.duplicate-key", problem, "keep one of the two"));
            } else {
                entries.push((Key { text, at }, value));
            }
        }
        Ok(Value::Map(entries))
    }

    fn alias(&mut self, id: usize, at: Place) -> Result<Node, Stop> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            let problem = format!("there are more than {ALIASES_MAX} aliases");
            return Err(refuse(at, "yaml.aliases", problem, "write the values out, or put them in `config`"));
        }
        let Some((node, size)) = self.anchors.get(&id).cloned() else {
            let problem = "this alias is inside what it stands for";
            return Err(refuse(at, "yaml.aliases", problem, "write the value out"));
        };
        self.count(at, size)?;
        Ok(node)
    }

    fn count(&mut self, at: Place, more: usize) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES_MAX {
            let problem = format!("there are more than {NODES_MAX} values, aliases followed");
            return Err(refuse(at, "yaml.too-large", problem, "write less, or split the pipeline with `run`"));
        }
        Ok(())
    }
}

fn refuse(at: Place, code: &'static str, problem: impl Into<String>, instead: &str) -> Stop {
    Stop::Refused(Diagnostic::new(at, code, problem, instead))
}

fn place(marker: Marker) -> Place {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Place { line: number(marker.line()), column: number(marker.col() + 1) }
}

/// Fields whose value is an expression as it stands.
const EXPRESSION_FIELDS: [&str; 7] = ["when", "where", "until", "match", "key", "each", "lane"];

/// What the YAML parser says, unless the line shows that somebody forgot to quote an expression.
fn explain(text: &str, error: &ScanError) -> Diagnostic {
    let at = place(*error.marker());
    // The scanner often notices only on the next line.
    for line in [at.line, at.line.saturating_sub(1)] {
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(source) = text.lines().nth(index) else { continue };
        if let Some(column) = unquoted_expression(source) {
            let problem = "an unquoted expression with `:`, `{`, quotes or the like is not one text to YAML";
            let instead = "quote this expression as a whole, in the quotes that it does not use itself: '…'";
            return Diagnostic::new(Place { line, column }, "yaml.quote-expression", problem, instead);
        }
    }
    let problem = format!("this is not YAML: {}", error.info());
    Diagnostic::new(
        at,
        "yaml.syntax",
        problem,
        "mend the indentation, brackets or quotes here; quote texts with `:` or `#`",
    )
}

/// The column of `${` outside quotes, or of an unquoted expression after one of the fields that hold one.
fn unquoted_expression(line: &str) -> Option<u32> {
    let column = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
    let mut quote = None;
    let mut before = ' ';
    for (index, char) in line.chars().enumerate() {
        match quote {
            Some(open) if open == char => quote = None,
            None if matches!(char, '"' | '\'') && matches!(before, ' ' | '{' | '[' | ',') => quote = Some(char),
            None if before == '$' && char == '{' => return Some(column(index.saturating_sub(1))),
            None if before == ' ' && char == '#' => return None,
            _ => {}
        }
        before = char;
    }
    let start = line.trim_start_matches([' ', '-']);
    let (field, value) = start.split_once(": ")?;
    let value_starts = line.chars().count() - value.trim_start().chars().count();
    EXPRESSION_FIELDS.contains(&field).then(|| column(value_starts))
}

#[cfg(test)]
mod tests {
    use super::{DEPTH_MAX, TEXT_BYTES_MAX, read};

    #[track_caller]
    fn check(text: &str, code: &str) {
        let mut found = Vec::new();
        let _ = read(text, &mut found);
        assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [code]);
    }

    #[test]
    fn texts_and_trees_are_bounded() {
        check(&"#".repeat(TEXT_BYTES_MAX + 1), "yaml.too-large");
        check(&format!("a: {}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1)), "yaml.too-deep");
        check(&"[".repeat(100_000), "yaml.syntax");
        check("", "yaml.empty");
        check("# only a comment", "yaml.empty");
    }

    #[test]
    fn a_flood_of_aliases_is_refused() {
        check(&format!("a: &a 1\nb: [{}]", "*a, ".repeat(33)), "yaml.aliases");
        let mut bomb = format!("a0: &a0 [{}]\n", "1, ".repeat(50));
        for level in 1..4 {
            let items = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        check(&bomb, "yaml.too-large");
    }

    #[test]
    fn a_few_aliases_are_followed() {
        let mut found = Vec::new();
        assert!(read("a: &a { b: 1 }\nc: *a", &mut found).is_some() && found.is_empty());
    }
}
