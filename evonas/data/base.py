"""Base class of all data sets: images, labels, groups and splits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.registry import name_of
from evonas.data.images.image_io import HASH_BYTES, file_hashes
from evonas.errors import InputError, UnreadableImage

if TYPE_CHECKING:
    from evonas.data.images.cropping import Framing

_NONE: Mapping[str, Any] = MappingProxyType({})


class Dataset(ABC):
    """Images with labels, in a fixed order.

    The constructor of a reader sets the first four attributes and calls ``check``. Order, splits
    and content depend on its options only.

    Attributes:
        labels: label name -> (n,) float32. Angles (``yaw``, ``pitch``, ``roll``) are in degrees.
            A key point ``nose`` has the labels ``nose.x`` and ``nose.y``, in sides of the
            standard crop (0 left or top, 1 right or bottom), and ``nose.v``: 0 not labelled, 1
            hidden, 2 visible.
        groups: (n,) str, the person or source photo of each image. All images of a group are in
            the same split.
        splits: ``train``, ``validation`` and ``test`` -> sorted indices. ``test`` is optional; a
            set for testing has only ``test``.
        fingerprint: hexadecimal hash of everything that determines images and labels (file
            contents, or version and options of the generator).
        margin: share of the image's side, at each edge, that is outside the standard crop and
            available to augmentation. 0: the image is the standard crop.
        classes: label name -> names of its classes, for labels whose values are class indices;
            all other labels are quantities.
        protocol: description of the selection and split of the images, for tables.
        leaky: reason why validation results are too good, if the split is known to leak; else
            empty.
        dropped: reason -> names of the images that were left out.
        files: of the images, in their order, if each is that of one photo; empty otherwise.
        missing: label name -> message on the first image without it, for labels that some images
            lack: they are nan there, and a task has to allow it (``Task.takes_missing``).
        framing: how an image is cropped from a photo and a box, to crop other photos alike;
            None: a photo is used as it is.
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
    missing: Mapping[str, str] = _NONE
    files: Sequence[Path] = ()
    framing: Framing | None = None

    def __len__(self) -> int:
        return len(self.groups)

    @abstractmethod
    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index`` as (height, width, 3) RGB.

        Raises:
            UnreadableImage: the file is damaged.
        """

    def margin_of(self, index: int) -> float:
        """Return the ``margin`` of image ``index``; by default that of the data set."""
        return self.margin

    def describe(self, index: int) -> str:
        """Return a name of image ``index`` for messages, such as its file name."""
        return f"image {index}"

    def image_hashes(self) -> NDArray[np.str_]:
        """Return a hash of the photo of each image, (n,), by which data sets are compared.

        Crops of the same photo have the same hash, independently of folder and reader. By default
        the ``files`` are hashed without decoding them, or else the pixels of the images.
        """
        if self.files:
            return file_hashes(self.files)
        return np.array([self._pixel_hash(index) for index in range(len(self))], np.str_)

    def _pixel_hash(self, index: int) -> str:
        try:
            image = self.image(index)
        except UnreadableImage:  # it is unknown, so it must not equal another image
            content, shape = f"{self.fingerprint} {index}".encode(), "unreadable"
        else:
            content, shape = np.ascontiguousarray(image).tobytes(), str(image.shape)
        key = shape.encode()[:64]
        return hashlib.blake2b(content, key=key, digest_size=HASH_BYTES).hexdigest()

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the (n,) groups by names that are valid in every data set of this reader.

        None if group names have no meaning outside this data set; by default, if every image is
        its own group.
        """
        return self.groups if len(np.unique(self.groups)) < len(self) else None

    def recorded_groups(self) -> NDArray[np.str_]:
        """Return ``reader/name`` of each image's group, (n,), or blanks; see ``known_groups``."""
        known = self.known_groups()
        if known is None:
            return np.full(len(self), "", np.str_)
        reader = name_of(type(self))
        return np.array([f"{reader}/{name}" for name in known.tolist()], np.str_)

    def schema(self) -> dict[str, tuple[str, ...]]:
        """Return label name -> names of its classes; empty for a quantity."""
        return {name: tuple(self.classes.get(name, ())) for name in self.labels}

    def sides(self) -> Mapping[str, NDArray[np.intp]]:
        """Return the splits; check that the data set can be used for training.

        Raises:
            InputError: there is no training or no validation split.
        """
        for side in ("train", "validation"):
            if side not in self.splits:
                raise InputError(
                    f"data: expected a {side} split, got only {', '.join(self.splits)}: train on "
                    f"another data set, and name this one in `evonas evaluate`"
                )
        return self.splits

    def check(self) -> None:
        """Check labels and splits; the constructor of a reader calls it last.

        Raises:
            InputError: there is no image, a label is not finite and not ``missing``, a split is
                empty, or a group is in two splits although ``leaky`` is empty.
        """
        if not len(self):
            raise InputError(
                "data: expected at least one image, none is left: check the data and its options"
            )
        for name, values in self.labels.items():
            bad = np.flatnonzero(np.isinf(values) if name in self.missing else ~np.isfinite(values))
            if len(bad):
                raise InputError(
                    f"data: expected finite labels {name!r}, {len(bad)} are not, the first is "
                    f"{values[bad[0]]} for {self.describe(int(bad[0]))}: correct or remove these "
                    f"rows"
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
