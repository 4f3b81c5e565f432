"""Heads of a shared network are parts of it, and compute as separate networks do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shared_network import SharedNetwork, partial

from evonas.models.networks.master_module import MasterModule
from evonas.space import Architecture

SHAPE = (12, 6, 6)


def head(**settings: object) -> Architecture:
    plain = {"tap": "a", "stem": 16, "stages": 2, "n": 0, "end": "depthwise", "hidden": 0}
    plain |= {"block1": "residual", "block2": "conv", "activation": "relu"}
    plain |= {"attention1": "none", "attention2": "none"}
    return Architecture("master_module", {**plain, **settings})


def test_a_head_computes_with_the_leading_channels_of_the_widest() -> None:
    heads = [head(stem=8), head(), head(stem=8, block2="residual"), head(tap="b")]
    shared = SharedNetwork(heads, {"a": SHAPE, "b": SHAPE}, 5)
    maps = torch.randn(3, *SHAPE)
    for row, architecture in enumerate(heads):
        alone = MasterModule().build(architecture, SHAPE, 5)
        alone.load_state_dict(shared.parameters(row), strict=False)
        torch.testing.assert_close(shared(row, maps), alone.train()(maps))
    narrow, wide = shared.parameters(0), shared.parameters(1)
    for name, value in narrow.items():
        assert value.data_ptr() == wide[name].data_ptr(), name
    # the gradient of one is that of the other
    shared(0, maps).sum().backward()
    stem = next(name for name in narrow if name.startswith("stem") and narrow[name].ndim == 4)
    (gradient,) = (
        v.grad for k, v in shared.weights.items() if k.startswith(f"{stem} ") and k.endswith(" a")
    )
    assert gradient is not None
    assert gradient[:8].abs().sum() > 0 == gradient[8:].abs().sum()
    # stems of two taps read other maps
    assert shared.parameters(3)[stem].data_ptr() != wide[stem].data_ptr()


def test_partial_correlations_of_known_columns() -> None:
    rng = np.random.default_rng(0)
    cost, own = rng.normal(size=(2, 2000))
    assert partial(cost + 0.1 * rng.normal(size=2000), cost + own, cost) == pytest.approx(
        0, abs=0.1
    )
    assert partial(cost + own, own - cost, cost) > 0.9
