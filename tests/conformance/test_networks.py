"""What every network family must do, over every registered name and every shipped space.

Decode, build, forward, one training step, and the cost counted in three ways:
by formula, by fvcore, and by torch's own counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from evonas.core import registry
from evonas.estimation.cost.complexity import count
from evonas.models.networks.base import Network, Shape
from evonas.space import Architecture, SearchSpace

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(FOLDER.glob("*.yaml"))
FAMILIES = registry.names("network")
IN_SHAPES: list[Shape] = [
    (64, 17, 17),
    (128, 8, 8),
    (256, 4, 4),
    (32, 3, 3),
    (7, 5, 6),
    (3, 1, 1),
    (1, 2, 9),
]
GENOMES = 26
N_OUTPUTS = 3


def of_family(family: str, n: int, seed: int = 0) -> Iterator[Architecture]:
    """Random architectures of every space of the family; the default where it has none."""
    spaces = [s for s in map(SearchSpace.from_file, FILES) if s.network == family]
    if not spaces:
        yield Architecture(family, {})
    for space in spaces:
        rng = np.random.default_rng(seed)
        # The corners of the cube, then random points.
        corners = [np.zeros(space.dim), np.ones(space.dim)]
        points = [*corners, *rng.random((n, space.dim))]
        # A small space holds few architectures: each once.
        yield from dict.fromkeys(map(space.decode, points))


def is_answer(family: str, y: torch.Tensor, n: int) -> bool:
    """A vector an image; of a dense family a map an output, whose side the family decides."""
    if not network(family).dense:
        return y.shape == (n, N_OUTPUTS)
    return y.ndim == 4 and y.shape[:2] == (n, N_OUTPUTS) and min(y.shape[2:]) > 0


def network(family: str) -> Network:
    made: Network = registry.load("network", family)()
    return made


def test_there_is_something_to_test() -> None:
    assert {"master_module", "head_pose_nas_2020", "linear_probe", "residual_head"} <= set(FAMILIES)
    assert network("heatmap_head").dense
    assert {"master_module", "head_pose_nas_2020"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_shipped_space_is_named_as_its_file_and_its_family_exists(path: Path) -> None:
    space = SearchSpace.from_file(path)
    assert space.name == path.stem
    assert space.network in FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("offset", range(len(IN_SHAPES)))
def test_counts_agree(family: str, offset: int) -> None:
    """Tracing is slow, so each shape meets a quarter of the genomes."""
    in_shape, chosen = IN_SHAPES[offset], list(of_family(family, GENOMES))
    for i, architecture in enumerate(chosen[offset % 4 :: 4] or chosen):
        torch.manual_seed(i)
        module = network(family).build(architecture, in_shape, N_OUTPUTS)
        analytic = network(family).macs(architecture, in_shape, N_OUTPUTS)
        assert isinstance(analytic, int)
        assert analytic == count(module, in_shape).macs, architecture
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval()(torch.zeros(1, *in_shape))
        assert 2 * analytic == counter.get_total_flops(), architecture


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("in_shape", IN_SHAPES, ids=str)
def test_trains_and_answers(family: str, in_shape: Shape) -> None:
    """Batch 2, the smallest that batch norm accepts on a map of one place.

    Each shape meets a third of the genomes.
    """
    chosen = list(of_family(family, GENOMES))
    for i, architecture in enumerate(chosen[IN_SHAPES.index(in_shape) % 3 :: 3] or chosen):
        torch.manual_seed(i)
        module = network(family).build(architecture, in_shape, N_OUTPUTS)
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
        y = module(torch.randn(2, *in_shape))
        assert is_answer(family, y, 2)
        (y - 1.0).square().mean().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, (architecture, name)
            assert parameter.grad.isfinite().all(), (architecture, name)
        # Batch norm of two values is nearly a step function: its gradient can be huge.
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        assert all(p.isfinite().all() for p in module.parameters())
        with torch.no_grad():
            alone = module.eval()(torch.randn(1, *in_shape))
        assert is_answer(family, alone, 1)
        assert alone.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_follow_from_torchs_generator(family: str) -> None:
    for architecture in of_family(family, 4):
        states = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            states.append(network(family).build(architecture, (8, 5, 5), 2).state_dict())
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
        assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_first_outputs_are_of_order_one(family: str) -> None:
    """Whatever the scale of a tap's features: targets are of order one, epochs are few."""
    for scale, shift in ((0.01, 0.0), (1.0, 0.0), (30.0, 10.0)):
        for i, architecture in enumerate(of_family(family, 6)):
            if family == "head_pose_nas_2020":
                continue  # the author's plain convolutions have no norm: to the letter
            torch.manual_seed(i)
            module = network(family).build(architecture, (16, 8, 8), N_OUTPUTS)
            y = module(torch.randn(16, 16, 8, 8) * scale + shift)
            assert y.abs().max() < 10, (architecture, scale)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_decode_and_encode_are_inverse(path: Path) -> None:
    space = SearchSpace.from_file(path)
    for architecture in of_family(space.network, 50):
        if set(architecture.settings) <= {gene.name for gene in space.genes}:
            assert space.decode(space.encode(architecture)) == architecture
            assert Architecture.from_dict(architecture.to_dict()).digest == architecture.digest


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_value_of_every_gene_matters_somewhere(path: Path) -> None:
    """A value that no network can be built with would be found by a search, at night."""
    space = SearchSpace.from_file(path)
    rng = np.random.default_rng(0)
    for gene in space.genes:
        for value in gene.values:
            for point in rng.random((60, space.dim)):
                point[space.genes.index(gene)] = gene.encode(value)
                architecture = space.decode(point)
                if gene.name in architecture.settings:
                    break
            assert architecture.settings[gene.name] == value
            network(space.network).build(architecture, (4, 4, 4), 2)(torch.zeros(2, 4, 4, 4))
