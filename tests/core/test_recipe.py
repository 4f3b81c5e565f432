"""The recipe of an experiment: spelling, what is refused, and settings with its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evonas.core.experiment import Experiment, changed, check, load
from evonas.core.recipe import overruled, trained_with
from evonas.core.settings import TrainingSettings
from evonas.errors import InputError

BOTH = {"task.output": ["bins"], "training.learning_rate": [0.001, 0.002]}


def test_keys_of_a_recipe_have_dots_on_the_command_line_and_in_python(tiny_file: Path) -> None:
    whole = "recipe={task.output: [bins], training.learning_rate: [1e-3, 0.002]}"
    single = ["recipe.task.output=[bins]", "recipe.training.learning_rate=[1e-3,0.002]"]
    assert load(tiny_file).recipe == {}
    assert load(tiny_file, [whole]).recipe == BOTH
    assert load(tiny_file, single).recipe == BOTH
    assert Experiment.load(tiny_file, recipe=BOTH).recipe == BOTH
    dotted = {f"recipe.{name}": tuple(choices) for name, choices in BOTH.items()}
    assert Experiment.load(tiny_file, **dotted).recipe == BOTH
    assert load(tiny_file, ["recipe.task.output=bins"]).recipe == {"task.output": ["bins"]}
    member = {"tasks.pose.output": ["bins"]}
    for key in member, {"task.tasks.pose.output": "bins"}:
        assert load(tiny_file, [f"recipe={key}"]).recipe == member
    assert load(tiny_file, ["recipe.tasks.pose.output=bins"]).recipe == member


def test_a_recipe_can_be_replaced_and_switched_off(tiny: dict[str, Any]) -> None:
    own = check({**tiny, "recipe": BOTH}, "tests")
    kept = {"task.output": ["angles"], "training.learning_rate": [0.001, 0.002]}
    assert changed(own, ["recipe.task.output=[angles]"]).recipe == kept
    assert changed(own, ["recipe={task.output: [angles]}"]).recipe == {"task.output": ["angles"]}
    assert changed(own, ["recipe={}"]).recipe == changed(own, ["recipe="]).recipe == {}
    assert own.changed(recipe={}).recipe == {}
    assert own.changed(seed=9).recipe == BOTH


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipe.foo.bar=[1]"], "'foo.bar': expected training.KEY, task.KEY or tasks.NAME.KEY"),
        (["recipe.output=[1]"], "'output': expected training.KEY, task.KEY or tasks.NAME.KEY"),
        (["recipe={task: {output: [bins]}}"], "recipe.task: input should be a valid list"),
        (["recipe=[1]"], "recipe: input should be a valid dictionary"),
        (
            ["recipe.training.learningrate=[0.1]"],
            "no setting training.learningrate: did you mean 'learning_rate'?",
        ),
        (
            ["recipe.training.learning_rate=[0.1,-1]"],
            "training.learning_rate: input should be greater than 0, got '-1'",
        ),
        (["recipe.training.ema=[1.0]"], "training.ema: input should be less than 1"),
        (["recipe.training.ema=[many]"], "training.ema: input should be a valid number"),
        (["recipe.task.output=[]"], "task.output: expected at least one choice, got []"),
        (
            ["recipe.training.schedule=[cosine,step]"],
            "training.milestones: expected at least one epoch for schedule=step, such as [8, 18], "
            "got '()' with schedule=step",
        ),
        (
            [
                *("recipe.training.schedule=[cosine]", "retraining.schedule=step"),
                "retraining.milestones=[1]",
            ],
            "got '(1,)' with schedule=cosine (with the values of retraining)",
        ),
        (
            ["recipe.task.output=[bins]", "objective.error=loss"],
            "task.output: losses of different tasks cannot be compared",
        ),
    ],
)
def test_what_a_recipe_cannot_be_is_said_in_one_line(
    tiny_file: Path, words: list[str], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(tiny_file, words)
    (message,) = caught.value.args[1:]
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("epochs", 3, "equal epochs"),
        ("start", "a.safetensors", "networks of one shape"),
        ("precision", "float32", "matter of the machine"),
        ("keep", "last", "which epoch an error is of"),
        ("patience", 2, "other costs"),
        ("milestones", 3, "epochs of one training"),
    ],
)
def test_settings_that_would_make_networks_incomparable_are_no_genes(
    tiny: dict[str, Any], key: str, value: object, why: str
) -> None:
    with pytest.raises(InputError, match=f"training.{key} cannot be in a recipe.*{why}"):
        check({**tiny, "recipe": {f"training.{key}": [value]}}, "tests")


def test_every_other_setting_of_a_training_may_be_a_gene(tiny: dict[str, Any]) -> None:
    default = TrainingSettings().model_dump()
    fixed = {"epochs", "start", "precision", "keep", "patience", "milestones"}
    for key in default.keys() - fixed:
        name = f"training.{key}"
        assert check({**tiny, "recipe": {name: [default[key]]}}, "tests").recipe == {
            name: [default[key]]
        }


def test_a_table_has_no_recipe(tmp_path: Path) -> None:
    table = {"file": "t.csv", "genes": ["a"], "error": "e"}
    with pytest.raises(InputError, match="recipe: expected none: a table holds finished trainings"):
        check({"name": "t", "table": table, "recipe": BOTH}, "tests")


def test_a_training_has_the_values_of_its_recipe() -> None:
    plain = TrainingSettings(epochs=7, weight_decay=0.5)
    recipe = {"training.learning_rate": 0.25, "training.weight_decay": 0, "task.output": "bins"}
    own = TrainingSettings(epochs=7, weight_decay=0.0, learning_rate=0.25)
    assert trained_with(plain, recipe) == own
    assert trained_with(own, recipe) == own
    assert trained_with(plain, {"task.output": "bins"}) is plain


def test_values_that_a_gene_replaces_are_named() -> None:
    training = TrainingSettings(weight_decay=0.5)
    lines = overruled(BOTH | {"training.weight_decay": [0.1]}, training, {"output": "angles"})
    assert [line.split(" has no effect")[0] for line in lines] == [
        "task.output=angles",
        "training.weight_decay=0.5",
    ]
    assert not overruled(BOTH, training, {"delta": 3})
    tasks = {"tasks": {"pose": {"name": "head_pose", "output": "angles"}, "age": "regression"}}
    (line,) = overruled({"tasks.pose.output": ["bins"]}, training, tasks)
    assert line.startswith("tasks.pose.output=angles has no effect")
