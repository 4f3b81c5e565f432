"""Features of all taps of a backbone, pooled, and a linear probe of each of them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from evonas.deployment.probing.linear_probe import Primary, probe
from evonas.deployment.probing.targets import Flags, Target
from evonas.estimation.features.feature_cache import FeatureCache, Progress
from evonas.estimation.features.views import View
from evonas.models.backbones.base import Backbone, Pooled
from evonas.workflows.components import Components

_FEW = 40  # taps that are all probed
Labels = list[tuple[Target, Flags]]


def wanted(components: Components) -> tuple[str, ...]:
    """Return the labels to probe for: those of the settings, else those of the task."""
    return tuple(dict.fromkeys(components.experiment.probe.labels or components.task.labels))


def probed(
    components: Components, name: str, backbone: Backbone, labels: Labels, progress: Progress
) -> Primary:
    """Probe the taps of a backbone on an experiment's data.

    Args:
        components: of the experiment.
        name: of the backbone, in tables.
        backbone: of any input size.
        labels: targets, each with (n,) flags of the images that have it.
        progress: receives how far features and fits are.

    Raises:
        InputError: features cannot be computed, or a label has too few training images.
    """
    settings, dataset, begun = components.experiment.features, components.dataset, time.monotonic()
    cache = FeatureCache(Path(settings.cache).expanduser(), settings.strict)
    taps = backbone.informative_taps(_FEW)
    features = cache.ensure(
        Pooled(backbone),
        dataset,
        taps,
        (View(),),
        lambda label, done, total: progress(f"{name}: {label}", done, total),
    )
    spent = time.monotonic() - begun if features.passes else 0.0
    usable = np.isin(np.arange(len(dataset)), features.usable)
    found = []
    for tap in taps:
        pooled = features.open(tap)[0].reshape(len(dataset), -1)
        for target, there in labels:
            splits = {side: rows[(usable & there)[rows]] for side, rows in dataset.sides().items()}
            how = components.experiment.probe
            found.append(probe(tap, pooled, target, dataset.groups, splits, how.folds, how.classes))
            progress(f"{name}: linear models", len(found), len(taps) * len(labels))
    return Primary(name, backbone.fingerprint, tuple(taps), tuple(found), spent)
