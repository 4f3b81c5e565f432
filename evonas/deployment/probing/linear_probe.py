"""Linear probes: errors of linear models that predict a label from the pooled map of a tap.

T. A. John, I. Dua, V. N. Balasubramanian, C. V. Jawahar (2019), "Low-Cost Transfer Learning
of Face Tasks", arXiv 1901.02675, algorithm 1: maps are averaged over height and width, and
least squares predicts the label from the averages, for every layer separately. Here taps are
chosen on held-out training images, so validation and test images are used for evaluation only;
and classes are fitted by logistic regression by default (see ``linear_models``).
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
    """Results of the linear probe of one tap for one label.

    Attributes:
        tap: name of the tap.
        target: name of the label.
        classes: whether the label has classes, so that errors are in percent.
        held_out: cross-validated error on the training images, by which taps are chosen.
        validation: error on the validation split of a model fitted to all training images;
            None if no image of the split can be evaluated.
        test: error on the test split; None if there is none.
        curve: characteristic curve on the training images.
        seconds: duration of the probe.
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
        """The split for evaluation and the error on it: test, else validation, else held out."""
        if self.test is not None:
            return "test", self.test
        return ("validation", self.validation) if self.validation else ("held out", self.held_out)

    @property
    def notes(self) -> list[str]:
        """Notes for the user, without repetitions."""
        notes = [self.held_out.note, self.judged[1].note, *self.curve.notes]
        if self.judged[0] == "held out":
            notes.append("no image of another split can be evaluated")
        return list(dict.fromkeys(note for note in notes if note))


@dataclass(frozen=True)
class Primary:
    """Results of all taps of a backbone; in the article, the network of a primary task.

    Attributes:
        name: name of the backbone in tables.
        fingerprint: fingerprint of the backbone.
        taps: probed taps, from input to output.
        found: results, one for each tap and label.
        seconds: duration of the pass over the images; 0 if the features were cached.
    """

    name: str
    fingerprint: str
    taps: tuple[str, ...]
    found: tuple[Probed, ...]
    seconds: float = 0.0

    def of(self, target: str) -> list[Probed]:
        """Return the results of all taps for one label, from input to output."""
        return [probed for probed in self.found if probed.target == target]

    def best(self, target: str) -> Probed:
        """Return the result of the tap with the lowest held-out error for a label."""
        return min(self.of(target), key=lambda probed: probed.held_out.error)


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
        tap: name of the tap.
        features: (n, c) pooled features of all images.
        target: label of the same images; images without the label are in no split.
        groups: (n,) person, or source photo, of each image.
        splits: ``train``, ``validation`` and optionally ``test`` -> indices.
        folds: number of folds of the training images.
        classes: how classes are fitted; see ``linear_models``.

    Raises:
        InputError: features are not finite, or there are fewer training images than folds.
    """
    start = time.perf_counter()
    x, train = checked(features, target), splits["train"]
    own = target.of(train)
    held_out = cross_validate(x[train], own, deal(groups[train], own, folds), classes)
    others = {
        side: regress(x, target, train, splits[side], classes)
        for side in ("validation", "test")
        if _can_evaluate(target, train, splits.get(side))
    }
    return Probed(
        tap,
        target.name,
        bool(target.classes),
        held_out,
        others.get("validation"),
        others.get("test"),
        curve(x[train], own, groups[train], folds),
        time.perf_counter() - start,
    )


def rank(found: Sequence[Probed]) -> list[tuple[str, float]]:
    """Return (tap, held-out error relative to a constant's) of all taps, the best first.

    The error of a tap is the mean over the labels, which have equal weights in any unit.
    """
    errors: dict[str, list[float]] = {}
    for probed in found:
        errors.setdefault(probed.tap, []).append(probed.held_out.relative)
    means = {tap: _mean(values) for tap, values in errors.items()}
    return sorted(means.items(), key=lambda item: item[1])


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values; without any, 1, the error of a constant."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else 1.0


def _can_evaluate(target: Target, train: Indices, test: Indices | None) -> bool:
    if test is None or not len(test):
        return False
    return not target.classes or bool(np.isin(target.numbers[test], target.numbers[train]).any())
