"""Synthetic faces: rendered 3-D heads with exact pose, landmarks and identity.

A data set without download, for examples, tests and controlled experiments. The identity
determines head shape, features, skin and hair; pose, expression, light, background, clothes and
occluders are random for every image. It shows that a method works, but says nothing about accuracy
on photographs.

``python -m evonas.data.synthetic_faces sheet.png`` draws a contact sheet.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.data.images.image_io import HASH_BYTES
from evonas.data.rendered_faces.head_mesh import EXPRESSION_RANGES, LANDMARKS, Grid
from evonas.data.rendered_faces.renderer import Person, Scene, render
from evonas.data.rendered_faces.scenes import draw_expression, draw_identity, draw_pose, draw_scene
from evonas.errors import InputError

#: Increased whenever an image changes for the same options.
RENDERER_VERSION = 1

#: Names of the landmarks, in the order of ``SyntheticFaces.landmarks``.
LANDMARK_NAMES = tuple(LANDMARKS)

_REMEMBERED_PEOPLE = 8


class SyntheticFaces(Dataset):
    """Rendered faces; image ``i`` depends on the options and ``i`` only, bit for bit.

    Images are ordered by identity: image ``i`` shows identity ``i // images_per_identity``. The
    split is by identity.

    Args:
        identities: number of people.
        images_per_identity: images per person.
        size: side of the square images in pixels, 32..160.
        seed: seed of all random values.
        train: share of the identities in the training split.
        validation: share of the identities in the validation split; the rest is the test split.
        occluded: share of the images with glasses, a mask, a bar or a hand.
        landmarks: whether to add the labels ``NAME.x`` and ``NAME.y`` of each of
            ``LANDMARK_NAMES``, in sides of the image, which is the standard crop. They are then
            computed at once, in a fifth of the time of the images.

    Attributes:
        labels: ``yaw``, ``pitch``, ``roll`` in degrees (|yaw| <= 75, |pitch| <= 50,
            |roll| <= 35; yaw > 0 turns the nose to the image's left, pitch > 0 up;
            R = Rx(pitch) Ry(-yaw) Rz(roll)), ``mouth_open``, ``smile``,
            ``eyes_closed``, ``brow_raise`` (strengths), ``identity`` (an index); and the
            landmarks, if requested. These have no ``NAME.v``, since occlusion (by hair, glasses,
            a hand, the nose) is known only in the rendered image: hidden landmarks count as
            visible, and so does the one in 800, mostly a chin, that is outside the image.
        identities: (n,) index of the identity of each image.
        landmarks: (n, k, 2) float32, x and y in pixels, of ``LANDMARK_NAMES``; "left" is the
            image's left at yaw 0. The centre of the first pixel is (0.5, 0.5). Hidden landmarks
            are projected too. Computed on first use.

    Raises:
        InputError: an option is outside its range.
    """

    def __init__(
        self,
        *,
        identities: int = 200,
        images_per_identity: int = 20,
        size: int = 64,
        seed: int = 0,
        train: float = 0.7,
        validation: float = 0.15,
        occluded: float = 0.35,
        landmarks: bool = False,
    ) -> None:
        _check_integer("identities", identities, 2, 1_000_000)
        _check_integer("images_per_identity", images_per_identity, 1, 100_000)
        _check_integer("size", size, 32, 160)
        _check_integer("seed", seed, 0, 2**63 - 1)
        for name, share in (("train", train), ("validation", validation), ("occluded", occluded)):
            _check_share(name, share)
        if train + validation > 1.0 + 1e-9:
            raise InputError(
                f"data.train, data.validation: expected a sum of at most 1, got {train} + "
                f"{validation}: lower one of them"
            )
        self.size, self.seed, self.occluded = size, seed, float(occluded)
        self._each = images_per_identity
        count = identities * images_per_identity
        self.identities = np.arange(count, dtype=np.intp) // images_per_identity
        self.groups = np.array([f"person-{k:06d}" for k in range(identities)])[self.identities]
        self.labels = self._draw_labels(count)
        self.splits = self._split(identities, train, validation)
        options = {
            "version": RENDERER_VERSION,
            "identities": identities,
            "images_per_identity": images_per_identity,
            "size": size,
            "seed": seed,
            "train": float(train),
            "validation": float(validation),
            "occluded": float(occluded),
        }
        if landmarks:  # only then, so that the fingerprint without landmarks stays the same
            options["landmarks"] = True
        text = "SyntheticFaces" + json.dumps(options, sort_keys=True)
        self.fingerprint = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self._detail = max(1.0, size / 64)
        self._grid = Grid(self._detail)
        self._people: OrderedDict[int, Person] = OrderedDict()
        self._landmarks: NDArray[np.float32] | None = None
        if landmarks:
            self.labels |= self._landmark_labels()
        self.check()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return image ``index`` as (size, size, 3) RGB."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}: expected 0..{len(self) - 1}")
        return render(self._person(index // self._each), self.scene(index))

    def images(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return images ``start`` to ``stop - 1``, (n, size, size, 3), equal to ``image``."""
        out = np.empty((max(0, stop - start), self.size, self.size, 3), np.uint8)
        for row, index in enumerate(range(start, stop)):
            out[row] = self.image(index)
        return out

    def describe(self, index: int) -> str:
        """Return the person and the number of an image."""
        return f"image {index} ({self.groups[index]})"

    def image_hashes(self) -> NDArray[np.str_]:
        """Return a hash of seed, person and index of each image, (n,).

        Size and occluders are not hashed: they change the image but not person, pose and
        expression.
        """
        texts = (f"{self.seed} {i // self._each} {i}" for i in range(len(self)))
        hashes = [hashlib.blake2b(t.encode(), digest_size=HASH_BYTES).hexdigest() for t in texts]
        return np.array(hashes, np.str_)

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the persons with the seed of the data set."""
        return np.array([f"seed {self.seed} {person}" for person in self.groups.tolist()])

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(n, k, 2) landmark positions in pixels; computed on first use."""
        if self._landmarks is None:
            marks = np.empty((len(self), len(LANDMARKS), 2), np.float32)
            for index in range(len(self)):
                person, scene = self._person(index // self._each), self.scene(index)
                marks[index] = person.project(scene)
            self._landmarks = marks
        return self._landmarks

    def scene(self, index: int) -> Scene:
        """Return the scene of image ``index``: everything except the person."""
        rng, pose, expression = self._draw(index)
        return draw_scene(rng, pose, expression, self.size, self.occluded)

    def _draw(
        self, index: int
    ) -> tuple[np.random.Generator, tuple[float, float, float], dict[str, float]]:
        rng = np.random.default_rng([self.seed, 2, index])
        pose = draw_pose(rng)
        return rng, pose, draw_expression(rng)

    def _draw_labels(self, count: int) -> dict[str, NDArray[np.float32]]:
        names = ["yaw", "pitch", "roll", *EXPRESSION_RANGES]
        table = np.empty((len(names), count), np.float32)
        for index in range(count):
            _, pose, expression = self._draw(index)
            table[:, index] = [*pose, *(expression[name] for name in EXPRESSION_RANGES)]
        labels = dict(zip(names, table, strict=True))
        labels["identity"] = self.identities.astype(np.float32)
        return labels

    def _landmark_labels(self) -> dict[str, NDArray[np.float32]]:
        """Return ``NAME.x`` and ``NAME.y`` in sides of the image, (n,) each.

        The centre of the first pixel is at half a pixel, so its left edge is at 0, the left edge
        of the crop.
        """
        relative = self.landmarks / np.float32(self.size)
        return {
            f"{name}.{part}": np.ascontiguousarray(relative[:, k, axis])
            for k, name in enumerate(LANDMARK_NAMES)
            for axis, part in enumerate("xy")
        }

    def _split(
        self, identities: int, train: float, validation: float
    ) -> dict[str, NDArray[np.intp]]:
        first = round(identities * train)
        second = min(identities, first + round(identities * validation))
        identity = self.identities
        splits = {
            "train": np.flatnonzero(identity < first),
            "validation": np.flatnonzero((identity >= first) & (identity < second)),
        }
        if second < identities:
            splits["test"] = np.flatnonzero(identity >= second)
        return splits

    def _person(self, identity: int) -> Person:
        """Return a person; the last few are cached, since building one takes long."""
        if identity not in self._people:
            values = draw_identity(np.random.default_rng([self.seed, 1, identity]))
            self._people[identity] = Person(self._grid, values, self._detail)
            while len(self._people) > _REMEMBERED_PEOPLE:
                self._people.popitem(last=False)
        return self._people[identity]


def _check_integer(name: str, value: int, low: int, high: int) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or not low <= value <= high
    ):
        raise InputError(
            f"data.{name}: expected a whole number from {low} to {high}, got {value!r}"
        )


