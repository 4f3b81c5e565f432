"""Distinctiveness of the units of retrained networks: removal of units that repeat others.

Nothing is trained: the question is what the removal itself costs. Every count stands beside
what chance gives (``null_model``), for most of the published ones are of that order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from evonas.core.files import keep
from evonas.deployment.distinctiveness import tables as distinctiveness
from evonas.deployment.distinctiveness.null_model import REPEATS
from evonas.deployment.distinctiveness.study import Removal, Study
from evonas.deployment.distinctiveness.unit_similarity import COMPLEMENTARY, SIMILAR
from evonas.errors import InputError
from evonas.estimation.features.feature_cache import Progress
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.training import predict, validate
from evonas.report.tables import Table, markdown
from evonas.runs.comparison_schemas import ContenderEntry
from evonas.workflows.evaluation import Retrained


@dataclass(frozen=True)
class StudyOptions:
    """How units are compared.

    Attributes:
        similar, complementary: degrees below which units are similar, and beyond which they are
            complementary.
        patterns: training images, at most, that activations are taken from.
        repeats: draws of each null model.
        seed: of these draws.

    Raises:
        InputError: a value is out of range.
    """

    similar: float = SIMILAR
    complementary: float = COMPLEMENTARY
    patterns: int = 1000
    repeats: int = REPEATS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.similar <= 90 <= self.complementary < 180:
            raise InputError(
                f"angles: expected 0 < similar <= 90 <= complementary < 180 degrees, got "
                f"{self.similar:g} and {self.complementary:g}: {SIMILAR:g} and "
                f"{COMPLEMENTARY:g} are the published ones"
            )
        if self.patterns < 2 or self.repeats < 1:
            raise InputError(
                f"expected at least 2 patterns and 1 repeat, got {self.patterns} and "
                f"{self.repeats}: raise them"
            )


def study(
    retrained: Retrained, network: str, options: StudyOptions, progress: Progress
) -> tuple[list[Removal], list[Table]]:
    """Remove units from retrained networks; write distinctiveness.md and .json.

    Both are put in ``distinctiveness`` in the folder of the networks. Each layer, way to compare
    and way to remove starts from the network as it was trained.

    Args:
        retrained: the networks.
        network: name of one of them; empty: all that have weights.
        options: how units are compared.
        progress: receives how far the features are.

    Raises:
        InputError: there is no such network, or none ends in a linear layer.
    """
    chosen = _chosen(retrained, network)
    components, dataset = retrained.components, retrained.components.dataset
    sides = dataset.sides()
    side = "test" if "test" in sides else "validation"
    used = {one["tap"] for one in chosen}
    taps = [tap for tap in retrained.backbone.taps if tap in used]
    features = components.features(retrained.backbone, taps, progress, dataset)
    judging = np.intersect1d(sides[side], features.usable)
    training = np.intersect1d(sides["train"], features.usable)
    places = np.linspace(0, len(training) - 1, min(options.patterns, len(training)))
    shown = training[places.astype(np.intp)]
    compared = Study((options.similar, options.complementary), options.repeats, options.seed)
    targets = retrained.task.targets(dataset)
    device = components.hardware.own_device
    found: list[Removal] = []
    for one in chosen:
        maps, task = features.open(one["tap"]), retrained.task_of(one)
        data = TrainingData(maps, np.stack([targets] * len(maps)), training, judging)
        for repeat, file in enumerate(one["weights"]):
            found += compared.removals(
                (one["name"], one["tap"], file),
                retrained.head(one, repeat),
                tuple(maps[0].shape[1:]),
                lambda module, data=data: predict(module, data, shown, device),  # type: ignore[misc]
                lambda module, data=data, task=task: validate(module, data, task, judging, device),  # type: ignore[misc]
            )
    if not found:
        raise InputError(
            f"{retrained.folder}: no network of it ends in a linear layer: distinctiveness "
            "compares the units that enter one"
        )
    notes = _notes(retrained, f"{side} split", len(judging), len(shown), compared.angles)
    tables = distinctiveness.tables(found, retrained.task.unit, notes)
    _write(retrained.folder / "distinctiveness", found, tables)
    return found, tables


def _chosen(retrained: Retrained, network: str) -> list[ContenderEntry]:
    """Return the contenders to look at.

    Raises:
        InputError: there is no such network.
    """
    named = retrained.contender(network)
    trained = [one for one in retrained.content["contenders"] if one["weights"]]
    return [one for one in trained if one["name"] == named["name"]] if network else trained


def _write(folder: Path, found: Sequence[Removal], tables: Sequence[Table]) -> None:
    folder.mkdir(exist_ok=True)
    keep(folder / "distinctiveness.md", "\n".join(map(markdown, tables)))
    text = json.dumps([asdict(one) for one in found], indent=2)
    keep(folder / "distinctiveness.json", text + "\n")


def _notes(
    retrained: Retrained, side: str, images: int, patterns: int, angles: tuple[float, float]
) -> list[str]:
    found = [
        f"judged on the {side} ({images} images: one is {100 / images:.2g} percent), nothing "
        f"trained afterwards; activations of {patterns} training images",
        f"similar: below {angles[0]:g} degrees, complementary: above {angles[1]:g}; pairs may "
        "share units, of which each is removed once",
        "random: the same number of uniform vectors; shuffled: the layer's own, each number "
        "given to a random unit",
    ]
    leaky = retrained.content["leaky"]
    return found + ([f"LEAKY split in training: {leaky}"] if leaky else [])
