"""The benchmark of inheritance: what is trained side by side, and what its tables say."""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from inheritance import COLUMNS, Family, Row, known, measure, missed, write
from inheritance_report import report

from evonas.models.weight_inheritance import shapes
from evonas.workflows.components import Components


def test_what_the_published_code_leaves_at_random() -> None:
    kernel = torch.zeros(8, 4, 3, 3)
    assert missed((8, 4, 5, 5), kernel)
    assert not missed((8, 4, 3, 3), kernel), "the same shape is copied"
    assert not missed((8, 5, 5, 5), kernel), "other channels go another way"
    assert not missed((8,), torch.zeros(9))
    assert not missed((), kernel), "no such tensor"


def test_children_differ_in_one_gene_and_starts_in_nothing_else(
    components: Components, features: Any, tmp_path: Path
) -> None:
    family = Family(components, 0, 2, tmp_path)
    works = list(family.works(("tiny",), 6, 2, [1, 2], [3]))
    own = {parent.digest for parent in family.parents}
    assert len(own) == 2
    groups = {group: [w for w in works if w.row.group == group] for group in ("any", "kernel")}
    for group, count, starts in (("any", 6, 2), ("kernel", 2, 3)):
        children = {w.architecture.digest for w in groups[group]}
        assert len(children) == count
        assert not children & own
        longer = 2 if group == "any" else 0  # of a third of them, afresh
        assert len(groups[group]) == count * starts * 2 + longer
    assert all(w.row.gene.startswith("kernel") for w in groups["kernel"])
    assert all(bool(w.parent) == (w.row.start != "fresh") for w in works)
    assert shapes({"a": torch.zeros(2, 3)}) == {"a": (2, 3)}


def test_a_training_once_and_the_rest_from_the_file(
    tiny: dict[str, Any], tmp_path: Path, features: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    done: list[Row] = []

    class Here:
        """Does at once what a pool of processes would do."""

        def __init__(self, *_: Any, **__: Any) -> None: ...
        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, function: Any, work: Any) -> Any:
            done.append(row := function(work))
            return argparse.Namespace(result=lambda: row)

    monkeypatch.setattr("inheritance.ProcessPoolExecutor", Here)
    monkeypatch.setattr("inheritance.as_completed", list)
    args = argparse.Namespace(
        **{"experiment": str(file), "overrides": [], "parents": 1, "children": 2, "kernels": 1},
        **{"seeds": 1, "epochs": [1], "long": [], "workers": 1, "out": tmp_path / "rows.csv"},
    )
    measure(args)
    assert len(done) == 1 + 2 * 2 + 3
    assert {row.share > 0 for row in done if row.start == "inherited"} == {True}
    assert {row.share for row in done if row.start == "fresh"} == {0.0}
    assert all(row.error > 0 and row.loss > 0 for row in done)
    assert len(known(args.out)) == len(done)
    measure(args)
    assert len(done) == 8, "nothing is trained twice"
    assert "| 1 | inherited | 2 |" in report(args.out)


def test_the_tables_compare_children_with_themselves(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    losses = {"fresh": {1: 0.9, 2: 0.6, 5: 0.3}, "inherited": {1: 0.5}}
    for child in ("a", "b"):
        for start, curve in losses.items():
            for epochs, loss in curve.items():
                row = Row("toy", 0, "any", child, "g", start, epochs, 1.0, loss, 10 * loss)
                write(path, row)
    with path.open(newline="") as stream:
        assert next(csv.reader(stream)) == COLUMNS == list(asdict(row))
    told = report(path)
    assert "| 1 | fresh | 2 | 0.900 |  | 9.000 |  |  |" in told
    inherited = "| 1 | inherited | 2 | 0.500 | 0.400 (0.400..0.400) | 5.000 | "
    assert inherited + "4.000 (4.000..4.000) | 2 of 2 |" in told
    assert "of 2 children: 2 after 5." in told
