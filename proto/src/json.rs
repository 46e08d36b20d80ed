//! The text of a configuration as a tree that keeps what serde_json's own drops: keys that come twice, in their order. Sensor
//! and clients read the same file by it, and find keys in it as Go does ([`folds_to`]), in which 1.0.1 is written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;

/// Why a text is no JSON: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// A value of JSON (RFC 8259).
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// In the order of the text, every occurrence of a key.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Reads the first value in `text`. Go's decoder reads no further either; `true` where more follows.
    ///
    /// # Errors
    /// It is not JSON, or there is nothing.
    pub fn parse(text: &str) -> Result<(Self, bool), JsonError> {
        let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Self>();
        match stream.next() {
            Some(Ok(node)) => {
                let rest = text.get(stream.byte_offset()..).unwrap_or_default();
                Ok((node, !rest.trim_start().is_empty()))
            }
            Some(Err(e)) => Err(JsonError(e.to_string())),
            None => Err(JsonError("the file is empty".to_owned())),
        }
    }

    /// What it is, with its value where that is short: for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::List(_) => "a list".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }

    /// The value of the key `name` as Go's decoder takes it: the last member that is it but for the case of letters, where
    /// that is not `null`. None where this is no object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rfind(|(key, value)| folds_to(key, name) && *value != Self::Null).map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = object.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}

/// Whether Go takes `key` for `name`, which is ASCII: by Unicode's simple folding, two letters beyond ASCII are one there.
pub fn folds_to(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// JSON with everything beyond printable ASCII as an escape (RFC 8259, section 7). Its texts alone can hold such.
pub fn ascii(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            line.push(c);
        } else {
            let mut units = [0; 2];
            line.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node::parse(text).unwrap().0
    }

    #[test]
    fn keys_are_found_as_go_finds_them() {
        let object = node(r#"{"Port": 1, "port": 2, "PORT": null, "CertPath": "c", "Ho\u017ft": "h"}"#);
        assert_eq!(object.get("Port"), Some(&Node::Number(2.into())), "the last one that says something");
        assert_eq!(object.get("CertPath"), Some(&Node::Text("c".to_owned())));
        assert_eq!(object.get("Host"), Some(&Node::Text("h".to_owned())), "a long s folds to s");
        assert_eq!(object.get("Cert"), None);
        assert_eq!(node("[]").get("Port"), None);
    }

    #[test]
    fn what_follows_the_first_value_is_told_and_nothing_is_an_error() {
        assert_eq!(Node::parse("{} {"), Ok((Node::Object(Vec::new()), true)));
        assert_eq!(Node::parse("{}\n"), Ok((Node::Object(Vec::new()), false)));
        assert_eq!(Node::parse(" ").unwrap_err().to_string(), "the file is empty");
        assert!(Node::parse("{").unwrap_err().to_string().contains("line 1"));
    }
}
