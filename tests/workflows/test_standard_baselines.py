"""Baselines on the winner's tap: which they are, and that search, retraining and test show them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from evonas.api.evaluation import evaluate
from evonas.api.retraining import retrain
from evonas.api.search import search
from evonas.api.search_result import SearchResult
from evonas.cli.printing import SearchPrinter
from evonas.core.experiment import FREE_ON_RESUME, check
from evonas.estimation.estimator import TrainingContext
from evonas.estimation.features.feature_cache import Features
from evonas.report.page import run_tables
from evonas.report.page.run_data import Run
from evonas.runs.run_store import read_journal
from evonas.space import Architecture
from evonas.workflows import classical_models as classical
from evonas.workflows.components import Components, components_of
from evonas.workflows.standard_baselines import (
    classical_methods,
    fit_and_judge,
    fitted,
    largest_width,
    recipe_of,
    standard_heads,
)

LIMIT = 200_000
COSTLY = {"name": "costly", "network": "residual_head", "settings": {"width": 40, "tap": "block3"}}
WINNER = Architecture("residual_head", {"width": 9, "end": "pool", "tap": "block4"})


def made(tiny: dict[str, Any], **changes: Any) -> Components:
    return Components(check({**tiny, "standard_baselines": True, **changes}, "tests"))


@given(st.integers(1, 300), st.integers(0, 300))
def test_the_width_is_the_largest_that_fits(most: int, border: int) -> None:
    asked: list[int] = []

    def fits(width: int) -> bool:
        asked.append(width)
        return width <= border

    assert largest_width(fits, most) == min(border, most)
    assert all(1 <= width <= most for width in asked)


@pytest.mark.parametrize("seed", range(5))
def test_heads_cost_as_much_as_they_may_and_no_more(tiny: dict[str, Any], seed: int) -> None:
    components = made(tiny)
    genome = np.random.default_rng(seed).random(components.space.dim)
    winner = components.space.decode(genome)
    cost = components.cost(winner)
    components = made(tiny, objective={"max_macs": 3 * cost}, baselines=[])
    heads = dict(standard_heads(components, winner))
    limits = {"at equal cost": cost, "at the limit": 3 * cost}
    for words, most in limits.items():
        head = heads[f"hand-made residual head {words}"]
        wider = Architecture(head.network, {**head.settings, "width": head.settings["width"] + 1})
        assert components.cost(head) <= most < components.cost(wider)
    assert {components.tap_of(head) for head in heads.values()} == {components.tap_of(winner)}
    assert heads["linear probe"].network == "linear_probe"


def test_heads_are_trained_by_the_winners_recipe() -> None:
    recipe = {"task.output": "bins", "training.learning_rate": 1e-3}
    assert recipe_of(Architecture("any", {"width": 3, **recipe, "tap": "block4"})) == recipe


def test_no_head_is_named_twice(tiny: dict[str, Any]) -> None:
    limit = made(tiny).cost(WINNER)
    (head, probe) = standard_heads(made(tiny, objective={"max_macs": limit}), WINNER)
    assert (head[0], probe[0]) == ("hand-made residual head at equal cost", "linear probe")
    # networks of the experiment are left out; the tap may be that of the experiment
    own = [
        {"name": "mine", "network": "linear_probe"},
        {"name": "head", "network": "residual_head", "settings": dict(head[1].settings)},
    ]
    assert not standard_heads(
        made(tiny, objective={"max_macs": limit}, tap="block4", baselines=own), WINNER
    )


def test_a_residual_head_that_won_is_its_own_equal(tiny: dict[str, Any]) -> None:
    winner = Architecture("residual_head", {"width": 9, "tap": "block4"})
    components = made(tiny, objective={"max_macs": made(tiny).cost(winner)})
    assert standard_heads(components, winner)[0] == (
        "hand-made residual head at equal cost",
        winner,
    )


def test_a_classical_model_sees_the_training_images_alone(
    setting: TrainingContext, features: Features
) -> None:
    task, split, maps = setting.make_task(), setting.splits["search"], features.open("block4")[0]
    targets = setting.targets[0]
    method = classical.methods(task, (128, 4, 4), targets)[0]
    model, found = fit_and_judge(method, setting, "search", maps)
    own = classical.fit(method, task, maps, targets, split.train)
    assert model is not None
    assert (model.linear.weights == own.linear.weights).all()
    assert found == classical.metrics(task, own, maps, targets, split.validation)
    constant, judged = fit_and_judge(None, setting, "search", None)
    assert constant is not None
    assert judged == task.constant_metrics(targets[split.train], targets[split.validation])


def test_a_winner_cheaper_than_every_head_has_none_beside_it(tiny: dict[str, Any]) -> None:
    winner = Architecture("linear_probe", {"tap": "block4"})
    assert [name for name, _ in standard_heads(made(tiny), winner)] == ["linear probe"]


def test_who_wants_none_gets_none(tiny: dict[str, Any]) -> None:
    maps = {"name": "maps", "network": "heatmap_head", "settings": {"width": 16, "upsamples": 0}}
    data = {**tiny["data"], "landmarks": True}
    points = {"task": {"name": "key_points"}, "data": data, "baselines": [maps]}
    table = check({"name": "t", "table": {"file": "t.csv", "genes": ["g"], "error": "e"}}, "tests")
    assert not table.standard_baselines
    for components in (made(tiny, standard_baselines=False), made(tiny, **points)):
        assert not standard_heads(components, WINNER)
        assert not classical_methods(components, WINNER)
        assert not list(fitted(components, WINNER, None))
    assert not standard_heads(components_of(table), WINNER)
    assert "standard_baselines" in FREE_ON_RESUME


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, components: Components) -> tuple[Path, str]:
    """A search with a limit that one baseline exceeds, and what it printed."""
    plain = components.experiment.model_dump(mode="json")
    plain |= {"standard_baselines": True, "budget": 3, "baselines": [COSTLY, *plain["baselines"]]}
    plain |= {"finals": {"networks": 1, "seeds": 2}}
    plain["objective"]["max_macs"] = LIMIT
    folder, stream = tmp_path_factory.mktemp("standard") / "run", io.StringIO()
    with SearchPrinter(Console(file=stream, width=300)) as view:
        search(check(plain, "tests"), run_dir=folder, callbacks=[view])
    return folder, stream.getvalue()


def test_a_search_ends_beside_the_standard_baselines(run: tuple[Path, str]) -> None:
    best = json.loads((run[0] / "best.json").read_text("utf-8"))
    tap = best["architecture"]["settings"]["tap"]
    found = {one["name"]: one for one in best["baselines"]}
    names = [
        "hand-made residual head at the limit",
        "linear probe",
        "ridge of pooled features",
        "ridge of flattened features",
    ]
    assert [f"{name} on {tap}" for name in names if f"{name} on {tap}" not in found] in (
        [],
        ["linear probe on block3"],  # the experiment's own, if that is the tap
    )
    assert not found["constant"]["macs"]
    environment = json.loads((run[0] / "environment.json").read_text("utf-8"))
    assert found["constant"]["metrics"]["mae"] == pytest.approx(environment["constant"])
    assert [name for name, one in found.items() if one["over_limit"]] == ["costly on block3"]
    *_, last = run[1].strip().splitlines()
    assert last == best["verdict"] == SearchResult(run[0]).verdict
    assert " against " in last
    assert "costly" not in last
    assert "Trained the same way, costly on block3" in run[1]
    assert run[1].count(f"of head, beyond objective.max_macs={LIMIT}") == 1


def test_the_best_baseline_is_judged_on_the_folds_of_the_winner(run: tuple[Path, str]) -> None:
    best = json.loads((run[0] / "best.json").read_text("utf-8"))
    (again,) = (one for one in best["baselines"] if one.get("further"))
    able = [one for one in best["baselines"] if not one["over_limit"]]
    assert again["metrics"]["mae"] == min(one["metrics"]["mae"] for one in able)
    assert len(again["further"]) == best["seeds"] > 1
    error = np.mean([result["mae"] for result in again["further"]])
    assert f"{best['metrics']['mae']:.4g} against {error:.4g} degrees" in best["verdict"]
    assert f"over the winner's folds {error:.3f}" in run[1]
    trials = read_journal(run[0])
    assert {trial.fold for trial in trials if trial.status == "final"} == {1, 2}
    assert {trial.fold for trial in trials if trial.status != "final"} == {0}


def test_a_classical_model_on_a_fold_does_not_see_its_images(
    tiny: dict[str, Any], features: Features
) -> None:
    components = made(tiny)
    split = components.final_folds[0]
    (one,) = fitted(components, WINNER, features, split, "ridge of pooled features on block4")
    method = classical_methods(components, WINNER)[0]
    targets, maps = components.task.targets(components.dataset), features.open("block4")[0]
    model = classical.fit(method, components.task, maps, targets, split.train)
    judged = classical.metrics(components.task, model, maps, targets, split.validation)
    assert one.measurement.metrics == judged


def test_the_page_marks_what_is_beyond_the_limit(run: tuple[Path, str]) -> None:
    shown = Run.read(run[0])
    table = run_tables.contenders(shown)
    rows = {row[0]: row for row in table.rows}
    assert rows["costly *"][1] == "block3"
    place = table.columns.index("over folds")
    assert rows["constant"][1 : place + 2 : place] == ["-", "fitted"]
    (judged,) = (one["name"] for one in shown.best["baselines"] if one.get("further"))
    on_folds = [name for name, row in rows.items() if row[place] != "-"]
    assert on_folds == [next(iter(rows)), judged.rpartition(" on ")[0]]
    legend = f"* beyond the limits of the candidates, objective.max_macs={LIMIT}"
    assert legend in table.notes
    assert sum(name.endswith("*") for name in rows) == 1
    assert shown.best["verdict"] in list(run_tables.sentences(shown))
    for one in shown.best["baselines"]:  # as an earlier version wrote it
        del one["over_limit"], one["note"]
    unmarked = [[row[0].removesuffix(" *"), *row[1:]] for row in table.rows]
    assert run_tables.contenders(shown).rows == unmarked


def test_a_retraining_and_a_test_show_them_too(
    run: tuple[Path, str], tmp_path: Path, evonas: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = evonas("retrain", run[0] / "best.json", "--out", "again")
    assert code == 0, err
    folder = tmp_path / "again"
    content = json.loads((folder / "comparison.json").read_text("utf-8"))
    found = {one["name"]: one for one in content["contenders"]}
    kinds = {"winner", "costly", "hand-made residual head at the limit", "constant"}
    kinds |= {"ridge of pooled features", "ridge of flattened features"}
    assert kinds <= set(found)
    assert [name for name, one in found.items() if one["over_limit"]] == ["costly"]
    assert out.strip().splitlines()[-1] == content["verdict"] != ""
    assert out.count("beyond the limits of the candidates") == 2  # of errors and of costs
    pooled = found["ridge of pooled features"]
    assert pooled["tap"] == found["winner"]["tap"]
    assert pooled["head"]["macs"] == 3 * {"block3": 64, "block4": 128}[pooled["tap"]]

    options = content["experiment"]["data"]
    name = options.pop("name")
    tested = evaluate(folder, name, **options)  # the same test split
    own = {row["network"]: row for row in tested.table}
    assert set(own) == set(found)
    for fit in ("ridge of pooled features", "ridge of flattened features", "constant"):
        error = found[fit]["results"][0]["test_mae"]
        assert own[fit]["errors"]["mae"] == pytest.approx(error, abs=1e-4)
    assert any("costly *" in row[0] for row in tested.tables[0].rows)
    (folder / pooled["model"]).unlink()
    code, _, err = evonas("evaluate", folder, name, *(f"{k}={v}" for k, v in options.items()))
    assert code == 2
    assert "no linear model" in err


@pytest.mark.slow
def test_folds_judge_classical_models_without_their_images(
    run: tuple[Path, str], tmp_path: Path
) -> None:
    model = retrain(run[0], folds=2, out=tmp_path / "folds")
    rows = {row["network"]: row for row in model.table}
    assert rows["ridge of pooled features"]["trainings"] == 2
    assert rows["ridge of pooled features"]["spread"]["mae"] > 0
    assert model.verdict
    assert not list((tmp_path / "folds").glob("*.safetensors"))
