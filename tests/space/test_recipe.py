"""Recipe genes in spaces and architectures."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.space import Architecture, Choice, Ordinal, SearchSpace
from evonas.space.recipe import (
    all_task_choices,
    recipe_of,
    task_choices,
    task_options,
    training_of,
    with_recipe,
    without_recipe,
)

RECIPE = {
    "task.output": ["bins", "angles"],
    "training.learning_rate": [0.001, 0.002, 0.004],
    "task.balanced": [True, False],
}
HEAD = Architecture(
    "head", {"width": 8, "task.output": "bins", "training.ema": 0.9, "task.delta": 2}
)


def test_a_recipe_adds_genes_behind_those_of_the_networks() -> None:
    plain = SearchSpace([Choice("block", ["a", "b"]), Ordinal("width", [8, 16])], "s", "head")
    space = with_recipe(plain, RECIPE)
    assert [(gene.name, gene.kind) for gene in space.genes] == [
        *(("block", "choice"), ("width", "ordinal"), ("task.output", "choice")),
        *(("training.learning_rate", "ordinal"), ("task.balanced", "choice")),
    ]
    assert space.size == 4 * 12
    settings = space.decode([0.1, 0.9, 0.9, 0.5, 0.0]).settings
    assert dict(settings) == {
        **{"block": "a", "width": 16, "task.output": "angles"},
        **{"training.learning_rate": 0.002, "task.balanced": True},
    }
    point = np.array([0.1, 0.9, 0.9, 0.5, 0.0])
    assert space.decode(space.encode(space.decode(point))) == space.decode(point)
    assert SearchSpace.from_dict(space.to_dict()) == space


def test_without_a_recipe_a_space_is_as_it_was() -> None:
    plain = SearchSpace([Ordinal("width", [8, 16])], "s", "head")
    assert with_recipe(plain, {}) is plain
    assert Architecture("head", {"width": 8, "end": "pool"}).digest == "cf625dee332b369c"


def test_ancestors_have_the_first_choices() -> None:
    data = {
        "name": "s",
        "network": "head",
        "genes": [{"name": "width", "kind": "ordinal", "choices": [8, 16]}],
        "ancestors": [{"width": 16}],
    }
    (ancestor,) = with_recipe(SearchSpace.from_dict(data), RECIPE).ancestors
    assert dict(ancestor.settings) == {"width": 16} | {k: v[0] for k, v in RECIPE.items()}


def test_a_choice_is_given_once() -> None:
    space = SearchSpace([Ordinal("width", [8, 16])])
    with pytest.raises(InputError, match=r"recipe, gene 'task.output': expected each choice once"):
        with_recipe(space, {"task.output": ["bins", "bins"]})


def test_an_architecture_is_split_into_network_and_recipe() -> None:
    assert recipe_of(HEAD) == {"task.output": "bins", "training.ema": 0.9, "task.delta": 2}
    assert without_recipe(HEAD) == Architecture("head", {"width": 8})
    assert task_choices(HEAD) == (("delta", 2), ("output", "bins"))
    assert task_options({"output": "angles", "alpha": 1}, HEAD) == {
        **{"output": "bins", "alpha": 1, "delta": 2}
    }
    assert training_of(TrainingSettings(epochs=3), HEAD) == TrainingSettings(epochs=3, ema=0.9)
    assert len({HEAD.digest, without_recipe(HEAD).digest}) == 2


def test_task_genes_are_combined_in_every_way() -> None:
    assert len(set(all_task_choices(RECIPE))) == 4
    assert (("balanced", False), ("output", "bins")) in all_task_choices(RECIPE)
    assert list(all_task_choices({"training.ema": [0.0]})) == list(all_task_choices({})) == [()]
