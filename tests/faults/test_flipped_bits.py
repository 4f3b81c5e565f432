"""One flipped bit in a file that trainings go on from: found, or without meaning."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import retrained
from mutations import command, flipped, owed
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import torch as plain
from small_modules import ConvNet, export
from torch import nn

from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.data.base import Dataset, UnreadableImage
from evonas.data.images.image_io import remembered
from evonas.errors import InputError
from evonas.estimation.cost import latency_cache as timing
from evonas.estimation.cost.latency import Latency
from evonas.estimation.cost.latency_cache import Timing
from evonas.estimation.features.feature_cache import FeatureCache
from evonas.estimation.features.views import View
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.checkpoint import pause, resume
from evonas.estimation.training.training import Training
from evonas.models.backbones.synthetic_face import SyntheticFace
from evonas.models.files import safetensors_files as weights
from evonas.models.files.exported_programs import load_program
from evonas.models.files.onnx_session import sealed, unsealed
from evonas.models.files.program_runner import Script
from evonas.models.files.state_dicts import read_state
from evonas.space import Architecture
from evonas.tasks.head_pose import HeadPose
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

STATE = {"a.weight": torch.linspace(0, 1, 40).reshape(5, 8), "a.bias": torch.ones(5)}


class Faces(Dataset):
    """Rendered faces of the quickstart, of which one cannot be decoded."""

    def __init__(self) -> None:
        faces = registry.create(
            "data",
            "synthetic_faces",
            {"identities": 6, "images_per_identity": 1, "train": 0.5, "validation": 0.5},
        )
        self._images = [faces.image(index) for index in range(len(faces))]
        self.labels, self.groups, self.splits = faces.labels, faces.groups, faces.splits
        self.fingerprint, self.margin = "six faces, one damaged", faces.margin

    def image(self, index: int) -> NDArray[np.uint8]:
        if index == 1:
            raise UnreadableImage("face1.jpg: cannot be decoded (truncated)")
        return self._images[index]


def tell(path: Path, tried: int, found: int) -> None:
    print(f"{path.name}: {tried} flipped bits, {found} found, {tried - found} without meaning")


@pytest.mark.parametrize("beside", [False, True], ids=["maps", "note"])
def test_features_are_made_anew(
    tmp_path: Path, beside: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data, backbone, chance, anew = Faces(), SyntheticFace(), random.Random(1), 0
    cache = FeatureCache(tmp_path, strict=False)
    first = cache.ensure(backbone, data, ["block4"], [View()])
    (file,) = first.files["block4"]
    path = file.with_suffix(".json") if beside else file
    maps, whole = file.read_bytes(), path.read_bytes()
    for _ in range(100):
        path.write_bytes(flipped(whole, chance))
        caplog.clear()
        again = cache.ensure(backbone, data, ["block4"], [View()])
        assert file.read_bytes() == maps
        assert again.usable.tolist() == first.usable.tolist() == [0, 2, 3, 4, 5]
        said = [one for one in caplog.messages if "made anew" in one]
        assert (again.passes, len(said)) in ((0, 0), (6, 1))
        anew += again.passes > 0
    tell(path, 100, anew)
    assert anew == 100 if not beside else anew > 70


def never_other(path: Path, tries: int, load: Callable[[], dict[str, torch.Tensor]]) -> int:
    """Flip bits; each is refused, or what is read is what was written. Returns how many were."""
    whole, known, refused, chance = path.read_bytes(), load(), 0, random.Random(2)
    for _ in range(tries):
        path.write_bytes(flipped(whole, chance))
        try:
            found = load()
        except (InputError, SafetensorError):
            refused += 1
        else:
            assert found.keys() == known.keys()
            assert all(torch.equal(found[name], known[name]) for name in known)
    path.write_bytes(whole)
    tell(path, tries, refused)
    return refused


def test_weights_of_our_own_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights.save_file(STATE, path, {"architecture": json.dumps({"crc32": "00000000"})})
    assert plain.load_file(path).keys() == STATE.keys(), "a file as any other to others"
    assert never_other(path, 1000, lambda: weights.load_file(path)) > 950
    whole = path.read_bytes()
    for change in (whole[:-4], whole[:-64] + bytes(64), whole[:99] + bytes(9) + whole[108:]):
        path.write_bytes(change)
        assert not weights.intact(path)
    path.unlink()
    assert not weights.intact(path)


def test_weights_of_others_have_no_checksum_and_are_read(tmp_path: Path) -> None:
    plain.save_file(STATE, tmp_path / "w.safetensors")
    assert weights.intact(tmp_path / "w.safetensors")
    assert weights.load_file(tmp_path / "w.safetensors").keys() == STATE.keys()


@pytest.mark.parametrize("suffix", [".pt", ".bin"])
def test_archives_of_torch_are_refused(tmp_path: Path, suffix: str) -> None:
    """torch itself takes most of them, with other weights."""
    path = tmp_path / f"w{suffix}"
    torch.save(STATE, path)
    assert never_other(path, 400, lambda: read_state(path)) > 100


def test_an_archive_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(read_state(tmp_path / "w.pt")["a.weight"], STATE["a.weight"])


def test_a_file_is_held_against_the_sum_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    plain.save_file(STATE, path)
    value = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "w.safetensors.sha256").write_text(f"{value}  w.safetensors\n")
    assert never_other(path, 300, lambda: read_state(path)) == 300
    (tmp_path / "w.safetensors.sha256").write_bytes(b"\xff no sum")
    with pytest.raises(InputError, match=r"backbone\.weights=.*w\.safetensors\.sha256: get"):
        read_state(path)


def test_programs_are_refused(tmp_path: Path) -> None:
    program = export(ConvNet(), tmp_path / "net.pt2")
    assert never_other(program, 60, lambda: dict(load_program(program).state_dict)) > 20
    script = tmp_path / "net.pt"
    traced: Any = torch.jit.trace(ConvNet().eval(), torch.zeros(1, 3, 32, 32))
    traced.save(script)
    assert never_other(script, 60, lambda: Script(script).state_dict()) > 20


def test_an_onnx_file_is_refused() -> None:
    """The checksum stands behind the file; a bit in it, or in its name, is no weight's."""
    made = random.Random(3).randbytes(300)
    whole, found = sealed(made), 0
    assert unsealed(whole) == unsealed(made) == made
    for place in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        try:
            read = unsealed(bytes(changed))
        except ValueError:
            found += 1
        else:
            assert read[:300] == made
    assert found >= 8 * (300 + 8)


