"""Networks in files of their own: the taps they offer, and files that could run code."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refusal_of
from small_modules import ConvNet, Transformer, export
from torch import Tensor, nn

from evonas.core import registry
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone
from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.full_network import TruncatedBackbone

_PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def make(path: Path, **options: Any) -> Backbone:
    made: Backbone = registry.create("backbone", "exported", {"path": str(path), **options})
    return made


def refused(path: Path, **options: Any) -> str:
    message = refusal_of(lambda: make(path, **options))
    assert str(path) in message
    return message


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return {"conv": ConvNet().eval(), "tokens": Transformer().eval()}


@pytest.fixture(scope="module")
def program(nets: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(nets["conv"], tmp_path_factory.mktemp("exported") / "conv.pt2")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("name", ["conv", "tokens"])
def test_a_program_has_the_modules_taps_and_values_and_costs(
    nets: dict[str, nn.Module], tmp_path: Path, images: Tensor, name: str, dynamic: bool
) -> None:
    made = make(export(nets[name], tmp_path / "net.pt2", dynamic=dynamic), **_PLAIN)
    direct = Hooked(nets[name], "test", identity={}, input_size=32, **_PLAIN)
    assert made.input_size == 32
    named = [tap for tap in made.taps if tap in direct.taps]
    assert named == list(direct.taps), "the same names in the same order"
    found, expected = made(images, named), direct(images, named)
    for tap in named:
        torch.testing.assert_close(found[tap], expected[tap], rtol=1e-4, atol=1e-5)
    for tap in (named[0], named[-1]):
        costs = [
            count(TruncatedBackbone(backbone, tap), (3, 32, 32)) for backbone in (made, direct)
        ]
        assert costs[0].macs == costs[1].macs > 0
    if name == "conv":
        assert costs[0].params == costs[1].params > 0


def test_steps_between_modules_go_by_their_own_names(program: Path, images: Tensor) -> None:
    made = make(program)
    assert {"add_", "add__1"} <= set(made.taps)
    assert not {"flatten", "mean", "expand"} & set(made.taps)
    found = made(images, ["add_", "layers.0"])
    assert float(found["add_"].min()) < 0, "the ReLU in place behind it does not reach it"
    assert torch.equal(found["add_"].relu(), found["layers.0"])


def test_views_are_no_taps_of_their_own(nets: dict[str, nn.Module], tmp_path: Path) -> None:
    made = make(export(nets["tokens"], tmp_path / "net.pt2"))
    assert not {"flatten", "transpose", "expand"} & set(made.taps)
    assert made.taps["cat"] == (12, 4, 4)


def test_chosen_taps_and_their_nearest(program: Path) -> None:
    assert list(make(program, taps=["layers.1", "stem"]).taps) == ["stem", "layers.1"]
    assert "it has no tap 'layers.7': did you mean 'layers.1'?" in refused(
        program, taps=["layers.7"]
    )


def test_the_fingerprint_is_of_the_file_and_the_normalisation(
    program: Path, nets: dict[str, nn.Module], tmp_path: Path
) -> None:
    prints = {
        make(program).fingerprint,
        make(program, mean=[0.5, 0.5, 0.5]).fingerprint,
        make(program, channels="bgr").fingerprint,
        make(export(nets["tokens"], tmp_path / "net.pt2")).fingerprint,
    }
    assert len(prints) == 4
    assert make(program).fingerprint in prints


@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_offers_its_output_alone(tmp_path: Path, images: Tensor, how: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1)).eval()
    script = torch.jit.script(net) if how == "script" else torch.jit.trace(net, images / 255)
    path = tmp_path / "net.ts"
    script.save(path)
    made = make(path, input_size=32, **_PLAIN)
    assert made.taps == {"output": (6, 8, 8)}
    with torch.no_grad():
        torch.testing.assert_close(made(images, ["output"])["output"], net(images / 255))
    cost, direct = count(TruncatedBackbone(made, "output"), (3, 32, 32)), count(net, (3, 32, 32))
    assert (cost.macs, cost.params) == (direct.macs, direct.params)
    assert "give backbone.input_size" in refused(path)
    assert "backbone=torch_module" in refused(_state(tmp_path), input_size=32)


def _state(folder: Path) -> Path:
    torch.save(ConvNet().state_dict(), folder / "state.pt")
    return folder / "state.pt"


class _Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            "batch of four",
            "exported for batches of exactly 4 images: export it with a dynamic batch",
        ),
        ("grey", "got (any, 1, 32, 32): export the network for square RGB images"),
        ("oblong", "got (any, 3, 32, 16)"),
        ("two inputs", "expected a program of one input, a batch of images, got ['x', 'y']"),
        ("training", "was exported in training mode (node '"),
        ("vector", "feature map"),
        ("double", "export model.float()"),
    ],
)
def test_a_program_that_will_not_do_is_refused(tmp_path: Path, case: str, said: str) -> None:
    x, batch = torch.zeros(2, 3, 32, 32), ({0: torch.export.Dim("n")},)
    net: nn.Module = nn.Conv2d(3, 4, 3)
    if case == "batch of four":
        program = torch.export.export(net, (torch.zeros(4, 3, 32, 32),))
    elif case == "grey":
        program = torch.export.export(nn.Conv2d(1, 4, 3), (x[:, :1],), dynamic_shapes=batch)
    elif case == "oblong":
        program = torch.export.export(net, (x[..., :16],), dynamic_shapes=batch)
    elif case == "two inputs":
        program = torch.export.export(_Two(), (x, x))
    elif case == "training":
        program = torch.export.export(
            nn.Sequential(net, nn.Dropout()).train(), (x,), dynamic_shapes=batch
        )
    elif case == "vector":
        flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
        program = torch.export.export(flat, (x,), dynamic_shapes=batch)
    else:
        program = torch.export.export(net.double(), (x.double(),), dynamic_shapes=batch)
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    assert said in refused(path)


def test_a_size_other_than_that_of_the_program_is_refused(program: Path) -> None:
    assert "was exported for images of 32 pixels, got backbone.input_size=64" in refused(
        program, input_size=64
    )


@pytest.mark.parametrize("damage", [b"", b"nonsense", "cut", "zip"])
def test_a_damaged_program_is_refused(
    program: Path, tmp_path: Path, damage: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "net.pt2"
    if damage == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("version", "1.0")
    else:
        path.write_bytes(program.read_bytes()[:-900] if isinstance(damage, str) else damage)
    assert "cannot be read as a program" in refused(path) or "older format" in refused(path)
    assert "no such file" in refused(tmp_path / "absent.pt2")
    assert not caplog.records


class _Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def rewritten(program: Path, path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Copy an archive, with each record passed through ``change``."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            inner = entry.filename.partition("/")[2]
            new.writestr(entry.filename, change(inner, old.read(entry)))
    return path


def test_a_rewritten_archive_is_still_read(program: Path, tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    path = rewritten(program, tmp_path / "same.pt2", lambda name, data: data)
    assert list(make(path).taps) == list(make(program).taps)


def test_sample_inputs_that_would_run_code_are_refused(program: Path, tmp_path: Path) -> None:
    """``torch.export.load`` alone does run them."""
    ran = tmp_path / "ran"
    torch.save((_Evil(ran),), tmp_path / "evil.pt")
    evil = (tmp_path / "evil.pt").read_bytes()

    def change(name: str, data: bytes) -> bytes:
        return evil if name == "data/sample_inputs/model.pt" else data

    path = rewritten(program, tmp_path / "net.pt2", change)
    assert "holds a pickle of more than tensors (data/sample_inputs/model.pt)" in refused(path)
    assert not ran.exists()


def test_weights_that_would_run_code_are_refused(program: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save(_Evil(ran), tmp_path / "evil.pt")
    evil = (tmp_path / "evil.pt").read_bytes()

    def change(name: str, data: bytes) -> bytes:
        if name == "data/weights/weight_0":
            return evil
        if name == "data/weights/model_weights_config.json":
            config = json.loads(data)
            config["config"]["stem.weight"]["use_pickle"] = True
            return json.dumps(config).encode()
        return data

    path = rewritten(program, tmp_path / "net.pt2", change)
    assert "holds a pickle of more than tensors (data/weights/weight_0)" in refused(path)
    assert not ran.exists()


def test_pickled_objects_are_refused(program: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def change(name: str, data: bytes) -> bytes:
        if name == "data/weights/weight_0":
            return pickle.dumps(_Evil(ran))
        if name == "data/constants/model_constants_config.json":
            entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
            return json.dumps({"config": {"x": {**entry, "tensor_meta": None}}}).encode()
        return data

    path = rewritten(program, tmp_path / "net.pt2", change)
    assert "holds a pickled object (data/constants/opaque_obj_0)" in refused(path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.hub.load",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.other.op.default",
        "_operator.methodcaller",
        "#space:op",
        "print",
    ],
)
def test_operators_that_are_not_torchs_own_are_refused(
    program: Path, tmp_path: Path, target: str
) -> None:
    def change(name: str, data: bytes) -> bytes:
        return data.replace(b"torch.ops.aten.relu_.default", target.encode())

    path = rewritten(program, tmp_path / "net.pt2", change)
    assert f"calls {target!r}, which is no operator of torch's own" in refused(path)


@pytest.mark.parametrize(
    "expression", ["__import__('os').mkdir('ran')", "open('ran','w')", "s1.__class__", "exit(1)"]
)
def test_sizes_that_are_no_arithmetic_are_refused(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    """Torch evaluates them as Python."""
    monkeypatch.chdir(tmp_path)

    def change(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data

        def put(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: expression if k == "expr_str" else put(v) for k, v in value.items()}
            return [put(part) for part in value] if isinstance(value, list) else value

        assert b"expr_str" in data
        return json.dumps(put(json.loads(data))).encode()

    path = rewritten(program, tmp_path / "net.pt2", change)
    assert "has a size that is no plain arithmetic" in refused(path)
    assert not (tmp_path / "ran").exists()


def test_guards_in_the_file_are_not_compiled(program: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def change(name: str, data: bytes) -> bytes:
        if name != "models/model.json":
            return data
        guard = f"__import__('os').mkdir({str(ran)!r}) is None"
        return json.dumps({**json.loads(data), "guards_code": [guard]}).encode()

    path = rewritten(program, tmp_path / "net.pt2", change)
    made = make(path)
    made(torch.zeros(1, 3, 32, 32), ["stem"])
    assert not ran.exists()


def test_compiled_libraries_are_refused(program: Path, tmp_path: Path) -> None:
    path = rewritten(program, tmp_path / "net.pt2", lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/aotinductor/model/code.so", b"\x7fELF")
    assert "holds compiled code (data/aotinductor/model/code.so)" in refused(path)
