"""What a search leaves behind, what goes on from it, and what is said where that does not fit."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Cli, said
from rich.console import Console

from evonas.assembly import Assembly
from evonas.commands import search
from evonas.config import changed
from evonas.estimation.features import Features
from evonas.store import Trial, read_journal

BUDGET = 6


@pytest.fixture(scope="module")
def source(
    assembly: Assembly, features: Features, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A finished search of 6 networks, of which 2 were trained again twice, and what it said."""
    experiment = changed(assembly.experiment, ["finals.networks=2", "finals.seeds=2"])
    stream = io.StringIO()
    folder = tmp_path_factory.mktemp("runs") / "source"
    search.run(experiment, folder, False, Console(file=stream, width=300))
    return folder, stream.getvalue()


@pytest.fixture
def run(source: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished search."""
    shutil.copytree(source[0], tmp_path / "run")
    return tmp_path / "run"


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def of(folder: Path, *status: str) -> list[Trial]:
    return [trial for trial in read_journal(folder) if trial.status in status]


def new(evonas: Cli, tiny_file: Path, *words: object, finals: int = 0) -> tuple[Path, str]:
    """A further search that works; its folder and what it said."""
    folder = tiny_file.parent / "new"
    result = evonas("search", tiny_file, "--run-dir", folder, f"finals.networks={finals}", *words)
    assert (result[0], result[2]) == (0, ""), result
    return folder, result[1]


# --------------------------------------------------------------------- two files


def test_best_json_tells_its_finalists(run: Path, source: tuple[Path, str]) -> None:
    best = read(run / "best.json")
    finals = of(run, "final")
    assert [len(of(run, status)) for status in ("ok", "final")] == [BUDGET, 4]
    searched = sorted(of(run, "ok"), key=lambda trial: trial.value)
    means = {
        trial.digest: sum(one.value for one in finals if one.digest == trial.digest) / 2
        for trial in searched[:2]
    }
    assert best["digest"] == min(means, key=lambda digest: means[digest])
    assert best["fitness"] == pytest.approx(min(means.values()))
    assert best["seeds"] == 2
    assert {"fitness", "mae"} <= set(best["spread"])
    own = {trial.digest: trial for trial in searched}[best["digest"]]
    assert best["searched"] == {"fitness": own.fitness, "metrics": dict(own.metrics)}
    assert [one["digest"] for one in best["finalists"]] == sorted(means, key=lambda d: means[d])
    assert {one["further_seeds"] for one in best["finalists"]} == {2}
    assert {one["macs"] < best["macs"] for one in best["as_good_and_cheaper"]} <= {True}
    assert "Finals: 4 further training(s) of the best, with other seeds" in source[1]
    assert "That is the mean of 2 further seed(s), which name the best of 2 final" in source[1]


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


# ------------------------------------------------------------------------- --from


def test_a_search_begins_with_another_whatever_searched(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    words = ("--optimizer", "ga", "--budget", 3, "--seed", 8, "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert f"Begins with 6 trained networks of {run}.\n" in out
    assert "3 networks trained" in out
    given, known = of(folder, "earlier"), of(run, "ok")
    assert {t.digest: (t.fitness, t.metrics, t.macs) for t in given} == {
        t.digest: (t.fitness, t.metrics, t.macs) for t in known
    }
    assert [t.value for t in given] == sorted(t.value for t in known)
    assert {(t.generation, t.seconds) for t in given} == {(-1, 0.0)}
    own = of(folder, "ok", "failed")
    assert len(own) == 3
    assert not {t.digest for t in own} & {t.digest for t in known}
    best = read(folder / "best.json")
    assert best["fitness"] == min(t.value for t in [*own, *given])


def test_a_run_that_began_with_another_goes_on_without_it(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    folder, _ = new(evonas, tiny_file, "--optimizer", "ga", "--budget", 2, "--from", run)
    before = (folder / "journal.jsonl").read_bytes()
    shutil.rmtree(run)
    code, _, err = evonas("search", "--resume", "--run-dir", folder, "--budget", 3)
    assert (code, err) == (0, "")
    assert (folder / "journal.jsonl").read_bytes().startswith(before)
    assert len(of(folder, "ok", "failed")) == 3
    assert len(of(folder, "earlier")) == 6


def test_results_are_judged_by_the_new_objective(evonas: Cli, tiny_file: Path, run: Path) -> None:
    words = ("--budget", 1, "objective.weight=1", "objective.mode=soft", "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert "Begins with 6 trained networks" in out
    for trial in of(folder, "earlier"):
        assert trial.fitness == pytest.approx(trial.metrics["mae"] * 2 * trial.macs / 10e6)


def test_where_results_do_not_hold_the_best_are_trained_anew_first(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    words = ("--optimizer", "ga", "--budget", 8, "training.epochs=2", "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert (
        f"The results of {run} do not hold here (training.epochs: 1 -> 2): 2 of its best are "
        "trained anew, first.\n"
    ) in out
    suggested = of(folder, "suggested")
    best = sorted(of(run, "ok"), key=lambda trial: trial.value)[:2]
    assert [trial.digest for trial in suggested] == [trial.digest for trial in best]
    assert {(t.generation, t.fitness) for t in suggested} == {(-1, None)}
    assert all(trial.metrics == {} for trial in suggested)
    first = of(folder, "ok")[:2]
    assert {trial.digest for trial in first} == {trial.digest for trial in best}
    assert len(of(folder, "ok", "failed")) == 8


def test_other_data_are_named(evonas: Cli, tiny_file: Path, run: Path) -> None:
    stored = read(run / "environment.json")
    (run / "environment.json").write_text(json.dumps({**stored, "data": "other"}))
    _, out = new(evonas, tiny_file, "--optimizer", "ga", "--budget", 1, "--from", run)
    assert f"The results of {run} do not hold here (the data): 1 of its best" in out


def test_what_the_space_has_no_place_for_is_left_out(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    stems = [trial.architecture["settings"]["stem"] for trial in of(run, "ok")]
    assert set(stems) == {8, 12}
    words = ("--optimizer", "ga", "--budget", 1, "space.stem=[8]", "--from", run)
    folder, out = new(evonas, tiny_file, *words)
    assert (
        f"Begins with {stems.count(8)} trained networks of {run}; {stems.count(12)} are outside "
        "this space or limit.\n"
    ) in out
    assert len(of(folder, "earlier")) == stems.count(8)


def test_finals_do_not_repeat_the_training_that_made_a_network_look_good(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    """The other run's seed was 3; further seeds of a run with seed 2 start at 3."""
    words = ("--seed", 2, "--budget", 1, "finals.seeds=1", "--from", run)
    folder, _ = new(evonas, tiny_file, *words, finals=7)
    given = {trial.digest: trial.metrics for trial in of(folder, "earlier")}
    again = [trial for trial in of(folder, "final") if trial.digest in given]
    assert len(again) == 6
    assert not [trial.digest for trial in again if trial.metrics == given[trial.digest]]


def test_a_latency_that_nobody_measured_dominates_nothing(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    words = ("--budget", 1, "objective.axes=[error, macs, latency]", "--from", run)
    folder, _ = new(evonas, tiny_file, *words)
    front = read(folder / "front.json")["front"]
    assert front
    assert all(network["axes"]["latency"] > 0 for network in front)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--from", "nowhere"],
            "--from nowhere: expected the folder of a run, found no experiment.yaml",
        ),
        (
            ["--from", "run/best.json"],
            "--from run/best.json: expected the folder of a run, found no experiment.yaml",
        ),
        (
            ["--from", "run", "space.stem=[16]"],
            "--from run: none of its networks fits space 'master_module' and its limit: "
            "start without it",
        ),
    ],
)
def test_a_run_that_cannot_be_begun_with_is_refused(
    evonas: Cli, tiny_file: Path, run: Path, words: list[str], expected: str
) -> None:
    line = said(evonas("search", tiny_file, "--run-dir", "new", *words))
    assert line.startswith(expected)
    assert not (tiny_file.parent / "new").exists()


