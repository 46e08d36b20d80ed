//! Errors as a person reads them: the message, the line it is about, and a mark under the place.
//!
//! The text of a query may come from anywhere, so nothing of it reaches a terminal that the terminal would act upon.

use std::fmt;

use super::error::{QueryError, QueryErrors};

/// The most columns of a line that are shown; of a longer one, those around the place.
const MAX_COLUMNS: usize = 100;
/// Columns that are shown before the place where the line begins earlier than can be shown.
const LEAD_COLUMNS: usize = 40;
/// Stands for what is left out.
const CUT: char = '…';

/// All errors of a text, one after the other, without a line end at the end.
pub(super) fn report(errors: &QueryErrors, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, error) in errors.errors.iter().enumerate() {
        if i > 0 {
            f.write_str("\n")?;
        }
        one(&errors.text, error, f)?;
    }
    match errors.omitted {
        0 => Ok(()),
        1 => f.write_str("\nand 1 more error"),
        n => write!(f, "\nand {n} more errors"),
    }
}

fn one(text: &str, error: &QueryError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let before = text.get(..error.span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let span = error.span.start.saturating_sub(line_start)..error.span.end.saturating_sub(line_start);
    let gutter =
        if text.trim_end().contains('\n') { (before.matches('\n').count() + 1).to_string() } else { " ".to_owned() };
    let Excerpt { shown, blank_columns, mark_columns } = excerpt(line, span);
    writeln!(f, "error: {}", error.fault)?;
    writeln!(f, "{gutter} | {shown}")?;
    write!(
        f,
        "{:gutter_columns$} | {:blank_columns$}{}",
        "",
        "",
        "^".repeat(mark_columns),
        gutter_columns = gutter.len()
    )?;
    let label = label(error);
    if label.is_empty() { Ok(()) } else { write!(f, " {label}") }
}

/// What was expected, and what may have been meant.
fn label(error: &QueryError) -> String {
    let expected = (!error.expected.is_empty()).then(|| format!("expected {}", error.expected));
    let quoted: Vec<String> = error.suggestions.iter().map(|word| format!("`{word}`")).collect();
    let meant = quoted.split_last().map(|(last, others)| match others {
        [] => format!("did you mean {last}?"),
        _ => format!("did you mean {} or {last}?", others.join(", ")),
    });
    expected.into_iter().chain(meant).collect::<Vec<_>>().join("; ")
}

/// The part of a line that is shown, and where the mark goes under it.
struct Excerpt {
    shown: String,
    blank_columns: usize,
    mark_columns: usize,
}

/// The part of `line` around `span` (bytes of the line; one that goes past its end is cut there).
fn excerpt(line: &str, span: std::ops::Range<usize>) -> Excerpt {
    let (begin, mut column) = if fits(line) { (0, 0) } else { lead(line.get(..span.start).unwrap_or(line)) };
    let mut out = Excerpt { shown: String::new(), blank_columns: 0, mark_columns: 0 };
    if begin > 0 {
        out.shown.push(CUT);
        out.blank_columns += 1;
    }
    for (at, c) in line.get(begin..).unwrap_or_default().char_indices() {
        let (at, (c, width)) = (begin + at, visible(c));
        column += width;
        if column > MAX_COLUMNS {
            out.shown.push(CUT);
            break;
        }
        out.shown.push(c);
        if at < span.start {
            out.blank_columns += width;
        } else if at < span.end {
            out.mark_columns += width;
        }
    }
    out.mark_columns = out.mark_columns.max(1);
    out
}

/// Whether all of a line can be shown.
fn fits(line: &str) -> bool {
    let mut columns = 0;
    line.chars().all(|c| {
        columns += visible(c).1;
        columns <= MAX_COLUMNS
    })
}

/// The byte from which on what comes before a place is shown, and the column that it stands in: the first one, but for half of a wide
/// character. Looks no further back, as there may be many places and the line may be the whole of a long text.
fn lead(before: &str) -> (usize, usize) {
    let mut columns = 0;
    let mut begin = before.len();
    for (at, c) in before.char_indices().rev() {
        let width = visible(c).1;
        if columns + width > LEAD_COLUMNS {
            return (begin, LEAD_COLUMNS - columns);
        }
        (begin, columns) = (at, columns + width);
    }
    (0, 0)
}

/// A character as it is shown, and how many columns of a terminal it takes: a tab as one blank, what a terminal would
/// act upon (control characters, changes of direction) as a replacement character.
fn visible(c: char) -> (char, usize) {
    match c {
        '\t' => (' ', 1),
        c if is_acted_upon(c) => ('\u{fffd}', 1),
        // Combining marks of the common blocks lie over the character before.
        '\u{0300}'..='\u{036f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' => (c, 0),
        // East Asian wide and full-width characters, and emoji (Unicode Standard Annex 11, by block).
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => (c, 2),
        c => (c, 1),
    }
}

/// Whether a terminal acts upon a character rather than showing it: control characters, line separators, marks that
/// change the direction of text, and what takes no column at all.
pub(crate) fn is_acted_upon(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, looking at all of the line.
    fn excerpt_of_all(line: &str, span: std::ops::Range<usize>) -> Excerpt {
        let cell = |(at, c)| (at, visible(c).0, visible(c).1);
        let cells: Vec<(usize, char, usize)> = line.char_indices().map(cell).collect();
        let columns = |cells: &[(usize, char, usize)]| cells.iter().map(|&(.., width)| width).sum::<usize>();
        let before = cells.partition_point(|&(at, ..)| at < span.start);
        let first =
            if columns(&cells) <= MAX_COLUMNS { 0 } else { columns(&cells[..before]).saturating_sub(LEAD_COLUMNS) };
        let begin = (0..=cells.len()).find(|&n| columns(&cells[..n]) >= first).unwrap();
        let fits = |n: &usize| columns(&cells[..*n]) <= first + MAX_COLUMNS;
        let end = (begin..=cells.len()).take_while(fits).last().unwrap_or(begin);
        let shown: String = cells[begin..end].iter().map(|&(_, c, _)| c).collect();
        let cut = |is_cut: bool| if is_cut { CUT.to_string() } else { String::new() };
        let marked = cells.partition_point(|&(at, ..)| at < span.end).clamp(begin, end);
        Excerpt {
            shown: cut(first > 0) + &shown + &cut(end < cells.len()),
            blank_columns: usize::from(first > 0) + columns(&cells[begin..before.clamp(begin, end)]),
            mark_columns: columns(&cells[before.clamp(begin, end)..marked]).max(1),
        }
    }

    proptest! {
        #[test]
        fn an_excerpt_is_the_same_whatever_is_further_off(
            words in proptest::collection::vec("[a-c漢\u{301}\t]{0,60}", 0..8),
            start in 0usize..500,
            len in 0usize..150,
        ) {
            let line = words.concat();
            let place = |at: usize| (0..=at.min(line.len())).rev().find(|&at| line.is_char_boundary(at)).unwrap();
            let span = place(start)..place(start + len);
            let (one, all) = (excerpt(&line, span.clone()), excerpt_of_all(&line, span));
            prop_assert_eq!(one.shown, all.shown);
            prop_assert_eq!((one.blank_columns, one.mark_columns), (all.blank_columns, all.mark_columns));
        }
    }
}
