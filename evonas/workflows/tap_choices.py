"""Taps of an experiment by the backbone's own names; ``auto`` is the backbone's own selection."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from evonas.core import registry
from evonas.core.experiment import Experiment, Part
from evonas.errors import InputError
from evonas.models.backbones.base import Backbone

#: Value of ``tap`` and ``space.tap`` that leaves the choice to the backbone.
AUTO = "auto"
#: Taps that a search has at most where the backbone offers more than its selection.
_MOST = 16


def must_be_named(experiment: Experiment) -> bool:
    """Whether taps of an experiment may be given by other names than the backbone's.

    False for a backbone that does not exist, which is refused where it is made.
    """
    if AUTO in (experiment.tap, *_listed(experiment)):
        return True
    with suppress(InputError):
        return bool(registry.load("backbone", experiment.backbone.name).has_tensor_names)
    return False


def named_taps(experiment: Experiment, backbone: Backbone) -> Experiment:
    """Return the experiment with the names that the backbone itself has for its taps.

    ``auto`` is replaced by ``Backbone.informative_taps`` in the space, and by the last of them
    that is a map, not a vector, as the tap of networks that choose none.
    """
    chosen = backbone.informative_taps(_MOST)
    maps = [tap for tap in chosen if min(backbone.taps[tap][1:]) > 1]
    tap = (maps or chosen)[-1] if experiment.tap == AUTO else backbone.tap_name(experiment.tap)
    changes: dict[str, Any] = {"tap": tap}
    space = dict(experiment.space.options)
    if "tap" in space:
        listed = _listed(experiment)
        named = [backbone.tap_name(str(one)) for one in listed]
        space["tap"] = chosen if listed == [AUTO] else named
        changes["space"] = Part(name=experiment.space.name, **space)
    changes["baselines"] = tuple(
        one.model_copy(update={"settings": {**one.settings, "tap": backbone.tap_name(str(own))}})
        if (own := one.settings.get("tap")) is not None
        else one
        for one in experiment.baselines
    )
    return experiment.model_copy(update=changes)


def _listed(experiment: Experiment) -> list[Any]:
    """Return the choices of the gene ``tap`` that the experiment gives; empty: none."""
    given = experiment.space.options.get("tap", [])
    return given if isinstance(given, list) else [given]
