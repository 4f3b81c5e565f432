"""Parts a, b and f of the throughput benchmark: same errors, and what is computed from times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import throughput_cached
import throughput_gpu
import throughput_in_the_loop
import throughput_processes
import throughput_training
import torch
from throughput_gpu import Work, work_of
from throughput_in_the_loop import Whole
from throughput_plain import Plain, Rows
from throughput_processes import Agreement, Process, agreement, medians
from throughput_report import Options
from throughput_training import (
    Pass,
    Trainings,
    apart,
    in_memory,
    ratios,
    same_in_the_end,
    sized,
    some,
)

from evonas.core.experiment import Experiment, changed
from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Split
from evonas.estimation.features.feature_cache import Features
from evonas.runs.run_store import RunStore, Trial


@pytest.fixture
def trainings(tiny_experiment: Experiment, features: Features, tmp_path: Path) -> Trainings:
    """Six networks of two epochs, on features that are there."""
    experiment = sized(tiny_experiment, 6, 2, False)
    return Trainings.of(experiment, tmp_path / "asked")


def test_trainings_of_several_generations_are_told_apart(
    tiny_experiment: Experiment, features: Features, tmp_path: Path
) -> None:
    many = Trainings.of(sized(tiny_experiment, 11, 1, False), tmp_path / "asked")
    assert [job.index for job in many.jobs] == list(range(11))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9, "keep": "last", "schedule": "exponential", "warmup": 0.5},
        {"batch_size": 64, "weight_decay": 0.0, "schedule": "step", "milestones": (1,)},
    ],
)
def test_the_plain_loop_finds_the_same_errors(
    trainings: Trainings, changes: dict[str, Any]
) -> None:
    settings = TrainingSettings(epochs=3, learning_rate=1e-2, **changes)
    settings = settings.model_copy(update={"batch_size": changes.get("batch_size", 8)})
    jobs = [replace(job, training=settings) for job in trainings.jobs]
    assert {job.architecture.settings["dropout"] for job in jobs} == {0.0, 0.2}
    trainings = replace(trainings, jobs=jobs)
    held = {tap: in_memory(trainings.setting, tap) for tap in ("block3", "block4")}
    before = torch.get_num_threads()
    ours = throughput_cached.evonas(trainings)
    theirs = throughput_cached.plain(trainings, held, threads=before + 1)
    assert np.abs(np.subtract(ours.histories, theirs.histories)).max() < 1e-2
    # and it says something: errors move by more from epoch to epoch, and between networks
    assert min(abs(errors[0] - errors[-1]) for errors in ours.histories) > 0.02
    assert len({errors[-1] for errors in ours.histories}) == 6
    assert torch.get_num_threads() == before


def test_a_published_process_finds_the_same_errors(
    trainings: Trainings, tiny_experiment: Experiment, tmp_path: Path
) -> None:
    words = ["training.epochs=3", "training.batch_size=8", "training.ema=0.5"]
    words += ["training.learning_rate=2e-2"]  # so that errors move from epoch to epoch
    experiment = changed(tiny_experiment, words)
    job = next(j for j in trainings.jobs if j.architecture.settings["dropout"])
    split = some(trainings.setting.splits["search"], 24, 10)
    same = agreement(experiment, trial(0, 1, job.architecture.to_dict()), split, 0, tmp_path)
    assert same.images == (len(split.train), len(split.validation))
    assert len(same.published) == len(same.ours) == 3
    assert max(same.differences) < 0.02  # degrees; evonas's maps are rounded to 16 bits
    assert abs(same.ours[0] - same.ours[-1]) > 0.1
    assert same.noise > 0.1


def test_a_process_that_fails_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-c", "import sys; sys.exit('Traceback:\\n  some lines\\nno such file')"]
    with pytest.raises(InputError, match=r"^-c ended with status 1: no such file$"):
        throughput_processes._clocked(words)
    own = "import evonas, os; assert os.environ.get('OMP_NUM_THREADS') is None"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert throughput_processes._clocked(["-c", own]) > 0


def test_rows_are_those_that_evonas_draws() -> None:
    rng = np.random.default_rng(5)
    rows = Rows(np.array([1, 4, 6]), images=10, views=3, seed=5)
    for _ in range(3):
        order, views = rng.permutation([1, 4, 6]), rng.integers(0, 3, 3)
        assert list(rows) == [10 * view + image for view, image in zip(views, order, strict=True)]
    assert len(rows) == 3


def test_maps_lie_view_after_view(trainings: Trainings, features: Features) -> None:
    data = in_memory(trainings.setting, "block3")
    maps = features.open("block3")
    images = len(maps[0])
    for view, index in ((0, 0), (1, 0), (1, images - 1)):
        held, target = data[view * images + index]
        assert held.dtype == torch.float32
        assert np.array_equal(held.numpy(), maps[view][index].astype(np.float32))
        assert np.array_equal(target.numpy(), trainings.setting.targets[view, index])
    assert not np.array_equal(maps[0], maps[1])


def process(around: float, training: float, validation: float) -> Process:
    found = Plain([{"mae": 1.0}], [training], [validation])
    return Process(around + training + validation, found)


def test_all_candidates_follow_from_a_few() -> None:
    processes = {"low": process(4.0, 8.0, 2.0), "high": process(3.0, 15.0, 5.0)}
    assert processes["low"].epoch == 10.0
    assert processes["low"].around == 4.0
    whole = Whole("views", 100.0, 25.0, 20.0, processes, {"low": 15, "high": 5}, epochs=5)
    assert (whole.each("low"), whole.each("high")) == (54.0, 103.0)
    assert whole.published(20) == 15 * 54.0 + 5 * 103.0 == 1325.0
    assert whole.published(200) == 13250.0
    assert (whole.evonas(20), whole.evonas(200)) == (100.0, 280.0)  # 9 times its trainings
    assert whole.ratio(20) == 13.25
    two = Process(9.0, Plain([{}, {}], [2.0, 3.0], [0.5, 0.5]))
    assert (two.epoch, two.around) == (3.0, 3.0)


def trial(index: int, macs: int, architecture: dict[str, Any]) -> Trial:
    digest = f"{index:016x}"
    return Trial(0, index, (0.0,), digest, architecture, "ok", 1.0, macs, 1, 2.0, {"mae": 1.0})


def test_each_tap_is_stood_for_by_its_median(tiny_experiment: Experiment) -> None:
    taps = ["block4", "block3", "block3", "block3", None]
    costs = [5, 9, 1, 4, 7]
    trials = [
        trial(i, cost, {"network": "n", "settings": {"tap": tap} if tap else {}})
        for i, (tap, cost) in enumerate(zip(taps, costs, strict=True))
    ]
    chosen = medians(tiny_experiment, trials)  # without a tap: the experiment's, block3
    assert {tap: found.macs for tap, found in chosen.items()} == {"block3": 7, "block4": 5}


def test_some_images_are_spread_over_all() -> None:
    few = some(Split(np.arange(100), np.arange(100, 110)), 10, 50)
    assert few.train.tolist() == list(range(0, 100, 10))
    assert few.validation.tolist() == list(range(100, 110))


def test_ratios_and_differences_by_hand() -> None:
    ours, theirs = Pass(2.0, [], [[9.0, 4.0], [6.0, 5.0]]), Pass(3.0, [], [[5.5, 4.0], [6.0, 3.0]])
    assert ratios([theirs, Pass(8.0, [], [])], [ours, Pass(4.0, [], [])]) == [1.5, 2.0]
    assert apart(ours, theirs) == 2**0.5
    far = Pass(2.0, [], [[0.0, 7.0], [0.0, 5.0]])
    assert same_in_the_end(ours, theirs, far, "degrees").met
    assert not same_in_the_end(ours, far, theirs, "degrees").met


def test_shares_of_a_card_by_hand() -> None:
    # 1000 multiply-adds, 10 parameters, maps of 64 bytes; 30 images train, 10 validate, 3 steps
    work = work_of(1_000, 10, 64, (30, 10), 3, average=False)
    assert work == Work(2_000 * (3 * 30 + 10), 64 * 40 + 3 * 10 * 40)
    kept = work_of(1_000, 10, 64, (30, 10), 3, average=True)
    assert kept.moved - work.moved == 3 * 10 * 12
    assert work + work == Work(400_000, 7_520)
    assert Work(400.0, 30.0).share(Work(1_000.0, 20.0), seconds=2.0) == (0.2, 0.75)


def test_without_a_gpu_part_f_says_so(
    tiny_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = throughput_training.measure(Options("f", tiny_experiment)).markdown("f", "stamp")
    assert "## f. On a GPU" in text
    assert "There is no GPU here that PyTorch can use, so nothing was measured." in text
    assert "(**for information**)" in text


def test_part_f_computes_its_section(trainings: Trainings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    number = len(trainings.jobs)

    def done(seconds: float, error: float) -> list[Pass]:
        return [Pass(seconds, [seconds / number] * number, [[error, error]] * number)] * 2

    found = {
        throughput_gpu.EVONAS: done(2.0, 5.0),
        f"{throughput_gpu.PLAIN}, bfloat16, 0": done(12.0, 5.1),
        f"{throughput_gpu.PLAIN}, float32, 0": done(9.0, 5.25),
    }
    section = throughput_gpu._section(
        trainings, found, Work(1e9, 1e9), done(2.0, 5.5)[0], quick=False
    )
    first, second = section.verdicts
    assert (first.met, first.measured) == (False, "4.50 (4.50..4.50) x")  # 9 / 2
    assert second.met
    assert second.measured == "0.2500 degrees; evonas from two seeds: 0.5000 degrees"
    work = [throughput_gpu._work(trainings, job) for job in trainings.jobs]
    rows = section.tables[0].rows
    assert rows[0][1] == "3.00 (3.00..3.00)"
    assert rows[0][4] == f"{100 * sum(one.operations for one in work) / 2e9:.3f} %"
    assert rows[0][5] == f"{100 * sum(one.moved for one in work) / 2e9:.3f} %"


def test_part_b_in_small(
    tiny_experiment: Experiment, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput_cached, "cores", lambda: 1)  # else Ray
    experiment = changed(tiny_experiment, ["data.identities=12"])
    section = throughput_training.measure(Options("b", experiment, repeats=2, quick=True))
    faster, strict, same = section.verdicts
    assert faster.met is None
    assert strict.met
    assert same.met
    assert [row[0] for row in section.tables[0].rows] == [
        "evonas, 1 thread",
        "plain loop, 1 thread",
    ]


def test_part_a_in_small(tiny_experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def search(experiment: Experiment, folder: Path) -> float:
        with RunStore(folder) as store:
            for index, tap in enumerate(("block3", "block3", "block4")):
                store.append(trial(index, index, {"network": "n", "settings": {"tap": tap}}))
            store.write("utilisation.json", {"wall": 10.0})
        asked.append((folder.name, experiment.features.jitters, experiment.features.cache))
        return {"cold": 30.0, "warm": 12.0}[folder.name]

    def published(candidate: Any, file: Path) -> Process:
        asked.append((candidate.architecture["settings"]["tap"], candidate.loaders))
        return process(4.0, 9.0 - candidate.loaders, 1.0)

    same = Agreement((3, 2), [5.0, 4.0], [5.0, 4.25], [3.0, 5.0, 4.0], "block3")
    monkeypatch.setattr(throughput_in_the_loop, "search", search)
    monkeypatch.setattr(throughput_in_the_loop, "published", published)
    monkeypatch.setattr(throughput_in_the_loop, "agreement", lambda *_: same)
    experiment = changed(tiny_experiment, ["features.jitters=1"])
    section = throughput_training.measure(Options("a", experiment, quick=True))
    caches = {one[2] for one in asked if one[0] == "cold"}
    assert len(caches) == 2  # each with an empty cache of its own
    steps = [one[:2] for one in asked]
    assert steps[:5] == [("cold", 1), ("block3", 0), ("block3", 1), ("block4", 1), ("warm", 1)]
    assert steps[5:] == [("cold", 0), ("block3", 1), ("block4", 1), ("warm", 0)]
    text = section.markdown("a", "stamp")
    assert "20 candidates, 4 views, as the experiment: >= 15 x: 3.0 x" in text  # 260 / 87
    assert "0.250 degrees, the spread over seeds is 0.826 degrees (**met**)" in text
    assert "a loader process that decodes ahead (9.0 s an epoch; the same process: 10.0 s" in text
