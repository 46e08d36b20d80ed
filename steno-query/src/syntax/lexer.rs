//! From text to tokens: words, operators, brackets, each with the bytes it came from.
//!
//! It knows how a query is cut, not what a word means; only `glued` splits a word, where stenographer 1.0.1 would.

use std::ops::Range;

use super::glued;

/// A token and the bytes of the text that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword, name, number, address or time.
    Word,
    /// `and`, `&&`.
    And,
    /// `or`, `||`.
    Or,
    /// `not`, `!`.
    Not,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `{`.
    OpenBrace,
    /// `}`.
    CloseBrace,
    /// `,`.
    Comma,
    /// `/`.
    Slash,
    /// Text between double quotes, them included.
    Quoted,
    /// A double quote without another: the rest of the text.
    UnclosedQuote,
    /// Anything else, one character.
    Symbol(char),
    /// The end of the text.
    End,
}

/// The tokens of `text`, with [`Kind::End`] last. Never fails: what cannot be read is a [`Kind::Symbol`].
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let start = text.len() - rest.len();
        let (kind, len) = match first {
            c if c.is_whitespace() => {
                rest = rest.trim_start();
                continue;
            }
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            '{' => (Kind::OpenBrace, 1),
            '}' => (Kind::CloseBrace, 1),
            ',' => (Kind::Comma, 1),
            '/' => (Kind::Slash, 1),
            '!' => (Kind::Not, 1),
            '&' if rest.starts_with("&&") => (Kind::And, 2),
            '|' if rest.starts_with("||") => (Kind::Or, 2),
            '"' => match rest.get(1..).and_then(|quoted| quoted.find('"')) {
                Some(len) => (Kind::Quoted, len + 2),
                None => (Kind::UnclosedQuote, rest.len()),
            },
            c if !in_word(c) => (Kind::Symbol(c), c.len_utf8()),
            _ => (Kind::Word, rest.find(|c| !in_word(c)).unwrap_or(rest.len())),
        };
        let (head, tail) = rest.split_at(len);
        rest = tail;
        if kind == Kind::Word {
            push_word(&mut tokens, head, start);
        } else {
            tokens.push(Token { kind, span: start..start + len });
        }
    }
    tokens.push(Token { kind: Kind::End, span: text.len()..text.len() });
    tokens
}

/// Whether a character belongs to a word: all but blanks, control characters and those with a meaning of their own here
/// or in `pcap-filter(7)` arithmetic.
fn in_word(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || "(){}[],/!&|\"=<>".contains(c))
}

fn push_word(tokens: &mut Vec<Token>, word: &str, start: usize) {
    let mut from = start;
    for part in glued::split(word) {
        let kind = match part {
            "and" => Kind::And,
            "or" => Kind::Or,
            "not" => Kind::Not,
            _ => Kind::Word,
        };
        tokens.push(Token { kind, span: from..from + part.len() });
        from += part.len();
    }
}
