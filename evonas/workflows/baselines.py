"""The hand-made networks of an experiment, with a recipe, checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from evonas.core.experiment import Experiment
from evonas.core.recipe import is_recipe
from evonas.errors import InputError, nearest
from evonas.models.networks.base import refuse_unread
from evonas.space import Architecture
from evonas.space.gene import Value
from evonas.space.recipe import training_of, without_recipe


def checked_baselines(
    experiment: Experiment,
    recipe: Mapping[str, Value],
    taps: Collection[str],
    cost: Callable[[Architecture], int],
) -> tuple[tuple[str, Architecture], ...]:
    """Return the hand-made networks: (name, architecture), with a recipe.

    Args:
        experiment: whose baselines they are.
        recipe: dotted name -> value of all settings that a baseline does not name.
        taps: of the backbone.
        cost: of an architecture; raises ``InputError`` for one that cannot be built.

    Raises:
        InputError: a setting of a baseline is wrong, or it stands on no tap of the backbone.
    """
    found = []
    for baseline in experiment.baselines:
        where = f"baselines, {baseline.name!r}"
        architecture = Architecture(baseline.network, {**recipe, **baseline.settings})
        own = without_recipe(architecture).settings
        refuse_unread(baseline.network, own, f"{where}: a setting")
        tap = str(own.get("tap", experiment.tap))
        if tap not in taps:
            raise InputError(
                f"{where}: the backbone has no tap {tap!r}: {nearest(tap, taps)}; or leave them "
                f"out with baselines=[]"
            )
        try:
            training_of(experiment.training, architecture)
            cost(architecture)
        except InputError as error:
            if any(map(is_recipe, baseline.settings)):
                raise InputError(f"{where}: {error}") from error
            raise
        found.append((baseline.name, architecture))
    return tuple(found)
