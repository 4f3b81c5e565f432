"""The live view, as text: in terminals of several widths, and in a pipe."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from command_line import Cli
from msgspec.structs import replace
from rich.console import Console

from evonas.report.live_view import SearchView, Tally, TimeLeft, Work, plain, sparkline
from evonas.runs.run_store import Trial

LONG = "a_metric_with_quite_a_long_name_that_somebody_gave_it_for_good_reasons"


def trial(index: int, fitness: float | None, **changes: Any) -> Trial:
    made = Trial(
        index // 4,
        index % 4,
        (0.5,),
        f"{index:016x}",
        {},
        "failed" if fitness is None else "ok",
        fitness,
        macs=1_234_567,
        params=98_765,
        metrics={} if fitness is None else {"mae": fitness - 1, LONG: fitness - 1},
        error="diverged: the loss became nan" if fitness is None else "",
    )
    return replace(made, **changes)


TRIALS = [
    trial(0, 20.0),
    trial(1, None),
    trial(2, 16.0),
    trial(3, None, error="oom-gpu: too large"),
    trial(4, 12.5, latency=0.4321),
    trial(5, None),
    trial(6, None, status="infeasible", error=""),
    trial(7, 12.5, status="repeat"),
]


def terminal(width: int, **options: Any) -> Console:
    return Console(width=width, force_terminal=True, record=True, file=io.StringIO(), **options)


def shown(
    width: int, trials: list[Trial] = TRIALS, metric: str = "mae", console: Console | None = None
) -> list[str]:
    """The rows of the panel, of a search that trains 6 networks in 30 seconds."""
    console = console or terminal(width)
    ticks = iter([0.0])
    view = SearchView(console, Work(60), (metric, "degrees"), clock=lambda: next(ticks, 30.0))
    for one in trials:
        view.show(one)
    console.print(view.panel())
    return console.export_text().splitlines()


def test_a_panel_of_80_columns() -> None:
    bar, *rows = shown(80)
    assert len(bar.rstrip()) == 60
    assert [row.rstrip() for row in rows] == [
        "trained  6 / 60  (generation 2; 1 repeats, 1 over the limit)",
        "best     fitness 12.500: mae 11.500 degrees",
        "cost     1.23 M multiply-adds of head, 98.8 k parameters, 0.432 ms",
        "history  ██▄▄▁▁  fitness 20.000 to 12.500",
        "failed   3: 2 diverged, 1 oom-gpu",
        "time     30 s spent, about 4 min 30 s left; 12 a minute",
    ]


def test_minutes_have_a_bar_and_what_is_left_of_them() -> None:
    console, ticks = terminal(80), iter([0.0])
    view = SearchView(
        *(console, Work(None), ("mae", "degrees")),
        clock=lambda: next(ticks, 30.0),
        time_budget=TimeLeft(600.0, before=120.0),
    )
    for one in TRIALS:
        view.show(one)
    console.print(view.panel())
    bar, trained, *_, time = [row.rstrip() for row in console.export_text(styles=True).splitlines()]
    assert "trained  6  (generation 2; 1 repeats, 1 over the limit)" in trained
    assert "time     2 min 30 s of 10 min 00 s spent, 7 min 30 s left; 12 a minute" in time
    first = re.search(r"━+", bar)  # in the colour of what is done
    assert first
    assert len(first[0]) == 15, "a quarter of the minutes is spent"


def test_a_pipe_says_how_much_of_the_minutes_is_left() -> None:
    stream, ticks = io.StringIO(), iter([0.0])
    view = SearchView(
        *(Console(file=stream), Work(40), ("mae", "degrees")),
        clock=lambda: next(ticks, 50.0),
        time_budget=TimeLeft(600.0, before=0.0),
    )
    view.show(trial(0, 20.0))
    assert stream.getvalue().startswith("1/40 trained, 0 repeats, 0 failed, 9 min 10 s left; best")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("metric", ["mae", LONG])
def test_rows_are_cut_never_wrapped_or_broken(width: int, metric: str) -> None:
    many = [trial(n, 20.0 - n / 10) for n in range(40)]
    failed = [trial(40 + n, None, error=f"a-kind-of-failure-{n}: x") for n in range(9)]
    rows = shown(width, [*many, *failed, *TRIALS], metric)
    names = ["trained", "best", "cost", "history", "failed", "time"]
    assert [row.split()[0] for row in rows[1:]] == names
    assert max(len(row.rstrip()) for row in rows) <= width
    whole = shown(500, [*many, *failed, *TRIALS], metric)
    for row, full in zip(rows[1:], whole[1:], strict=True):
        row, full = row.rstrip(), full.rstrip()
        assert row == full if len(full) <= width else row[-1] == "…" and full.startswith(row[:-1])


FITTED = {"curve": (9.0, 5.0, 5.1, 5.2), "losses": (0.5, 0.25, 0.2, 0.1)}


def test_the_training_loss_of_the_last_training_has_a_row() -> None:
    (row,) = (row for row in shown(200, [*TRIALS, trial(8, 13.0, **FITTED)]) if "loss" in row[:9])
    assert row.rstrip() == (
        "loss     0.5 to 0.1 on training images, last training; overfits: lowest validation error "
        "in epoch 2 of 4, 4 % higher in the last, while the training loss fell"
    )
    repeat = trial(8, 13.0, **FITTED, status="repeat")
    assert not [row for row in shown(200, [*TRIALS, repeat]) if row.startswith("loss ")]
    one = trial(8, 13.0, curve=(9.0,), losses=(0.5,), status="final", repeat=1)
    assert "loss     0.5 on training images, last training" in [
        row.rstrip() for row in shown(200, [*TRIALS, one])
    ]


def test_in_a_pipe_a_new_best_has_its_loss_and_remark() -> None:
    stream = io.StringIO()
    view = SearchView(Console(file=stream, width=80), Work(60), ("mae", "degrees"))
    view.show(trial(0, 20.0))
    view.show(trial(1, 18.0, **FITTED))
    first, second, remark = stream.getvalue().splitlines()
    assert "training loss" not in first
    assert second.endswith("; training loss 0.5 to 0.1")
    assert remark.startswith(f"  {1:016x} overfits: lowest validation error in epoch 2 of 4")


def test_before_the_first_result_little_is_known() -> None:
    rows = [row.rstrip() for row in shown(80, [])]
    assert rows[1:] == [
        "trained  0 / 60  (generation 1; 0 repeats, 0 over the limit)",
        "best     no result yet",
        "time     30 s spent, about ? left; ? a minute",
    ]


def test_an_old_terminal_gets_no_bars_that_it_cannot_show() -> None:
    console = Console(
        width=80,
        force_terminal=True,
        record=True,
        file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    )
    assert not [row for row in shown(80, console=console) if row.startswith("history")]


def test_finals_are_counted() -> None:
    console = terminal(80)
    view = SearchView(console, Work(6), ("mae", "degrees"))
    view.finals(9)
    view.show(trial(0, 20.0))
    view.show(trial(0, 21.0, status="final", repeat=1))
    console.print(view.panel())
    assert "finals   1 / 9 further trainings" in console.export_text()


def test_a_race_says_how_many_finals_there_are_at_most() -> None:
    stream, console = io.StringIO(), terminal(80)
    SearchView(Console(file=stream), Work(6), ("mae", "degrees")).finals(13, race=True)
    words = "Finals: at most 13 further training(s) of the best, with other seeds\n"
    assert stream.getvalue() == words
    view = SearchView(console, Work(6), ("mae", "degrees"))
    view.catch_up([trial(0, 20.0), trial(0, 21.0, status="final", repeat=1)])
    view.finals(12, race=True)  # resumed: one of them is done
    console.print(view.panel())
    assert "finals   1 / at most 13 further trainings" in console.export_text()


def piped(*trials: Trial, known: int = 0) -> str:
    stream = io.StringIO()
    ticks = iter([0.0])
    view = SearchView(
        Console(file=stream), Work(6, known), ("mae", "degrees"), clock=lambda: next(ticks, 50.0)
    )
    with view:
        for one in trials:
            view.show(one)
        view.finals(4)
    return stream.getvalue()


def test_a_pipe_gets_a_line_where_something_happens() -> None:
    assert piped(*TRIALS[:5]).splitlines()[-3:] == [
        "  0000000000000003 failed: oom-gpu: too large",
        "5/6 trained, 0 repeats, 2 failed, 10 s left; best fitness 12.500: mae 11.500 degrees, "
        "1.23 M multiply-adds of head, 98.8 k parameters, 0.432 ms",
        "Finals: 4 further training(s) of the best, with other seeds",
    ]
    assert piped(trial(0, 20.0), trial(1, 21.0), trial(2, 22.0)).count("\n") == 2
    assert piped(trial(0, 20.0), known=1).count("\n") == 1, "it is known from before"


def test_what_an_error_says_cannot_steer_the_terminal() -> None:
    nasty = "exception: [/red] \x1b[2J\x07\r\n[bold]x\x9b1m"
    out = piped(trial(0, None, error=nasty))
    assert "failed: exception: [/red]  [2J   [bold]x 1m\n" in out
    assert all(character.isprintable() or character == "\n" for character in out)
    rows = shown(80, [trial(0, None, error="\x1b[2J[/red]: x")])
    assert any(row.rstrip() == "failed   1: 1  [2J[/red]" for row in rows)


def test_a_search_in_a_pipe_writes_plain_lines(evonas: Cli, tiny_file: object) -> None:
    code, out, err = evonas("search", tiny_file, "finals.seeds=1")
    assert (code, err) == (0, "")
    assert all(character.isprintable() or character == "\n" for character in out)
    assert re.search(r"6/6 trained, 0 repeats, 0 failed, .* left; best fitness", out)


def test_the_rate_counts_what_this_start_trained() -> None:
    moments = iter([100.0, 160.0, 160.0, 160.0, 160.0])
    tally = Tally(Work(10, known=2), clock=lambda: next(moments, 160.0))
    for index in range(5):
        tally.take(trial(index, 5.0))
    assert tally.rate == 3.0
    assert tally.left == 100.0


def test_the_first_estimate_does_not_take_the_start_of_workers_for_training() -> None:
    """Two workers of 10 s a training that need 20 s to start: of 40, 19 rounds are left."""
    now = [0.0]
    tally = Tally(Work(40, workers=2, further=10), clock=lambda: now[0])
    assert tally.left is None
    now[0] = 30.0
    tally.take(trial(0, 5.0, seconds=10.0))
    assert tally.rate == 2.0  # which would promise 39 + 10 trainings in 24 minutes
    assert tally.left == pytest.approx(49 * (5 + 25 / 9))
    for index in range(1, 40):
        now[0] = 30.0 + 10.0 * (index // 2)
        tally.take(trial(index, 5.0, seconds=10.0))
    assert tally.left == pytest.approx(10 * 5.0, rel=0.1)  # finals and baselines
    for index in range(10):
        tally.take(trial(index, 5.0, status="final", repeat=1))
    assert tally.left == 0


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([3.0], "▁"),
        ([3.0, 3.0], "▁▁"),
        ([8.0, 4.5, 1.0], "█▅▁"),
        ([float(n) for n in range(16, 0, -1)], "█▆▃▁"),
    ],
)
def test_sparklines(values: list[float], bars: str) -> None:
    assert sparkline(values, 4) == bars


def test_plain_text_stays() -> None:
    assert plain("±0.1 °, 50 %") == "±0.1 °, 50 %"
