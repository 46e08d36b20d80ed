//! From tokens to the tree: operators, parentheses, and going on after an error so that all of them are told at once.
//!
//! Groups that are open lie on a stack of our own, not on the program's. What a primitive is, is `primitive.rs`.

use std::{
    fmt::{self, Write},
    ops::Range,
};

use steno_core::TimestampNs;

use super::{
    MAX_NESTING, MAX_PRIMITIVES, MAX_TEXT_BYTES,
    ast::{Expr, Primitive, Query, TimeSpan},
    cursor::{Cursor, Noted, Parsed},
    error::{Fault, QueryError, QueryErrors},
    lexer::Kind,
    primitive::Head,
    vocabulary,
};

/// Reads a query. `now` is what `3h ago` and `last 90s` count from.
///
/// ```
/// use steno_core::TimestampNs;
///
/// let now = TimestampNs::from_parts(1_709_647_500, 0);
/// let query = steno_query::parse("host 10.0.0.1 && !port ssh && last 5m", now)?;
/// assert_eq!(query.to_string(), "host 10.0.0.1 and not port 22 and after 2024-03-05T14:00:00Z");
/// # Ok::<(), steno_query::QueryErrors>(())
/// ```
///
/// # Errors
///
/// All that is wrong with the text, in order of place.
pub fn parse(text: &str, now: TimestampNs) -> Result<Query, QueryErrors> {
    if text.len() > MAX_TEXT_BYTES {
        let shown = text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)).unwrap_or_default();
        return Err(too_long(shown, text.len(), format!("at most {MAX_TEXT_BYTES} bytes")));
    }
    let mut parser = Parser { at: Cursor::new(text), now, carried: None, primitives: 0, nesting: 0 };
    let query = Query { expr: parser.expression() };
    if parser.at.has_errors() {
        return Err(parser.at.into_errors());
    }
    let written_bytes = written_len(&query);
    if written_bytes > MAX_TEXT_BYTES {
        return Err(too_long(text, written_bytes, format!("at most {MAX_TEXT_BYTES} bytes when written out in full")));
    }
    Ok(query)
}

fn too_long(shown: &str, len_bytes: usize, expected: String) -> QueryErrors {
    let end = shown.len();
    let error = QueryError { fault: Fault::TooLong { len_bytes }, span: end..end, expected, suggestions: Vec::new() };
    QueryErrors { text: shown.to_owned(), errors: vec![error], omitted: 0 }
}

/// The bytes of a query as it is displayed: what is displayed must parse again.
fn written_len(query: &Query) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    write!(count, "{query}").map_or(usize::MAX, |()| count.0)
}

/// The state of a parse.
pub(super) struct Parser<'a> {
    pub(super) at: Cursor<'a>,
    pub(super) now: TimestampNs,
    /// The qualifiers that a value without a keyword takes over, as in `host A or B`.
    pub(super) carried: Option<Head>,
    primitives: usize,
    nesting: usize,
}

/// What has been read of a query, or of a pair of parentheses.
#[derive(Default)]
struct Group {
    left: Option<(Expr, Operator)>,
    /// How many `not`s precede the operand that comes next.
    nots: usize,
}

/// A group that waits for the end of the parentheses within it.
struct Outer {
    group: Group,
    open: Range<usize>,
    /// What was carried at the parenthesis.
    carried: Option<Head>,
}

#[derive(Clone, Copy)]
enum Operator {
    And,
    Or,
}

impl Group {
    /// All of it, with the operand that comes next: to the left, as all operators have one precedence.
    fn take(&mut self, operand: Expr) -> Expr {
        let operand = (0..std::mem::take(&mut self.nots)).fold(operand, |expr, _| expr.negate());
        match self.left.take() {
            None => operand,
            Some((left, Operator::And)) => left.and(operand),
            Some((left, Operator::Or)) => left.or(operand),
        }
    }
}

