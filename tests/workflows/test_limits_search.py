"""Searches under several limits, and with the backbone counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, said
from finished_search import BUDGET, new, of, read
from numpy.typing import NDArray
from untrained_search import SPACE, Fake, cost

from evonas.core.experiment import Experiment, changed
from evonas.core.settings import ObjectiveSettings, TrainingSettings
from evonas.estimation.cost.limits import BackboneShare, KnownCosts
from evonas.estimation.estimator import Job
from evonas.estimation.features.feature_cache import Features
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.models.weight_count import WeightCount
from evonas.optimizers.base import Optimizer
from evonas.report.page.run_data import Run
from evonas.report.page.run_tables import sentences
from evonas.runs.run_store import RunStore, Trial
from evonas.space import Architecture
from evonas.workflows.candidates import identified
from evonas.workflows.components import Components
from evonas.workflows.loop import Search, SearchComponents


class Slow(Fake):
    """Finds half of the networks too slow to be trained."""

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for index, measurement in super()._evaluate(jobs):
            if jobs and int(self.jobs[-1].architecture.digest, 16) % 2:
                assert self.jobs[-1].max_ms == 2.0
                yield index, Measurement.failure("infeasible", "9 ms are over", latency=9.0)
            else:
                yield index, replace(measurement, latency=1.0)


class Twice(Optimizer):
    """Asks everything twice, and something old with it."""

    _old: NDArray[np.float64] | None = None

    def _ask(self) -> NDArray[np.float64]:
        new = self.sample_new(2)
        return np.concatenate([new, new, new if self._old is None else self._old])

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        self._old = genomes[:2]

    def parents(self) -> list[str]:
        return []


def test_what_is_too_slow_is_measured_once_and_repeats_say_so(tmp_path: Path) -> None:
    def run(resume: bool) -> tuple[list[Trial], Slow]:
        executor = Slow()
        objective = Objective("error", ObjectiveSettings(max_ms=2.0))
        optimizer = Twice(SPACE, budget=30, seed=5, macs=cost)
        with RunStore(tmp_path, resume) as store:
            parts = SearchComponents(
                SPACE, optimizer, executor, objective, TrainingSettings(), cost
            )
            Search(parts, store).run(5)
            return store.trials(), executor

    trials, executor = run(False)
    assert len(set(executor.digests)) == len(executor.digests) == 30
    slow = {trial.digest for trial in trials if trial.status == "infeasible"}
    assert len(slow) == sum(int(digest, 16) % 2 for digest in executor.digests) > 5
    assert all(trial.fitness is None for trial in trials if trial.digest in slow)
    assert sum(trial.status == "infeasible" for trial in trials) == len(slow)
    repeats = [t for t in trials if t.status == "repeat" and t.digest in slow]
    assert len(repeats) > len(slow)
    assert {t.latency for t in repeats} == {9.0}
    lines = (tmp_path / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(lines[: len(lines) // 2]))
    again, _ = run(True)
    assert plain(again) == plain(trials)


def test_the_optimizer_gets_known_costs_as_they_count() -> None:
    settings = ObjectiveSettings(counts="total", max_macs=100)
    share = BackboneShare(1000)
    known = KnownCosts(settings, cost, lambda _: WeightCount(), lambda _: share)
    genome = (0.25, 0.5)
    plain = {"network": "toy", "settings": {"width": 1}}
    trial = Trial(0, 0, genome, "d" * 16, plain, "ok", 1.0, 50)
    found = identified([trial], 2, Objective("error", settings, known))
    assert found == {np.array(genome).tobytes(): ("d" * 16, 1050)}


def plain(trials: list[Trial]) -> list[dict[str, object]]:
    """Rows of a journal without timings."""
    return [{**trial.row(), "seconds": 0.0, "at": 0.0} for trial in trials]


def test_all_limits_hold_for_what_is_trained(
    evonas: Cli, tiny_file: Path, components: Components, features: Features
) -> None:
    limits = ("objective.max_macs=250000", "objective.max_params=4000", "objective.max_mb=0.015")
    folder, out = new(evonas, tiny_file, *limits)
    trials = of(folder, "ok")
    assert len(trials) == BUDGET
    for trial in trials:
        weights = components.weights(Architecture.from_dict(trial.architecture))
        assert weights.params == trial.params <= 4000
        assert weights.megabytes <= 0.015
        assert trial.macs <= 250_000
    assert "Limits objective.max_macs=250000 (" in out
    assert "objective.max_mb=0.015 (" in out
    free = [components.space.decode(trial.genome) for trial in trials]
    assert len({one.digest for one in free}) == BUDGET


def test_slow_networks_are_measured_and_not_trained(
    evonas: Cli, tiny_file: Path, own_cache: str, measured: list[int]
) -> None:
    folder, out = new(evonas, tiny_file, own_cache, "objective.max_ms=3")
    slow, trained = of(folder, "infeasible"), of(folder, "ok")
    assert len(slow) + len(trained) == BUDGET
    assert slow
    assert trained
    for trial in slow:
        assert trial.latency > 3
        assert (trial.fitness, trial.epochs, trial.metrics) == (None, 0, {})
        assert trial.error == f"infeasible: {trial.latency:.4g} ms are over objective.max_ms=3"
    for trial in trained:
        assert trial.latency == trial.params / 1e3 <= 3
    assert len(measured) == BUDGET + 1  # each once, and the baseline
    assert f"{len(trained)} networks trained" in out
    assert "3 ms are checked by measuring before each training" in out


def test_measuring_first_changes_no_training(
    evonas: Cli, tiny_file: Path, own_cache: str, measured: list[int]
) -> None:
    timed = ("objective.axes=[error,latency]",)
    folder, _ = new(evonas, tiny_file, own_cache, *timed)
    free = plain(of(folder, "ok"))
    folder.rename(folder.with_name("free"))
    shutil.rmtree(tiny_file.parent / "cache" / "latency")
    folder, _ = new(evonas, tiny_file, own_cache, *timed, "objective.max_ms=1000")
    assert plain(of(folder, "ok")) == free


def test_a_resumed_run_with_slow_networks_is_that_which_was_not_stopped(
    evonas: Cli, tiny_file: Path, own_cache: str, measured: list[int]
) -> None:
    limit = (own_cache, "objective.max_ms=4", "budget=12")
    folder, _ = new(evonas, tiny_file, *limit)
    whole = plain(of(folder, "ok", "infeasible", "repeat"))
    for kept in (2, 7):
        lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
        (folder / "journal.jsonl").write_text("".join(lines[:kept]))
        assert evonas("search", "--resume", "--run-dir", folder)[0] == 0
        assert plain(of(folder, "ok", "infeasible", "repeat")) == whole


def test_counting_in_total_penalises_the_tap_and_says_the_whole_cost(
    evonas: Cli, tiny_file: Path, components: Components, features: Features
) -> None:
    words = ("objective.counts=total", "objective.target_macs=11000000", "objective.weight=1")
    folder, out = new(evonas, tiny_file, *words)
    assert {trial.architecture["settings"]["tap"] for trial in of(folder, "ok")} == {
        "block3",
        "block4",
    }
    for trial in of(folder, "ok"):
        architecture = Architecture.from_dict(trial.architecture)
        assert trial.macs == components.cost(architecture)  # the journal keeps the head's
        share = components.upto(components.tap_of(architecture)).macs
        factor = max(1.0, 2 * (trial.macs + share) / 22e6)
        assert factor == 1.0 or trial.architecture["settings"]["tap"] == "block4"
        assert trial.fitness == pytest.approx(trial.metrics["mae"] * factor, rel=1e-12)
    best = read(folder / "best.json")
    tap = best["architecture"]["settings"]["tap"]
    under = components.upto(tap)
    assert best["backbone_cost"]["up_to_tap"] == under.to_dict()
    whole = (best["macs"] + under.macs) / 1e6, 4e-6 * (best["params"] + under.params)
    assert (
        f"The whole network up to {tap} with its head: {whole[0]:.1f} M multiply-adds, "
        f"{whole[1]:.1f} MB."
    ) in out
    front = read(folder / "front.json")["front"]
    for one in front:
        share = components.upto(one["architecture"]["settings"]["tap"]).macs
        assert one["axes"]["macs"] == one["macs"] + share
    run = Run.read(folder)
    assert [run.cost_of(trial, "macs") for trial in run.front] == [
        one["axes"]["macs"] for one in front
    ]


def test_a_limit_in_total_excludes_the_late_tap(
    evonas: Cli, tiny_file: Path, components: Components, features: Features
) -> None:
    """Not of the head: heads on block4 are cheap, but what lies below them is not."""
    limit = components.upto("block4").macs
    assert limit > components.upto("block3").macs
    words = ("objective.counts=total", f"objective.max_macs={limit}")
    folder, _ = new(evonas, tiny_file, *words)
    assert {t.architecture["settings"]["tap"] for t in of(folder, "ok")} == {"block3"}
    before = plain(of(folder, "ok", "infeasible", "repeat"))
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:3]))
    assert evonas("search", "--resume", "--run-dir", folder)[0] == 0
    assert plain(of(folder, "ok", "infeasible", "repeat")) == before


def test_a_finished_search_says_what_its_head_adds(
    source: tuple[Path, str], components: Components
) -> None:
    folder, out = source
    best, full = read(folder / "best.json"), components.backbone.full_cost()
    assert full is not None
    assert best["backbone_cost"]["full"] == {"macs": full.macs, "params": full.params}
    share = 100 * best["macs"] / full.macs
    assert f"Adds {share:.1f} % operations and {4e-6 * best['params']:.2g} MB to your" in out


def test_validate_says_the_share_under_each_limit_and_under_all(
    tiny_experiment: Experiment,
) -> None:
    limits = {"max_macs": 32_676, "max_params": 1507, "max_ms": 3}
    found = tiny_experiment.changed(objective=limits).describe()
    assert 0 < found.share < min(found.alone.values()) < 1
    text = str(found)
    assert "of random genomes are within all of them: " in text
    assert "within max_macs=32,676, " in text
    assert "limit: 3 ms of a head network, measured before each training (objective.max_ms)" in text
    assert found.limits == {"max_macs": 32_676, "max_params": 1507}


def test_limits_that_exclude_one_another_are_an_error(evonas: Cli, tiny_file: Path) -> None:
    words = ("objective.max_macs=32676", "objective.max_params=1035", "objective.max_mb=1")
    pair = "objective.max_macs=32676 and objective.max_params=1035 exclude one another: none of"
    assert pair in said(evonas("validate", tiny_file, *words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("objective.max_params=-5",), "objective.max_params: input should be greater than or equ"),
        (("objective.max_mb=-1",), "objective.max_mb: input should be greater than 0"),
        (("objective.max_ms=0",), "objective.max_ms: input should be greater than 0"),
        (("objective.counts=all",), "objective.counts: input should be 'head' or 'total'"),
        (("objective.max_ms=2", "execution.device=gpu:77"), "gpu:77"),
    ],
)
def test_bad_values_are_named(
    evonas: Cli, tiny_file: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in said(evonas("search", tiny_file, *words))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("objective.max_ms=2", "objective.max_ms=2: a table has no latencies"),
        ("objective.counts=total", "objective.counts=total: a table has no backbone"),
        ("objective.max_mb=1", "objective.max_mb: the table has no 'params'"),
    ],
)
def test_a_table_refuses_limits_that_it_cannot_tell(
    evonas: Cli, tmp_path: Path, word: str, message: str
) -> None:
    (tmp_path / "past.csv").write_text("width,rmse,ops\n8,3.5,996\n16,3.0,1000\n")
    told = {"file": "past.csv", "genes": ["width"], "error": "rmse", "cost": "ops"}
    path = tmp_path / "past.yaml"
    path.write_text(json.dumps({"name": "past", "budget": 2, "table": told}))
    assert said(evonas("search", path, word)).startswith(message)


def test_a_run_of_an_earlier_version_is_resumed(evonas: Cli, run: Path) -> None:
    """Its experiment.yaml knows neither ``counts`` nor the further limits."""
    file = run / "experiment.yaml"
    lines = file.read_text().splitlines(keepends=True)
    names = ("counts:", "max_params:", "max_mb:", "max_ms:")
    file.write_text("".join(line for line in lines if not line.strip().startswith(names)))
    assert "max_ms" not in file.read_text()
    best = read(run / "best.json")
    del best["backbone_cost"]
    (run / "best.json").write_text(json.dumps(best))
    assert not any(line.startswith("Adds ") for line in sentences(Run.read(run)))
    assert evonas("search", "--resume", "--run-dir", run)[0] == 0


def test_a_genome_is_held_against_each_limit(tiny_experiment: Experiment) -> None:
    from evonas.api.description import describe_network

    one = changed(tiny_experiment, ["objective.max_params=2000", "objective.counts=total"])
    found = describe_network(one, seed=4)
    cost, limit = found.limits["max_params"]
    assert cost > found.params + 70_000  # the backbone up to block3 has 72304
    assert limit == 2000
    assert "over the limit of 2,000 parameters" in found.table.notes
