"""Tables for the terminal and for Markdown, and those of a retraining."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table as RichTable

from evonas.tasks.common.prediction_format import HELD_OUT_LOSS

#: Mark behind the name of a network that costs more than the candidates may.
MARK = "*"
_ENDLESS = 100_000  # characters; wider than any table
_NARROW = 26  # width that a name's column may always have


@dataclass(frozen=True)
class Table:
    """A table of text: title, column heads, rows, and notes below.

    The first ``names`` columns name a row; the others hold figures.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    names: int = 2

    def distinct(self) -> Table:
        """Return the table without columns of one label that only repeat those of all labels.

        Where one label is learnt, ``mae_age`` equals ``mae`` in every row.
        """
        cells = [[row[i] for row in self.rows] for i in range(len(self.columns))]
        heads = [head.partition(",")[0].lower() for head in self.columns]
        kept = [
            i
            for i, head in enumerate(heads)
            if not any(
                head.startswith(f"{other}_") and cells[i] == cells[k] != []
                for k, other in enumerate(heads)
            )
        ]
        columns = [self.columns[i] for i in kept]
        return replace(self, columns=columns, rows=[[row[i] for i in kept] for row in self.rows])


def in_unit(words: str, unit: str, before: str = " in ") -> str:
    """Return ``words in unit``; the words alone where labels have no unit."""
    return f"{words}{before}{unit}" if unit else words


def multiply_adds(macs: float) -> str:
    """Return a cost as every message says it: ``1.28 M multiply-adds``."""
    millions = macs / 1e6
    return (
        f"{millions:.2f} M multiply-adds" if millions >= 0.1 else f"{millions:.2g} M multiply-adds"
    )


def held_out(folds: int, fold_by: str) -> str:
    """Return which images judge in a cross-validation, for titles; empty without folds.

    Args:
        folds: number of folds.
        fold_by: ``group``, ``image`` or ``each-group``; empty, as in files of earlier versions:
            ``group``.
    """
    if not folds:
        return ""
    if fold_by == "image":
        return f"held-out images of {folds} random folds by image"
    return f"held-out groups of {folds} folds" + ", one group each" * (fold_by == "each-group")


def errors(
    contenders: Sequence[Any],
    unit: str,
    folds: int = 0,
    warnings: Sequence[str] = (),
    fold_by: str = "",
) -> Table:
    """Return the errors of a retraining, on the test split if there is one.

    Args:
        contenders: what ``evonas.workflows.retraining`` returns.
        unit: of the errors.
        folds: of the cross-validation; 0 without one.
        warnings: lines below the table.
        fold_by: see ``held_out``.
    """
    first: Mapping[str, float] = next((c.results[0] for c in contenders if c.results), {})
    prefix = "test_" if any(name.startswith("test_") for name in first) else ""
    metrics = [
        name for name in first if name != "epoch" and name.startswith("test_") == bool(prefix)
    ]
    rows = []
    for contender in contenders:
        cells = [marked(contender.name, contender.over_limit), contender.tap or "-"]
        cells += [_error(contender, name, name == prefix + HELD_OUT_LOSS) for name in metrics]
        rows.append(cells)
    count = max((len(c.results) for c in contenders), default=0)
    where = "test split" if prefix else "validation split"
    where = held_out(folds, fold_by) or where
    title = in_unit(f"Errors on the {where}", unit, ", ")
    title += f", mean ± sd of {count}" if count > 1 else ""
    notes = [
        f"{c.name}: {len(c.failures)} failed: {c.failures[0]}" for c in contenders if c.failures
    ]
    if prefix + HELD_OUT_LOSS in metrics:
        notes.append(f"{HELD_OUT_LOSS}: the task's loss on these images, without a unit")
    columns = ["network", "tap", *(name.removeprefix(prefix) for name in metrics)]
    return Table(title, columns, rows, [*notes, *warnings]).distinct()


