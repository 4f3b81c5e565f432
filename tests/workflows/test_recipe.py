"""Searches with a recipe: from the genome through journal and retraining to exported files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import answers, pictures

from evonas import load_exported
from evonas.api.description import describe_network
from evonas.api.retrained_model import RetrainedModel
from evonas.api.retraining import retrain
from evonas.api.search import search
from evonas.core.experiment import Experiment, changed, check
from evonas.core.settings import TrainingSettings
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.estimator import Estimator, Job, Split
from evonas.runs.result_files import read
from evonas.runs.run_store import read_journal
from evonas.space import Architecture
from evonas.tasks.common.pose_representations import AngleBins, Rotation6D
from evonas.tasks.head_pose import HeadPose
from evonas.tasks.regression import Regression
from evonas.workflows import retraining as retraining_module
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained
from evonas.workflows.fold_splits import make_folds
from evonas.workflows.loop import candidate_seed
from evonas.workflows.retraining import Retraining
from evonas.workflows.warm_start import warm_start

RECIPE = {"task.output": ["bins", "rotation6d"], "training.learning_rate": [0.002, 0.008]}
OUTPUTS = {"bins": 198, "rotation6d": 6, "angles": 3}
PROBE = {"name": "probe", "network": "linear_probe", "settings": {"tap": "block3"}}
ANGLES = {
    "name": "angles",
    "network": "linear_probe",
    "settings": {"tap": "block3", "task.output": "angles"},
}


def recipe_of(architecture: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in architecture["settings"].items() if name in RECIPE}


@pytest.fixture(scope="module")
def experiment(components: Components) -> Experiment:
    """The tiny experiment with a recipe and two baselines, of which one has an output."""
    plain = components.experiment.model_dump(mode="json")
    finals = {"networks": 1, "seeds": 2}
    more = {"recipe": RECIPE, "baselines": [PROBE, ANGLES], "finals": finals}
    return check(plain | more, "tests")


@pytest.fixture(scope="module")
def searched(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search."""
    folder = tmp_path_factory.mktemp("recipe") / "run"
    search(experiment, run_dir=folder)
    return folder


@pytest.fixture(scope="module")
def model(searched: Path) -> RetrainedModel:
    """The retrained winner, which has bins."""
    path = searched / "best.json"
    best = json.loads(path.read_text("utf-8"))
    trials = read_journal(searched)
    bins = next(t for t in trials if t.architecture["settings"]["task.output"] == "bins")
    best |= {"architecture": dict(bins.architecture), "digest": bins.digest, "macs": bins.macs}
    path.write_text(json.dumps(best), "utf-8")
    return retrain(searched, out=searched / "retrained")


# The search.


def test_genes_stand_in_journal_best_json_and_digest(
    experiment: Experiment, searched: Path
) -> None:
    trials, space = read_journal(searched), Components(experiment).space
    assert {tuple(recipe_of(trial.architecture)) for trial in trials} == {tuple(RECIPE)}
    assert {recipe_of(trial.architecture)["task.output"] for trial in trials} == {*OUTPUTS} - {
        "angles"
    }
    for trial in trials:
        architecture = Architecture.from_dict(trial.architecture)
        assert space.decode(trial.genome) == architecture
        assert architecture.digest == trial.digest
        network = {k: v for k, v in architecture.settings.items() if k not in RECIPE}
        assert Architecture(architecture.network, network).digest != trial.digest
    best = read(searched / "best.json")
    assert set(recipe_of(best["architecture"])) == set(RECIPE)
    assert [gene["name"] for gene in best["space"]["genes"]][-2:] == list(RECIPE)
    assert best["experiment"]["recipe"] == RECIPE


