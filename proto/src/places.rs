//! Where the keys of a JSON text are, which its tree ([`Node`]) does not keep: for messages about a configuration.

use std::fmt;

use crate::json::Node;

/// A place in a text. Shown as `line 3, column 5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1 on.
    pub line: usize,
    /// The character in the line, from 1 on.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Every key in `text`, in its order, as `Threads[0].MaxAge`, spelled as there. `node` is what [`Node::parse`] read in it.
pub fn places(text: &str, node: &Node) -> Vec<(String, Place)> {
    let mut found = Found { text, keys: keys(text).into_iter(), places: Vec::new() };
    found.walk(node, "");
    found.places
}

struct Found<'t> {
    text: &'t str,
    /// Where keys begin, in the order of the text, in which a walk through the tree meets them.
    keys: std::vec::IntoIter<usize>,
    places: Vec<(String, Place)>,
}

impl Found<'_> {
    fn walk(&mut self, node: &Node, path: &str) {
        match node {
            Node::Object(members) => {
                for (key, value) in members {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    if let Some(at) = self.keys.next() {
                        self.places.push((path.clone(), place(self.text, at)));
                    }
                    self.walk(value, &path);
                }
            }
            Node::List(items) => {
                items.iter().enumerate().for_each(|(i, item)| self.walk(item, &format!("{path}[{i}]")))
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
        }
    }
}

fn place(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    Place { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

/// Where texts begin that a colon follows: in JSON these are the keys.
fn keys(text: &str) -> Vec<usize> {
    let (mut keys, mut bytes) = (Vec::new(), text.bytes().enumerate().peekable());
    while let Some((begin, byte)) = bytes.next() {
        if byte != b'"' {
            continue;
        }
        while let Some((_, byte)) = bytes.next() {
            match byte {
                b'\\' => drop(bytes.next()),
                b'"' => break,
                _ => {}
            }
        }
        while bytes.next_if(|(_, byte)| byte.is_ascii_whitespace()).is_some() {}
        if bytes.peek().is_some_and(|(_, byte)| *byte == b':') {
            keys.push(begin);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_places_whatever_the_values() {
        let text = "{ \"a\": [ {\"b\" :\n 1, \"c\\\"d\": \"x:\\\\\"}, [{\"\u{e9}\":{}}] ],\n\t\"\u{e9}\": \":\", \"a\": null } {\"z\":1}";
        let (node, more) = Node::parse(text).unwrap();
        assert!(more);
        let found: Vec<String> =
            places(text, &node).into_iter().map(|(path, at)| format!("{path} {}:{}", at.line, at.column)).collect();
        assert_eq!(found, ["a 1:3", "a[0].b 1:11", "a[0].c\"d 2:5", "a[1][0].\u{e9} 2:24", "\u{e9} 3:2", "a 3:12"]);
        assert_eq!(places(text, &node)[1].1.to_string(), "line 1, column 11");
    }
}