def costs(contenders: Sequence[Any], warnings: Sequence[str] = ()) -> Table:
    """Return the costs of a retraining: head, backbone up to the tap, total."""
    rows = []
    for contender in contenders:
        head, upto = contender.head, contender.upto
        cells = [marked(contender.name, contender.over_limit), contender.tap or "-"]
        cells.append(_sum(head.macs / 1e6, upto.macs / 1e6))
        cells.append(_sum(head.params / 1e3, upto.params / 1e3))
        cells.append(_sum(head.megabytes, upto.megabytes))
        rows.append(cells)
    silent = sorted({name for c in contenders for name, _ in c.head.uncounted})
    notes = ["1 multiply-add = 2 FLOPs; MB are decimal, 32-bit floats"]
    if silent:
        notes.append(f"operators that have no multiply-adds: {', '.join(silent)}")
    columns = ["network", "tap", "M multiply-adds", "k parameters", "MB"]
    notes += warnings
    return Table("Cost: head + backbone up to the tap = total", columns, rows, notes)


def marked(name: str, over_limit: bool) -> str:
    """Return a name, with a mark if the network costs more than the candidates may."""
    return f"{name} {MARK}" if over_limit else name


def legend(limits: str, marks: Iterable[bool]) -> list[str]:
    """Return the line that explains the mark; none where nothing is marked.

    Args:
        limits: of the candidates, as a user writes them.
        marks: whether each row is marked.
    """
    if not any(marks):
        return []
    return [f"{MARK} beyond the limits of the candidates, {limits}"]


def with_spread(mean: float, spread: float | None, form: str = ".3f") -> str:
    """Return ``mean ±spread`` as text; the mean alone where the spread is None."""
    return f"{mean:{form}}" + ("" if spread is None else f" ±{spread:{form}}")


def show(table: Table, console: Console) -> None:
    """Print a table; in a terminal split by columns if it is wider, elsewhere as wide as it is."""
    terminal = console.is_terminal
    for number, columns in enumerate(_parts(table, console.width if terminal else _ENDLESS)):
        drawn = RichTable()
        if terminal:
            drawn.title = table.title + (" (continued)" if number else "")
        else:  # a title above a table would be broken to the table's width
            console.print(table.title, style="italic", soft_wrap=True, highlight=False)
        for i in columns:
            justify: Literal["left", "right"] = "left" if i < table.names else "right"
            drawn.add_column(table.columns[i], justify=justify, overflow="fold")
        for row in table.rows:
            drawn.add_row(*(row[i] for i in columns))
        print_whole(drawn, console)
    for note in table.notes:
        console.print(note, soft_wrap=True)


def print_whole(drawn: RenderableType, console: Console) -> None:
    """Print what rich draws; in its own width, with no cell broken, where no terminal limits it."""
    if console.is_terminal:
        console.print(drawn)
        return
    before, options = console.width, console.options.update(max_width=_ENDLESS)
    console.width = max(Measurement.get(console, options, drawn).maximum, 1)
    console.print(drawn)
    console.width = before


def _parts(table: Table, width: int) -> list[list[int]]:
    """Return the columns of each part of a table that fits the width."""
    cells = [table.columns, *table.rows]
    needs = [max(len(row[i]) for row in cells) + 3 for i in range(len(table.columns))]
    names = [min(need, _NARROW) for need in needs[: table.names]]  # names may be folded
    parts: list[list[int]] = []
    left = 0
    for i in range(table.names, len(needs)):
        need = min(needs[i], width - sum(names) - 1)
        if not parts or need > left:
            parts.append(list(range(table.names)))
            left = width - sum(names) - 1
        parts[-1].append(i)
        left -= need
    return parts or [list(range(len(needs)))]


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    lines = [f"**{table.title}**", "", _line(table.columns), _line(["---"] * len(table.columns))]
    lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, "", *table.notes, ""])


def _error(contender: Any, name: str, loss: bool) -> str:
    """Return mean and spread of a metric; ``-`` for the missing loss of a constant prediction."""
    mean, spread = contender.mean(name), contender.spread(name)
    if loss and math.isnan(mean):
        return "-"
    form = ".4g" if loss else ".2f"
    return with_spread(mean, spread or None, form)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _sum(head: float, upto: float) -> str:
    return f"{head:.2f} + {upto:.2f} = {head + upto:.2f}"
