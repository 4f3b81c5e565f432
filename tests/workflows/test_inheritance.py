"""Lineage: who inherits from whom, whose weights stay, and that a resumed run knows it all."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import Cli
from mutations import flipped

from evonas.core import registry
from evonas.core.settings import (
    FinalsSettings,
    InheritanceSettings,
    ObjectiveSettings,
    TrainingSettings,
)
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.models.files.safetensors_files import load_file, save_file
from evonas.optimizers.base import Optimizer
from evonas.runs.run_store import RunStore, Trial, read_journal
from evonas.space import Architecture, SearchSpace
from evonas.workflows.inheritance import TracksParents, WeightInheritance
from evonas.workflows.loop import Search, SearchComponents

GENES = [{"name": f"g{i}", "kind": "ordinal", "choices": [4, 5, 6, 7, 8]} for i in range(4)]
SPACE = SearchSpace.from_dict({"name": "toy", "network": "toy", "genes": GENES})
TRAINING = TrainingSettings(epochs=2)
ON = InheritanceSettings(enabled=True, fresh_epochs=7, keep=3)


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    return {f"{k}.weight": (v, v) for k, v in architecture.settings.items() if k != "tap"}


def made(name: str = "random", budget: int = 30) -> Optimizer:
    options = {"population_size": 6}
    optimizer: Optimizer = registry.create(
        "optimizer", name, options, SPACE, budget=budget, seed=5, macs=lambda a: 1
    )
    return optimizer


def lineage(
    folder: Path, settings: InheritanceSettings = ON, optimizer: Optimizer | None = None
) -> WeightInheritance:
    return WeightInheritance(settings, optimizer or made(), shapes, TRAINING, folder / "weights")


def trial(fitness: float | None = 1.0, status: str = "ok", **settings: Any) -> Trial:
    architecture = Architecture("toy", {"g0": 4} | settings)
    content = architecture.to_dict()
    return Trial(0, 0, (0.5,), architecture.digest, content, status, fitness, 1)


def job(child: Trial) -> Job:
    return Job(0, Architecture.from_dict(child.architecture), 0, TRAINING)


def keep(folder: Path, *trials: Trial) -> None:
    (folder / "weights").mkdir(exist_ok=True)
    for one in trials:
        save_file({"w": torch.ones(3)}, folder / "weights" / f"{one.digest}.safetensors")


def kept(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "weights").glob("*")}


def test_the_nearest_is_whom_most_can_be_taken_from(tmp_path: Path) -> None:
    known = [trial(1.0, g1=4), trial(3.0, g1=7), trial(2.0, g1=8)]
    own = lineage(tmp_path, ON.model_copy(update={"keep": 9}))
    assert own.parent(trial(g1=6)) == "", "nobody was trained yet"
    own.learn(known)
    # 16 + 36 numbers, of which 16 + 16 come from the first, all from the others: the better
    assert own.parent(trial(g1=6)) == known[2].digest
    # 16 + 64: the second has 16 + 49 of them
    own.learn([trial(0.5, g1=5)])
    assert own.parent(trial(g1=8, g2=4)) == known[2].digest
    assert own.parent(trial(g1=4)) == trial(g1=5).digest, "equal shares: the best"


def test_the_same_tap_comes_first_and_another_is_no_short_cut(tmp_path: Path) -> None:
    late, early = trial(1.0, tap="late", g1=8), trial(2.0, tap="early", g1=5)
    keep(tmp_path, late, early)
    own = lineage(tmp_path)
    own.learn([late, early])
    for tap, parent, epochs in (("early", early, 2), ("late", late, 2), ("between", late, 7)):
        child = trial(tap=tap, g1=6)
        assert own.parent(child) == parent.digest
        begun = own.job(job(child), parent.digest)
        assert (Path(begun.parent).stem, begun.training.epochs) == (parent.digest, epochs)


def test_who_inherits_little_trains_as_long_as_who_has_nothing(tmp_path: Path) -> None:
    parent, near, far = trial(g1=4), trial(g1=5), trial(g1=8)
    own = lineage(tmp_path)  # least: half
    own.learn([parent])
    assert own.parent(near) == own.parent(far) == parent.digest
    keep(tmp_path, parent)
    for child, epochs in ((near, 2), (far, 7)):  # 32 of 41, 32 of 80
        begun = own.job(job(child), parent.digest)
        assert begun.parent == str(tmp_path / "weights" / f"{parent.digest}.safetensors")
        assert begun.weights == str(tmp_path / "weights" / f"{child.digest}.safetensors")
        assert begun.training.epochs == epochs
    begun = own.job(job(near), "")
    assert (begun.parent, begun.training.epochs) == ("", 7)
    assert begun.weights


@pytest.mark.parametrize(
    ("fresh", "enabled", "epochs"), [(7, True, 7), (0, True, 2), (7, False, 2)]
)
def test_epochs_of_who_starts_afresh(
    tmp_path: Path, fresh: int, enabled: bool, epochs: int
) -> None:
    settings = InheritanceSettings(enabled=enabled, fresh_epochs=fresh)
    assert lineage(tmp_path, settings).fresh.epochs == epochs


def test_only_results_make_parents(tmp_path: Path) -> None:
    own = lineage(tmp_path)
    statuses = ("failed", "repeat", "infeasible", "stopped", "earlier")
    own.learn([trial(None if s == "failed" else 1.0, s) for s in statuses])
    assert own.parent(trial()) == ""


def test_weights_of_the_best_stay(tmp_path: Path) -> None:
    trials = [trial(float(n), g1=4 + n % 5, g2=4 + n // 5) for n in range(8)]
    keep(tmp_path, *trials)
    (tmp_path / f"weights/{trials[0].digest}.safetensors.123").write_bytes(b"of a killed worker")
    own = lineage(tmp_path)
    own.learn(trials[4:])
    own.learn(trials[:4])
    own.clear_away()
    assert kept(tmp_path) == {t.digest for t in trials[:3]}


class Breeding:
    """Says that only the second may have children."""

    def parent_of(self, digest: str) -> str:
        return "somebody"

    def living(self) -> frozenset[str]:
        return frozenset({trial(2.0, g1=5).digest})


def test_a_strategy_that_breeds_decides_and_the_best_stays_beside(tmp_path: Path) -> None:
    trials = [trial(1.0, g1=4), trial(2.0, g1=5), trial(3.0, g1=6)]
    keep(tmp_path, *trials)
    breeding: Any = Breeding()
    own = lineage(tmp_path, optimizer=breeding)
    own.learn(trials)
    own.clear_away()
    assert kept(tmp_path) == {trials[0].digest, trials[1].digest}
    assert own.parent(trials[2]) == "somebody"
    off = lineage(tmp_path, InheritanceSettings(), breeding)
    assert off.parent(trials[2]) == "somebody", "lineage without inheritance"
    assert off.job(job(trials[2]), "somebody") == job(trials[2])
    assert isinstance(made("evolution"), TracksParents)
    assert not isinstance(made("cma"), TracksParents)


def test_a_parent_whose_file_is_gone_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = lineage(tmp_path)
    own.learn([trial(g1=4)])
    with caplog.at_level(logging.WARNING, "evonas"):
        for g1 in (4, 5):
            begun = own.job(job(trial(g1=g1)), trial(g1=4).digest)
            assert (begun.parent, begun.training.epochs) == ("", 7)
    assert len(caplog.records) == 1
    assert "are gone" in caplog.text


class Toy(Executor):
    """What comes out follows from the network and from what its parent's file says."""

    def __init__(self, most: int = 10**6) -> None:
        self.jobs: list[Job] = []
        self._most = most
        self.usage = Usage(1)

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for one in jobs:
            if len(self.jobs) == self._most:
                raise KeyboardInterrupt
            self.jobs.append(one)
            yield one.index, self._trained(one)

    def _trained(self, one: Job) -> Measurement:
        before = float(load_file(one.parent)["w"]) if one.parent else 0.0
        number = int(one.architecture.digest, 16) % 997 / 997
        if number > 0.93:
            return Measurement.failure("diverged", "it did", macs=1)
        learnt = before + number + one.training.epochs
        if one.weights:
            save_file({"w": torch.tensor(learnt, dtype=torch.float64)}, one.weights)
        share = 0.75 if one.parent else 0.0
        return Measurement("ok", {"error": 1 / learnt}, macs=1, epochs=1, inherited=share)


