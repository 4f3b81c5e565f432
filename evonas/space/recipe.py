"""Recipe genes in search spaces and architectures; see ``evonas.core.recipe``.

Their values are settings of the architecture under the dotted name of the gene, and so part of
its digest. They have no influence on the cost of a network beside its number of outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from evonas.core.recipe import TASK, TASKS, is_of_task, is_recipe, trained_with
from evonas.core.settings import TrainingSettings
from evonas.space.architecture import Architecture
from evonas.space.gene import Gene, Value
from evonas.space.search_space import SearchSpace

#: Options of the task in the recipe of an architecture: (option, value), sorted. That of one of
#: several tasks is ``tasks.NAME.OPTION``.
TaskChoices = tuple[tuple[str, Value], ...]


def recipe_of(architecture: Architecture) -> dict[str, Value]:
    """Return the recipe of an architecture: dotted name -> value; empty if it has none."""
    return {name: value for name, value in architecture.settings.items() if is_recipe(name)}


def without_recipe(architecture: Architecture) -> Architecture:
    """Return the architecture with the settings of its network alone."""
    own = {name: v for name, v in architecture.settings.items() if not is_recipe(name)}
    return Architecture(architecture.network, own)


def training_of(settings: TrainingSettings, architecture: Architecture) -> TrainingSettings:
    """Return the settings of a training with those in the recipe of an architecture.

    Raises:
        InputError: a setting is unknown or no gene, or a value does not fit.
    """
    return trained_with(settings, recipe_of(architecture))


def task_choices(architecture: Architecture) -> TaskChoices:
    """Return the options of the task in the recipe of an architecture."""
    return tuple(
        sorted(
            (name.removeprefix(TASK), value)
            for name, value in architecture.settings.items()
            if is_of_task(name)
        )
    )


def task_options(options: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """Return the options of a task with those in the recipe of an architecture."""
    return with_choices(options, task_choices(architecture))


def with_choices(options: Mapping[str, Any], chosen: TaskChoices) -> dict[str, Any]:
    """Return the options of a task with those of a recipe.

    Those of one of several tasks become ``chosen: {NAME: {OPTION: value}}``, see ``Several``.
    """
    found, members = dict(options), dict[str, dict[str, Any]]()
    for name, value in chosen:
        if name.startswith(TASKS):
            _, member, option = name.split(".", 2)
            members.setdefault(member, {})[option] = value
        else:
            found[name] = value
    return found | ({"chosen": members} if members else {})


def all_task_choices(recipe: Mapping[str, list[Any]]) -> Iterator[TaskChoices]:
    """Yield all combinations of the task genes of a recipe; one, empty, if it has none."""
    names = sorted(filter(is_of_task, recipe))
    for values in product(*(recipe[name] for name in names)):
        yield tuple(zip((name.removeprefix(TASK) for name in names), values, strict=True))


def with_recipe(space: SearchSpace, recipe: Mapping[str, list[Any]]) -> SearchSpace:
    """Return a space with a gene for each entry of a recipe, behind its own genes.

    Numbers are ordered values (``ordinal``), words and truth values are not (``choice``).
    Ancestors of the space get the first choice of each.

    Args:
        space: genes of the networks.
        recipe: dotted name -> choices.

    Raises:
        InputError: a list of choices is empty, has a choice twice, or one of another type.
    """
    if not recipe:
        return space
    genes = []
    for name, choices in recipe.items():
        gene = Gene.from_dict({"name": name, "kind": "choice", "choices": choices}, "recipe")
        genes.append(replace(gene, kind="ordinal") if gene.numeric else gene)
    first = {gene.name: gene.values[0] for gene in genes}
    ancestors = [Architecture(a.network, {**a.settings, **first}) for a in space.ancestors]
    return replace(space, genes=(*space.genes, *genes), ancestors=tuple(ancestors))
