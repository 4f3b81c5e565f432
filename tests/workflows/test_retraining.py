"""Retraining: what chose is said, each fold settles its own task, and seeds are new ones."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import Cli
from rich.console import Console
from safetensors.torch import load_file

from evonas.api import retraining as retraining_module
from evonas.api.live_view import LiveView
from evonas.api.retraining import retrain
from evonas.core import experiment as config
from evonas.core.settings import TrainingSettings
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.estimation.estimator import Estimator, Job, Split, TrainingContext
from evonas.estimation.measurement import Measurement
from evonas.estimation.training import checkpoint
from evonas.estimation.training import training as training_module
from evonas.report.page import writer
from evonas.report.page.run_data import Run
from evonas.report.tables import show
from evonas.runs.callbacks import Callback
from evonas.runs.result_files import read
from evonas.runs.run_store import read_journal
from evonas.space import Architecture
from evonas.workflows.components import Components
from evonas.workflows.fold_splits import make_folds
from evonas.workflows.loop import candidate_seed
from evonas.workflows.retraining import Retraining, selection_bias

FOLDERS = ("whole", "broken")
PROBE = {"name": "probe", "network": "linear_probe", "settings": {"tap": "block3"}}


class Recorder:
    """An executor that trains nothing and keeps what it is asked for."""

    def __init__(self, asked: list[tuple[TrainingContext, Job]], setting: TrainingContext) -> None:
        self._asked, self._setting = asked, setting

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def evaluate(self, jobs: list[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            self._asked.append((self._setting, job))
            yield job.index, Measurement.failure("nan", "not trained")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainingContext, Job]]:
    """What a retraining asks for, instead of training."""
    found: list[tuple[TrainingContext, Job]] = []
    monkeypatch.setattr(Components, "executor", lambda self, setting: Recorder(found, setting))
    return found


def without_test(plain: dict[str, Any], **changes: Any) -> dict[str, Any]:
    data = plain["data"] | {"train": 0.6, "validation": 0.4}
    return {**plain, "data": data, "baselines": [PROBE], **changes}


def retrained(plain: Mapping[str, Any], folder: Path) -> tuple[str, dict[str, Any]]:
    """What a retraining of baselines prints, and its comparison.json."""
    path, stream = folder / "plain.yaml", io.StringIO()
    path.write_text(yaml.safe_dump(dict(plain)), encoding="utf-8")
    console = Console(file=stream, width=200)
    with LiveView(console) as view:
        model = retrain(path, out=folder / "out", callbacks=[view])
    for table in model.tables:
        show(table, console)
    for note in model.notes:
        console.print(note, soft_wrap=True)
    content = json.loads((folder / "out" / "comparison.json").read_text("utf-8"))
    return stream.getvalue(), content


# What the judging images chose.


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (
            "best",
            "these images chose the epoch of each network (keep=best): errors on them flatter",
        ),
        ("last", ""),
    ],
)
def test_errors_on_the_validation_split_say_that_it_chose_the_epoch(
    tiny: dict[str, Any], tmp_path: Path, keep: str, said: str
) -> None:
    plain = without_test(tiny, retraining={"epochs": 1, "keep": keep})
    out, content = retrained(plain, tmp_path)
    assert "Errors on the validation split" in out
    assert content["selection_bias"] == said
    text = (tmp_path / "out" / "comparison.md").read_text("utf-8")
    assert ("flatter" in out) == ("flatter" in text) == bool(said)
    assert said in out
    assert said in text


def test_a_test_split_is_not_called_biased(tiny: dict[str, Any], tmp_path: Path) -> None:
    out, content = retrained({**tiny, "baselines": [PROBE]}, tmp_path)
    assert "Errors on the test split" in out
    assert content["selection_bias"] == ""
    assert "flatter" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "chose the epoch of each network (keep=best) and, in the search, the winner"),
        (("retraining.keep=last",), "these images chose the winner in the search: its errors"),
        (("--folds", 3), "a search on these images chose the winner: its errors flatter"),
    ],
)
def test_of_the_winner_the_search_s_part_is_said_as_well(
    evonas: Cli, tiny: dict[str, Any], tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    path, run = tmp_path / "plain.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(without_test(tiny, budget=1, finals={"networks": 0})), "utf-8")
    assert evonas("search", path, "--run-dir", run)[0] == 0
    code, out, err = evonas("retrain", run / "best.json", *words)
    assert (code, err) == (0, "")
    assert said in " ".join(out.split())
    folder = run / ("cross-validation" if words and words[0] == "--folds" else "retrained")
    assert said in json.loads((folder / "comparison.json").read_text("utf-8"))["selection_bias"]
    if folder.name == "retrained":
        writer.write(run / "report.html", [Run.read(run)])
        assert said in (run / "report.html").read_text("utf-8")


def test_every_case_says_what_was_chosen_and_no_more() -> None:
    told = {
        (tested, keep, searched, folds): selection_bias(tested, keep, searched, folds)
        for tested in (False, True)
        for keep in ("best", "last")
        for searched in (False, True)
        for folds in (0, 3)
    }
    for (tested, keep, searched, folds), text in told.items():
        by_epoch = keep == "best" and not folds and not tested
        by_search = searched and (bool(folds) or not tested)
        assert ("epoch" in text) == by_epoch
        assert ("winner" in text) == by_search
        assert ("flatter" in text) == (by_epoch or by_search)


# Folds.


@pytest.fixture
def ages(tiny: dict[str, Any]) -> Components:
    """A regression whose scale follows from the training labels."""
    task = {"name": "regression", "labels": ["yaw", "identity"]}
    return Components(config.check({**tiny, "task": task, "baselines": [PROBE]}, "tests"))


def folds(components: Components, count: int) -> dict[str, Split]:
    return make_folds(components.dataset, count, "", components.experiment.seed).splits


def test_each_fold_settles_the_task_on_its_own_training_images(
    ages: Components, asked: list[tuple[TrainingContext, Job]]
) -> None:
    contenders = Retraining(ages, None).cross_validate(folds(ages, 4), lambda done, total: None)
    targets = ages.task.targets(ages.dataset).astype(np.float64)
    assert len(asked) == 4
    seen = []
    for setting, job in asked:
        split, task = setting.splits[job.split], setting.make_task(job.split)
        assert not set(split.train) & set(split.validation)
        np.testing.assert_allclose(task.centre, targets[split.train].mean(0), rtol=1e-6)
        np.testing.assert_allclose(task.scale, targets[split.train].std(0), rtol=1e-6)
        seen.append(tuple(task.centre.tolist()))
    assert len(set(seen)) == 4
    assert len(contenders[-1].results) == 4


def test_options_that_a_person_gives_stay_in_every_fold(
    ages: Components, asked: list[tuple[TrainingContext, Job]]
) -> None:
    fixed = config.changed(ages.experiment, ["task.scale=[7, 9]"])
    Retraining(Components(fixed), None).cross_validate(folds(ages, 2), lambda done, total: None)
    assert [s.make_task(j.split).scale.tolist() for s, j in asked] == [[7, 9], [7, 9]]


def test_a_worker_trains_each_split_with_its_own_task(ages: Components) -> None:
    """One estimator with two splits gives what two estimators with one each give."""
    features = ages.features(ages.backbone, ["block3"], lambda *progress: None)
    first, second = np.arange(36), np.arange(36, 72)
    splits = {"one": Split(first, second), "two": Split(second, first)}
    plain = ages.context({"backbone": features}, splits)
    settled = ages.tasks.settled({name: split.train for name, split in splits.items()}, [()])
    network = Architecture("linear_probe", {"tap": "block3"})
    both, found = Estimator(replace(plain, settled=settled)), {}
    for name in splits:
        job = Job(0, network, 1, TrainingSettings(epochs=2, batch_size=16), split=name)
        kind, _, labels = plain.task
        alone = Estimator(replace(plain, task=(kind, settled[name, ()], labels)))
        found[name] = both(job).metrics
        assert found[name] == alone(job).metrics != Estimator(plain)(job).metrics
    assert found["one"] != found["two"]


# Seeds.


def test_no_retraining_repeats_a_training_of_the_search_or_of_another_run(
    run: Path, asked: list[tuple[TrainingContext, Job]]
) -> None:
    """Of seed 3, its finals, and runs of the seeds around it; the epochs are the same."""
    best = read(run / "best.json", "")
    experiment = config.check(best["experiment"], "tests")
    assert experiment.retraining.epochs == experiment.training.epochs
    seeds: dict[int, list[int]] = {}
    for shift in (0, 1, 2):
        changed = config.changed(experiment, [f"seed={experiment.seed + shift}"])
        winner = Architecture.from_dict(best["architecture"])
        asked.clear()
        Retraining(Components(changed), winner).compare(3, None, lambda done, total: None)
        seeds[shift] = [job.seed for _, job in asked if job.architecture == winner]
    made = [seed for own in seeds.values() for seed in own]
    assert len(made) == len(set(made)) == 9
    trials = [trial for trial in read_journal(run) if trial.digest == best["digest"]]
    repeats = {trial.repeat for trial in trials} | {0, 1, 2, 3, 4}
    before = {
        candidate_seed(experiment.seed + shift, best["digest"], experiment.training.epochs, repeat)
        for shift in (0, 1, 2)
        for repeat in repeats
    }
    assert not before & set(made)


def test_training_on_after_pruning_has_seeds_of_its_own(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evonas.deployment import retrained_network as deployed
    from evonas.workflows.evaluation import Retrained

    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump({**tiny, "baselines": [PROBE]}), "utf-8")
    folder = retrain(path, repeats=2, out=tmp_path / "out").folder
    found: list[int] = []

    def training(*arguments: Any, **options: Any) -> Any:
        found.append(arguments[4])
        raise deployed.Diverged("stopped by the test")

    monkeypatch.setattr(deployed, "Training", training)
    for repeat in (0, 1):
        whole = RetrainedNetwork(Retrained(folder), "", repeat)
        with pytest.raises(Exception, match="stopped by the test"):
            whole.train(whole.full_network, TrainingSettings(epochs=1), lambda done, total: None)
    digest = RetrainedNetwork(Retrained(folder)).architecture.digest
    others = {
        candidate_seed(seed, digest, 1, repeat, purpose)
        for seed in (3, 4)
        for repeat in (0, 1, 2)
        for purpose in ("", "retrain")
    }
    assert len(set(found) | others) == len(others) + 2


def test_a_real_fold_trains(ages: Components) -> None:
    contenders = Retraining(ages, None).cross_validate(folds(ages, 2), lambda done, total: None)
    assert [len(one.results) for one in contenders] == [2, 2]
    assert not contenders[0].failures
    assert [len(one) for one in contenders[0].losses] == [len(one) for one in contenders[0].curves]
    assert contenders[0].to_dict()["losses"] == contenders[0].losses


@pytest.mark.parametrize("folds", [0, 2])
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_retraining_that_was_broken_off_goes_on_and_ends_with_the_same_bits(
    tiny: dict[str, Any], tmp_path: Path, folds: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = without_test(tiny, retraining={"epochs": 3}, execution={"executor": "local"})
    path = tmp_path / "plain.yaml"
    path.write_text(yaml.safe_dump(plain), "utf-8")
    monkeypatch.setattr(checkpoint, "SECONDS_AT_RISK", 0.0)
    options: dict[str, Any] = {"folds": folds} if folds else {"repeats": 2}
    retrain(path, out=tmp_path / "whole", **options)
    real, epochs = training_module.validate, []

    def breaking(*arguments: Any, **others: Any) -> Any:
        epochs.append(1)
        if len(epochs) == 6:  # the last epoch of the second training
            raise KeyboardInterrupt if end == "stopped" else Killed
        return real(*arguments, **others)

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(training_module, "validate", breaking)
        with pytest.raises((KeyboardInterrupt, Killed)):
            retrain(path, out=tmp_path / "broken", callbacks=[Listener(said)], **options)
    assert ("the same command goes on from the trainings that are" in " ".join(said)) == (
        end == "stopped"
    )
    assert not (tmp_path / "broken" / "comparison.json").exists()
    epochs.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            training_module, "validate", lambda *a, **o: epochs.append(1) or real(*a, **o)
        )
        retrain(path, out=tmp_path / "broken", **options)
    assert len(epochs) == 1, "five epochs were finished before"
    files = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "broken").iterdir())
    whole, broken = (json.loads((tmp_path / f / "comparison.json").read_text()) for f in FOLDERS)
    assert whole == broken
    for name in (name for name in files if name.endswith(".safetensors")):
        one, other = (load_file(tmp_path / folder / name) for folder in FOLDERS)
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("change", [{"learning_rate": 0.5}, {"epochs": 4}])
def test_other_settings_begin_anew(
    tiny: dict[str, Any], tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of a retraining that was broken off is no danger to another retraining."""
    path = tmp_path / "plain.yaml"

    def run(folder: str, changes: dict[str, Any]) -> dict[str, Any]:
        settings = {"epochs": 3, **changes}
        made = without_test(tiny, retraining=settings, execution={"executor": "local"})
        path.write_text(yaml.safe_dump(made), "utf-8")
        retrain(path, out=tmp_path / folder)
        found: dict[str, Any] = json.loads((tmp_path / folder / "comparison.json").read_text())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(retraining_module, "write_json", lambda *given: _break_off())
        with pytest.raises(Killed):
            run("broken", {})
    assert list((tmp_path / "broken" / "unfinished").iterdir())
    assert run("broken", change) == run("whole", change)


class Killed(BaseException):
    """Ends a process, as far as the code that runs in it can tell."""


def _break_off() -> None:
    raise Killed


class Listener(Callback):
    """Keeps messages."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def on_message(self, message: str) -> None:
        self._said.append(message)