impl Parser<'_> {
    /// The whole query. Where errors were noted, the tree is of no use.
    fn expression(&mut self) -> Expr {
        if self.at.kind() == Kind::End {
            let Noted = self.at.fail(0..0, Fault::Empty, "a primitive, such as `host 10.0.0.1` or `port 53`");
            return Expr::Is(Primitive::Time(TimeSpan::ALL));
        }
        let mut group = Group::default();
        let mut outer: Vec<Outer> = Vec::new();
        loop {
            match self.at.kind() {
                Kind::Not => {
                    self.descend();
                    group.nots += 1;
                    self.at.advance();
                }
                Kind::Open => {
                    self.descend();
                    let waiting = std::mem::take(&mut group);
                    outer.push(Outer { group: waiting, open: self.at.span(), carried: self.carried });
                    self.at.advance();
                }
                _ => {
                    let operand = self.operand();
                    self.nesting = self.nesting.saturating_sub(group.nots);
                    let left = group.take(operand);
                    let (left, operator) = self.close_groups(left, &mut group, &mut outer);
                    let Some(operator) = operator else { return left };
                    group.left = Some((left, operator));
                }
            }
        }
    }

    /// From behind an operand through the parentheses that close there to the operator that follows; `None` at the end.
    fn close_groups(&mut self, mut read: Expr, group: &mut Group, outer: &mut Vec<Outer>) -> (Expr, Option<Operator>) {
        loop {
            match self.at.kind() {
                Kind::And => {
                    self.at.advance();
                    return (read, Some(Operator::And));
                }
                Kind::Or => {
                    self.at.advance();
                    return (read, Some(Operator::Or));
                }
                Kind::Close => {
                    match outer.pop() {
                        Some(parent) => {
                            self.carried = parent.carried;
                            *group = parent.group;
                            self.nesting = self.nesting.saturating_sub(1 + group.nots);
                            read = group.take(read);
                        }
                        None => {
                            let Noted = self.at.unexpected("`and`, `or` or the end: no `(` is open");
                        }
                    }
                    self.at.advance();
                }
                Kind::End => {
                    for unclosed in outer.drain(..) {
                        let Noted = self.at.fail(unclosed.open, Fault::Unclosed { open: '(' }, "a `)` after it");
                    }
                    return (read, None);
                }
                Kind::Open | Kind::Not => {
                    self.at.missing_operator();
                    return (read, Some(Operator::And));
                }
                _ => {
                    self.at.missing_operator();
                    if self.at.word().is_some_and(vocabulary::begins_primitive) {
                        return (read, Some(Operator::And));
                    }
                    self.at.skip_operand();
                }
            }
        }
    }

    /// One primitive. After an error something else stands in its place, only to go on from there.
    fn operand(&mut self) -> Expr {
        self.primitive().unwrap_or_else(|Noted| {
            self.at.skip_operand();
            Expr::Is(Primitive::Time(TimeSpan::ALL))
        })
    }

    /// One level deeper; past the bound the parse ends.
    fn descend(&mut self) {
        self.nesting += 1;
        if let Err(Noted) = self.check_depth(0) {
            self.nesting = 0;
        }
    }

    /// That `more` levels can be nested here; where not, the parse ends.
    pub(super) fn check_depth(&mut self, more: usize) -> Parsed<()> {
        if self.nesting + more <= MAX_NESTING {
            return Ok(());
        }
        let noted =
            self.at.fail(self.at.span(), Fault::TooDeep, format!("at most {MAX_NESTING} levels of `(` and `not`"));
        self.at.stop();
        Err(noted)
    }

    /// Counts primitives and items of lists; past the bound the parse ends.
    pub(super) fn count(&mut self, more: usize, span: Range<usize>) -> Parsed<()> {
        self.primitives += more;
        if self.primitives <= MAX_PRIMITIVES {
            return Ok(());
        }
        let expected = format!("at most {MAX_PRIMITIVES}, items of lists included");
        let noted = self.at.fail(span, Fault::TooManyPrimitives, expected);
        self.at.stop();
        Err(noted)
    }
}
