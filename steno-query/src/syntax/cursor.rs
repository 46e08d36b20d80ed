//! A place among the tokens of a text, and the errors noted on the way.

use std::ops::Range;

use super::{
    MAX_ERRORS,
    error::{Fault, QueryError, QueryErrors},
    lexer::{self, Kind, Token},
    render::is_acted_upon,
    vocabulary,
};

/// That an error has been noted and the part it is in cannot be read.
#[derive(Debug)]
pub(super) struct Noted;

/// The outcome of reading a part.
pub(super) type Parsed<T> = Result<T, Noted>;

/// The most characters of a word that a message repeats.
const MAX_QUOTED_CHARS: usize = 40;

/// The tokens, and which of them is next.
pub(super) struct Cursor<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    errors: Vec<QueryError>,
    omitted: usize,
    stopped: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, tokens: lexer::tokens(text), next: 0, errors: Vec::new(), omitted: 0, stopped: false }
    }

    /// Whether anything was noted.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// All that was noted, in order of place.
    pub(super) fn into_errors(mut self) -> QueryErrors {
        self.errors.sort_by_key(|error| error.span.start);
        QueryErrors { text: self.text.to_owned(), errors: self.errors, omitted: self.omitted }
    }

    fn token(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    /// What the next token is.
    pub(super) fn kind(&self) -> Kind {
        self.token().map_or(Kind::End, |token| token.kind)
    }

    /// Where the next token is.
    pub(super) fn span(&self) -> Range<usize> {
        self.token().map_or(self.text.len()..self.text.len(), |token| token.span.clone())
    }

    /// Where the token before the next one ends.
    pub(super) fn end_of_last(&self) -> usize {
        self.next.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |token| token.span.end)
    }

    /// The next token, if it is a word.
    pub(super) fn word(&self) -> Option<&'a str> {
        self.word_at(self.next)
    }

    /// The token behind the next one, if it is a word.
    pub(super) fn word_after(&self) -> Option<&'a str> {
        self.word_at(self.next + 1)
    }

    fn word_at(&self, at: usize) -> Option<&'a str> {
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Word)?;
        self.text.get(token.span.clone())
    }

    /// The kind of the token behind the next one.
    pub(super) fn kind_after(&self) -> Kind {
        self.tokens.get(self.next + 1).map_or(Kind::End, |token| token.kind)
    }

    /// Goes past the next token. The end stays.
    pub(super) fn advance(&mut self) {
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
    }

    /// Goes past the next token if it is this word.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let is_next = self.word() == Some(word);
        if is_next {
            self.advance();
        }
        is_next
    }

    /// Goes past the next token, which must be a word, and gives it.
    pub(super) fn any_word(&mut self, expected: &str) -> Parsed<(&'a str, Range<usize>)> {
        let span = self.span();
        let Some(word) = self.word() else { return Err(self.unexpected(expected)) };
        self.advance();
        Ok((word, span))
    }

    /// Whether a token of this kind is still to come.
    pub(super) fn has_ahead(&self, kind: Kind) -> bool {
        self.tokens.iter().skip(self.next).any(|token| token.kind == kind)
    }

    /// Goes on to what can follow an operand: an operator, a parenthesis that closes one opened before, or the end.
    pub(super) fn skip_operand(&mut self) {
        let mut open = 0_usize;
        loop {
            match self.kind() {
                Kind::End => return,
                Kind::And | Kind::Or | Kind::Close if open == 0 => return,
                Kind::Open => open += 1,
                Kind::Close => open -= 1,
                _ => {}
            }
            self.advance();
        }
    }

    /// Goes on to what can follow an item of a list.
    pub(super) fn skip_item(&mut self) {
        while !matches!(self.kind(), Kind::Comma | Kind::CloseBrace | Kind::End) {
            self.advance();
        }
    }

    /// Goes to the end, and notes nothing more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.next = self.tokens.len().saturating_sub(1);
    }

    /// Notes an error. Of two at one place the first is kept: the second follows from it.
    pub(super) fn note(
        &mut self,
        span: Range<usize>,
        fault: Fault,
        expected: impl Into<String>,
        suggestions: Vec<String>,
    ) {
        let is_told = self.errors.iter().any(|told| told.span.start == span.start);
        if self.stopped || is_told {
            return;
        }
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(QueryError { fault, span, expected: expected.into(), suggestions });
        } else {
            self.omitted += 1;
        }
    }

    /// The candidates that `word` may be meant as, where an error would still be told: to look for them takes longer than all else.
    pub(super) fn nearest<'w>(&self, word: &str, candidates: impl IntoIterator<Item = &'w str>) -> Vec<String> {
        if self.errors.len() < MAX_ERRORS { vocabulary::nearest(word, candidates) } else { Vec::new() }
    }

    /// Notes an error without a suggestion.
    pub(super) fn fail(&mut self, span: Range<usize>, fault: Fault, expected: impl Into<String>) -> Noted {
        self.note(span, fault, expected, Vec::new());
        Noted
    }

    /// Notes that the next token is not what was expected.
    pub(super) fn unexpected(&mut self, expected: impl Into<String>) -> Noted {
        let suggestions = match self.kind() {
            Kind::Symbol('&') => vec!["&&".to_owned()],
            Kind::Symbol('|') => vec!["||".to_owned()],
            _ => Vec::new(),
        };
        self.unexpected_but(expected, suggestions)
    }

    /// Notes that the next token is not what was expected, and what may be meant.
    pub(super) fn unexpected_but(&mut self, expected: impl Into<String>, suggestions: Vec<String>) -> Noted {
        let (span, kind) = (self.span(), self.kind());
        let found = match kind {
            Kind::End => "end of query".to_owned(),
            Kind::UnclosedQuote => {
                return self.fail(span, Fault::Unclosed { open: '"' }, "another `\"` after it");
            }
            _ => format!("`{}`", quoted(self.text.get(span.clone()).unwrap_or_default())),
        };
        self.note(span, Fault::Unexpected { found }, expected, suggestions);
        Noted
    }

    /// Notes that an operator is missing before the next token.
    pub(super) fn missing_operator(&mut self) {
        let suggestions = match self.kind() {
            Kind::Symbol('&') => vec!["&&".to_owned()],
            Kind::Symbol('|') => vec!["||".to_owned()],
            _ => self.nearest(self.word().unwrap_or_default(), ["and", "or"]),
        };
        let Noted = self.unexpected_but("`and` or `or`", suggestions);
    }
}

/// Text of the query as a message repeats it: not all of a long one, and nothing that a terminal would act upon.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        match c {
            _ if i == MAX_QUOTED_CHARS => {
                out.push('…');
                break;
            }
            c if is_acted_upon(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_suggested_for_what_is_not_told() {
        let mut cursor = Cursor::new("prot");
        for start in 0..MAX_ERRORS {
            assert_eq!(cursor.nearest("prot", ["proto"]), ["proto"]);
            let _noted = cursor.fail(start..start + 1, Fault::Unexpected { found: String::new() }, "");
        }
        let candidates = std::iter::from_fn(|| panic!("they are looked through"));
        assert!(cursor.nearest("prot", candidates).is_empty());
    }
}
