"""The hand-made networks of an experiment, with a recipe, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evonas.core.recipe import is_recipe
from evonas.errors import InputError, nearest
from evonas.models.networks.base import refuse_unread
from evonas.space import Architecture
from evonas.space.gene import Value
from evonas.space.recipe import training_of, without_recipe

if TYPE_CHECKING:
    from evonas.workflows.components import Components


def checked_baselines(
    components: Components, recipe: Mapping[str, Value]
) -> tuple[tuple[str, Architecture], ...]:
    """Return the hand-made networks: (name, architecture), with a recipe.

    Args:
        components: of the experiment.
        recipe: dotted name -> value of all settings that a baseline does not name.

    Raises:
        InputError: a setting of a baseline is wrong, or it stands on no tap of the backbone.
    """
    found, taps = [], components.backbone.taps
    for baseline in components.experiment.baselines:
        where = f"baselines, {baseline.name!r}"
        architecture = Architecture(baseline.network, {**recipe, **baseline.settings})
        own = without_recipe(architecture).settings
        refuse_unread(baseline.network, own, f"{where}: a setting")
        tap = components.tap_of(architecture)
        if tap not in taps:
            raise InputError(
                f"{where}: the backbone has no tap {tap!r}: {nearest(tap, taps)}; or leave them "
                f"out with baselines=[]"
            )
        try:
            training_of(components.experiment.training, architecture)
            components.cost(architecture)
        except InputError as error:
            if any(map(is_recipe, baseline.settings)):
                raise InputError(f"{where}: {error}") from error
            raise
        found.append((baseline.name, architecture))
    return tuple(found)
