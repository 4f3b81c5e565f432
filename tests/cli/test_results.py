"""What a search leaves behind: best.json and front.json, of trainings and of tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from command_line import Cli, said
from finished_search import BUDGET, new, of, read


def test_best_json_tells_its_finalists(run: Path, source: tuple[Path, str]) -> None:
    best = read(run / "best.json")
    finals = of(run, "final")
    assert [len(of(run, status)) for status in ("ok", "final")] == [BUDGET, 4]
    searched = sorted(of(run, "ok"), key=lambda trial: trial.value)
    means = {
        trial.digest: sum(one.value for one in finals if one.digest == trial.digest) / 2
        for trial in searched[:2]
    }
    own = {trial.digest: trial for trial in searched}
    ranked = sorted(means, key=lambda digest: 2 * means[digest] + own[digest].value)
    assert best["digest"] == ranked[0]
    assert best["fitness"] == pytest.approx(means[ranked[0]])
    assert best["seeds"] == 2
    assert {"fitness", "mae"} <= set(best["spread"])
    first = own[best["digest"]]
    assert best["searched"] == {"fitness": first.fitness, "metrics": dict(first.metrics)}
    assert [one["digest"] for one in best["finalists"]] == ranked
    assert {one["further_seeds"] for one in best["finalists"]} == {2}
    assert {one["macs"] < best["macs"] for one in best["as_good_and_cheaper"]} <= {True}
    assert "Finals: at most 4 further training(s) of the best, with other seeds" in source[1]
    assert "each held out once; of 2 finalist(s) it was number " in source[1]
    assert "It is named as the winner of a race of 2 networks over folds, 4 furth" in source[1]


def test_front_json_holds_what_no_other_dominates(run: Path, source: tuple[Path, str]) -> None:
    front = read(run / "front.json")
    assert front["axes"] == ["error", "macs"]
    trials = of(run, "ok")
    kept = {
        one.digest
        for one in trials
        if not any(
            other.metrics["mae"] <= one.metrics["mae"]
            and other.macs <= one.macs
            and (other.metrics["mae"], other.macs) != (one.metrics["mae"], one.macs)
            for other in trials
        )
    }
    assert {network["digest"] for network in front["front"]} == kept
    costs = [network["macs"] for network in front["front"]]
    assert costs == sorted(costs)
    for network in front["front"]:
        assert network["axes"] == {"error": network["metrics"]["mae"], "macs": network["macs"]}
    assert front["experiment"] == read(run / "best.json")["experiment"]
    assert f"Front of error, macs: {len(kept)} network(s), " in source[1]


def test_the_use_of_workers_is_told_with_its_causes(
    evonas: Cli, run: Path, source: tuple[Path, str]
) -> None:
    usage = read(run / "utilisation.json")
    # the finals, and one baseline, once more on each fold of the winner
    assert usage["candidates"] == BUDGET + 2 * 2 + 1 + 2
    idle = usage["few"] + usage["tail"] + usage["between"] + usage["hand_over"]
    assert usage["busy"] + idle == pytest.approx(usage["workers"] * usage["wall"], abs=0.01)
    assert f"Utilisation {100 * usage['utilisation']:.1f} % of 1 worker(s)" in source[1]
    code, out, _ = evonas("search", "--resume", "--run-dir", run, "baselines=[]")
    assert (code, "Utilisation" in out) == (0, False)  # nothing was left to train
    assert read(run / "utilisation.json") == usage


def test_without_finals_the_searchs_own_result_stands(evonas: Cli, tiny_file: Path) -> None:
    folder, out = new(evonas, tiny_file, "--budget", 2)
    assert "Finals" not in out
    assert "further seed" not in out
    best = read(folder / "best.json")
    assert (best["seeds"], best["spread"], len(best["finalists"])) == (1, {}, 1)
    assert best["fitness"] == best["searched"]["fitness"] == min(t.value for t in of(folder, "ok"))
    assert of(folder, "final") == []
    assert (folder / "front.json").is_file()


def test_a_resumed_search_holds_no_finals_twice(evonas: Cli, run: Path) -> None:
    before = (run / "journal.jsonl").read_bytes()
    best = read(run / "best.json")
    code, out, err = evonas("search", "--resume", "--run-dir", run)
    assert (code, err) == (0, "")
    assert (run / "journal.jsonl").read_bytes() == before
    assert read(run / "best.json") == best
    assert "6 networks trained" in out
    code, _, err = evonas("search", "--resume", "--run-dir", run, "--budget", BUDGET + 1)
    assert (code, err) == (0, "")
    assert (run / "journal.jsonl").read_bytes().startswith(before)
    assert len(of(run, "ok")) == BUDGET + 1


def test_latency_is_an_axis_from_end_to_end(evonas: Cli, tiny_file: Path) -> None:
    words = ("--budget", 3, "objective.axes=[error, macs, latency]", "--optimizer", "nsga2")
    folder, out = new(evonas, tiny_file, *words, finals=1)
    assert "Front of error, macs, latency: " in out
    front = read(folder / "front.json")
    assert front["axes"] == ["error", "macs", "latency"]
    for network in front["front"]:
        assert network["latency_ms"] == network["axes"]["latency"] > 0
    assert all(trial.latency > 0 for trial in of(folder, "ok", "final"))
    before = (folder / "journal.jsonl").read_bytes()
    code, _, err = evonas("search", "--resume", "--run-dir", folder)
    assert (code, err) == (0, "")
    assert (folder / "journal.jsonl").read_bytes() == before


def test_wrong_axes_are_refused(evonas: Cli, tiny_file: Path) -> None:
    line = said(evonas("search", tiny_file, "objective.axes=[macs, error]"))
    assert "objective.axes: expected error first, then one or more of macs, params" in line


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """An experiment on a table: error and operations of 9 networks, 3 of them a front."""
    rows = [f"{a}{b},{3 * abs(a - b) + 2 - a},{1000 * (1 + a + b)}" for a in range(3)
            for b in range(3)]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["arch,err,ops", *rows]), "utf-8")
    content = {
        "name": "past",
        "budget": 4,
        "optimizer": {"name": "random", "population_size": 2},
        "table": {"file": "t.csv", "digits": "arch", "error": "err", "cost": "ops"},
    }
    (tmp_path / "past.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return tmp_path / "past.yaml"


def test_a_table_has_a_front_but_no_finals(evonas: Cli, table: Path) -> None:
    code, out, err = evonas("search", table, "--run-dir", "t", "--budget", 9)
    assert (code, err) == (0, "")
    assert "Finals" not in out
    assert "Front of error, macs: 3 network(s), 2.000 as in the table" in out
    front = read(table.parent / "t" / "front.json")["front"]
    assert [(one["metrics"]["error"], one["macs"]) for one in front] == [
        (2.0, 500),
        (1.0, 1500),
        (0.0, 2500),
    ]
    best = read(table.parent / "t" / "best.json")
    assert (best["fitness"], best["seeds"], best["spread"]) == (0.0, 1, {})
    line = said(evonas("retrain", "t/front.json", "--pick", "knee"))
    assert line == "t/front.json: a search in a table has nothing to retrain"


def test_a_search_in_a_table_begins_with_another(evonas: Cli, table: Path) -> None:
    assert evonas("search", table, "--run-dir", "a")[0] == 0
    words = ("--run-dir", "b", "--optimizer", "ga", "--budget", 9, "--from", "a")
    code, out, err = evonas("search", table, *words)
    assert (code, err) == (0, "")
    assert "Begins with 4 trained networks of a.\n" in out
    assert "5 networks trained" in out
    assert "The space is exhausted" in out
    assert read(table.parent / "b" / "best.json")["fitness"] == 0.0