def search(folder: Path, name: str, executor: Toy, *, resume: bool = False) -> list[Trial]:
    optimizer = made(name)
    with RunStore(folder, resume) as store:
        own = WeightInheritance(ON, optimizer, shapes, TRAINING, folder / "weights")
        objective = Objective("error", ObjectiveSettings())
        components = SearchComponents(
            SPACE, optimizer, executor, objective, TRAINING, lambda a: 1, inheritance=own
        )
        whole = Search(components, store)
        whole.run(seed=1)
        whole.run_finals(FinalsSettings(networks=2, seeds=1), seed=1)
        return store.trials()


@pytest.mark.parametrize("name", ["evolution", "cma", "random", "ga"])
def test_a_run_that_is_stopped_anywhere_ends_as_one_that_is_not(tmp_path: Path, name: str) -> None:
    toy = Toy()
    expected = search(tmp_path / "whole", name, toy)
    children = [t for t in expected if t.inherited]
    assert len(children) > 5
    assert {t.parent for t in children} <= {t.digest for t in expected}
    for most in range(1, len(toy.jobs), 4):
        folder, resume = tmp_path / f"{name}-{most}", False
        while True:
            try:
                found = search(folder, name, Toy(most), resume=resume)
                break
            except KeyboardInterrupt:
                resume = True
        assert found == expected
        assert kept(folder) == kept(tmp_path / "whole")


