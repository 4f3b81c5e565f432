"""Searching in a table of finished trainings: what it says, what is refused, resume."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Cli, said

from evonas.core.experiment import check
from evonas.core.settings import TableSettings
from evonas.errors import InputError
from evonas.space import Architecture
from evonas.workflows.result_table import Table
from evonas.workflows.tabular_benchmark import TabularBenchmark

WIDTHS, KINDS = (8, 16, 32), ("plain", "residual")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    return path


def grid() -> list[dict[str, Any]]:
    """Every width with every kind; the best is 16, residual: 3.0 at 2 * 500 operations."""
    return [
        {"width": w, "kind": k, "rmse": 5 - 2 * (k == "residual") + abs(w - 16) / 8, "ops": 2 * i}
        for i, (w, k) in enumerate(itertools.product(WIDTHS, KINDS), start=498)
    ]


def test_a_row_with_more_cells_than_the_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "past.csv").write_text("width,rmse\n8,1.0\n16,2.0,3.0\n", encoding="utf-8")
    given = {"file": str(tmp_path / "past.csv"), "genes": ["width"], "error": "rmse"}
    with pytest.raises(InputError, match=r"past\.csv, line 3: has more cells than the header"):
        Table(TableSettings.model_validate(given))


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    return write(tmp_path / "past.csv", grid())


def settings(file: Path, **changes: Any) -> TableSettings:
    given = {"file": str(file), "genes": ["width", "kind"], "error": "rmse", "cost": "ops"}
    return TableSettings.model_validate({**given, **changes})


def arch(width: int, kind: str) -> Architecture:
    return Architecture("table", {"width": width, "kind": kind})


def test_columns_become_genes_by_what_they_hold(table_file: Path) -> None:
    table = Table(settings(table_file))
    kinds = {gene.name: (gene.kind, gene.values) for gene in table.space.genes}
    assert kinds == {"width": ("ordinal", WIDTHS), "kind": ("choice", KINDS)}
    assert table.space.size == len(table) == 6


def test_answers_are_those_of_the_rows(table_file: Path) -> None:
    table = Table(settings(table_file))
    found = table.measure(arch(16, "residual"))
    assert (found.status, found.metrics["error"], found.macs) == ("ok", 3.0, 501)
    assert table.cost(arch(8, "plain")) == 498
    assert Table(settings(table_file, cost_in="macs")).cost(arch(8, "plain")) == 996


def test_numbers_may_be_mere_names(table_file: Path) -> None:
    def kinds(unordered: object) -> list[str]:
        table = Table(settings(table_file, unordered=unordered))
        return [gene.kind for gene in table.space.genes]

    assert kinds(["width"]) == kinds(True) == ["choice", "choice"]
    assert kinds([]) == kinds(False) == ["ordinal", "choice"]
    with pytest.raises(InputError, match="no gene 'widht': did you mean 'width'"):
        kinds(["widht"])


def test_parameters_are_an_axis_where_the_table_tells_them(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", [row | {"size": 7 * i} for i, row in enumerate(grid())])
    assert Table(settings(file, params="size")).measure(arch(8, "residual")).params == 7

    def objective(axes: list[str], **table: str) -> object:
        given = settings(file, **table).model_dump()
        data = {"name": "t", "table": given, "objective": {"axes": axes}}
        return TabularBenchmark(check(data, "test")).objective

    objective(["error", "params"], params="size")
    with pytest.raises(InputError, match="name its column as table"):
        objective(["error", "params"])
    with pytest.raises(InputError, match=r"has no 'latency'$"):
        objective(["error", "macs", "latency"], params="size")


def test_digits_and_accuracy(tmp_path: Path) -> None:
    words = ["".join(word) for word in itertools.product("012", repeat=3)]
    rows = [{"arch": word, "acc": 90 + sum(map(int, word))} for word in words]
    file = write(tmp_path / "t.csv", rows)
    table = Table(TableSettings(file=str(file), digits="arch", accuracy="acc"))
    assert [gene.name for gene in table.space.genes] == ["gene0", "gene1", "gene2"]
    architecture = Architecture("table", {"gene0": 2, "gene1": 1, "gene2": 2})
    assert table.measure(architecture).metrics["error"] == 5.0
    assert table.cost(architecture) == 0


def test_a_combination_that_is_not_there_is_over_every_limit(tmp_path: Path) -> None:
    table = Table(settings(write(tmp_path / "t.csv", grid()[1:])))
    missing = arch(8, "plain")
    assert table.cost(missing) > table.costliest
    assert "not in the table" in table.measure(missing).error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[2].update(rmse="much"), r"line 4: rmse is 'much', expected a number"),
        (lambda rows: rows[1].update(rmse="nan"), r"line 3: rmse is 'nan', expected a number"),
        (lambda rows: rows.append({**rows[0], "rmse": 9}), r"line 8: this architecture stands"),
        (lambda rows: [row.pop("ops") for row in rows], r"the column 'ops' is missing"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    rows = grid()
    change(rows)
    with pytest.raises(InputError, match=said) as caught:
        Table(settings(write(tmp_path / "t.csv", rows)))
    assert "\n" not in str(caught.value)


def test_words_of_several_lengths_are_no_digits(table_file: Path) -> None:
    given = TableSettings(file=str(table_file), digits="kind", error="rmse")
    with pytest.raises(InputError, match="words of one length"):
        Table(given)


@pytest.mark.parametrize(
    "changes", [{"genes": []}, {"digits": "x"}, {"error": ""}, {"accuracy": "rmse"}]
)
def test_what_is_what_has_to_be_said_once(table_file: Path, changes: dict[str, Any]) -> None:
    given = settings(table_file).model_dump() | changes
    with pytest.raises(InputError, match="either genes or digits, and either error or accuracy"):
        check({"name": "t", "table": given}, "tests")


@pytest.fixture
def experiment(tmp_path: Path, table_file: Path) -> Path:
    content = {
        "name": "past",
        "budget": 4,
        "optimizer": {"name": "random", "population_size": 2},
        "table": settings(table_file).model_dump(),
    }
    path = tmp_path / "past.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_search_reads_the_table_resumes_and_finds_the_best(
    evonas: Cli, experiment: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, out, err = evonas("search", experiment, "--run-dir", run)
    assert code == 0, err
    assert "6 trainings in a table" in out
    assert "evonas retrain" not in out
    before = (run / "journal.jsonl").read_text("utf-8")
    code, out, err = evonas("search", "--resume", "--run-dir", run, "--budget", "6")
    assert code == 0, err
    assert (run / "journal.jsonl").read_text("utf-8").startswith(before)
    best = json.loads((run / "best.json").read_text("utf-8"))
    assert best["architecture"]["settings"] == {"width": 16, "kind": "residual"}
    assert (best["fitness"], best["flops"]) == (3.0, 1002)
    code, _, err = evonas("retrain", run / "best.json")
    assert (code, "nothing to retrain" in err) == (2, True)


def test_a_changed_table_is_not_resumed(evonas: Cli, experiment: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert evonas("search", experiment, "--run-dir", run)[0] == 0
    write(tmp_path / "past.csv", [{**row, "rmse": row["rmse"] + 1} for row in grid()])
    code, _, err = evonas("search", "--resume", "--run-dir", run, "--budget", "6")
    assert code == 2
    assert "the content of the data" in err


def test_the_limit_is_the_users_or_the_tables(table_file: Path) -> None:
    plain = {"name": "t", "table": settings(table_file).model_dump()}
    assert TabularBenchmark(check(plain, "tests")).objective.settings.max_macs == 503
    limited = check({**plain, "objective": {"max_macs": 500}}, "tests")
    assert TabularBenchmark(limited).objective.settings.max_macs == 500


def test_validate_reads_it(evonas: Cli, experiment: Path) -> None:
    code, out, _ = evonas("validate", experiment)
    assert (code, "looked up in a table of 6" in out) == (0, True)
    code, _, err = evonas("validate", experiment, "table.file=elsewhere.csv")
    assert (code, "elsewhere.csv: cannot be read" in err) == (2, True)


def test_a_table_without_costs_is_searched_by_error_alone(evonas: Cli, tmp_path: Path) -> None:
    rows = [{"a": a, "b": b, "error": 1 + abs(a - 2) + b} for a in range(4) for b in range(3)]
    write(tmp_path / "t.csv", rows[:-1])  # one combination lacks
    plan = "name: t\nbudget: 11\ntable: {file: t.csv, genes: [a, b], error: error}\n"
    (tmp_path / "t.yaml").write_text(plan)
    code, _, err = evonas("search", "t.yaml", "--run-dir", "run")
    assert code == 0, err
    best = json.loads((tmp_path / "run/best.json").read_text())
    assert best["architecture"]["settings"] == {"a": 2, "b": 0}
    for change, message in (
        ("objective.mode=soft", "objective.mode=soft: the table has no cost"),
        ("objective.cost=params", "objective.cost=params: the table has no 'params'"),
    ):
        assert said(evonas("search", "t.yaml", "--run-dir", "other", change)).startswith(message)


def test_a_table_has_no_weights(evonas: Cli, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,error\n1,2.0\n2,1.0\n")
    (tmp_path / "t.yaml").write_text(
        "name: t\ntable: {file: table.csv, genes: [a], error: error}\n"
    )
    told = said(evonas("search", "t.yaml", "--inherit"))
    assert told == "inherit=true: a table has no weights that could be inherited"
