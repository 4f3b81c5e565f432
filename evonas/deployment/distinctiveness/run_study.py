"""``evonas prune --method distinctiveness``: linear layers without the units that repeat others.

Nothing is trained: the question is what the removal itself costs. Every count stands beside
what chance gives (``transfer.chance``), for most of the published ones are of that order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console

from evonas.core.files import keep
from evonas.core.overrides import Word
from evonas.core.progress_bars import progress_bars
from evonas.deployment.distinctiveness import tables as distinctiveness
from evonas.deployment.distinctiveness.null_model import REPEATS
from evonas.deployment.distinctiveness.study import Removal, Study
from evonas.deployment.distinctiveness.unit_similarity import COMPLEMENTARY, SIMILAR
from evonas.errors import InputError
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.training import predict, validate
from evonas.report.tables import markdown, show
from evonas.workflows.evaluation import Retrained

PATTERNS = 1000


def run(
    folder: Path,
    network: str,
    changes: Sequence[Word],
    as_json: bool,
    console: Console,
    *,
    similar: float = SIMILAR,
    complementary: float = COMPLEMENTARY,
    patterns: int = PATTERNS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> list[Removal]:
    """Remove units from what a retraining left; write distinctiveness.md and .json.

    Both are put in ``FOLDER/distinctiveness``. Each layer, way to compare and way to remove
    starts from the network as it was trained.

    Args:
        folder: of the retraining.
        network: name in its table; empty: all that have weights.
        changes: ``key=value`` of the experiment, such as ``backbone.weights=DIR``.
        as_json: print JSON alone.
        console: where to print.
        similar, complementary: angles, degrees.
        patterns: training images, at most, that activations are taken from.
        repeats: draws of each null model.
        seed: of these draws.

    Raises:
        InputError: the folder or a number is wrong, there is no such network, or none ends in a
            linear layer.
    """
    _check(similar, complementary, patterns, repeats)
    retrained = Retrained(folder, tuple(changes))
    named = retrained.contender(network)  # refused, if it is, before anything is computed
    trained = [one for one in retrained.content["contenders"] if one["weights"]]
    chosen = [one for one in trained if one["name"] == named["name"]] if network else trained
    assembly, dataset = retrained.assembly, retrained.assembly.dataset
    sides = dataset.sides()
    side = "test" if "test" in sides else "validation"
    used = {one["tap"] for one in chosen}
    with progress_bars(console) as progress:
        taps = [tap for tap in assembly.backbone.taps if tap in used]
        features = assembly.features(assembly.backbone, taps, progress, dataset)
    judging = np.intersect1d(sides[side], features.usable)
    training = np.intersect1d(sides["train"], features.usable)
    places = np.linspace(0, len(training) - 1, min(patterns, len(training)))
    shown = training[places.astype(np.intp)]
    study = Study((similar, complementary), repeats, seed)
    targets = retrained.task.targets(dataset)
    device, task = assembly.hardware.own_device, retrained.task
    found: list[Removal] = []
    for one in chosen:
        maps = features.open(one["tap"])
        data = TrainingData(maps, np.stack([targets] * len(maps)), training, judging)
        for repeat, file in enumerate(one["weights"]):
            found += study.removals(
                (one["name"], one["tap"], file),
                retrained.head(one, repeat),
                tuple(maps[0].shape[1:]),
                lambda module, data=data: predict(module, data, shown, device),  # type: ignore[misc]
                lambda module, data=data: validate(module, data, task, judging, device),  # type: ignore[misc]
            )
    if not found:
        raise InputError(
            f"{folder}: no network of it ends in a linear layer: distinctiveness compares the "
            "units that enter one"
        )
    notes = _notes(retrained, f"{side} split", len(judging), len(shown), study.angles)
    made = distinctiveness.tables(found, retrained.task.unit, notes)
    target = folder / "distinctiveness"
    target.mkdir(exist_ok=True)
    keep(target / "distinctiveness.md", "\n".join(map(markdown, made)))
    text = json.dumps([asdict(one) for one in found], indent=2)
    keep(target / "distinctiveness.json", text + "\n")
    if as_json:
        print(text)
        return found
    for table in made:
        show(table, console)
    console.print(f"written: {target}", soft_wrap=True)
    return found


def _check(similar: float, complementary: float, patterns: int, repeats: int) -> None:
    if not 0 < similar <= 90 <= complementary < 180:
        raise InputError(
            f"angles: expected 0 < similar <= 90 <= complementary < 180 degrees, got {similar:g} "
            f"and {complementary:g}: {SIMILAR:g} and {COMPLEMENTARY:g} are the published ones"
        )
    if patterns < 2 or repeats < 1:
        raise InputError(
            f"expected at least 2 patterns and 1 repeat, got {patterns} and {repeats}: raise them"
        )


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
