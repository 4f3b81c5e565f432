"""Counting a module: the numbers, and that counting leaves no trace."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evonas.estimation.cost.complexity import Complexity, count, evaluating


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.PReLU(4),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 5),
    )


def test_numbers_by_hand() -> None:
    found = count(small(), (3, 8, 8))
    macs = 3 * 4 * 9 * 64 + 64 * 5
    params = 3 * 4 * 9 + 2 * 4 + 4 + 64 * 5 + 5
    assert (found.macs, found.flops, found.params) == (macs, 2 * macs, params)
    assert found.megabytes == pytest.approx(params * 4 / 1e6)


def test_what_is_not_counted_is_listed() -> None:
    uncounted = dict(count(small(), (3, 8, 8)).uncounted)
    assert uncounted == {"batch_norm": 2 * 4 * 64, "max_pool2d": None, "prelu": None}


class Products(nn.Module):
    """A module of matrix products, which are multiply-adds too."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        y = torch.bmm(x, x.transpose(1, 2))
        return torch.mm(torch.matmul(y, torch.ones(3, 7))[0], torch.ones(7, 2))


@pytest.mark.parametrize(
    ("module", "shape"), [(small(), (3, 8, 8)), (Products(), (3, 4, 5))], ids=["cnn", "products"]
)
def test_equals_torchs_own_counter(module: nn.Module, shape: tuple[int, ...]) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    assert count(module, shape).flops == counter.get_total_flops() > 0


def test_counting_leaves_no_trace() -> None:
    module = small().train()
    module[1].eval()  # a part frozen on purpose
    module(torch.randn(4, 3, 8, 8))
    module[1].running_mean.fill_(3.0)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    random = torch.get_rng_state()
    count(module, (3, 8, 8))
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_batch_norm_statistics_survive_in_training_mode() -> None:
    module = small().train()
    count(module, (3, 8, 8))
    assert int(module[1].num_batches_tracked) == 0
    assert (module[1].running_mean == 0).all()


def test_modes_return_after_an_error() -> None:
    module = small().train()
    with pytest.raises(RuntimeError, match="channels"):
        count(module, (5, 8, 8))
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert all(part.training for part in module.modules())


def test_silent(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count(small(), (3, 8, 8))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_shared_parameters_count_once_and_none_is_fine() -> None:
    layer = nn.Linear(4, 4, bias=False)
    found = count(nn.Sequential(layer, layer), (4,))
    assert (found.params, found.macs) == (16, 32)
    assert count(nn.ReLU(), (4,)) == Complexity(0, 0, 0.0, (("relu", 4),))


def test_other_precision_is_counted_as_32_bit() -> None:
    found = count(small().double(), (3, 8, 8))
    assert found == count(small(), (3, 8, 8))


class Cut(nn.Module):
    """A network of which only the first part runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(4, 1000, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x)


def test_parameters_of_what_does_not_run_do_not_count() -> None:
    assert count(Cut(), (3, 8, 8)).params == 3 * 4 + 4


def test_attention_counts_its_two_products() -> None:
    """Q K' and (Q K') V of 9 places and 4 heads of width 5: 2 * 4 * 9 * 9 * 5."""

    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    found = count(Attention(), (4, 9, 5))
    assert found.macs == 2 * 4 * 9 * 9 * 5
    assert found.uncounted == ()
