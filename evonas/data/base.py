"""What every data set offers: images, labels, groups and a split."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evonas.data.images.image_io import HASH_BYTES
from evonas.errors import InputError, UnreadableImage

if TYPE_CHECKING:
    from evonas.data.images.cropping import Framing

_NONE: Mapping[str, Any] = MappingProxyType({})


class Dataset(ABC):
    """Images with labels, in a fixed order.

    A reader sets the first four attributes in its constructor and calls ``check``.
    It never shuffles: order, split and content follow from its options alone.

    Attributes:
        labels: label name -> (n,) float32. Angles are in degrees (``yaw``, ``pitch``,
            ``roll``). A key point ``nose`` has the labels ``nose.x`` and ``nose.y``, in
            sides of the standard crop (0 left or top, 1 right or bottom), and ``nose.v``:
            0 not labelled, 1 hidden, 2 visible.
        groups: (n,) str; the person (or source photo) an image shows. One group
            never stands on two sides of a split.
        splits: ``train``, ``validation`` and, where there is one, ``test`` ->
            sorted indices. A set made for testing has ``test`` alone.
        fingerprint: hexadecimal hash of everything that images and labels follow
            from (file contents, or the generator's version and options).
        margin: share of the image's side, at each edge, that lies outside the
            standard crop; augmentation may look there. 0: the image is the crop.
        classes: label name -> names of its classes, for labels whose values are
            numbers of classes; a label that is not named is a quantity.
        protocol: how images were chosen and split, as a table's note says it.
        leaky: why validation flatters, where the split is known to leak; else empty.
        dropped: why -> names of the images that were left out.
        framing: how a photo and a box become an image of this set, so that photos of others
            can; None where a photo is an image as it is.
    """

    labels: Mapping[str, NDArray[np.float32]]
    groups: NDArray[np.str_]
    splits: Mapping[str, NDArray[np.intp]]
    fingerprint: str
    margin: float = 0.0
    classes: Mapping[str, Sequence[str]] = _NONE
    protocol: str = ""
    leaky: str = ""
    dropped: Mapping[str, Sequence[str]] = _NONE
    framing: Framing | None = None

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

    def image_hashes(self) -> NDArray[np.str_]:
        """Return a hash of the photo behind each image, (n,), which recognises it anywhere.

        Two crops of one photo have the same hash, wherever the photo lies and whichever reader
        reads it. By default the pixels of the image are hashed; a reader of files hashes the
        files, which decodes nothing.
        """
        return np.array([self._pixel_hash(index) for index in range(len(self))], np.str_)

    def _pixel_hash(self, index: int) -> str:
        try:
            image = self.image(index)
        except UnreadableImage:  # nothing is known of it, so it is no other image
            content, shape = f"{self.fingerprint} {index}".encode(), "unreadable"
        else:
            content, shape = np.ascontiguousarray(image).tobytes(), str(image.shape)
        key = shape.encode()[:64]
        return hashlib.blake2b(content, key=key, digest_size=HASH_BYTES).hexdigest()

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return each image's group by a name that holds in every set of this reader, (n,).

        None where names say nothing beyond this set. By default: where every image is a group
        of its own, such as a number or a file name.
        """
        return self.groups if len(np.unique(self.groups)) < len(self) else None

    def schema(self) -> dict[str, tuple[str, ...]]:
        """Return label name -> names of its classes; empty for a quantity."""
        return {name: tuple(self.classes.get(name, ())) for name in self.labels}

    def sides(self) -> Mapping[str, NDArray[np.intp]]:
        """Return the splits of a set that can train.

        Raises:
            InputError: it has no training or no validation split.
        """
        for side in ("train", "validation"):
            if side not in self.splits:
                raise InputError(
                    f"data: this set has no {side} split, only {', '.join(self.splits)}: "
                    f"train on another one, and name this one in `evonas evaluate`"
                )
        return self.splits

    def check(self) -> None:
        """Refuse labels that cannot be trained on and splits that leak unsaid.

        Raises:
            InputError: there is no image, a label is not finite, a split is empty, or
                a group stands on both sides of a split that is not called leaky.
        """
        if not len(self):
            raise InputError("data: no image is left: see what was dropped, and why")
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
            for group in () if self.leaky else np.unique(self.groups[indices]).tolist():
                if owners.setdefault(group, split) != split:
                    raise InputError(
                        f"data: group {group!r} is in both {owners[group]} and {split}: "
                        f"split by group"
                    )