def test_a_trial_is_the_training_with_its_settings_and_output(
    experiment: Experiment, searched: Path
) -> None:
    """Trained again without any recipe, with the values in the experiment itself."""
    for trial in [t for t in read_journal(searched) if t.status == "ok"][:3]:
        own = recipe_of(trial.architecture)
        words = [f"{name}={value}" for name, value in own.items()]
        plain = Components(changed(experiment, ["recipe={}", "baselines=[]", *words]))
        settings = {k: v for k, v in trial.architecture["settings"].items() if k not in RECIPE}
        network = Architecture(trial.architecture["network"], settings)
        assert (plain.cost(network), plain.outputs(network)) == (
            *(trial.macs, OUTPUTS[own["task.output"]]),
        )
        with plain.ready(lambda *progress: None).executor() as executor:
            seed = candidate_seed(experiment.seed, trial.digest, 1)
            job = Job(0, network, seed, plain.experiment.training, history=True)
            ((_, found),) = executor.evaluate([job])
        assert found.metrics == trial.metrics
        assert found.params == trial.params


def test_costs_have_the_outputs_of_the_genome(experiment: Experiment) -> None:
    parts = Components(experiment)
    low, high = np.full(parts.space.dim, 0.5), np.full(parts.space.dim, 0.5)
    low[-2], high[-2] = 1.0, 0.0
    six, bins = parts.space.decode(low), parts.space.decode(high)
    wider = 192 * parts.blocks(six)[-1].macs // 6
    assert parts.cost(bins) - parts.cost(six) == wider
    assert [sum(b.macs for b in parts.blocks(a)) for a in (six, bins)] == [
        *map(parts.cost, (six, bins)),
    ]
    shown = describe_network(experiment, high.tolist())
    assert (shown.n_outputs, shown.macs) == (198, parts.cost(bins))
    assert parts.space.size == 4 * Components(changed(experiment, ["recipe={}"])).space.size
    assert isinstance(parts.task_of(bins), HeadPose)
    kinds = [type(parts.task_of(one).output) for one in (six, bins)]  # type: ignore[attr-defined]
    assert kinds == [Rotation6D, AngleBins]
    assert parts.task.n_outputs == 3


def test_tensors_of_other_outputs_are_not_alike(experiment: Experiment) -> None:
    parts = Components(experiment)
    point = np.full(parts.space.dim, 0.5)
    found = []
    for output, rate in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0)):
        point[-2:] = output, rate
        found.append(parts.tensors(parts.space.decode(point)))
    assert found[0] == found[1]
    shared = found[0].keys() & found[2].keys()
    assert {name for name in found[0] if "outputs" not in name} == shared
    assert len(found[0]) - len(shared) == 2


def test_a_baseline_has_first_choices_where_it_names_none(experiment: Experiment) -> None:
    found = [dict(network.settings) for _, network in Components(experiment).baselines]
    assert found == [
        {"tap": "block3", "task.output": "bins", "training.learning_rate": 0.002},
        {"tap": "block3", "task.output": "angles", "training.learning_rate": 0.002},
    ]


@pytest.mark.parametrize(
    "how",
    # The budget ends with a generation: a race of fewer has other survivors.
    [[how, "optimizer.population_size=3"] for how in ("inherit=true", "fidelity=racing")],
)
def test_a_resumed_search_ends_as_an_uninterrupted_one(
    experiment: Experiment, tmp_path: Path, how: list[str]
) -> None:
    words = ["training.epochs=2", "finals.networks=0", "budget=6", "baselines=[]", *how]
    whole = changed(experiment, words)
    search(whole, run_dir=tmp_path / "whole")
    search(changed(whole, ["budget=3"]), run_dir=tmp_path / "part")
    search(whole, run_dir=tmp_path / "part", resume=True)
    journals = [
        [(t.genome, t.digest, t.metrics, t.parent, t.inherited) for t in read_journal(folder)]
        for folder in (tmp_path / "whole", tmp_path / "part")
    ]
    assert journals[0] == journals[1]
    assert (how[0] != "inherit=true") or any(row[-1] for row in journals[0])


def test_another_recipe_is_refused_on_resume(experiment: Experiment, searched: Path) -> None:
    other = changed(experiment, ["recipe.task.output=[bins,angles]"])
    with pytest.raises(InputError, match=r"cannot be resumed.*recipe.task.output: \['bins', 'rot"):
        search(other, run_dir=searched, resume=True)


