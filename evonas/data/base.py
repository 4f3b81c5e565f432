"""What every data set offers: images, labels, groups and a split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError


class Dataset(ABC):
    """Face images with labels, in a fixed order.

    A reader sets the four attributes in its constructor and calls ``check``.
    It never shuffles: order, split and content follow from its options alone.

    Attributes:
        labels: label name -> (n,) float32; angles are in degrees.
        groups: (n,) str; the person (or source photo) an image shows. One group
            never stands on two sides of a split.
        splits: ``train``, ``validation`` and, where there is one, ``test`` ->
            sorted indices.
        fingerprint: hexadecimal hash of everything that images and labels follow
            from (file contents, or the generator's version and options).
        margin: share of the image's side, at each edge, that lies outside the
            standard crop; augmentation may look there. 0: the image is the crop.
    """

    labels: Mapping[str, NDArray[np.float32]]
    groups: NDArray[np.str_]
    splits: Mapping[str, NDArray[np.intp]]
    fingerprint: str
    margin: float = 0.0

    def __len__(self) -> int:
        return len(self.groups)

    @abstractmethod
    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index`` as (height, width, 3) RGB.

        Raises:
            UnreadableImage: the file is damaged.
        """

    def describe(self, index: int) -> str:
        """Return what a person would call image ``index``: a file name."""
        return f"image {index}"

    def check(self) -> None:
        """Refuse labels that cannot be trained on and splits that leak.

        Raises:
            InputError: a label is not finite, a split is empty, or a group stands
                on both sides of a split.
        """
        for name, values in self.labels.items():
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                raise InputError(
                    f"data: {len(bad)} labels {name!r} are not finite, the first is "
                    f"{values[bad[0]]} of {self.describe(int(bad[0]))}: mend or remove these rows"
                )
        owners: dict[str, str] = {}
        for split, indices in self.splits.items():
            if not len(indices):
                raise InputError(f"data: the {split} split is empty: choose other groups for it")
            for group in np.unique(self.groups[indices]).tolist():
                if owners.setdefault(group, split) != split:
                    raise InputError(
                        f"data: group {group!r} is in both {owners[group]} and {split}: "
                        f"split by group"
                    )


class UnreadableImage(InputError):
    """An image file that cannot be decoded."""
