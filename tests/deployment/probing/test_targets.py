"""Labels of a data set as targets."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.data.base import Dataset
from evonas.deployment.probing.targets import Target, read
from evonas.errors import InputError


class Faces(Dataset):
    """Four images with a label of each kind."""

    def __init__(self) -> None:
        columns = {
            "yaw": [10, -5, 0, 3],
            "mood": [0, 1, 1, 2],
            "identity": [7, 7, 30, 7],
            "nose.x": [0.1, 0.2, 0.3, 0],
            "nose.y": [0.5, 0.6, 0.7, 0],
            "nose.v": [2, 1, 2, 0],
            "chin.x": [0.1, 0.2, 0.3, 0.4],
            "chin.y": [0.9, 0.9, 0.8, 0.7],
        }
        self.labels = {name: np.array(values, np.float32) for name, values in columns.items()}
        self.classes = {"mood": ("sad", "glad", "angry")}
        self.groups = np.array(list("aaba"))

    def image(self, index: int) -> np.ndarray:
        raise NotImplementedError


def test_a_quantity_is_a_column() -> None:
    target, there = read(Faces(), "yaw")
    assert (target.name, target.classes) == ("yaw", ())
    assert target.values.tolist() == [[10], [-5], [0], [3]]
    assert target.columns is target.values
    assert there.all()


def test_classes_keep_their_names_and_become_indicators() -> None:
    target, _ = read(Faces(), "mood")
    assert target.classes == ("sad", "glad", "angry")
    assert target.columns.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert target.of(np.array([3])).numbers.tolist() == [2]


def test_an_identity_is_a_class_for_each_number() -> None:
    target, _ = read(Faces(), "identity")
    assert target.classes == ("7", "30")
    assert target.numbers.tolist() == [0, 0, 1, 0]


def test_a_point_is_where_it_is_labelled() -> None:
    target, there = read(Faces(), "nose")
    assert target.values.shape == (4, 2)
    np.testing.assert_allclose(target.values[2], [0.3, 0.7], atol=1e-7)
    assert there.tolist() == [True, True, True, False]
    assert read(Faces(), "chin")[1].all()
    assert read(Faces(), "chin.x")[0].values.shape == (4, 1)


def test_the_nearest_label_is_offered() -> None:
    with pytest.raises(InputError, match=r"^probe\.labels: .* 'nosee': did you mean 'nose'\?"):
        read(Faces(), "nosee")


def test_a_target_without_classes_has_its_values_as_columns() -> None:
    values = np.arange(6.0).reshape(3, 2)
    assert Target("point", values).columns is values
