"""What was measured, beside what was asked for: printed as it comes, and written into the documentation."""
import dataclasses
import statistics

from host import ROOT, say
from plot import svg


@dataclasses.dataclass(frozen=True)
class Mark:
    """What is asked of the ratio of ours to another's, or, where nobody else is named, of ours alone."""

    against: str | None = None
    at_most: float | None = None
    at_least: float | None = None

    def met(self, value):
        return value <= self.at_most if self.at_least is None else value >= self.at_least

    def text(self):
        bound = f"<= {self.at_most:g}" if self.at_least is None else f">= {self.at_least:g}"
        return f"{bound} of {self.against}" if self.against else bound


class Row:
    """One measure: the figures of each program, round by round. The first program is ours."""

    def __init__(self, what, unit, figures, *marks, digits=3):
        self.what, self.unit, self.figures, self.marks, self.digits = what, unit, figures, marks, digits
        self.ours = next(iter(figures))

    def median(self, name):
        return statistics.median(self.figures[name])

    def number(self, value):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{self.digits}g}"

    def values(self):
        """each program's median, and how far its rounds are apart"""
        parts = []
        for name, rounds in self.figures.items():
            apart = f" ({self.number(min(rounds))} to {self.number(max(rounds))})" if len(rounds) > 1 else ""
            parts.append(f"{name} {self.number(self.median(name))}{apart}")
        return ", ".join(parts)

    def judged(self):
        """for each mark: its text, the ratio of medians and its spread from round to round, whether it is met"""
        for mark in self.marks:
            ours = self.median(self.ours)
            if mark.against is None:
                yield mark.text(), self.number(ours), mark.met(ours)
                continue
            theirs = self.median(mark.against)
            ratios = [a / b for a, b in zip(self.figures[self.ours], self.figures[mark.against], strict=True) if b]
            ratio = ours / theirs if theirs else float("inf")
            apart = f" ({min(ratios):.3g} to {max(ratios):.3g})" if len(ratios) > 1 else ""
            yield mark.text(), f"{ratio:.3g}{apart}", mark.met(ratio)

    def text(self):
        lines = [f"{self.what} [{self.unit}]: {self.values()}"]
        lines += [f"    mark {mark}: {ratio} {'met' if met else 'NOT MET'}" for mark, ratio, met in self.judged()]
        return "\n".join(lines)

    def cells(self):
        judged = list(self.judged())
        yield [self.what, self.unit, self.values(), "<br>".join(m for m, _, _ in judged) or "none",
               "<br>".join(r for _, r, _ in judged), "<br>".join("met" if met else "**not met**" for _, _, met in judged)]


class Report:
    """The rows of this run, in groups of the name under which they are asked for."""

    def __init__(self):
        self.groups = {}
        self.pictures = {}

    def add(self, group, row):
        self.groups.setdefault(group, []).append(row)
        say(row.text())

    def note(self, group, text):
        self.groups.setdefault(group, []).append(text)
        say(text)

    def plain(self, group, heads, rows, curves):
        """A table without marks, and a picture of some of its columns, by name, as curves over the first one."""
        value = lambda cell: float(cell.replace(",", ""))
        points = {name: [(value(row[0]), value(row[column])) for row in rows] for name, column in curves.items()}
        name = group.replace(" ", "-")
        self.pictures[name] = svg(heads[0], points)
        lines = [heads, ["---"] * len(heads), *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        self.note(group, f"{table}\n\n![{', '.join(curves)}, over {heads[0]}](pictures/{name}.svg)")

    def summary(self):
        met = [ok for rows in self.groups.values() for row in rows if isinstance(row, Row) for _, _, ok in row.judged()]
        missed = [f"  not met: {row.what}: {ratio}, mark {mark}" for rows in self.groups.values() for row in rows
                  if isinstance(row, Row) for mark, ratio, ok in row.judged() if not ok]
        return "\n".join([f"{sum(met)} of {len(met)} marks met", *missed])

    def write(self, facts, rounds):
        """Puts each group in the place of the one of its name in the documentation; the others stay."""
        self.write_pictures()
        for path in (ROOT / "docs" / "BENCHMARKS.md", ROOT / "docs" / "SCALE.md"):
            text = path.read_text()
            for group, rows in self.groups.items():
                begin, end = f"<!-- {group} -->\n", f"<!-- end of {group} -->"
                if begin in text:
                    before, rest = text.split(begin)
                    text = before + begin + section(rows, facts, rounds) + end + rest.split(end)[1]
            path.write_text(text)

    def write_pictures(self):
        pictures = ROOT / "docs" / "pictures"
        pictures.mkdir(exist_ok=True)
        for name, picture in self.pictures.items():
            (pictures / f"{name}.svg").write_text(picture)


def section(rows, facts, rounds):
    taken = [len(figures) for row in rows if isinstance(row, Row) for figures in row.figures.values()]
    rounds = max(taken, default=rounds)
    measured = [cells for row in rows if isinstance(row, Row) for cells in row.cells()]
    heads = ["what", "unit", "medians (least and most of the rounds)", "mark", "ratio, Steno : other", "met"]
    lines = [heads, ["---"] * len(heads), *measured] if measured else []
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    notes = "\n".join(f"{row}\n" for row in rows if isinstance(row, str))
    return f"{facts[0].upper()}{facts[1:]}; {rounds} rounds at most.\n\n{table}{chr(10) if table and notes else ''}{notes}"