def test_parents_are_of_earlier_generations_and_finals_have_none(tmp_path: Path) -> None:
    toy = Toy()
    trials = search(tmp_path / "run", "cma", toy)
    own = {t.digest: t for t in trials if t.trained}
    for one in trials:
        if one.status == "final":
            assert (one.parent, one.inherited) == ("", 0.0)
        elif one.parent:
            assert own[one.parent].generation < one.generation
    finals = [j for j in toy.jobs if "final" in j.label]
    assert finals
    assert {(j.parent, j.weights, j.training.epochs) for j in finals} == {("", "", 7)}
    assert len(kept(tmp_path / "run")) == ON.keep
    assert math.isclose(max(t.inherited for t in read_journal(tmp_path / "run")), 0.75)


# With real trainings


@pytest.fixture
def breeding(tiny: dict[str, Any], tmp_path: Path, features: object) -> Path:
    plan: Mapping[str, Any] = {
        "budget": 9,
        "optimizer": {"name": "evolution", "population_size": 3, "parents": 2},
        "inherit": {"enabled": True, "fresh_epochs": 2, "least": 0.3},
        "finals": {"networks": 0},
    }
    path = tmp_path / "breeding.yaml"
    path.write_text(yaml.safe_dump({**tiny, **plan}), encoding="utf-8")
    return path


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return sorted(
        ({**r, "seconds": 0, "at": 0} for r in found), key=lambda r: (r["generation"], r["index"])
    )