def test_notes_of_others_readers_are_one_more_note() -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "net", [], []))
    read = onnx.load_model_from_string(sealed(model.SerializeToString()))
    assert [one.key for one in read.metadata_props] == ["evonas_crc32"]
    assert read.graph.name == "net"


def paused(path: Path, until: int) -> Training:
    torch.manual_seed(2)
    rng = np.random.default_rng(1)
    maps = [rng.normal(size=(20, 3, 2, 2)).astype(np.float16)]
    targets = rng.normal(size=(1, 20, 2)).astype(np.float32)
    data = TrainingData(maps, targets, np.arange(12), np.arange(12, 20))
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    settings = TrainingSettings(epochs=4, batch_size=4, ema=0.9)
    made = Training(module, data, HeadPose(("yaw", "pitch")), settings, 3)
    made.run(until)
    return made


def test_a_paused_training_goes_on_or_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, chance, anew = tmp_path / "p.safetensors", random.Random(4), 0
    pause(paused(path, 2), path)
    whole, ended = path.read_bytes(), paused(path, 4).outcome
    for number in range(120):
        path.write_bytes(flipped(whole, chance))
        late = paused(path, 0)
        assert late.epoch == 0
        on = resume(late, path)
        assert late.epoch == 2 * on
        anew += not on
        if number % 10 == 0 or on:
            late.run()
            assert late.outcome.metrics == ended.metrics
            assert all(torch.equal(late.outcome.state[k], ended.state[k]) for k in ended.state)
    tell(path, 120, anew)
    assert anew > 110
    assert len([one for one in caplog.messages if "it starts anew" in one]) == anew


def test_a_latency_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "latency", lambda *given: Latency(3.25, 0.01))

    def ask() -> float:
        return Timing(tmp_path)(Architecture("toy", {}), nn.Identity(), (3, 4, 4), 2, "cpu").ms

    assert ask() == 3.25
    (path,) = tmp_path.glob("*.json")
    whole = path.read_bytes()
    monkeypatch.setattr(timing, "latency", lambda *given: Latency(7.5, 0.01))
    anew, places = 0, range(0, 8 * len(whole), 5)
    for place in places:
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(changed))
        found = ask()
        assert found in (3.25, 7.5)
        anew += found == 7.5
    tell(path, len(places), anew)
    assert anew > 0.95 * len(places)


def test_what_is_remembered_of_labels_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "a").write_bytes(b"a")
    made, calls, chance = (
        {"yaw": np.arange(40.0), "path": np.array(["a", "bc"])},
        [],
        random.Random(5),
    )

    def make() -> dict[str, NDArray[Any]]:
        calls.append(1)
        return made

    remembered("reader 1", [tmp_path / "a"], make)
    (note,) = (tmp_path / "cache").rglob("*.npz")
    whole = note.read_bytes()
    for _ in range(400):
        note.write_bytes(flipped(whole, chance))
        found = remembered("reader 1", [tmp_path / "a"], make)
        assert found.keys() == made.keys()
        assert all(np.array_equal(found[name], made[name]) for name in made)
    tell(note, 400, len(calls) - 1)
    assert len(calls) > 200


def test_a_retrained_head_is_refused_in_one_line(components: Components, tmp_path: Path) -> None:
    folder = retrained(components, tmp_path)
    one = Retrained(folder)
    network = one.contender()
    path = folder / network["weights"][0]
    weights.save_file(weights.load_file(path), path)
    assert never_other(path, 150, lambda: one.head(network).state_dict()) > 130
    path.write_bytes(flipped(path.read_bytes()[:-1], random.Random(6)) + b"x")
    result = command(tmp_path, "export", path)
    owed(result)
    assert result[0] == 2
    assert f"{path}: no weights of " in result[2]
