"""What is said to compute with integers."""

from __future__ import annotations

from evonas.deployment.quantization.int8_coverage import Coverage, Operation, coverage

WEIGHT = Operation("w", "dequantize_per_channel", ["stored"])
LAYER = Operation("conv", "conv2d", ["x", "w", "bias"])
IN = Operation("x", "dequantize_per_tensor", ["q"])


def test_a_layer_does_where_image_and_weight_come_out_of_integers() -> None:
    assert coverage([IN, WEIGHT, LAYER], ()) == Coverage((1, 1), (0, 0), {})
    assert coverage([WEIGHT, LAYER], ()) == Coverage((0, 1), (0, 0), {})
    assert coverage([IN, LAYER], ()) == Coverage((0, 1), (0, 0), {})
    linear = Operation("linear", "gemm", ["x", "w"])
    assert coverage([IN, WEIGHT, linear], ()) == Coverage((0, 0), (1, 1), {})


def test_what_is_behind_a_layer_runs_within_it_once_nothing_else_comes_in() -> None:
    relu, total = Operation("r", "relu_", ["conv"]), Operation("s", "add_", ["conv", "x"])
    assert coverage([IN, WEIGHT, LAYER, total, relu], ()).left == {}
    outside = Operation("s", "add", ["conv", "elsewhere"])
    assert coverage([IN, WEIGHT, LAYER, outside], ()).left == {"add": 1}
    assert coverage([WEIGHT, LAYER, relu], ()).left == {"relu": 1}
    late = Operation("r", "relu", ["p"])
    pool = Operation("p", "avg_pool2d", ["conv"])
    assert coverage([IN, WEIGHT, LAYER, pool, late], ()).left == {"avg_pool2d": 1, "relu": 1}


def test_other_operators_need_a_form_for_integers() -> None:
    pool, shape = Operation("p", "max_pool2d", ["x"]), Operation("n", "view", ["x"])
    assert coverage([IN, pool], {"max_pool2d"}).left == {}
    assert coverage([IN, pool], ()).left == {"max_pool2d": 1}
    assert coverage([IN, shape, Operation("p", "max_pool2d", ["n"])], {"max_pool2d"}).left == {}
    assert coverage([pool], {"max_pool2d"}).left == {"max_pool2d": 1}
