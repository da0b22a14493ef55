//! The tree for the terminal.

use super::{Branch, Graph, Node};

pub(super) fn text(graph: &Graph) -> String {
    let mut out = format!("{}\n", graph.title);
    for trigger in &graph.triggers {
        out.push_str(&format!("◆ {trigger}\n"));
    }
    // Ids stand in one column, so that the list reads like the text.
    let width = graph.nodes.iter().map(|node| shown(node).chars().count()).max().unwrap_or(0);
    nodes(&graph.nodes, "", width, &mut out);
    out
}

/// An id that somebody wrote; made ones say nothing to people.
fn shown(node: &Node) -> &str {
    if node.id.contains('-') { "·" } else { &node.id }
}

fn nodes(list: &[Node], margin: &str, width: usize, out: &mut String) {
    for (index, node) in list.iter().enumerate() {
        let (arm, below) = if index + 1 == list.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let notes = if node.notes.is_empty() { String::new() } else { format!("  ({})", node.notes.join("; ")) };
        out.push_str(&format!("{margin}{arm}{:width$}  {}{notes}\n", shown(node), node.label));
        branches(&node.branches, &format!("{margin}{below}"), out);
    }
}

fn branches(list: &[Branch], margin: &str, out: &mut String) {
    for (index, branch) in list.iter().enumerate() {
        let width = branch.nodes.iter().map(|node| shown(node).chars().count()).max().unwrap_or(0);
        if branch.label.is_empty() {
            // Body of a loop: no name, the steps hang on the step itself.
            nodes(&branch.nodes, margin, width, out);
            continue;
        }
        let (arm, below) = if index + 1 == list.len() { ("└╴", "  ") } else { ("├╴", "│ ") };
        let nothing = if branch.nodes.is_empty() { " → on" } else { "" };
        out.push_str(&format!("{margin}{arm}{}{nothing}\n", branch.label));
        nodes(&branch.nodes, &format!("{margin}{below}"), width, out);
    }
}
