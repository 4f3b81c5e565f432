"""The complete files that the how-to pages show do what the pages say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import documents
import numpy as np
import pytest
import torch
from command_line import Cli
from documented_parts import installed

from evonas.core import registry
from evonas.space import SearchSpace

TOY = SearchSpace.from_dict(
    {
        "name": "toy",
        "network": "none",
        "genes": [
            {"name": name, "kind": "log_float", "low": 1e-3, "high": 1.0} for name in ("x", "y")
        ],
    }
)


@pytest.fixture
def shown(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """The files of a page, as long as a test lasts."""
    page: str = request.param
    with installed(tmp_path, documents.files(f"docs/howto/{page}.md")):
        yield


def searched(evonas: Cli, tiny_file: Path, *words: str) -> dict[str, Any]:
    """Return best.json of the tiny search with other parts."""
    result = evonas("search", tiny_file, "--run-dir", "run", "finals.networks=0", *words)
    assert (result[0], result[2]) == (0, ""), result
    found: dict[str, Any] = json.loads((tiny_file.parent / "run/best.json").read_text("utf-8"))
    return found


def test_a_part_is_there_only_as_long_as_it_is_installed(tmp_path: Path) -> None:
    before = {kind: registry.names(kind) for kind in registry.KINDS}
    with installed(tmp_path, documents.files("docs/howto/task.md")):
        assert registry.names("task") == sorted([*before["task"], "quantile"])
        assert registry.names("data") == before["data"]
        assert registry.summary("task", "quantile").startswith("Quantile: ")
    assert {kind: registry.names(kind) for kind in registry.KINDS} == before


@pytest.mark.parametrize("shown", ["task"], indirect=True)
def test_the_task_learns_a_quantile(shown: None, evonas: Cli, tiny_file: Path) -> None:
    task = registry.create("task", "quantile", {"label": "age", "share": 0.8}, {"age": ()})
    truth = np.arange(11, dtype=np.float32)[:, None]
    best = task.constant_baseline(truth)
    assert best.tolist() == [8.0]
    outputs, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([[3.0], [3.0]])
    assert task.loss(outputs, targets).item() == pytest.approx((0.8 * 2 + 0.2 * 1) / 2)
    found = task.metrics(np.broadcast_to(best, truth.shape), truth)
    assert found["below"] == pytest.approx(100 * 8 / 11)
    near = [task.metrics(np.full_like(truth, value), truth)["pinball"] for value in (7, 8, 9)]
    assert found["pinball"] == near[1] == min(near)
    result = searched(evonas, tiny_file, "task={name: quantile, label: smile}")
    assert set(result["metrics"]) >= {"pinball", "below"}


@pytest.mark.parametrize("shown", ["backbone"], indirect=True)
def test_the_backbone_is_a_pyramid_of_wavelets(shown: None, evonas: Cli, tiny_file: Path) -> None:
    haar = registry.create("backbone", "haar", {"input_size": 16})
    grey = torch.full((1, 3, 16, 16), 255.0)
    maps = haar(grey, ["level1", "level3"])
    assert {tap: tuple(values.shape[1:]) for tap, values in maps.items()} == {
        tap: haar.taps[tap] for tap in ("level1", "level3")
    }
    for values in maps.values():
        assert values[:, ::4].unique().tolist() == [2.0]
        assert not values.view(1, 3, 4, *values.shape[2:])[:, :, 1:].any()
    words = ("backbone=haar", "space.tap=[level2, level3]", "tap=level2", "baselines=[]")
    assert searched(evonas, tiny_file, *words)["architecture"]["settings"]["tap"] in (
        "level2",
        "level3",
    )


@pytest.mark.parametrize("shown", ["backbone"], indirect=True)
def test_the_module_needs_no_file_in_the_package(shown: None, evonas: Cli) -> None:
    words = ("callable=my_net:build", "input_size=64", "random=1", "--json")
    code, out, err = evonas("backbones", "show", "torch_module", *words)
    assert (code, err) == (0, "")
    assert '"late"' in out


@pytest.mark.parametrize("shown", ["optimizer"], indirect=True)
def test_the_optimizer_finds_what_random_search_does_not(
    shown: None, evonas: Cli, tiny_file: Path
) -> None:
    found = {}
    for name in ("differential", "random"):
        ends = []
        for seed in range(5):
            optimizer = registry.create("optimizer", name, {}, TOY, budget=200, seed=seed)
            while len(genomes := optimizer.ask()):
                optimizer.tell(((genomes - 0.3) ** 2).sum(1))
            assert optimizer.trained == 200
            ends.append(optimizer.best_fitness)
        found[name] = np.median(ends)
    assert found["differential"] < found["random"] / 10
    result = searched(evonas, tiny_file, "optimizer={name: differential, population_size: 4}")
    assert result["experiment"]["optimizer"]["name"] == "differential"


@pytest.mark.parametrize("shown", ["optimizer"], indirect=True)
def test_the_suite_of_the_page_runs_on_the_strategy_of_the_page(
    shown: None, tmp_path: Path
) -> None:
    """As a user runs it: pytest in a folder of its own, without the settings of this project."""
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_package.py")
    done = subprocess.run(
        [sys.executable, *words, "-k", "misuse or misspelt or enqueue or best_so_far or silence"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(documents.ROOT), *sys.path]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.parametrize("shown", ["space"], indirect=True)
def test_the_space_holds_what_the_page_says(shown: None, evonas: Cli, tiny_file: Path) -> None:
    space = SearchSpace.from_file(tiny_file.parent / "search_spaces" / "slim.yaml")
    assert (space.network, space.size) == ("residual_head", 3 * 45)
    found = searched(evonas, tiny_file, "space={name: slim, width: [4, 6]}")
    assert found["architecture"]["settings"]["width"] in (4, 6)
