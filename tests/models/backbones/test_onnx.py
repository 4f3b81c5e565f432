"""Networks in .onnx files: their taps, values, costs, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from onnx_files import exported, halved, quantised, save
from small_modules import ConvNet, Transformer
from torch import Tensor, nn

from evonas.core import registry
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.backbones.onnx import Onnx
from evonas.models.full_network import TruncatedBackbone

_PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
#: Tap of the convnet -> submodule of torch with the same output.
_SAME = {
    "stem.Conv": "stem",
    "layers.0.relu_1.Relu": "layers.0",
    "layers.1.relu_1.Relu": "layers.1",
}


def make(path: Path, **options: Any) -> Onnx:
    made: Onnx = registry.create("backbone", "onnx", {"file": str(path), **options})
    return made


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        make(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"backbone 'onnx', {path}")
    return message


def varied(net: nn.Module) -> nn.Module:
    """The network without equal vectors, of which the exporter keeps one alone."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.dim() == 1:
                tensor.add_(torch.rand(tensor.shape) * 0.1)
    return net.eval()


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return {"conv": varied(ConvNet()), "tokens": varied(Transformer())}


@pytest.fixture(scope="module")
def conv(nets: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(nets["conv"], tmp_path_factory.mktemp("onnx") / "conv.onnx")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


def torch_maps(net: nn.Module, images: Tensor, **options: Any) -> dict[str, Tensor]:
    """The convnet's maps through torch, by the names of the taps of the .onnx file."""
    options = {**_PLAIN, **options}
    hooked = Hooked(net, "torch", identity={}, input_size=32, **options)
    found = hooked(images, list(_SAME.values()))
    return {tap: found[module] for tap, module in _SAME.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-4) -> None:
    assert set(found) == set(expected)
    for tap, values in expected.items():
        atol = rtol * float(values.abs().max())
        torch.testing.assert_close(found[tap], values, rtol=0, atol=atol, msg=tap)


def test_maps_are_torchs_by_readable_names_and_by_those_of_the_file(
    nets: dict[str, nn.Module], conv: Path, images: Tensor
) -> None:
    made = make(conv, **_HALF)
    expected = torch_maps(nets["conv"], images, **_HALF)
    assert_same(made(images, list(_SAME)), expected)
    (alone,) = made(images, ["/layers/layers.0/relu_1/Relu_output_0"]).values()
    assert torch.equal(alone, made(images, list(_SAME))["layers.0.relu_1.Relu"])
    assert made.normalisation == ([127.5] * 3, [127.5] * 3)
    assert len(made.taps) == 11
    assert made.informative_taps(3) == list(_SAME)


def test_costs_are_those_that_fvcore_counts_in_torch(
    nets: dict[str, nn.Module], conv: Path, tmp_path: Path
) -> None:
    made = make(conv)
    hooked = Hooked(nets["conv"], "torch", identity={}, input_size=32, **_PLAIN)
    for tap, module in _SAME.items():
        own, direct = (
            count(TruncatedBackbone(backbone, name), (3, 32, 32))
            for backbone, name in ((made, tap), (hooked, module))
        )
        assert own.macs == direct.macs > 0
    whole = count(nets["conv"], (3, 32, 32))
    assert made.full_cost().macs == whole.macs
    # The exporter folds norms: of each channel a scale and a shift are left out.
    assert made.full_cost().params == whole.params - 2 * (8 + 16)
    tokens = make(exported(nets["tokens"], tmp_path / "tokens.onnx"))
    whole = Hooked(nets["tokens"], "torch", identity={}, input_size=32, **_PLAIN).full_cost()
    assert tokens.full_cost() == whole


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 6, 5, 2, 2, groups=3, bias=False), (3, 32, 32)),
        (nn.Conv2d(3, 6, 3, 1, 2, dilation=2), (3, 32, 32)),
        (nn.ConvTranspose2d(3, 5, 4, 2, 1), (3, 32, 32)),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.BatchNorm2d(4)), (3, 32, 32)),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4096, 7)), (3, 32, 32)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_cost_what_fvcore_counts(layer: nn.Module, shape: Any, tmp_path: Path) -> None:
    """Without the exporter's folding of norms."""
    made = make(exported(varied(layer), tmp_path / "layer.onnx", folding=False))
    found, expected = made.full_cost(), count(layer, shape)
    assert found == (expected.macs, expected.params)
    statistics = made.cost_up_to(list(made.taps)[-1]).statistics
    assert statistics == (8 if "BatchNorm" in repr(layer) else 0) == expected.statistics