def _check_share(name: str, value: float) -> None:
    number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if not number or not 0.0 <= value <= 1.0:
        raise InputError(f"data.{name}: expected a share from 0 to 1, got {value!r}")


def contact_sheet(path: str | Path, count: int = 96, columns: int = 12, seed: int = 0) -> None:
    """Save a PNG of ``count`` images; each row of the sheet shows two people.

    Raises:
        InputError: ``count`` or ``columns`` is not positive.
    """
    from PIL import Image

    _check_integer("count", count, 1, 10_000)
    _check_integer("columns", columns, 2, 100)
    each = columns // 2
    people = max(2, -(-count // each))
    faces = SyntheticFaces(
        identities=people, images_per_identity=each, seed=seed, train=0.5, validation=0.5
    )
    pictures = faces.images(0, people * each)
    rows = -(-len(pictures) // (2 * each))
    blank = np.zeros((rows * 2 * each - len(pictures), *pictures.shape[1:]), np.uint8)
    sheet = np.concatenate([pictures, blank]).reshape(rows, 2 * each, 64, 64, 3)
    sheet = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * 64, 2 * each * 64, 3)
    Image.fromarray(sheet).resize((sheet.shape[1] * 2, sheet.shape[0] * 2)).save(path)


if __name__ == "__main__":
    contact_sheet(sys.argv[1] if len(sys.argv) > 1 else "synthetic_faces.png")
