"""What every registered network family must do, over every shipped space."""

from __future__ import annotations

from pathlib import Path

import pytest

from evonas.core import registry
from evonas.space import SearchSpace
from evonas.testing import NetworkConformance
from evonas.testing.networks import network

FILES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
FAMILIES = registry.names("network")


class TestNetworks(NetworkConformance):
    names = FAMILIES
    spaces = tuple(SearchSpace.from_file(path) for path in FILES)
    # The author's plain convolutions have no norm: to the letter.
    unscaled = ("head_pose_nas_2020",)


def test_there_is_something_to_test() -> None:
    assert {"master_module", "head_pose_nas_2020", "linear_probe", "residual_head"} <= set(FAMILIES)
    assert network("heatmap_head").dense
    assert {"master_module", "head_pose_nas_2020"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_shipped_space_is_named_as_its_file_and_its_family_exists(path: Path) -> None:
    space = SearchSpace.from_file(path)
    assert space.name == path.stem
    assert space.network in FAMILIES
