//! Finds the members of an object as Go's `encoding/json` does, and takes their values.
//!
//! Go: "To unmarshal JSON into a struct, Unmarshal matches incoming object keys to the keys used by Marshal, preferring an
//! exact match but also accepting a case-insensitive match", and each occurrence of a key is decoded in turn, so that the
//! last one stays. `null` leaves a field as it is.

use steno_proto::json::{Node, folds_to};

use super::{Problem, nearest::nearest, units};

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Findings {
    pub(super) fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.errors.push(Problem::new(key, message));
    }

    pub(super) fn warn(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem::new(key, message));
    }
}

/// The key that narrows what is given out: who has misspelled it is not to find everything open.
const NARROWING: &str = "Access";

/// The members of one object whose keys are known, each once.
pub(super) struct Fields<'n, 'f> {
    /// Where the object is; empty for the outermost.
    path: String,
    members: Vec<(&'static str, &'n Node)>,
    /// Of what is none, nothing but that is said.
    is_object: bool,
    /// Whether what would be passed over elsewhere is wrong.
    is_strict: bool,
    findings: &'f mut Findings,
}

impl<'n, 'f> Fields<'n, 'f> {
    /// Sorts the members of `node` to the keys in `known`; says which have no key there, and which come twice.
    pub(super) fn of(node: &'n Node, path: &str, known: &[&'static str], findings: &'f mut Findings) -> Self {
        Self::sort(node, path, known, findings, false)
    }

    /// The same of an object in which nothing is passed over: a key that is not known or comes twice is wrong, and so is one
    /// without a value.
    pub(super) fn strict(node: &'n Node, path: &str, known: &[&'static str], findings: &'f mut Findings) -> Self {
        Self::sort(node, path, known, findings, true)
    }

    fn sort(node: &'n Node, path: &str, known: &[&'static str], findings: &'f mut Findings, is_strict: bool) -> Self {
        let is_object = matches!(node, Node::Object(_));
        let mut fields = Self { path: path.to_owned(), members: Vec::new(), is_object, is_strict, findings };
        match node {
            Node::Object(members) => members.iter().for_each(|(key, value)| fields.add(key, value, known)),
            other => {
                let what = if path.is_empty() { "the configuration" } else { "it" };
                fields.findings.error(path, format!("{what} is {}; it must be an object", other.describe()));
            }
        }
        fields
    }

    fn add(&mut self, key: &str, value: &'n Node, known: &[&'static str]) {
        let at = self.path_of(key);
        let exact = known.iter().find(|name| **name == key);
        let Some(&name) = exact.or_else(|| known.iter().find(|name| folds_to(key, name))) else {
            let near = nearest(key, known);
            let meant = near.map(|name| format!("; did you mean {:?}?", self.path_of(name))).unwrap_or_default();
            if self.is_strict || near == Some(NARROWING) {
                self.findings.error(at, format!("unknown key{meant}"));
            } else {
                self.findings.warn(at, format!("unknown key, ignored{meant}"));
            }
            return;
        };
        if (self.is_strict || name == NARROWING)
            && (*value == Node::Null || matches!(value, Node::Text(t) if t.is_empty()))
        {
            self.findings.error(at, format!("{} says nothing; give a value, or leave the key out", value.describe()));
            return;
        }
        if let Some((_, before)) = self.members.iter_mut().find(|(other, _)| *other == name) {
            if self.is_strict || name == NARROWING {
                self.findings.error(at, "given more than once");
            } else {
                self.findings.warn(at, "given more than once; the last one counts");
            }
            *before = value;
        } else {
            self.members.push((name, value));
        }
    }

    /// Whether these are the members of an object.
    pub(super) fn is_object(&self) -> bool {
        self.is_object
    }

    /// The path of a key of this object.
    pub(super) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Whether the key is given, and not as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the value of a key is a list.
    pub(super) fn is_list(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Node::List(_)))
    }

    fn get(&self, name: &str) -> Option<&'n Node> {
        self.members.iter().find(|(key, _)| *key == name).map(|(_, node)| *node).filter(|node| **node != Node::Null)
    }

    /// Says what is wrong with the value of a key.
    pub(super) fn error(&mut self, name: &str, message: impl Into<String>) {
        let key = self.path_of(name);
        self.findings.error(key, message);
    }

    /// Says what is odd about the value of a key.
    pub(super) fn warn(&mut self, name: &str, message: impl Into<String>) {
        let key = self.path_of(name);
        self.findings.warn(key, message);
    }

    /// What a key may be given as, turned by `read`; says what it takes where that gives nothing.
    fn read<T>(&mut self, name: &str, takes: &str, read: impl FnOnce(&'n Node) -> Option<T>) -> Option<T> {
        let node = self.get(name)?;
        let value = read(node);
        if value.is_none() {
            self.error(name, format!("{} will not do; it takes {takes}", node.describe()));
        }
        value
    }

    /// A text; an empty one is as good as none, as in Go.
    pub(super) fn text(&mut self, name: &str) -> Option<&'n str> {
        let text = self.read(name, "a text", |node| match node {
            Node::Text(text) => Some(text.as_str()),
            _ => None,
        });
        text.filter(|text| !text.is_empty())
    }

    /// A text that must be there, of what `takes` says; empty where it is not, and then that is said.
    pub(super) fn required(&mut self, name: &str, takes: &str) -> &'n str {
        match self.get(name) {
            Some(Node::Text(text)) if !text.is_empty() => return text,
            None | Some(Node::Text(_)) if !self.is_object => {}
            None | Some(Node::Text(_)) => self.error(name, format!("missing; it takes {takes}")),
            Some(node) => self.error(name, format!("{} will not do; it takes {takes}", node.describe())),
        }
        ""
    }

    /// A text that `read` understands.
    pub(super) fn parsed<T>(&mut self, name: &str, takes: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(name, takes, |node| match node {
            Node::Text(text) if text.is_empty() => Some(None),
            Node::Text(text) => read(text).map(Some),
            _ => None,
        })
        .flatten()
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let (least, most) = (range.start(), range.end());
        let takes = match *most {
            u64::MAX | I64_MAX if *least == 0 => "a whole number, not negative".to_owned(),
            u64::MAX | I64_MAX => format!("a whole number from {least} on"),
            _ => format!("a whole number from {least} to {most}"),
        };
        self.read(name, &takes, |node| match node {
            Node::Number(number) => number.as_u64().filter(|number| range.contains(number)),
            _ => None,
        })
    }

    /// A duration, as `"30d"`; not 0.
    pub(super) fn duration(&mut self, name: &str) -> Option<std::time::Duration> {
        self.parsed(name, units::DURATION, |text| units::duration(text).filter(|time| !time.is_zero()))
    }

    /// A number of bytes, as `"10GiB"` or as a number; not 0.
    pub(super) fn bytes(&mut self, name: &str) -> Option<u64> {
        self.read(name, units::BYTES, |node| match node {
            Node::Number(number) => number.as_u64().filter(|bytes| *bytes > 0),
            Node::Text(text) => units::bytes(text).filter(|bytes| *bytes > 0),
            _ => None,
        })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let texts = self.read(name, "a list of texts", |node| match node {
            Node::List(nodes) => nodes
                .iter()
                .map(|node| match node {
                    Node::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        });
        texts.unwrap_or_default()
    }

    /// A list, for each of whose items `read` is called with its path.
    pub(super) fn list<T>(&mut self, name: &str, mut read: impl FnMut(&Node, &str, &mut Findings) -> T) -> Vec<T> {
        let nodes = self.read(name, "a list", |node| match node {
            Node::List(nodes) => Some(nodes),
            _ => None,
        });
        let path = self.path_of(name);
        let items = nodes.into_iter().flatten().enumerate();
        items.map(|(i, node)| read(node, &format!("{path}[{i}]"), self.findings)).collect()
    }

    /// A value that is an object of its own.
    pub(super) fn object<T>(&mut self, name: &str, read: impl FnOnce(&Node, &str, &mut Findings) -> T) -> Option<T> {
        let node = self.get(name)?;
        let path = self.path_of(name);
        Some(read(node, &path, self.findings))
    }
}

/// What Go's `int64` holds.
const I64_MAX: u64 = i64::MAX as u64;

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