def test_results_hold_for_a_search_with_other_choices(
    experiment: Experiment, searched: Path
) -> None:
    other = changed(experiment, ["recipe.training.learning_rate=[0.002,0.008,0.032]"])
    parts = Components(other)
    begun = warm_start(searched, other, parts.fingerprints(), parts.space, parts.objective)
    assert not begun.differences
    assert len(begun.trials) == experiment.budget
    for trial in begun.trials:
        assert parts.space.decode(trial.genome).digest == trial.digest


# Retraining and what follows.


def test_a_winner_is_retrained_with_its_recipe_and_so_are_baselines(
    model: RetrainedModel,
) -> None:
    content = json.loads((model.folder / "comparison.json").read_text("utf-8"))
    winner, refitted, probe, angles, constant = content["contenders"]
    assert refitted["architecture"] == winner["architecture"]
    rate = recipe_of(winner["architecture"])["training.learning_rate"]
    assert content["task"][1] == winner["task"] == probe["task"] == {"output": "bins"}
    assert recipe_of(probe["architecture"]) == recipe_of(winner["architecture"])
    assert angles["task"] == {"output": "angles"}
    assert recipe_of(angles["architecture"]) == {
        **{"task.output": "angles", "training.learning_rate": rate}
    }
    assert "task" not in constant
    assert not any(one["failures"] for one in content["contenders"])
    per_output = [
        (one["head"]["params"] - 128) / OUTPUTS[o]
        for one, o in ((probe, "bins"), (angles, "angles"))
    ]
    assert per_output == [65, 65]


@pytest.mark.parametrize("folds", [0, 2])
def test_retrained_with_the_learning_rate_of_the_genome(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, folds: int
) -> None:
    made: list[Job] = []

    class Stop(Exception):
        pass

    def executor(self: Components, context: object) -> None:
        raise Stop

    def job(*arguments: Any, **given: Any) -> Job:
        made.append(Job(*arguments, **given))
        return made[-1]

    monkeypatch.setattr(retraining_module, "Job", job)
    monkeypatch.setattr(Components, "executor", executor)
    parts = Components(changed(experiment, ["retraining.weight_decay=0.3", "baselines=[]"]))
    winner = parts.space.decode(np.full(parts.space.dim, 0.9))
    work = Retraining(parts, winner)
    splits = make_folds(parts.dataset, 2, "group", 0).splits

    def train() -> None:
        if folds:
            work.cross_validate(splits, lambda *n: None)
        else:
            work.compare(1, None, lambda *n: None)

    with pytest.raises(Stop):
        train()
    keep = "last" if folds else "best"
    expected = TrainingSettings(epochs=1, learning_rate=0.008, weight_decay=0.3, keep=keep)
    assert {job.training for job in made} == {expected}


def test_a_retrained_winner_is_evaluated_and_exported_with_its_output(
    model: RetrainedModel, tmp_path: Path
) -> None:
    retrained = Retrained(model.folder)
    winner, other = retrained.contender(), retrained.contender("angles")
    dataset = retrained.components.dataset
    (row, _, _) = model.table[:3]
    found = retrained.test("tiny", dataset, lambda *progress: None)
    measured = {one.network: one.mean("mae") for one in found}
    assert measured["winner"] == pytest.approx(row["errors"]["mae"], rel=1e-5)
    assert retrained.task_of(winner).n_outputs == 198
    assert retrained.task_of(other).n_outputs == 3
    with pytest.raises(InputError, match="bins"):
        retrained.test("tiny", dataset, lambda *progress: None, flip=True)
    exported = load_exported(model.export(tmp_path / "winner.onnx"))
    chosen = [int(number) for number in dataset.splits["test"][:4]]
    photos = [(path, None) for path in pictures(model.folder, tmp_path, chosen)]
    for found, known in zip(
        exported.predict_batch(photos), answers(model.folder, chosen), strict=True
    ):
        assert [*found.answer.values()] == pytest.approx(known.tolist(), abs=0.02)


