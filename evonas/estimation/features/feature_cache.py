"""The feature cache: a frozen backbone's maps, computed once and memory-mapped.

One file holds one tap of one view: fp16 .npy of shape (n, channels, height, width),
in the data set's order. Its name is a hash of all that its content follows from
(backbone weights, data, tap, view, input size), so it never needs to be
invalidated, and any number of runs and workers share it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.errors import InputError, UnreadableImage
from evonas.estimation.features.cache_files import (
    Lease,
    allocate,
    check_space,
    commit,
    intact,
    sidecar,
)
from evonas.estimation.features.views import View
from evonas.models.backbones.base import Backbone, Pooled

_log = logging.getLogger("evonas")
_VERSION = 1
#: Decoded images that are held from view to view: decoding takes as long as half of a pass.
_IMAGE_BYTES = 1 << 30
_BATCH = 64
_CORES = len(os.sched_getaffinity(0))
#: Images in the last reports of progress that may still be in work.
IN_FLIGHT = 2 * _CORES * _BATCH
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Features:
    """Where the maps of a set of taps and views lie, and what making them took.

    Attributes:
        files: tap name -> file of each view, in the order of ``views``.
        views: the cached views; the first is the plain one.
        usable: indices of the images that could be decoded, sorted.
        passes: images that went through the backbone just now (0: all was cached).
        lease: keeps the files from being cleared as long as these features are held.
    """

    files: dict[str, tuple[Path, ...]]
    views: tuple[View, ...]
    usable: NDArray[np.intp]
    passes: int
    lease: Lease | None = field(default=None, compare=False, repr=False)

    def open(self, tap: str) -> list[NDArray[np.float16]]:
        """Return the memory-mapped maps of a tap, one (n, c, h, w) array a view."""
        return [np.load(path, mmap_mode="r") for path in self.files[tap]]


class FeatureCache:
    """A folder of cached feature maps.

    Args:
        root: the folder; made when needed.
        strict: refuse a data set of which an image cannot be decoded.
    """

    def __init__(self, root: Path, strict: bool = True) -> None:
        self._root, self._strict = root, strict

    def ensure(
        self,
        backbone: Backbone,
        dataset: Dataset,
        taps: Sequence[str],
        views: Sequence[View],
        progress: Progress = lambda label, done, total: None,
    ) -> Features:
        """Return the features, computing what is not there: one pass over each view.

        Raises:
            InputError: images cannot be decoded, a tap is unknown, or the disk is full.
        """
        paths = self.paths(backbone, dataset, taps, views)
        passes = 0
        unreadable: dict[int, str] = {}
        missing_of = {view: [t for t in taps if not _usable(paths[t, view])] for view in views}
        values = sum(prod(backbone.taps[tap]) for view in views for tap in missing_of[view])
        advice = "choose another folder with features.cache=FOLDER"
        check_space(self._root, 2 * len(dataset) * values, advice)
        images = _Images(dataset, _IMAGE_BYTES if sum(map(bool, missing_of.values())) > 1 else 0)
        for view in views:
            missing = missing_of[view]
            if missing:
                into = {tap: paths[tap, view] for tap in missing}
                self._compute(backbone, images, view, into, progress)
                passes += len(dataset)
            for index, reason in sidecar(paths[taps[0], view])["unreadable"].items():
                unreadable[int(index)] = reason
        if unreadable and self._strict:
            first = min(unreadable)
            raise InputError(
                f"data: {len(unreadable)} of {len(dataset)} images cannot be decoded, the first: "
                f"{unreadable[first]}; repair or remove them, or leave them out with "
                f"features.strict=false"
            )
        usable = np.setdiff1d(np.arange(len(dataset)), list(unreadable))
        files = {tap: tuple(paths[tap, view] for view in views) for tap in taps}
        try:
            lease = Lease(path for every in files.values() for path in every)
        except FileNotFoundError:  # cleared since it was looked at: compute that again
            return self.ensure(backbone, dataset, taps, views, progress)
        return Features(files, tuple(views), usable, passes, lease)

    def paths(
        self, backbone: Backbone, dataset: Dataset, taps: Sequence[str], views: Sequence[View]
    ) -> dict[tuple[str, View], Path]:
        """Return where the maps of each tap and view lie, whether they are there or not."""
        return {
            (tap, view): self._root / f"{self._key(backbone, dataset, tap, view)}.npy"
            for tap in taps
            for view in views
        }

    def passes(
        self, backbone: Backbone, dataset: Dataset, taps: Sequence[str], views: Sequence[View]
    ) -> int:
        """Return how many images the backbone has to see: all, for each view with a missing map."""
        paths = self.paths(backbone, dataset, taps, views)
        lacking = {view for (_, view), path in paths.items() if not path.is_file()}
        return len(lacking) * len(dataset)

    def _key(self, backbone: Backbone, dataset: Dataset, tap: str, view: View) -> str:
        parts = [_VERSION, backbone.fingerprint, dataset.fingerprint, tap, view.name]
        text = json.dumps([*parts, backbone.input_size])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _compute(
        self,
        backbone: Backbone,
        images: _Images,
        view: View,
        into: dict[str, Path],
        progress: Progress,
    ) -> None:
        total, label = len(images.dataset), f"features of view {view.name}"
        unreadable: dict[int, str] = {}
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._root) as folder:
                made = {tap: Path(folder, path.name) for tap, path in into.items()}
                maps = {
                    tap: allocate(path, (total, *backbone.taps[tap])) for tap, path in made.items()
                }
                pending: deque[Future[None]] = deque()
                with ThreadPoolExecutor(_CORES, initializer=_one_thread) as pool:
                    for start in range(0, total, _BATCH):
                        indices = range(start, min(start + _BATCH, total))
                        crops = self._crops(backbone, images, view, indices, unreadable)
                        pending.append(pool.submit(_run, backbone, crops, maps, start))
                        if len(pending) > 2 * _CORES:
                            pending.popleft().result()
                        progress(label, indices.stop, total)
                    for batch in pending:
                        batch.result()
                for tap, values in maps.items():
                    values.flush()
                    origin = {**_names(backbone, images.dataset), "tap": tap, "view": view.name}
                    commit(made[tap], into[tap], unreadable, origin)
        except OSError as error:
            raise InputError(
                f"feature cache {self._root}: cannot be written ({error.strerror}): free some "
                f"space or choose another folder with features.cache=FOLDER"
            ) from error

    @staticmethod
    def _crops(
        backbone: Backbone,
        images: _Images,
        view: View,
        indices: range,
        unreadable: dict[int, str],
    ) -> NDArray[np.uint8]:
        """Return (len(indices), size, size, 3); black, and noted, where an image is damaged."""
        size = backbone.input_size
        crops = np.zeros((len(indices), size, size, 3), np.uint8)
        for row, index in enumerate(indices):
            try:
                image = images[index]
            except UnreadableImage as error:
                unreadable[index] = str(error)
            else:
                crops[row] = view.apply(image, index, size, images.dataset.margin_of(index))
        return crops


class _Images:
    """The images of a data set, of which the first are decoded once for all views.

    Args:
        dataset: decodes.
        most: bytes to hold; what comes later is decoded whenever it is asked for.
    """

    def __init__(self, dataset: Dataset, most: int) -> None:
        self.dataset, self._room = dataset, most
        self._held: dict[int, NDArray[np.uint8]] = {}

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Return an image.

        Raises:
            UnreadableImage: it is damaged.
        """
        if index in self._held:
            return self._held[index]
        image = self.dataset.image(index)
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._held[index] = image
        return image


def _names(backbone: Backbone, dataset: Dataset) -> dict[str, str]:
    """Return the registered names of backbone and data, each with a part of its fingerprint."""
    inner = backbone.backbone if isinstance(backbone, Pooled) else backbone
    means = ", means of maps" if isinstance(backbone, Pooled) else ""
    network, data = (type(part).__module__.rpartition(".")[2] for part in (inner, dataset))
    return {
        "backbone": f"{network} {inner.fingerprint[:8]}{means}",
        "data": f"{data} {dataset.fingerprint[:8]}",
    }


def _usable(path: Path) -> bool:
    """Whether a file is there as it was written; says so where it is there, but damaged."""
    whole = intact(path)
    if not whole and path.exists():
        _log.warning("feature cache %s: is damaged (its checksum is another): made anew", path)
    return whole


def _one_thread() -> None:
    """One batch is one thread's work, so that its sums do not depend on the machine."""
    torch.set_num_threads(1)


def _run(
    backbone: Backbone,
    images: NDArray[np.uint8],
    maps: Mapping[str, NDArray[np.float16]],
    start: int,
) -> None:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        outputs = backbone(batch, list(maps))
    for tap, values in outputs.items():
        maps[tap][start : start + len(images)] = values.half().numpy()
