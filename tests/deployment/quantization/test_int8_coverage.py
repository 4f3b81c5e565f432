"""What is said to compute with integers."""

from __future__ import annotations

from evonas.deployment.quantization.int8_coverage import Coverage, Step, coverage

WEIGHT = Step("w", "dequantize_per_channel", ["stored"])
LAYER = Step("conv", "conv2d", ["x", "w", "bias"])
IN = Step("x", "dequantize_per_tensor", ["q"])


def test_a_layer_does_where_image_and_weight_come_out_of_integers() -> None:
    assert coverage([IN, WEIGHT, LAYER], ()) == Coverage((1, 1), (0, 0), {})
    assert coverage([WEIGHT, LAYER], ()) == Coverage((0, 1), (0, 0), {})
    assert coverage([IN, LAYER], ()) == Coverage((0, 1), (0, 0), {})
    linear = Step("linear", "gemm", ["x", "w"])
    assert coverage([IN, WEIGHT, linear], ()) == Coverage((0, 0), (1, 1), {})


def test_what_is_behind_a_layer_runs_within_it_once_nothing_else_comes_in() -> None:
    relu, total = Step("r", "relu_", ["conv"]), Step("s", "add_", ["conv", "x"])
    assert coverage([IN, WEIGHT, LAYER, total, relu], ()).left == {}
    outside = Step("s", "add", ["conv", "elsewhere"])
    assert coverage([IN, WEIGHT, LAYER, outside], ()).left == {"add": 1}
    assert coverage([WEIGHT, LAYER, relu], ()).left == {"relu": 1}
    late = Step("r", "relu", ["p"])
    pool = Step("p", "avg_pool2d", ["conv"])
    assert coverage([IN, WEIGHT, LAYER, pool, late], ()).left == {"avg_pool2d": 1, "relu": 1}


def test_other_operators_need_a_form_for_integers() -> None:
    pool, shape = Step("p", "max_pool2d", ["x"]), Step("n", "view", ["x"])
    assert coverage([IN, pool], {"max_pool2d"}).left == {}
    assert coverage([IN, pool], ()).left == {"max_pool2d": 1}
    assert coverage([IN, shape, Step("p", "max_pool2d", ["n"])], {"max_pool2d"}).left == {}
    assert coverage([pool], {"max_pool2d"}).left == {"max_pool2d": 1}
