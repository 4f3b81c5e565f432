"""Choice of the images that judge a network: those that training and validation never used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.runs.training_record import Indices, Mask, Overlap, TrainingRecord

#: Which images judge besides unused ones: none, those that validated, or all.
Include = Literal["unused", "validation", "trained"]

_OPTIONS = {"validation": "--include-validation", "trained": "--include-trained"}


@dataclass(frozen=True)
class Judges:
    """The images of a data set that judge.

    Attributes:
        side: what to call them.
        images: (n,) their numbers, sorted.
        seen_images: images left out, since training or validation used them.
        seen_groups: further images left out, of a group that training or validation used.
        warning: why errors on these images flatter; empty if nothing says so.
    """

    side: str
    images: Indices
    seen_images: int = 0
    seen_groups: int = 0
    warning: str = ""

    def left_out(self) -> str:
        """Return how many images were left out and why; empty if none was."""
        parts = []
        if self.seen_images:
            parts.append(f"{self.seen_images} images: training or validation saw them")
        if self.seen_groups:
            more = "more" if self.seen_images else "images"
            parts.append(f"{self.seen_groups} {more}: their person or source photo was seen")
        return f"left out: {'; '.join(parts)}" if parts else ""


def judges(dataset: Dataset, record: TrainingRecord | None, include: Include = "unused") -> Judges:
    """Return the images that judge: the test split where there is one, else all, if unused.

    Args:
        dataset: to be tested on.
        record: what training and validation used; None: not known, which ``trained`` allows.
        include: ``validation``: images that validated, and never trained, judge too;
            ``trained``: all do. Either is said in ``warning``.

    Raises:
        InputError: no image is left, or nothing is known of the training.
    """
    tested = "test" in dataset.splits
    side = "test split" if tested else "all images"
    offered = dataset.splits["test"] if tested else np.arange(len(dataset))
    if record is None:
        if include != "trained":
            raise InputError(
                "the images that this network was trained on are not recorded: retrain it, or "
                f"judge it on all images with {_OPTIONS['trained']}"
            )
        return Judges(side, offered, warning="which images were trained on is not recorded")
    overlap = record.overlap(dataset, offered)
    kept = _kept(overlap, include)
    if not kept.any():
        raise InputError(_nothing_left(overlap, include, side))
    out = ~kept
    used = _rows(overlap, kept).flattery()
    if out.any() and not tested:
        side = "unseen images" if not used else "images that were not trained on"
    return Judges(
        side,
        offered[kept],
        int((overlap.images & out).sum()),
        int((overlap.groups & out).sum()),
        f"{used} ({_OPTIONS[include]})" if used else "",
    )


def _kept(overlap: Overlap, include: Include) -> Mask:
    trained = overlap.trained | overlap.trained_group
    if include == "trained":
        return np.ones(len(trained), np.bool_)
    if include == "validation":
        # an image that validated as the training's own split had it, leaky or not, or one
        # that training did not use
        return (overlap.validated & ~overlap.trained) | ~trained
    return ~(overlap.images | overlap.groups)


def _rows(overlap: Overlap, rows: Mask) -> Overlap:
    masks = (overlap.trained, overlap.validated, overlap.trained_group, overlap.validated_group)
    return Overlap(*(mask[rows] for mask in masks))


def _nothing_left(overlap: Overlap, include: Include, side: str) -> str:
    validated = int(_kept(overlap, "validation").sum()) if include == "unused" else 0
    options = [f"{_OPTIONS['validation']} ({validated} that only validated)"] if validated else []
    options.append(f"{_OPTIONS['trained']} (all)")
    groups = int(overlap.groups.sum())
    also = f", {groups} of them by their person or source photo alone" if groups else ""
    return (
        f"no image is left to judge: training or validation used all {len(overlap.trained)} "
        f"({side}{also}): give a data set with other images, or pass {' or '.join(options)}"
    )
