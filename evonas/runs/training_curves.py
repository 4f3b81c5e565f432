"""Training loss and validation error of a training, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from evonas.runs.trial import Trial

#: A best epoch in this first fraction of a training is an early one.
EARLY = 0.6
#: Relative increase of the error, from its best epoch to the last one, that counts as a rise.
RISE = 0.03


def training_losses(history: Iterable[Mapping[str, float]]) -> list[float]:
    """Return the mean training loss of each epoch, rounded to 6 significant digits.

    Args:
        history: of a ``Measurement``; that of a tabular benchmark has no losses.
    """
    return [float(f"{row['loss']:.6g}") for row in history if "loss" in row]


def kept_loss(losses: Sequence[float], metrics: Mapping[str, float]) -> float:
    """Return the training loss of the epoch whose weights were kept; nan if it is not known.

    Args:
        losses: of each epoch.
        metrics: of the training, with the number of the kept epoch (``epoch``, from 1).
    """
    epoch = int(metrics.get("epoch", 0))
    return losses[epoch - 1] if 1 <= epoch <= len(losses) else math.nan


def epochs(trial: Trial) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the number of each epoch, from 1, with its ``train_loss`` and ``error``.

    Nothing is yielded for a trial of an earlier version, without training losses.
    """
    for epoch, (loss, error) in enumerate(zip(trial.losses, trial.curve, strict=False), start=1):
        yield epoch, {"train_loss": loss, "error": error}


def overfitting(errors: Sequence[float], losses: Sequence[float]) -> str:
    """Return a remark on a training that overfits; empty if it does not, or is not known to.

    A training overfits if its best epoch lies within the first ``EARLY`` of its epochs, the
    error of the last epoch is more than ``RISE`` above the best, and the training loss fell from
    the best epoch to the last.

    Args:
        errors: on the validation split, after each epoch.
        losses: on the training images, of each epoch.
    """
    epochs = len(errors)
    if not epochs or len(losses) != epochs:
        return ""
    best = min(range(epochs), key=lambda epoch: errors[epoch])
    lowest, last = errors[best], errors[-1]
    early = best + 1 <= EARLY * epochs
    if not early or last - lowest <= RISE * abs(lowest) or losses[-1] >= losses[best]:
        return ""
    rise = f"{100 * (last - lowest) / abs(lowest):.0f} % higher" if lowest else f"{last:.3g}"
    return (
        f"overfits: lowest validation error in epoch {best + 1} of {epochs}, {rise} in the last, "
        f"while the training loss fell"
    )
