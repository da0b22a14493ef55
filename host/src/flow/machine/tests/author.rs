//! Pipelines of all constructs, made up from a seed.

use std::fmt::Write as _;

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).expect("small")]
    }
}

/// Makes up a pipeline.
pub(super) struct Author<'d> {
    pub(super) dice: &'d mut Dice,
    pub(super) steps: usize,
    /// Undoable steps that `undo` may name here, innermost list last.
    pub(super) undoable: Vec<Vec<String>>,
}

impl Author<'_> {
    fn id(&mut self) -> String {
        self.steps += 1;
        format!("s{}", self.steps)
    }

    /// A list of steps, in flow style.
    fn list(&mut self, depth: usize) -> String {
        self.undoable.push(Vec::new());
        let count = 1 + self.dice.below(3);
        let steps: Vec<String> = (0..count).map(|_| self.step(depth)).collect();
        self.undoable.pop();
        format!("[{}]", steps.join(", "))
    }

    fn consequence(&mut self, depth: usize) -> String {
        match self.dice.below(7) {
            0 | 1 => "continue".into(),
            2 => "reject".into(),
            3 => "dead_letter".into(),
            4 => "{ use: 1 }".into(),
            5 if depth < 3 => format!("{{ steps: {} }}", self.list(depth + 1)),
            _ => "{ end: over }".into(),
        }
    }

    fn question(&mut self) -> String {
        let expiry = *self.dice.pick(&["reject", "dead_letter"]);
        let quorum = 1 + self.dice.below(2);
        format!(
            "{{ group: g, quorum: {quorum}, remind: [1m], escalate: {{ to: h, after: 2m }}, within: 5m, on_expiry: {expiry} }}"
        )
    }

    fn write(&mut self, id: &str) -> String {
        let mut text = format!("id: {id}, call: 'erp#create', with: {{}}");
        if self.dice.one_in(2) {
            text += ", retry: { on: retryable, attempts: 3, first: 1s, factor: 2, max: 5s }";
        }
        if !self.dice.one_in(3) {
            text += ", compensate: { call: cancel, with: {} }";
            self.undoable.last_mut().expect("a list").push(id.to_owned());
        }
        if self.dice.one_in(6) {
            let _ = write!(text, ", confirm: {{ call: read, with: {{}}, equals: {{ total: 7 }} }}");
        }
        if self.dice.one_in(10) {
            text += ", point_of_no_return: true";
        }
        if self.dice.one_in(8) {
            text += ", fallback: { value: { id: none } }";
        }
        text
    }

    fn step(&mut self, depth: usize) -> String {
        let id = self.id();
        let deep = depth < 3;
        let mut text = match self.dice.below(if deep { 16 } else { 9 }) {
            0..=3 => self.write(&id),
            4 => format!("id: {id}, transform: test/x@^1, with: {{ n: '${{ vars.n }}' }}"),
            5 => format!("id: {id}, call: 'erp#read', with: {{}}"),
            6 => {
                let hold = if self.dice.one_in(2) {
                    format!("{{ approve: {} }}", self.question())
                } else {
                    "dead_letter".into()
                };
                format!("id: {id}, rule: test/x@^1, with: {{}}, outcomes: {{ hold: {hold} }}")
            }
            7 => match self.dice.below(4) {
                0 => format!("id: {id}, emit: made.{id}, data: {{}}"),
                1 => format!("id: {id}, run: test/other@^1, with: {{}}"),
                2 => format!("id: {id}, set: {{ n: '${{ vars.n + 1 }}' }}"),
                _ => format!("id: {id}, score: test/x@^1, with: {{}}, mode: shadow, fallback: {{ value: 1 }}"),
            },
            8 => {
                let named: Vec<String> = self.undoable.last().cloned().unwrap_or_default();
                if named.is_empty() {
                    self.write(&id)
                } else {
                    let named: Vec<String> = named.into_iter().rev().collect();
                    format!("id: {id}, undo: [{}], set: {{ n: '${{ vars.n + 1 }}' }}", named.join(", "))
                }
            }
            9 => {
                let branches = 2 + self.dice.below(2);
                let branches: Vec<String> =
                    (0..branches).map(|number| format!("b{number}: {}", self.list(depth + 1))).collect();
                let join = *self.dice.pick(&["all", "any"]);
                let within = if self.dice.one_in(3) { "within: 10s, " } else { "" };
                format!("id: {id}, parallel: {{ join: {join}, {within}branches: {{ {} }} }}", branches.join(", "))
            }
            10 => {
                let at_once = 1 + self.dice.below(3);
                let steps = self.list(depth + 1);
                format!(
                    "id: {id}, for: {{ each: event.data.lines, at_once: {at_once}, steps: {steps}, output: '${{ item }}' }}"
                )
            }
            11 => {
                let steps = self.list(depth + 1);
                let exhausted = *self.dice.pick(&["continue", "reject", "dead_letter", "{ use: 1 }"]);
                format!("id: {id}, loop: {{ max: 2, until: vars.n > 2, steps: {steps}, on_exhausted: {exhausted} }}")
            }
            12 => {
                let expiry = self.consequence(depth + 1);
                format!(
                    "id: {id}, wait: {{ event: goods.in, match: signal.data.order == event.data.order, within: 1m, on_expiry: {expiry} }}"
                )
            }
            13 => format!("id: {id}, approve: {}", self.question()),
            14 => {
                let (yes, no) = (self.list(depth + 1), self.list(depth + 1));
                format!("id: {id}, switch: [{{ when: vars.n < 1, steps: {yes} }}], otherwise: {no}")
            }
            _ => {
                let (short, long) = (self.list(depth + 1), self.list(depth + 1));
                format!(
                    "id: {id}, rule: test/x@^1, with: {{}}, outcomes: {{ hold: dead_letter, route: {{ short: {short}, long: {long} }} }}"
                )
            }
        };
        if !text.contains("undo:") && !text.contains(" set:") && !text.contains("fallback") && self.dice.one_in(4) {
            let consequence = match self.dice.below(4) {
                0 => format!("{{ approve: {} }}", self.question()),
                _ => self.consequence(depth + 1),
            };
            let _ = write!(text, ", on_error: {consequence}");
        }
        format!("{{ {text} }}")
    }

    pub(super) fn pipeline(&mut self) -> String {
        self.undoable.push(Vec::new());
        let count = 2 + self.dice.below(4);
        let mut text = String::new();
        for _ in 0..count {
            let _ = writeln!(text, "  - {}", self.step(0));
        }
        self.undoable = vec![Vec::new()];
        if self.dice.one_in(2) {
            let compensate = if self.dice.one_in(2) { "  compensate: all\n" } else { "" };
            let _ = write!(text, "on_error:\n{compensate}  steps: {}\n", self.list(1));
        }
        text
    }
}
