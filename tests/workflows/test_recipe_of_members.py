"""Recipe genes of one of several tasks: costs, trainings, retraining, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evonas.api.retraining import retrain
from evonas.api.search import search
from evonas.core.experiment import Experiment, changed, check
from evonas.errors import InputError
from evonas.runs.run_store import read_journal
from evonas.tasks.several import Several
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

GENE = "tasks.pose.output"
OUTPUTS = {"bins": 198, "rotation6d": 6}
TASKS = {"pose": "head_pose", "mouth": {"name": "regression", "labels": ["mouth_open"]}}


@pytest.fixture(scope="module")
def experiment(components: Components) -> Experiment:
    """The tiny experiment with two tasks and the output of one as a gene."""
    plain = components.experiment.model_dump(mode="json")
    plain |= {"task": {"name": "several", "tasks": TASKS}, "recipe": {GENE: [*OUTPUTS]}}
    return check(plain | {"budget": 4, "finals": {"networks": 0}}, "tests")


def test_a_network_has_the_outputs_of_its_genome(experiment: Experiment) -> None:
    parts = Components(experiment)
    low, high = np.full(parts.space.dim, 0.5), np.full(parts.space.dim, 0.5)
    low[-1], high[-1] = 0.0, 1.0
    for point in (low, high):
        network = parts.space.decode(point)
        task = parts.task_of(network)
        assert isinstance(task, Several)
        assert parts.outputs(network) == OUTPUTS[str(network.settings[GENE])] + 1
        assert task.members["pose"].n_outputs == OUTPUTS[str(network.settings[GENE])]
    assert parts.task.n_outputs == 3 + 1


def test_relative_errors_have_the_scale_of_the_experiments_own_task(experiment: Experiment) -> None:
    parts = Components(experiment)
    train = parts.dataset.splits["train"]
    scales = [
        parts.tasks.fit_options(train, chosen)["fitted"]["pose"]
        for chosen in ((), *(((GENE, value),) for value in OUTPUTS))
    ]
    assert len({scale["error"] for scale in scales}) == 1
    assert len({scale["loss"] for scale in scales}) == 3, "losses are of each output"


def test_from_the_search_to_the_retrained_network(experiment: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = search(experiment, run_dir=folder)
    chosen = {trial.architecture["settings"][GENE] for trial in read_journal(folder)}
    assert chosen == set(OUTPUTS)
    best = json.loads((folder / "best.json").read_text("utf-8"))
    retrain(result, refit=False)
    found = Retrained(folder / "retrained")
    winner = found.contender()
    assert winner["architecture"]["settings"][GENE] == best["architecture"]["settings"][GENE]
    task = found.task_of(winner)
    assert task.members["pose"].n_outputs == OUTPUTS[best["architecture"]["settings"][GENE]]
    rows = Components(experiment).dataset.splits["test"]
    (tested, *_) = found.test("faces", Components(experiment).dataset, lambda *_: None)
    assert tested.images == len(rows)
    assert tested.repeats[0]["pose.mae"] == pytest.approx(
        winner["results"][0]["test_pose.mae"], abs=1e-4
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipe={tasks.pos.output: [bins]}"], "recipe: no task 'pos' in tasks: did you mean 'po"),
        (
            ["recipe={tasks.pose.outputs: [bins]}"],
            "recipe: task head_pose has no option 'outputs': did you mean 'output'?",
        ),
        (["recipe={tasks.pose: [bins]}"], "recipe: task head_pose has no option ''"),
        (
            ["recipe={tasks.pose.output: [bin]}"],
            "recipe: task.tasks.pose.output: input should be 'angles', 'bins'",
        ),
        (
            ["recipe={tasks.mouth.labels: [smile]}"],
            "expected the labels ('yaw', 'pitch', 'roll', 'mouth_open') of the experiment's own",
        ),
        (["recipe={task.combine: [mean, worst]}"], "expected the combine 'mean' of the experim"),
        (["recipe={tasks.pose.output: [bins]}", "objective.error=loss"], "losses of different"),
        (["task=head_pose"], "recipe: no task 'pose' in tasks: none is known"),
    ],
)
def test_mistakes(experiment: Experiment, words: list[Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        changed(experiment, words).describe()
    assert said in str(caught.value.args[1:])
    assert not any("\n" in str(line) for line in caught.value.args)
