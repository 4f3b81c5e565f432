"""Opening a quantised network, and what it takes for one image."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from quantizable import Wide, images, made, quantised
from torch import nn

from evonas.deployment.quantization import speed
from evonas.errors import InputError
from evonas.estimation.cost import latency
from evonas.estimation.cost.latency import compared, processor, threads
from evonas.models.files.quantized_network import load_quantized

FILES = {"pt2e": ".pt2", "onnx": ".onnx"}


@pytest.fixture(scope="module", params=["pt2e", "onnx"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    floats = folder / "float.onnx"
    return quantised(made(Wide), request.param, folder, images(8), floats)[1]


def test_images_are_numpy_of_any_type_and_any_number(file: Path) -> None:
    found, shown = load_quantized(file), images(5)
    whole = found.outputs(shown.numpy())
    assert (whole.shape, whole.dtype) == ((5, 3), np.float32)
    np.testing.assert_array_equal(found.outputs(shown.numpy().astype(np.uint8)), whole)
    np.testing.assert_allclose(found.outputs(shown[3:4].numpy()), whole[3:4], atol=1e-6)
    with torch.no_grad():
        np.testing.assert_array_equal(found(shown).numpy(), whole)
    assert not any(parameter.requires_grad for parameter in found.parameters())


@pytest.mark.parametrize("damage", ["cut", "empty", "nonsense", "absent", "suffix"])
def test_a_file_that_is_none_is_refused(file: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / (f"net{file.suffix}" if damage != "suffix" else "net.pt")
    content = {"cut": file.read_bytes()[:-900], "empty": b"", "nonsense": b"nonsense" * 99}
    if damage != "absent":
        path.write_bytes(content.get(damage, b"x"))
    with pytest.raises(InputError) as caught:
        load_quantized(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    said = {"absent": "no such file", "suffix": "got '.pt'"}
    assert said.get(damage, "cannot be read as") in message or "expected one batch" in message


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    """They could be any file of this machine."""
    _, path = quantised(made(Wide), "onnx", tmp_path, images(2))
    model = onnx.load(path)
    del model.metadata_props[-1]  # the checksum, of what it was
    (tmp_path / "out").mkdir()
    onnx.save(model, tmp_path / "out" / "net.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(InputError, match="got references to other files"):
        load_quantized(tmp_path / "out" / "net.onnx")


def test_a_comparison_goes_by_turns_and_takes_its_ratio_within_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine slows down from round to round, and one is always half as fast."""
    order: list[str] = []
    now = itertools.count()
    spent = {"first": 1.0, "second": 2.0}

    def clock() -> float:
        next(now)
        return clock.time  # type: ignore[attr-defined]

    def run(name: str) -> None:
        order.append(name)
        clock.time += 1e-3 * spent[name] * (1 + len(order) // 100)  # type: ignore[attr-defined]

    clock.time = 0.0  # type: ignore[attr-defined]
    monkeypatch.setattr(latency.time, "perf_counter", clock)
    found = compared({"first": lambda: run("first"), "second": lambda: run("second")})
    warm = 2 * latency.WARM_UP
    turns = [name for name, _ in itertools.groupby(order[warm:])]
    assert turns == ["first", "second"] * latency.ROUNDS
    assert len(order) == warm + 2 * latency.ROUNDS * latency.TURN
    assert (found["first"].ratio, found["second"].ratio) == (1.0, 0.5)
    assert found["second"].p95 > found["second"].p50 > found["first"].p50 > 0


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    assert processor()


def test_both_forms_are_measured_as_they_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "ROUNDS", 1)
    net = made(Wide)
    shown = images(1)
    found = speed.speed(net, file.with_name("float.onnx"), load_quantized(file), shown, False)
    if file.suffix == ".onnx":
        assert list(found.times) == ["float, torch", "float, ONNX Runtime", "int8, ONNX Runtime"]
        assert not found.notes
    else:
        assert list(found.times) == ["float, torch", "int8, torch"]
        assert "--compile" in found.notes[0]


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: nn.Module) -> nn.Module:
        raise RuntimeError("No working C++ compiler found\nmore")

    monkeypatch.setattr(latency, "ROUNDS", 1)
    monkeypatch.setattr(torch, "compile", fail)
    net = made(Wide)
    _, path = quantised(net, "pt2e", tmp_path, images(2))
    found = speed.speed(net, tmp_path / "none", load_quantized(path), images(1), True)
    reason = "could not be compiled: RuntimeError: No working C++ compiler found more"
    assert found.notes == [f"float {reason}", f"int8 {reason}"]
    assert list(found.times) == ["float, torch", "int8, torch"]
    assert set(found.seconds) == {"compiling float", "compiling int8"}
