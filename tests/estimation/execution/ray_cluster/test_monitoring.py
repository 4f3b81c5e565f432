"""The Grafana dashboard and its page name what is exported, and all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ray.util import metrics

from evonas.estimation.execution.ray_cluster import prometheus_metrics as _metrics
from evonas.estimation.execution.ray_cluster.prometheus_metrics import Metrics

DOCS = Path(__file__).parents[4] / "docs"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, Any, dict[str, str]]]]:
    """Metric -> what was done with it: (how, value, tags); no cluster needed."""
    seen: dict[str, list[tuple[str, Any, dict[str, str]]]] = {}

    def kind(of: str) -> Any:
        class Noted(getattr(metrics, of)):  # type: ignore[misc]
            def __init__(self, name: str, *given: Any, **named: Any) -> None:
                super().__init__(name, *given, **named)
                self.name, self.seen = name, seen.setdefault(name, [])

            def _note(self, how: str, value: Any, tags: dict[str, str] | None) -> None:
                self.seen.append((how, value, {**self._default_tags, **(tags or {})}))

            def inc(self, value: float = 1, tags: dict[str, str] | None = None) -> None:
                self._note("inc", value, tags)

            def set(self, value: float, tags: dict[str, str] | None = None) -> None:
                self._note("set", value, tags)

            def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
                self._note("observe", value, tags)

        return Noted

    for of in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(_metrics, of, kind(of))
    return seen


def test_the_numbers_are_those_of_the_search(exported: dict[str, list[Any]]) -> None:
    made = Metrics("toy:1")
    made.expect(3, 10)
    made.trial("failed", 0.5, float("inf"))
    made.trial("ok", 1.5, 0.25)
    made.workers(2, 1)
    tag = {"run": "toy:1"}
    assert exported == {
        "evonas_trials_total": [
            ("inc", 1, {**tag, "status": "failed"}),
            ("inc", 1, {**tag, "status": "ok"}),
        ],
        "evonas_trial_seconds": [("observe", 0.5, tag), ("observe", 1.5, tag)],
        "evonas_best_fitness": [("set", 0.25, tag)],
        "evonas_trained": [("set", 3, tag), ("set", 4, tag), ("set", 5, tag)],
        "evonas_budget": [("set", 10, tag)],
        "evonas_workers": [("set", 2, tag)],
        "evonas_workers_busy": [("set", 1, tag)],
    }


def test_gauges_are_told_again_before_ray_forgets_them(exported: dict[str, list[Any]]) -> None:
    made = Metrics("toy:1")
    made.beat()
    assert not any(exported.values()), "nothing is known yet"
    made.expect(3, 10)
    made.trial("ok", 1.5, 0.25)
    made.workers(2, 1)
    before = {name: list(told) for name, told in exported.items()}
    made.beat()
    for name, told in exported.items():
        once_more = [] if told[0][0] != "set" else [before[name][-1]]
        assert told == before[name] + once_more, name


def test_they_are_told_until_the_executor_closes(
    exported: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Now:
        """Runs at once; after the third beat somebody closes."""

        def __init__(self, target: Any, **named: Any) -> None:
            self.start = target

    made = Metrics("toy:1")
    made.expect(3, 10)
    waits = iter([False, False, False])
    closed = made._over

    def wait(seconds: float) -> bool:
        if next(waits, True):
            made.close()
        return closed.is_set()

    monkeypatch.setattr(closed, "wait", wait)
    monkeypatch.setattr(_metrics.threading, "Thread", Now)
    made.start()
    assert [value for _, value, _ in exported["evonas_budget"]] == [10] * 4


def named(text: str) -> set[str]:
    found = set(re.findall(r"ray_(evonas_\w+)", text))
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


@pytest.mark.parametrize("file", ["grafana.json", "MONITORING.md"])
def test_what_is_named_is_exported_and_the_reverse(
    file: str, exported: dict[str, list[Any]]
) -> None:
    Metrics("toy:1")
    assert named((DOCS / file).read_text("utf-8")) == set(exported)


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == (
        "datasource",
        "prometheus",
    )
    assert board["title"]
    assert "id" not in board, "it would overwrite somebody's"
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & places, f"{panel['title']} covers another"
        assert max(x for x, _ in own) < 24
        places |= own
        for target in panel["targets"]:
            expression = target["expr"]
            assert expression.count("(") == expression.count(")")
            if "evonas" in expression:
                assert 'run=~"$run"' in expression
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
