"""What every network family must do, over every space of it.

Decode, build, forward, one training step, and the cost counted in three ways:
by formula, by fvcore, and by torch's own counter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from evonas.core import registry
from evonas.estimation.cost.complexity import count
from evonas.models.built_weights import weights_of
from evonas.models.networks.base import Network, Shape
from evonas.space import Architecture, Gene, SearchSpace
from evonas.testing.conformance import Conformance

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


def of_family(
    spaces: Sequence[SearchSpace], name: str, n: int, seed: int = 0
) -> Iterator[Architecture]:
    """Random architectures of every space of the family; the default where it has none."""
    own = [space for space in spaces if space.network == name]
    if not own:
        yield Architecture(name, {})
    for space in own:
        rng = np.random.default_rng(seed)
        # The corners of the cube, then random points.
        corners = [np.zeros(space.dim), np.ones(space.dim)]
        points = [*corners, *rng.random((n, space.dim))]
        # A small space holds few architectures: each once.
        yield from dict.fromkeys(map(space.decode, points))


def is_answer(name: str, y: torch.Tensor, n: int) -> bool:
    """A vector an image; of a dense family a map an output, whose side the family decides."""
    if not network(name).dense:
        return y.shape == (n, N_OUTPUTS)
    return y.ndim == 4 and y.shape[:2] == (n, N_OUTPUTS) and min(y.shape[2:]) > 0


def network(name: str) -> Network:
    """Return a network family."""
    made: Network = registry.load("network", name)()
    return made


def with_value(
    space: SearchSpace, gene: Gene, value: Any, rng: np.random.Generator
) -> Architecture:
    """Return an architecture in which a gene has a value; of 60 draws one has the gene at all."""
    for point in rng.random((60, space.dim)):
        point[space.genes.index(gene)] = gene.encode(value)
        architecture = space.decode(point)
        if gene.name in architecture.settings:
            break
    return architecture


class NetworkConformance(Conformance):
    """Networks of a family and their cost.

    Attributes:
        spaces: search spaces; those that name a family are its examples.
        unscaled: names of families without norms, whose first outputs follow the features.
    """

    spaces: ClassVar[Sequence[SearchSpace]] = ()
    unscaled: ClassVar[Collection[str]] = ()

    def own_spaces(self, name: str) -> list[SearchSpace]:
        """Return the spaces of a family."""
        return [space for space in self.spaces if space.network == name]

    @pytest.mark.parametrize("offset", range(len(IN_SHAPES)))
    def test_counts_agree(self, name: str, offset: int) -> None:
        """``macs`` equals the counts of fvcore and of torch, ``weights`` what the module holds.

        A quarter of the genomes a shape.
        """
        in_shape, chosen = IN_SHAPES[offset], list(of_family(self.spaces, name, GENOMES))
        for i, architecture in enumerate(chosen[offset % 4 :: 4] or chosen):
            torch.manual_seed(i)
            module = network(name).build(architecture, in_shape, N_OUTPUTS)
            analytic = network(name).macs(architecture, in_shape, N_OUTPUTS)
            assert isinstance(analytic, int)
            weights = network(name).weights(architecture, in_shape, N_OUTPUTS)
            assert weights == weights_of(module), architecture
            assert analytic == count(module, in_shape).macs, architecture
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                module.eval()(torch.zeros(1, *in_shape))
            assert 2 * analytic == counter.get_total_flops(), architecture

    @pytest.mark.parametrize("in_shape", IN_SHAPES, ids=str)
    def test_trains_and_answers(self, name: str, in_shape: Shape) -> None:
        """Batch 2, the smallest that batch norm accepts on a map of one place."""
        chosen = list(of_family(self.spaces, name, GENOMES))
        for i, architecture in enumerate(chosen[IN_SHAPES.index(in_shape) % 3 :: 3] or chosen):
            torch.manual_seed(i)
            module = network(name).build(architecture, in_shape, N_OUTPUTS)
            optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
            y = module(torch.randn(2, *in_shape))
            assert is_answer(name, y, 2)
            (y - 1.0).square().mean().backward()
            for key, parameter in module.named_parameters():
                assert parameter.grad is not None, (architecture, key)
                assert parameter.grad.isfinite().all(), (architecture, key)
            # Batch norm of two values is nearly a step function: its gradient can be huge.
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            assert all(p.isfinite().all() for p in module.parameters())
            with torch.no_grad():
                alone = module.eval()(torch.randn(1, *in_shape))
            assert is_answer(name, alone, 1)
            assert alone.isfinite().all()

    def test_weights_follow_from_torchs_generator(self, name: str) -> None:
        """Equal seeds give equal weights, others do not."""
        for architecture in of_family(self.spaces, name, 4):
            states = []
            for seed in (1, 1, 2):
                torch.manual_seed(seed)
                states.append(network(name).build(architecture, (8, 5, 5), 2).state_dict())
            assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
            assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])

    def test_first_outputs_are_of_order_one(self, name: str) -> None:
        """Whatever the scale of a tap's features: targets are of order one, epochs are few."""
        for scale, shift in ((0.01, 0.0), (1.0, 0.0), (30.0, 10.0)):
            for i, architecture in enumerate(of_family(self.spaces, name, 6)):
                if name in self.unscaled:
                    continue
                torch.manual_seed(i)
                module = network(name).build(architecture, (16, 8, 8), N_OUTPUTS)
                y = module(torch.randn(16, 16, 8, 8) * scale + shift)
                assert y.abs().max() < 10, (architecture, scale)

    def test_decode_and_encode_are_inverse(self, name: str) -> None:
        """Spaces of the family decode what they encode."""
        for space in self.own_spaces(name):
            for architecture in of_family([space], name, 50):
                if set(architecture.settings) <= {gene.name for gene in space.genes}:
                    assert space.decode(space.encode(architecture)) == architecture
                    assert (
                        Architecture.from_dict(architecture.to_dict()).digest == architecture.digest
                    )

    def test_every_value_of_every_gene_matters_somewhere(self, name: str) -> None:
        """A value that no network can be built with would be found by a search, at night."""
        rng = np.random.default_rng(0)
        for space in self.own_spaces(name):
            for gene in space.genes:
                for value in gene.values:
                    architecture = with_value(space, gene, value, rng)
                    assert architecture.settings[gene.name] == value, space.name
                    network(name).build(architecture, (4, 4, 4), 2)(torch.zeros(2, 4, 4, 4))