# What a task does not take.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["recipe={task.outputs: [bins]}"],
            "recipe: task head_pose has no option 'outputs': did you mean 'output'?",
        ),
        (
            ["recipe={task.output: [angles, bin]}"],
            "recipe: task.output: input should be 'angles', 'bins', 'distribution' or "
            "'rotation6d', got 'bin'",
        ),
        (["recipe={task.delta: [5, -1]}"], "recipe: task.delta: expected a positive number"),
        (
            ["task={name: regression, labels: [yaw]}", "recipe={task.unit: [degrees]}"],
            "expected the unit '' of the experiment's own task",
        ),
        (
            ["recipe={}", "baselines=[{name: x, network: linear_probe, settings: {task.a: 1}}]"],
            "baselines, 'x': recipe: task head_pose has no option 'a'",
        ),
        (
            [
                "recipe={}",
                "baselines=[{name: x, network: linear_probe, settings: {training.keep: last}}]",
            ],
            "baselines, 'x': training.keep cannot be in a recipe",
        ),
        (
            [
                *("recipe={}", "objective.error=loss"),
                "baselines=[{name: x, network: linear_probe, settings: {task.output: bins}}]",
            ],
            "baselines, 'x': recipe: task.output=bins: losses of different tasks cannot be comp",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_before_anything_is_trained(
    experiment: Experiment, words: list[str], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        changed(experiment, words).describe()
    assert any(said in str(line) for line in caught.value.args[1:])
    assert not any("\n" in str(line) for line in caught.value.args)


def test_labels_that_fit_no_output_are_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Components(experiment)
    parts.dataset.labels["yaw"] = parts.dataset.labels["yaw"].copy()
    parts.dataset.labels["yaw"][3] = 120.0
    with pytest.raises(InputError, match=r"recipe: task.output=bins: expected angles from -99"):
        _ = parts.space


def test_genes_of_a_recipe_have_no_place_in_a_space_file(
    experiment: Experiment, tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nnetwork: linear_probe\ngenes:\n"
        "  - {name: task.output, kind: choice, choices: [bins]}\n",
        "utf-8",
    )
    with pytest.raises(InputError, match=r"does not read: 'task.output'"):
        _ = Components(changed(experiment, [f"space={path}"])).space


def test_targets_of_another_kind_are_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(self: Regression, dataset: Dataset) -> Any:
        return np.stack([dataset.labels["yaw"] * self.delta], 1)

    monkeypatch.setattr(Regression, "targets", shifted)
    words = ["task={name: regression, labels: [yaw]}", "recipe={task.delta: [1.0, 2.0]}"]
    with pytest.raises(InputError, match=r"got others with task.delta=2.0: leave this choice out"):
        _ = Components(changed(experiment, words)).space


def test_options_are_fitted_to_the_recipe_and_to_the_split(experiment: Experiment) -> None:
    """Scales of a regression are of the split's training images, with every choice of a gene."""
    words = ["task={name: regression, labels: [yaw]}", "recipe={task.loss: [l1, l2]}"]
    parts = Components(changed(experiment, [*words, "baselines=[]"]))
    first, rest = np.arange(20), np.arange(20, 60)
    l1 = (("loss", "l1"),)
    settled = parts.tasks.settled({"one": first, "two": rest}, [(), l1])
    yaw = parts.dataset.labels["yaw"].astype(np.float64)
    for name, images in (("one", first), ("two", rest)):
        assert settled[name, ()]["scale"] == pytest.approx([yaw[images].std()])
        assert settled[name, l1] == settled[name, ()] | {"loss": "l1"}
    features = parts.features(parts.backbone, ["block3"], lambda *progress: None)
    splits = {"one": Split(first, rest), "two": Split(rest, first)}
    context = parts.context({"backbone": features}, splits, settled)
    head = Architecture("linear_probe", {"tap": "block3", "task.loss": "l1"})
    made = [context.make_task(name, head) for name in splits]
    assert [task.kind for task in made] == ["l1", "l1"]
    assert made[0].scale != made[1].scale
    job = Job(0, head, 1, TrainingSettings(epochs=1), split="two")
    name, _, labels = context.task
    direct = replace(context, task=(name, settled["two", l1], labels), settled={})
    network = replace(job, architecture=Architecture("linear_probe", {"tap": "block3"}))
    assert Estimator(context)(job).metrics == Estimator(direct)(network).metrics