def test_a_run_that_is_resumed_begins_with_nothing(evonas: Cli, run: Path) -> None:
    line = said(evonas("search", "--resume", "--run-dir", run, "--from", run))
    assert line == "--from is for a new run: one that is resumed knows what it began with"


def test_a_run_does_not_begin_with_itself(evonas: Cli, tiny_file: Path, run: Path) -> None:
    before = (run / "journal.jsonl").read_bytes()
    line = said(evonas("search", tiny_file, "--run-dir", run, "--from", run))
    assert "already holds a run" in line
    assert (run / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("damage", ["environment.json", "journal.jsonl"])
def test_a_run_that_lacks_a_file_is_named(
    evonas: Cli, tiny_file: Path, run: Path, damage: str
) -> None:
    (run / damage).unlink()
    assert damage in said(evonas("search", tiny_file, "--from", run))


def test_a_run_that_trained_nothing_is_not_blamed_on_the_space(
    evonas: Cli, tiny_file: Path, run: Path
) -> None:
    (run / "journal.jsonl").write_text("")
    line = said(evonas("search", tiny_file, "--from", run))
    assert line.startswith(f"--from {run}: ")
    assert "fits space" not in line


# ------------------------------------------------------------------------ retrain


def test_one_network_of_a_front_is_retrained(evonas: Cli, run: Path) -> None:
    code, out, err = evonas("retrain", run / "front.json", "--pick", "cheapest:999", "--out", "o")
    assert (code, err) == (0, "")
    chosen = read(run / "front.json")["front"][0]
    assert (
        f"cheapest:999: {chosen['digest']}, error {chosen['metrics']['mae']:.3f} and "
        f"{chosen['macs']} multiply-adds"
    ) in out
    content = read(run.parent / "o" / "comparison.json")
    assert content["winner"] == chosen["architecture"]
    winner = content["contenders"][0]
    assert (winner["name"], winner["searched"]) == ("winner", chosen["metrics"]["mae"])
    assert (run.parent / "o" / "winner.safetensors").is_file()


def test_the_knee_of_a_front_is_retrained(evonas: Cli, run: Path) -> None:
    code, out, err = evonas("retrain", run / "front.json", "--pick", "knee")
    assert (code, err) == (0, "")
    winner = read(run / "retrained-knee" / "comparison.json")["winner"]
    assert winner in [network["architecture"] for network in read(run / "front.json")["front"]]
    assert "knee: " in out


@pytest.mark.parametrize(
    ("file", "words", "expected"),
    [
        (
            "front.json",
            [],
            "run/front.json: a front holds several networks: choose with --pick knee, "
            "cheapest:ERROR or best:MACS",
        ),
        (
            "front.json",
            ["--pick", "best"],
            "--pick best: expected knee, cheapest:ERROR or best:MACS",
        ),
        ("front.json", ["--pick", "best:1"], "--pick best:1: no network of run/front.json has"),
        (
            "best.json",
            ["--pick", "knee"],
            "run/best.json: --pick chooses from a front.json, and this holds one network",
        ),
    ],
)
def test_a_pick_that_does_not_fit_is_refused(
    evonas: Cli, run: Path, file: str, words: list[str], expected: str
) -> None:
    line = said(evonas("retrain", f"run/{file}", *words))
    assert line.startswith(expected)
    assert not (run / "retrained").exists()


def test_an_experiment_has_nothing_to_pick(evonas: Cli, tiny_file: Path) -> None:
    assert "--pick" in said(evonas("retrain", tiny_file, "--pick", "knee"))


def test_an_experiment_has_no_ranking(evonas: Cli, tiny_file: Path) -> None:
    line = said(evonas("retrain", tiny_file, "--ranking", 3))
    assert line == "--ranking needs the best.json of a search, got an experiment"


def test_a_ranking_needs_the_journal(evonas: Cli, run: Path) -> None:
    (run / "journal.jsonl").unlink()
    line = said(evonas("retrain", run / "best.json", "--ranking", 3))
    assert line == f"{run}: holds no run: journal.jsonl cannot be read"


def test_further_networks_of_the_ranking_tell_whether_short_trainings_rank_as_long_ones(
    evonas: Cli, run: Path
) -> None:
    code, out, err = evonas("retrain", run / "best.json", "--ranking", 3)
    assert (code, err) == (0, "")
    content = read(run / "retrained" / "comparison.json")
    contenders = content["contenders"]
    searched = {t.digest: t.metrics["mae"] for t in of(run, "ok")}
    ranks = sorted(searched.values())
    more = [one for one in contenders if one["name"].startswith("number ")]
    places = {"number 1 of 6", "number 3 of 6", "number 4 of 6", "number 6 of 6"}
    assert len(more) in (2, 3), "the winner may be one of the three"
    assert {one["name"] for one in more} <= places
    for one in more:
        place = int(one["name"].removeprefix("number ").removesuffix(" of 6"))
        assert one["searched"] == ranks[place - 1]
    winner = contenders[0]
    assert winner["searched"] == searched[read(run / "best.json")["digest"]]
    known = [one for one in contenders if one["searched"] is not None]
    assert content["rank_correlation"]["networks"] == len(known) >= 4
    assert -1 <= content["rank_correlation"]["spearman"] <= 1
    line = "Rank correlation of errors in the search (epochs: 1, one seed) and retrained: Spearman"
    assert line in out
    assert line in (run / "retrained" / "comparison.md").read_text("utf-8")


def test_without_three_networks_there_is_no_rank_correlation(evonas: Cli, run: Path) -> None:
    code, out, err = evonas("retrain", run / "best.json", "baselines=[]")
    assert (code, err) == (0, "")
    assert read(run / "retrained" / "comparison.json")["rank_correlation"] is None
    assert "Rank correlation" not in out


# ------------------------------------------------------------------------- tables


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
