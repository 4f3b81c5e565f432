"""Digests, multiply-adds and parameters of up to a dozen architectures a space must not drift.

A run's journal and a published result name architectures by digest and cost. If
a change is wanted, make the file again with

    python tests/golden/test_network_costs.py

and say in the change log why the numbers moved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evonas.core import registry
from evonas.models.networks.base import Shape
from evonas.space import Architecture, SearchSpace

GOLDEN = Path(__file__).with_name("network_costs.json")
SPACES = Path(__file__).parents[2] / "search_spaces"
SHIPPED = tuple(sorted(path.stem for path in SPACES.glob("*.yaml")))
IN_SHAPE: Shape = (128, 8, 8)
BASELINES: list[tuple[str, dict[str, Any], Shape]] = [
    ("linear_probe", {}, (128, 8, 8)),
    ("residual_head", {}, (128, 8, 8)),
    ("residual_head", {"width": 20}, (64, 17, 17)),
    ("residual_head", {"width": 21, "end": "pool"}, (64, 17, 17)),
    ("heatmap_head", {}, (128, 8, 8)),
    ("resnet50", {"attention": "none"}, (3, 224, 224)),
    ("resnet50", {"attention": "cbam"}, (3, 224, 224)),
    ("shufflenet_v2", {"width": 1.0, "classifier": "kept"}, (3, 224, 224)),
    ("shufflenet_v2", {"width": 1.5, "classifier": "dropped"}, (3, 224, 224)),
]


def measured() -> dict[str, list[dict[str, Any]]]:
    """Return what the golden file holds, made from the code."""
    table = {}
    for name in SHIPPED:
        space = SearchSpace.from_file(SPACES / f"{name}.yaml")
        genomes = np.random.default_rng(2020).random((12, space.dim))
        # A small space holds fewer than a dozen: each once.
        chosen = dict.fromkeys(space.decode(genome) for genome in genomes)
        table[name] = [row(architecture, IN_SHAPE) for architecture in chosen]
    table["baselines"] = [row(Architecture(n, s), shape) for n, s, shape in BASELINES]
    return table


def row(architecture: Architecture, in_shape: Shape) -> dict[str, Any]:
    """Return one architecture with its digest and costs for 3 outputs."""
    network = registry.load("network", architecture.network)()
    with torch.device("meta"):
        module = network.build(architecture, in_shape, 3)
    return {
        **architecture.to_dict(),
        "digest": architecture.digest,
        "in_shape": list(in_shape),
        "macs": network.macs(architecture, in_shape, 3),
        "params": sum(p.numel() for p in module.parameters()),
    }


def test_nothing_drifted() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    now = measured()
    assert golden.keys() == now.keys()
    for name, rows in golden.items():
        assert len(rows) == len(now[name])
        for then, this in zip(rows, now[name], strict=True):
            assert this == then


def test_the_file_holds_something() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name in SHIPPED:
        size = SearchSpace.from_file(SPACES / f"{name}.yaml").size
        assert min(2, size) <= len(golden[name]) <= 12
        assert len(golden[name]) == 12 or size < 100
    for rows in golden.values():
        assert len({(r["digest"], *r["in_shape"]) for r in rows}) == len(rows)


if __name__ == "__main__":
    # Written row by row, so that a drift shows as one changed line.
    blocks = [
        f" {json.dumps(name)}: [\n" + ",\n".join("  " + json.dumps(r) for r in rows) + "\n ]"
        for name, rows in measured().items()
    ]
    GOLDEN.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
