"""What every data set must do."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.core import registry
from evonas.data.base import Dataset
from evonas.errors import UnreadableImage
from evonas.testing.conformance import Conformance

_LOOKED_AT = 12  # images of a data set
_SPLITS = ("train", "validation", "test")


class DatasetConformance(Conformance):
    """What every data set must do.

    Attributes:
        options: of each data set, by name, as an experiment gives them.
    """

    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def make(cls, name: str, request: pytest.FixtureRequest) -> Dataset:
        """Return a data set.

        Args:
            name: of the data set.
            request: for overriding methods, which may need fixtures.
        """
        found: Dataset = registry.create("data", name, dict(cls.options.get(name, {})))
        return found

    @pytest.fixture(scope="class")
    def data(self, name: str, request: pytest.FixtureRequest) -> Dataset:
        """The data set."""
        return self.make(name, request)

    def test_every_image_has_every_label_and_a_group(self, data: Dataset) -> None:
        """Labels are float32, groups are text, one of each for an image."""
        assert len(data) == len(data.groups) > 0
        assert data.groups.dtype.kind == "U"
        assert data.labels
        for label, values in data.labels.items():
            assert values.dtype == np.float32, label
            assert values.shape == (len(data),), label

    def test_classes_are_indices_of_their_names(self, data: Dataset) -> None:
        """At least two names, each once, and no index beyond them."""
        assert set(data.classes) <= set(data.labels)
        for label, names in data.classes.items():
            known = data.labels[label][np.isfinite(data.labels[label])]
            assert len(names) == len(set(names)) > 1, label
            assert set(known.tolist()) <= set(map(float, range(len(names)))), label
        assert data.schema() == {name: tuple(data.classes.get(name, ())) for name in data.labels}

    def test_key_points_are_complete(self, data: Dataset) -> None:
        """A key point has x, y and v; v is 0, 1 or 2."""
        points = {name.rpartition(".")[0] for name in data.labels if name.endswith((".x", ".v"))}
        for point in points:
            assert {f"{point}.{part}" for part in "xyv"} <= set(data.labels)
            assert set(data.labels[f"{point}.v"].tolist()) <= {0.0, 1.0, 2.0}

    def test_splits_are_sorted_and_share_neither_image_nor_group(self, data: Dataset) -> None:
        """Unless ``leaky`` says why groups are shared."""
        assert set(data.splits) <= set(_SPLITS)
        assert data.splits
        seen: set[int] = set()
        owners: set[str] = set()
        for indices in data.splits.values():
            assert indices.dtype == np.intp
            assert len(indices)
            assert (np.diff(indices) > 0).all(), "sorted, each once"
            assert indices[0] >= 0
            assert indices[-1] < len(data)
            assert not seen & set(indices.tolist())
            groups = set(data.groups[indices].tolist())
            assert data.leaky or not owners & groups
            seen |= set(indices.tolist())
            owners |= groups

    def test_images_are_rgb_and_always_the_same(self, data: Dataset) -> None:
        """(height, width, 3) uint8; damaged images raise ``UnreadableImage``."""
        for index in _some(data):
            image = _image(data, index)
            if image is not None:
                assert image.dtype == np.uint8
                assert image.ndim == 3
                assert image.shape[2] == 3
                assert min(image.shape[:2]) > 0
                again = _image(data, index)
                assert again is not None
                np.testing.assert_array_equal(image, again)
        assert 0.0 <= data.margin < 0.5

    def test_threads_may_share_it(self, data: Dataset) -> None:
        """The feature cache decodes beside other threads."""
        alone = [_image(data, index) for index in _some(data)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda index: _image(data, index), _some(data)))
        for one, other in zip(alone, together, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                np.testing.assert_array_equal(one, other)

    def test_it_follows_from_its_options(
        self, name: str, data: Dataset, request: pytest.FixtureRequest
    ) -> None:
        """Made again it has the same fingerprint, labels, groups and splits."""
        again = self.make(name, request)
        assert again.fingerprint == data.fingerprint
        np.testing.assert_array_equal(again.groups, data.groups)
        assert list(again.labels) == list(data.labels)
        for label, values in data.labels.items():
            np.testing.assert_array_equal(again.labels[label], values)
        assert set(again.splits) == set(data.splits)
        for split, indices in data.splits.items():
            np.testing.assert_array_equal(again.splits[split], indices)

    def test_photos_and_images_have_names_and_hashes(self, data: Dataset) -> None:
        """By which messages name images, and data sets are compared."""
        hashes = data.image_hashes()
        assert hashes.shape == (len(data),)
        assert all(data.describe(index) for index in _some(data))
        known = data.known_groups()
        assert known is None or known.shape == (len(data),)


def _some(data: Dataset) -> list[int]:
    """Return indices spread over a data set."""
    return sorted({int(i) for i in np.linspace(0, len(data) - 1, _LOOKED_AT)})


def _image(data: Dataset, index: int) -> NDArray[np.uint8] | None:
    """Return an image; None if it is damaged."""
    try:
        return data.image(index)
    except UnreadableImage:
        return None
