"""Tables in a narrow terminal: nothing is cut, no figure is broken."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from evonas.report.tables import Table, markdown, show

FIGURES = [f"{k}.{k}{k} ±0.{k}{k}" for k in range(1, 9)]
WIDE = Table(
    "Errors",
    ["network", "tap", *(f"metric {k}" for k in range(1, 9))],
    [["a hand-made residual head", "conv128_2", *FIGURES], ["constant", "-", *FIGURES[::-1]]],
    ["a note"],
)


def printed(table: Table, width: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    show(table, console)
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 80])
def test_where_no_terminal_is_a_table_is_as_wide_as_its_cells(width: int) -> None:
    stream = io.StringIO()
    show(WIDE, console := Console(file=stream, width=width))
    first, *lines = stream.getvalue().splitlines()
    assert (first, len(lines), console.width) == ("Errors", 7, width)
    assert len({len(line) for line in lines[:-1]}) == 1
    for row in WIDE.rows:
        cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
        assert list(row) in cells


@pytest.mark.parametrize("width", [60, 80, 100, 300])
def test_every_figure_stands_whole_in_one_line(width: int) -> None:
    text = printed(WIDE, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for cell in (*FIGURES, *WIDE.columns[2:]):
        assert any(cell in line for line in text.splitlines()), cell
    assert text.count("a note") == 1


def test_a_table_that_fits_is_in_one_part_and_a_wide_one_says_that_it_goes_on() -> None:
    assert "continued" not in printed(WIDE, 300)
    assert printed(WIDE, 80).count("continued") >= 1


def test_parts_repeat_the_names_of_the_rows() -> None:
    lines = printed(WIDE, 80).splitlines()
    heads = [line for line in lines if "network" in line]
    assert len(heads) == 1 + sum("continued" in line for line in lines)
    single = Table("t", ["class", *WIDE.columns[2:]], [["x", *FIGURES]], names=1)
    assert all("metric 1" not in line for line in printed(single, 60).splitlines()[8:])


def test_a_column_of_the_only_label_is_not_shown_beside_that_of_all() -> None:
    heads = ["network", "tap", "mae", "mae_age", "rmse", "rmse_age", "maes"]
    rows = [["a", "b", "1", "1", "2", "2", "1"], ["c", "d", "3", "3", "4", "5", "3"]]
    table = Table("t", heads, rows).distinct()
    assert table.columns == ["network", "tap", "mae", "rmse", "rmse_age", "maes"]
    assert table.rows[1] == ["c", "d", "3", "4", "5", "3"]
    two = Table("t", ["MAE", "mae_yaw", "mae_roll"], [["2", "1", "3"]])
    assert two.distinct() == two
    heads = ["mae, years", "mae_age"]
    assert Table("t", heads, [["1", "1"]]).distinct().columns == heads[:1]
    assert Table("t", heads, []).distinct().columns == heads


def test_markdown_keeps_all_columns_together() -> None:
    first = [line for line in markdown(WIDE).splitlines() if line.startswith("| a hand")]
    assert all(figure in first[0] for figure in FIGURES)
