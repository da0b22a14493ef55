//! A Mermaid flowchart: <https://mermaid.js.org/syntax/flowchart.html>.

use super::{Graph, Node};

pub(super) fn flowchart(graph: &Graph) -> String {
    let mut chart = Chart { out: String::from("flowchart TD\n"), count: 0 };
    let label = graph.triggers.join("\n");
    chart.out.push_str(&format!("    start([\"{}\"])\n", escaped(&label)));
    let (handler, steps): (Vec<&Node>, Vec<&Node>) = graph.nodes.iter().partition(|node| node.id == "on_error");
    let ends = chart.list(&steps, vec![("start".to_owned(), String::new())]);
    chart.out.push_str("    done([\"done\"])\n");
    chart.join(&ends, "done");
    for node in handler {
        let name = chart.node(node);
        let nodes: Vec<&Node> = node.branches.iter().flat_map(|branch| &branch.nodes).collect();
        chart.list(&nodes, vec![(name, String::new())]);
    }
    chart.out
}

/// Where lines come from: a node, and what the line says.
type Ends = Vec<(String, String)>;

struct Chart {
    out: String,
    count: usize,
}

impl Chart {
    fn list(&mut self, nodes: &[&Node], mut from: Ends) -> Ends {
        for node in nodes {
            let name = self.node(node);
            self.join(&from, &name);
            from = self.branches(node, &name);
        }
        from
    }

    fn node(&mut self, node: &Node) -> String {
        self.count += 1;
        let name = format!("n{}", self.count);
        let id = if node.id.contains('-') { String::new() } else { format!("<b>{}</b><br/>", escaped(&node.id)) };
        let mut text = format!("{id}{}", escaped(&node.label));
        for note in &node.notes {
            text.push_str(&format!("<br/><i>{}</i>", escaped(note)));
        }
        let (open, close) = if node.branches.len() > 1 { ("{{", "}}") } else { ("[", "]") };
        self.out.push_str(&format!("    {name}{open}\"{text}\"{close}\n"));
        name
    }

    /// The ends after a step with all its branches.
    fn branches(&mut self, node: &Node, name: &str) -> Ends {
        let mut ends = Vec::new();
        for branch in &node.branches {
            let nodes: Vec<&Node> = branch.nodes.iter().collect();
            let from = vec![(name.to_owned(), branch.label.clone())];
            let after = self.list(&nodes, from);
            if branch.label.is_empty() {
                // The body of a loop leads back to it, and the loop on.
                self.join(&after, name);
                ends.push((name.to_owned(), String::new()));
            } else {
                ends.extend(after);
            }
        }
        let goes_on = ends.is_empty()
            || node.label.starts_with("switch") && !node.branches.iter().any(|branch| branch.label == "otherwise");
        if goes_on {
            ends.push((name.to_owned(), String::new()));
        }
        ends
    }

    fn join(&mut self, from: &Ends, to: &str) {
        for (name, label) in from {
            let label = if label.is_empty() { String::new() } else { format!("|\"{}\"|", escaped(label)) };
            self.out.push_str(&format!("    {name} -->{label} {to}\n"));
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br/>")
}