@pytest.mark.parametrize("name", ["conv", "tokens"])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_fixed_batch_becomes_free_or_is_kept(
    nets: dict[str, nn.Module], images: Tensor, tmp_path: Path, name: str, batch: int
) -> None:
    free = make(exported(nets[name], tmp_path / "free.onnx"))
    fixed = make(exported(nets[name], tmp_path / "fixed.onnx", batch=batch))
    # The transformer's class token was written for that many images.
    assert fixed.sessions.batch == (batch if name == "tokens" else None)
    ends = {"conv": _SAME, "tokens": ["blocks.0.Add_1", "blocks.1.Add_1"]}[name]
    expected = free(images, list(ends))
    found = fixed(images, [tap for tap in fixed.taps if tap in ends])
    assert_same(found, expected, 1e-5)
    shapes = {tap: fixed.taps[tap] for tap in ends}
    assert shapes == {tap: free.taps[tap] for tap in ends}
    costs = [made.cost_up_to(tap) for made in (free, fixed) for tap in list(ends)[-1:]]
    assert costs[0].macs == costs[1].macs


def test_a_reshape_for_single_images_takes_any_number(tmp_path: Path, images: Tensor) -> None:
    """As networks with attention over channels have them, exported for one image."""
    weights = {
        "w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32),
        "flat": np.array([1, -1], np.int64),
        "back": np.array([1, 4, 30, 30], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("Reshape", ["b", "back"], ["c"]),
        helper.make_node("Relu", ["c"], ["out"]),
    ]
    made = make(save(tmp_path / "n.onnx", nodes, [1, 3, 32, 32], weights), **_PLAIN)
    assert made.sessions.batch is None
    expected = nn.functional.conv2d(images / 255, torch.from_numpy(weights["w"])).relu()
    assert_same(made(images, ["out"]), {"out": expected})


def small_graph(
    path: Path, shape: list[Any], first: list[Any] = (), start: str = "input", **words: Any
) -> tuple[Path, Tensor]:
    """A convolution behind ``first`` operators: the file, and its kernel."""
    kernel = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    weights = {"w": kernel, **words.pop("weights", {})}
    nodes = [*first, helper.make_node("Conv", [start, "w"], ["out"])]
    return save(path, nodes, shape, weights, **words), torch.from_numpy(kernel)


def convolved(pixels: Tensor, kernel: Tensor) -> dict[str, Tensor]:
    return {"out": nn.functional.conv2d(pixels, kernel)}


def test_channels_last_and_bgr(tmp_path: Path, images: Tensor) -> None:
    turn = [helper.make_node("Transpose", ["input"], ["t"], perm=[0, 3, 1, 2])]
    path, kernel = small_graph(tmp_path / "n.onnx", ["n", 32, 32, 3], turn, "t")
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    made = make(path, mean=mean, std=std, channels="bgr")
    assert made.taps == {"out": (4, 30, 30)}
    pixels = images.flip(1) / 255 - torch.tensor(mean).view(1, 3, 1, 1)
    assert_same(
        made(images, ["out"]), convolved(pixels / torch.tensor(std).view(1, 3, 1, 1), kernel)
    )
    expected = [255 * value for value in mean[::-1]]
    assert made.normalisation[0] == pytest.approx(expected)
    assert made.fingerprint != make(path, mean=mean, std=std).fingerprint


def test_a_map_with_channels_last_is_turned(tmp_path: Path, images: Tensor) -> None:
    path, _ = small_graph(tmp_path / "n.onnx", ["n", 3, 32, 32])
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Transpose", ["out"], ["last"], perm=[0, 2, 3, 1]))
    model.graph.output[0].name = "last"
    onnx.save(model, path)
    made = make(path, **_PLAIN)
    assert made.taps == {"out": (4, 30, 30), "last": (4, 30, 30)}
    found = made(images, ["out", "last"])
    assert torch.equal(found["out"], found["last"])


@pytest.mark.parametrize(
    ("operators", "pixels"),
    [
        ([("Sub", 127.5), ("Mul", 1 / 128)], True),
        ([("Div", 255.0), ("Sub", 0.5)], True),
        ([("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225])], False),
        ([("Add", -1.0), ("Mul", 2.0)], False),
        ([("Sub", [104.0, 117.0, 123.0])], True),
    ],
)
def test_normalisation_in_the_first_operators(
    tmp_path: Path, images: Tensor, operators: list[Any], pixels: bool
) -> None:
    name, nodes, weights = "input", [], {}
    expected = images if pixels else images / 255
    for number, (operator, value) in enumerate(operators):
        array = np.array(value, np.float32)
        weights[f"c{number}"] = array.reshape(3, 1, 1) if array.ndim else array
        nodes.append(helper.make_node(operator, [name, f"c{number}"], [f"x{number}"]))
        name, constant = f"x{number}", torch.from_numpy(weights[f"c{number}"])
        rule = {"Sub": torch.sub, "Add": torch.add, "Mul": torch.mul, "Div": torch.div}[operator]
        expected = rule(expected, constant)
    path, kernel = small_graph(tmp_path / "n.onnx", ["n", 3, 32, 32], nodes, name, weights=weights)
    made = make(path)
    assert_same(made(images, ["out"]), convolved(expected, kernel))
    assert list(made.taps) == ["out"], "what is before the first convolution is an image"
    assert "from its first operators" in made.remarks()[0]


@pytest.mark.parametrize(
    ("metadata", "mean", "std", "bgr"),
    [
        ({"Image.NominalPixelRange": "NominalRange_0_255"}, 0.0, 1 / 255, False),
        ({"Image.NominalPixelRange": "Normalized_0_1"}, 0.0, 1.0, False),
        (
            {"Image.NominalPixelRange": "Normalized_1_1", "Image.BitmapPixelFormat": "Bgr8"},
            0.5,
            0.5,
            True,
        ),
        ({"mean": "[0.1, 0.1, 0.1]", "std": "[0.2, 0.2, 0.2]", "channels": "bgr"}, 0.1, 0.2, True),
    ],
)
def test_normalisation_in_the_metadata(
    tmp_path: Path, images: Tensor, metadata: dict[str, str], mean: float, std: float, bgr: bool
) -> None:
    path, kernel = small_graph(tmp_path / "n.onnx", ["n", 3, 32, 32], metadata=metadata)
    made = make(path)
    pixels = images.flip(1) if bgr else images
    assert_same(made(images, ["out"]), convolved((pixels / 255 - mean) / std, kernel))
    assert "from its metadata" in made.remarks()[0]
    assert "from the options" in make(path, **_PLAIN).remarks()[0]


def test_nothing_is_known_of_the_normalisation(conv: Path) -> None:
    (line,) = make(conv).remarks()
    assert "ImageNet's, as the file does not say" in line
    assert make(conv).normalisation[0] == pytest.approx([123.675, 116.28, 103.53])


def test_an_input_of_bytes(tmp_path: Path) -> None:
    cast = [helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT)]
    path, kernel = small_graph(
        tmp_path / "n.onnx", ["n", 3, 32, 32], cast, "x", kind=TensorProto.UINT8
    )
    images = torch.randint(0, 256, (2, 3, 32, 32)).float()
    assert_same(make(path)(images, ["out"]), convolved(images, kernel))


def test_the_size_of_the_input(tmp_path: Path, images: Tensor) -> None:
    path, _ = small_graph(tmp_path / "any.onnx", ["n", 3, "h", "w"])
    assert "give backbone.input_size" in refused(path)
    assert make(path, input_size=20).taps == {"out": (4, 18, 18)}
    noted, _ = small_graph(
        tmp_path / "noted.onnx", ["n", 3, "h", "w"], metadata={"input_size": "24"}
    )
    assert make(noted).input_size == 24
    fixed, _ = small_graph(tmp_path / "fixed.onnx", ["n", 3, 32, 32])
    assert "takes images of 32 pixels, got backbone.input_size=20" in refused(fixed, input_size=20)
    open_axes, _ = small_graph(tmp_path / "open.onnx", ["n", None, None, None])
    assert "give backbone.axes=nchw or backbone.axes=nhwc" in refused(open_axes, input_size=32)
    assert make(open_axes, axes="nchw", input_size=32).taps == {"out": (4, 30, 30)}


def test_sixteen_bits_are_computed_in_float32(
    nets: dict[str, nn.Module], conv: Path, images: Tensor, tmp_path: Path
) -> None:
    path = halved(conv, tmp_path / "half.onnx")
    assert path.stat().st_size < 0.7 * conv.stat().st_size
    half = make(path, **_HALF)
    rounded = ConvNet()
    rounded.load_state_dict(nets["conv"].state_dict())
    found, expected = half(images, list(half.taps)), make(conv, **_HALF)(images, list(half.taps))
    assert_same(found, expected, 5e-3)
    assert half.full_cost() == make(conv).full_cost()
    assert half.fingerprint != make(conv, **_HALF).fingerprint


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_integers(conv: Path, images: Tensor, tmp_path: Path, form: str) -> None:
    path = quantised(conv, tmp_path / "int8.onnx", form, (images / 255 - 0.5) / 0.5)
    small, floats = make(path, **_HALF), make(conv, **_HALF)
    kinds = {node.op_type for node in small.graph.nodes}
    assert kinds & {"QDQ": {"DequantizeLinear"}, "QOperator": {"QLinearConv"}}.get(
        form, {"ConvInteger"}
    )
    for tap in small.informative_taps(3):
        assert small.taps[tap] in floats.taps.values(), tap
    assert small.full_cost().macs == floats.full_cost().macs
    assert small.full_cost().params == floats.full_cost().params
    tap = small.informative_taps(3)[-1]
    (found,), (expected,) = (
        small(images, [tap]).values(),
        floats(images, [list(_SAME)[-1]]).values(),
    )
    error = float((found - expected).norm() / expected.norm())
    assert 1e-4 < error < 0.1


def test_weights_in_another_file(conv: Path, images: Tensor, tmp_path: Path) -> None:
    path, beside = tmp_path / "net.onnx", tmp_path / "net.data"
    onnx.save(
        onnx.load(conv), path, save_as_external_data=True, location="net.data", size_threshold=0
    )
    made = make(path)
    assert_same(made(images, list(_SAME)), make(conv)(images, list(_SAME)), 1e-6)
    content = bytearray(beside.read_bytes())
    content[-1] ^= 1
    beside.write_bytes(content)
    assert make(path).fingerprint != made.fingerprint
    beside.write_bytes(content[:100])
    assert "cannot be read from 'net.data'" in refused(path)
    beside.unlink()
    assert "its weights are in 'net.data', which is not beside it" in refused(path)
    (tmp_path / "inner").mkdir()
    beside.write_bytes(content)
    moved = (tmp_path / "inner/net.onnx").write_bytes(
        path.read_bytes().replace(b"net.data", b"../e.dat")
    )
    assert moved
    assert "got a reference to '../e.dat'" in refused(tmp_path / "inner/net.onnx")


@pytest.mark.parametrize("opset", [11, 13, 17, 0])
def test_opsets_from_11_to_the_newest(
    nets: dict[str, nn.Module], images: Tensor, tmp_path: Path, opset: int
) -> None:
    path = exported(nets["conv"], tmp_path / "net.onnx", opset=opset or 17)
    if not opset:
        newest = next(v for v in range(onnx.defs.onnx_opset_version(), 17, -1) if _runs(v))
        onnx.save(onnx.version_converter.convert_version(onnx.load(path), newest), path)
    made = make(path, **_HALF)
    assert_same(made(images, list(_SAME)), torch_maps(nets["conv"], images, **_HALF))


def _runs(opset: int) -> bool:
    """Whether ONNX Runtime takes an opset."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", [value], [end])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    try:
        onnxruntime.InferenceSession(model.SerializeToString())
    except Exception:
        return False
    return True


def test_names_of_tensors_become_readable(tmp_path: Path) -> None:
    weights = {"w": np.ones((3, 3, 1, 1), np.float32)}
    names = [
        "683",
        "/a/a.0/conv/Conv_output_0",
        "model/re lu:0",
        "stage1_conv",
        "model.re.lu.0",
        "images",
    ]
    nodes = []
    for last, name in zip(["input", *names], names, strict=False):
        nodes.append(helper.make_node("Conv", [last, "w"], [name]))
    path = save(tmp_path / "n.onnx", nodes, ["n", 3, 4, 4], weights, outputs=["images"])
    made = make(path)
    assert list(made.taps) == [
        *("conv_683", "a.0.conv.Conv", "model.re.lu.0_2", "stage1_conv", "model.re.lu.0"),
        "evonas_input",
    ]
    images = torch.rand(1, 3, 4, 4)
    for name, tap in zip(names, made.taps, strict=True):
        if name != "images":
            assert torch.equal(made(images, [name])[name], made(images, [tap])[tap])


def test_control_flow(tmp_path: Path) -> None:
    def branch(operator: str) -> Any:
        nodes = [helper.make_node(operator, ["a"], [f"{operator}_out"])]
        end = helper.make_tensor_value_info(f"{operator}_out", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, operator, [], [end])

    weights = {"w": np.ones((4, 3, 1, 1), np.float32), "yes": np.array(True)}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"]),
        helper.make_node(
            "If", ["yes"], ["b"], then_branch=branch("Relu"), else_branch=branch("Abs")
        ),
        helper.make_node("Exp", ["b"], ["out"]),
    ]
    path = save(tmp_path / "n.onnx", nodes, ["n", 3, 4, 4], weights)
    made = make(path)
    assert list(made.taps) == ["a"]
    with pytest.raises(
        InputError, match=r"no tap 'out': control flow \(If, Loop, Scan\) is before"
    ):
        made(torch.zeros(1, 3, 4, 4), ["out"])
    with pytest.raises(InputError, match="control flow"):
        make(path, taps=["b"])


def test_files_that_cannot_be_used(conv: Path, tmp_path: Path) -> None:
    assert "no such file: give an .onnx file" in refused(tmp_path / "none.onnx")
    for content in (b"", b"no network", conv.read_bytes()[:-700]):
        (tmp_path / "bad.onnx").write_bytes(content)
        assert "is no ONNX file" in refused(tmp_path / "bad.onnx")
    words, _ = small_graph(tmp_path / "words.onnx", ["n", 7], kind=TensorProto.INT64)
    assert "its input 'input' is no image: expected numbers of shape" in refused(words)
    assert "got int64 (any, 7)" in refused(words)
    gray, _ = small_graph(tmp_path / "gray.onnx", ["n", 1, 32, 32])
    assert "no colour image: expected 3 channels, got (any, 1, 32, 32)" in refused(gray)
    wide, _ = small_graph(tmp_path / "wide.onnx", ["n", 3, 32, 40])
    assert "expected square colour images" in refused(wide)
    odd, _ = small_graph(
        tmp_path / "odd.onnx",
        ["n", 3, 32, 32],
        [helper.make_node("Fancy", ["input"], ["x"], domain="acme")],
        "x",
        domains=["acme"],
    )
    assert "ONNX Runtime has no operator Fancy (acme)" in refused(odd)
    late, _ = small_graph(tmp_path / "late.onnx", ["n", 3, 32, 32], opset=99)
    message = refused(late)
    assert "its opset 99 is beyond ONNX Runtime" in message
    assert onnxruntime.__version__ in message
    two = onnx.load(conv)
    two.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    onnx.save(two, tmp_path / "two.onnx")
    assert "expected one input, the images, got 'input', 'more'" in refused(tmp_path / "two.onnx")
    small, _ = small_graph(tmp_path / "small.onnx", ["n", 3, "h", "w"])
    assert "cannot run it on images of 2x2 pixels" in refused(small, input_size=2)
    assert "both backbone.mean and backbone.std" in refused(conv, mean=(0.5, 0.5, 0.5))
    flat = save(
        tmp_path / "flat.onnx",
        [
            helper.make_node("Flatten", ["input"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["out"]),
        ],
        ["n", 3, 4, 4],
        {"w": np.ones((48, 5), np.float32)},
    )
    assert "there is no usable tap" in refused(flat)


def test_a_tap_that_is_not_there_has_near_names(conv: Path) -> None:
    made = make(conv)
    with pytest.raises(
        InputError, match=r"no tap 'layers.0.relu.Rel': did you mean 'layers.0.relu"
    ):
        made(torch.zeros(1, 3, 32, 32), ["layers.0.relu.Rel"])
    with pytest.raises(InputError, match="no feature map behind a convolution"):
        made(torch.zeros(1, 3, 32, 32), [made.graph.model.graph.output[0].name])


def test_what_needs_torch_is_refused(conv: Path) -> None:
    made = make(conv)
    with pytest.raises(
        InputError, match="evonas prune needs a backbone in PyTorch, got backbone 'onnx'"
    ):
        made.require_torch("evonas prune")
    upto = TruncatedBackbone(made, "stem.Conv")
    with pytest.raises(Exception, match="a trace of the network needs a backbone in PyTorch"):
        torch.export.export(upto, (upto.example(),))


def test_threads_of_torch_are_those_of_the_runtime(
    conv: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evonas.models.backbones.onnx_graphs import sessions

    made, seen = make(conv), []
    opened = sessions.open_session
    monkeypatch.setattr(
        sessions,
        "open_session",
        lambda model, threads: seen.append(threads) or opened(model, threads),
    )
    before = torch.get_num_threads()
    try:
        for count_ in (1, 2, 1):
            torch.set_num_threads(count_)
            made(images, ["stem.Conv"])
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_mobilefacenet_gives_its_embeddings(mobilefacenet: Path, tmp_path: Path) -> None:
    """The real network, also as it is exported for single images."""
    model = onnx.load(mobilefacenet)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "single.onnx")
    images = torch.randint(
        0, 256, (3, 3, 112, 112), generator=torch.Generator().manual_seed(0)
    ).float()
    session = onnxruntime.InferenceSession(str(mobilefacenet))
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    (expected,) = session.run(None, {"input": ((images / 255 - mean) / std).numpy()})
    for path in (mobilefacenet, tmp_path / "single.onnx"):
        made = make(path)
        assert made.sessions.batch is None
        assert len(made.taps) == 97
        assert made.full_cost() == (233_810_432, 989_952)
        assert made.informative_taps(16) == [
            *("dw_conv.relu_1.Relu", "features.2.Add", "features.4.Add", "features.8.Add"),
            *("features.11.Add", "features.14.Add", "conv3.Conv"),
        ]
        found = made(images, ["conv3.Conv"])["conv3.Conv"].flatten(1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
