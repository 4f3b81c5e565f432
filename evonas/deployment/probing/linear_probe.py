"""What each tap of a frozen network knows of a label: linear models of pooled features.

T. A. John, I. Dua, V. N. Balasubramanian, C. V. Jawahar (2019), "Low-Cost Transfer Learning
of Face Tasks", arXiv 1901.02675, algorithm 1: maps are averaged over height and width, and
least squares on these averages learns the label, for every layer in turn. Here the taps are
chosen on held-out training images, so the validation and test images only judge; and classes are
fitted by logistic regression unless ``classes="least_squares"`` regresses them (see ``linear``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.deployment.probing.characteristic_curves import Curve, checked, curve
from evonas.deployment.probing.folds import Indices, deal
from evonas.deployment.probing.linear_models import Classes, Score, cross_validate, regress
from evonas.deployment.probing.targets import Target

__all__ = ["Curve", "Primary", "Probed", "Score", "Target", "curve", "probe", "rank", "regress"]


@dataclass(frozen=True)
class Probed:
    """What one tap knows of one label.

    Attributes:
        tap: its name.
        target: the label's name.
        classes: whether the label has classes, so that errors are in percent.
        held_out: on the training images, each judged once while held out; chooses taps.
        validation: fitted to all training images; None where no image of this split can be
            judged.
        test: likewise, of the test split; None also where there is none.
        curve: the characteristic curve, on the training images.
        seconds: all this took.
    """

    tap: str
    target: str
    classes: bool
    held_out: Score
    validation: Score | None
    test: Score | None
    curve: Curve
    seconds: float

    @property
    def judged(self) -> tuple[str, Score]:
        """The split that judges, and the error on it: test, else validation, else held out."""
        if self.test is not None:
            return "test", self.test
        return ("validation", self.validation) if self.validation else ("held out", self.held_out)

    @property
    def notes(self) -> list[str]:
        """What a person should know, each once."""
        found = [self.held_out.note, self.judged[1].note, *self.curve.notes]
        if self.judged[0] == "held out":
            found.append("no image of another split can judge")
        return list(dict.fromkeys(note for note in found if note))


@dataclass(frozen=True)
class Primary:
    """A backbone, named by what it was trained for, and what all its taps know.

    Attributes:
        name: for tables.
        fingerprint: of the backbone.
        taps: that were probed, from input to output.
        found: one a tap and label.
        seconds: of the pass over the images; 0 where it was done before.
    """

    name: str
    fingerprint: str
    taps: tuple[str, ...]
    found: tuple[Probed, ...]
    seconds: float = 0.0

    def of(self, target: str) -> list[Probed]:
        """Return the taps' results for one label, from input to output."""
        return [one for one in self.found if one.target == target]

    def best(self, target: str) -> Probed:
        """Return the tap whose held-out error is the lowest."""
        return min(self.of(target), key=lambda one: one.held_out.error)


def probe(
    tap: str,
    features: NDArray[np.floating],
    target: Target,
    groups: NDArray[np.str_],
    splits: Mapping[str, Indices],
    folds: int,
    classes: Classes = "logistic",
) -> Probed:
    """Probe one tap for one label.

    Args:
        tap: its name.
        features: (n, c) pooled features of all images.
        target: of the same images; those without the label stand in no split.
        groups: (n,) the person, or source photo, of each image.
        splits: ``train``, ``validation`` and, where there is one, ``test`` -> indices.
        folds: parts of the training images that are held out in turn.
        classes: how classes are fitted; see ``linear``.

    Raises:
        InputError: features are not finite, or there are fewer training images than folds.
    """
    begun = time.perf_counter()
    x, train = checked(features, target), splits["train"]
    own = target.of(train)
    held_out = cross_validate(x[train], own, deal(groups[train], own, folds), classes)
    others = {
        side: regress(x, target, train, splits[side], classes)
        for side in ("validation", "test")
        if _can_judge(target, train, splits.get(side))
    }
    return Probed(
        tap,
        target.name,
        bool(target.classes),
        held_out,
        others.get("validation"),
        others.get("test"),
        curve(x[train], own, groups[train], folds),
        time.perf_counter() - begun,
    )


def rank(found: Sequence[Probed]) -> list[tuple[str, float]]:
    """Return taps and their held-out error relative to the constant's, the best first.

    It is the mean over the labels, so that all weigh the same, whatever their unit.
    """
    shares: dict[str, list[float]] = {}
    for one in found:
        shares.setdefault(one.tap, []).append(one.held_out.relative)
    means = {tap: _mean(values) for tap, values in shares.items()}
    return sorted(means.items(), key=lambda item: item[1])


def _mean(values: Sequence[float]) -> float:
    """Return the mean of those that are numbers; 1, as good as a constant, where none is."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else 1.0


def _can_judge(target: Target, train: Indices, test: Indices | None) -> bool:
    if test is None or not len(test):
        return False
    return not target.classes or bool(np.isin(target.numbers[test], target.numbers[train]).any())