@pytest.mark.slow
@pytest.mark.ray
def test_children_inherit_and_two_workers_write_the_same(
    evonas: Cli, breeding: Path, tmp_path: Path
) -> None:
    code, _, err = evonas("search", breeding, "--run-dir", "one")
    assert code == 0, err
    found = rows(tmp_path / "one")
    assert all(row["inherited"] == 0 and row["epochs"] == 2 for row in found[:3])
    taps = {row["digest"]: row["architecture"]["settings"]["tap"] for row in found}
    assert all(row["parent"] and row["inherited"] for row in found[3:])
    short = [
        row["inherited"] >= 0.3 and taps[row["parent"]] == taps[row["digest"]] for row in found[3:]
    ]
    assert any(short)
    assert [row["epochs"] for row in found[3:]] == [1 if enough else 2 for enough in short]
    code, _, err = evonas(
        *("search", breeding, "--run-dir", "two", "--workers", 2, "--executor", "ray")
    )
    assert code == 0, err
    assert rows(tmp_path / "two") == found
    names = kept(tmp_path / "one")
    assert len(names) >= 2
    assert kept(tmp_path / "two") == names
    for name in names:
        one, two = (load_file(tmp_path / r / f"weights/{name}.safetensors") for r in ("one", "two"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_race_of_children_starts_and_goes_on_from_their_parents(
    evonas: Cli, breeding: Path, tmp_path: Path
) -> None:
    longer = ("training.epochs=2", "inherit.fresh_epochs=2", "inherit.least=0")
    words = ("search", breeding, "--fidelity", "racing", *longer)
    code, _, err = evonas(*words, "--run-dir", "race")
    assert code == 0, err
    found = rows(tmp_path / "race")
    assert {row["status"] for row in found[3:]} == {"ok", "stopped"}
    winners = {row["digest"] for row in found if row["status"] == "ok"}
    for row in found[3:]:
        # Who was stopped has no weights to give.
        assert bool(row["inherited"]) == (row["parent"] in winners)
    assert any(row["inherited"] for row in found)
    assert kept(tmp_path / "race") <= winners


def test_hand_made_networks_train_as_long_as_those_that_start_afresh(
    evonas: Cli, breeding: Path, tmp_path: Path
) -> None:
    def probe(name: str, *words: str) -> float:
        assert evonas("search", breeding, "--budget", 3, "--run-dir", name, *words)[0] == 0
        (baseline,) = json.loads((tmp_path / name / "best.json").read_text())["baselines"]
        return float(baseline["metrics"]["mae"])

    two = probe("two", "inherit.fresh_epochs=2")
    assert probe("plain", "inherit.enabled=false", "training.epochs=2") == two
    assert probe("one", "inherit.fresh_epochs=1") != two


def test_a_flag_is_enough_for_any_strategy(evonas: Cli, tiny_file: Path, tmp_path: Path) -> None:
    words = ("search", tiny_file, "--inherit", "--run-dir", "run", "finals.networks=0")
    code, _, err = evonas(*words, "inherit.least=0.1")
    assert code == 0, err
    assert any(row["inherited"] for row in rows(tmp_path / "run"))


def test_children_of_damaged_weights_start_afresh(
    evonas: Cli, breeding: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code, _, err = evonas("search", breeding, "--run-dir", "run", "--budget", 3)
    assert code == 0, err
    for path in (tmp_path / "run/weights").iterdir():
        path.write_bytes(b"no weights")
    before = len(rows(tmp_path / "run"))
    code, _, err = evonas("search", "--resume", "--run-dir", "run", "--budget", 6)
    assert code == 0, err
    assert "a parent's weights are damaged: its children start from random weights" in caplog.text
    late = rows(tmp_path / "run")[before:]
    assert {row["status"] for row in late} == {"ok"}
    first, *_ = [row for row in late if row["parent"]]
    assert (first["inherited"], first["epochs"]) == (0.0, 2)


def test_one_flipped_bit_of_a_parent_is_never_inherited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent, child, chance = trial(g1=4), trial(g1=5), random.Random(0)
    keep(tmp_path, parent)
    path = tmp_path / "weights" / f"{parent.digest}.safetensors"
    whole, afresh, count = path.read_bytes(), 0, 200
    for _ in range(count):
        own = lineage(tmp_path)
        own.learn([parent])
        path.write_bytes(flipped(whole, chance))
        begun = own.job(job(child), parent.digest)
        if begun.parent:  # the bit was in the name of the checksum
            assert torch.equal(load_file(path)["w"], torch.ones(3))
        else:
            assert begun.training.epochs == 7
            afresh += 1
    assert afresh > 0.9 * count
    assert "are damaged" in caplog.text
    path.write_bytes(whole)
    own = lineage(tmp_path)
    own.learn([parent])
    assert own.job(job(child), parent.digest).parent == str(path)
