"""Standard baselines: what an expert would put on the winner's tap by hand.

A head on another tap than the winner's loses or wins by its tap alone, so all of them stand on the
winner's: the residual head as wide as the winner's cost allows, and as wide as the limit of the
search allows, the linear probe, classical models and a constant prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.estimation.estimator import Split, TrainingContext
from evonas.estimation.features.feature_cache import Features
from evonas.estimation.measurement import Measurement
from evonas.runs.callbacks import TrainedBaseline
from evonas.space import Architecture
from evonas.space.recipe import recipe_of
from evonas.tasks.common.prediction_format import HELD_OUT_LOSS
from evonas.workflows import classical_models as classical
from evonas.workflows.base_components import BaseComponents
from evonas.workflows.classical_models import ClassicalModel, Method
from evonas.workflows.components import Components

#: Name of the constant prediction.
CONSTANT = "constant"
_WIDEST = 4096  # channels that a residual head takes at most


def largest_width(fits: Callable[[int], bool], most: int = _WIDEST) -> int:
    """Return the largest width from 1 to ``most`` that fits; 0 if none does.

    Args:
        fits: False for every width above one that does not fit.
        most: upper bound.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def enabled(components: BaseComponents) -> bool:
    """Whether an experiment has standard baselines: not in a table, nor for dense outputs."""
    wanted = components.experiment.standard_baselines
    return wanted and isinstance(components, Components) and not components.task.dense


def most_heads(components: BaseComponents) -> int:
    """Return the largest number of ``standard_heads`` of a winner."""
    if not enabled(components):
        return 0
    return 3 if limited(components) else 2


def limited(components: BaseComponents) -> bool:
    """Whether there is a limit on the cost of candidates that is known without measuring."""
    return bool(components.known.limits)


def standard_heads(
    components: BaseComponents, winner: Architecture
) -> tuple[tuple[str, Architecture], ...]:
    """Return hand-made networks on the winner's tap, with its recipe: (name, architecture).

    A residual head wider than the winner's multiply-adds, or than the limits, allow is left out,
    and so is a network that the experiment's own baselines contain.
    """
    if not enabled(components):
        return ()
    common = {"tap": components.tap_of(winner), **recipe_of(winner)}

    def head(width: int) -> Architecture:
        return Architecture("residual_head", {"width": width, **common})

    def admitted(width: int) -> bool:
        return components.known.admits(head(width))

    def equal(width: int) -> bool:
        return components.cost(head(width)) <= cost

    cost = components.cost(winner)
    bounds = {"at equal cost": equal, **({"at the limit": admitted} if limited(components) else {})}
    found: dict[str, Architecture] = {}
    for words, fits in bounds.items():
        width = largest_width(fits)
        if width and head(width) not in found.values():
            found[f"hand-made residual head {words}"] = head(width)
    found["linear probe"] = Architecture("linear_probe", common)
    own = {_placed(components, architecture) for _, architecture in components.baselines}
    return tuple((name, one) for name, one in found.items() if one.digest not in own)


def classical_methods(components: BaseComponents, winner: Architecture) -> list[Method]:
    """Return the classical models on the winner's tap; empty if there are none."""
    if not enabled(components) or not isinstance(components, Components):
        return []
    train = components.dataset.sides()["train"]
    targets = components.task.targets(components.dataset)[train]
    return classical.methods(components.task, components.shape(winner), targets)


def fitted(
    components: BaseComponents,
    winner: Architecture,
    features: Features | None,
    split: Split | None = None,
    only: str = "",
) -> Iterator[TrainedBaseline]:
    """Yield the classical models on the winner's tap and the constant, each with its measurement.

    Args:
        components: of the search.
        winner: of the search.
        features: the cached features of the search; they contain the winner's tap.
        split: images to fit and to judge; None: training and validation images of the search.
        only: name of the one that is wanted; empty: all.
    """
    if features is None or not isinstance(components, Components) or not enabled(components):
        return
    task, tap, sides = components.task, components.tap_of(winner), components.dataset.sides()
    targets = task.targets(components.dataset)
    split = (split or Split(sides["train"], sides["validation"])).only(features.usable)
    train, validation = split.train, split.validation
    maps = features.open(tap)[0]

    def baseline(name: str, model: ClassicalModel) -> TrainedBaseline:
        metrics = classical.metrics(task, model, maps, targets, validation)
        cost = model.complexity
        measurement = Measurement("ok", dict(metrics), macs=cost.macs, params=cost.params)
        over = not components.known.admits_model(cost.macs, cost.params, winner)
        return TrainedBaseline(name, "", measurement, model.note, over)

    for method in classical_methods(components, winner):
        if (name := f"{method.name} on {tap}") == (only or name):
            yield baseline(name, classical.fit(method, task, maps, targets, train))
    if task.metric != HELD_OUT_LOSS and only in ("", CONSTANT):
        yield baseline(CONSTANT, classical.constant(task, targets, train))


def fit_and_judge(
    method: Method | None,
    context: TrainingContext,
    name: str,
    maps: NDArray[np.float16] | None,
) -> tuple[ClassicalModel | None, Mapping[str, float]]:
    """Fit a classical model, or the constant, to the training images of a split, and judge it.

    Args:
        method: of the model; None: the constant.
        context: with the targets.
        name: of the split.
        maps: of the plain view of the model's tap; None: the constant.

    Returns:
        The model, None for a constant of a dense task; and the task's metrics on the validation
        split, and with the prefix ``test_`` on the test split, where there is one.
    """
    task, split, targets = context.make_task(name), context.splits[name], context.targets[0]
    model = None
    if method is not None and maps is not None:
        model = classical.fit(method, task, maps, targets, split.train)
    elif not task.dense:
        model = classical.constant(task, targets, split.train)
    found: dict[str, float] = {}
    for prefix, side in (("", split.validation), ("test_", split.test)):
        if not len(side):
            continue
        if model is not None and maps is not None:
            metrics = classical.metrics(task, model, maps, targets, side)
        else:
            metrics = task.constant_metrics(targets[split.train], targets[side])
        found |= {f"{prefix}{key}": value for key, value in metrics.items()}
    return model, found


def _placed(components: BaseComponents, architecture: Architecture) -> str:
    """Return the digest of an architecture that names its tap."""
    tap: Mapping[str, Any] = {"tap": components.tap_of(architecture)}
    return Architecture(architecture.network, {**architecture.settings, **tap}).digest
