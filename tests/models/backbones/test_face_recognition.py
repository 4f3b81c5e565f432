"""The real recognition network: its files in any wrapping, and that it recognises people."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refusal_of

from evonas.data.pointing04 import Pointing04
from evonas.errors import InputError
from evonas.estimation.features.views import View
from evonas.models.backbones.face_recognition import FaceRecognition

MANIFEST = "face_recognition_model-weights_manifest.json"
BINARY = "face_recognition_model.bin"


@pytest.fixture(scope="module")
def real(recognition_weights: Path) -> FaceRecognition:
    return FaceRecognition(str(recognition_weights))


@pytest.fixture
def copy(recognition_weights: Path, tmp_path: Path) -> Path:
    for name in (MANIFEST, BINARY):
        shutil.copy(recognition_weights / name, tmp_path / name)
    return tmp_path


def pack(folder: Path, target: Path, inside: str = "package/model") -> Path:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for name in (MANIFEST, BINARY):
            archive.add(folder / name, f"{inside}/{name}")
    return target


def refusal(path: Path) -> str:
    said = refusal_of(lambda: FaceRecognition(str(path)))
    assert str(path) in said
    return said


def test_folder_deep_folder_and_tarball_hold_the_same_network(
    real: FaceRecognition, copy: Path, tmp_path: Path
) -> None:
    deep = tmp_path / "a" / "package" / "model"
    deep.mkdir(parents=True)
    packed = pack(copy, tmp_path / "face-api.tgz")
    for name in (MANIFEST, BINARY):
        shutil.move(copy / name, deep / name)
    assert FaceRecognition(str(tmp_path / "a")).fingerprint == real.fingerprint
    assert FaceRecognition(str(packed)).fingerprint == real.fingerprint


def test_it_tells_people_apart(real: FaceRecognition, pointing04_root: Path) -> None:
    """AUC of descriptor distances, 4 nearly frontal photos of each of 12 people."""
    faces = Pointing04(str(pointing04_root))
    frontal = (np.abs(faces.labels["yaw"]) <= 15) & (faces.labels["pitch"] == 0)
    chosen = [
        index
        for person in np.unique(faces.groups)
        for index in np.flatnonzero(frontal & (faces.groups == person))[:4].tolist()
    ]
    crops = np.stack([View().apply(faces.image(i), i, 150, faces.margin) for i in chosen])
    with torch.inference_mode():
        found = real.describe(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    assert found.shape == (48, 128)
    distances = torch.cdist(found, found).numpy()
    who = faces.groups[chosen]
    pairs = np.triu_indices(len(chosen), 1)
    same = (who[:, None] == who)[pairs]
    near, far = distances[pairs][same], distances[pairs][~same]
    auc = (near[:, None] < far).mean()
    assert auc > 0.95, f"AUC {auc:.3f}"
    assert np.median(near) < 0.6 < np.median(far)


def test_one_of_weights_and_random_is_needed() -> None:
    for options in ({}, {"weights": "x", "random": 1}):
        with pytest.raises(InputError, match=r"backbone\.weights=.* or .*backbone\.random="):
            FaceRecognition(**options)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "none")


@pytest.mark.parametrize("name", [MANIFEST, BINARY])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert f"holds no {name}" in refusal(copy)


def test_a_tarball_without_the_files_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "empty.tgz", "w:gz"):
        pass
    assert f"holds no {MANIFEST}" in refusal(tmp_path / "empty.tgz")


@pytest.mark.parametrize("where", [0, 0.02, 0.5, 0.999])
def test_a_damaged_or_truncated_tarball_is_refused(
    copy: Path, tmp_path: Path, where: float
) -> None:
    packed = pack(copy, tmp_path / "face-api.tgz")
    good = packed.read_bytes()
    place = int(where * len(good))
    packed.write_bytes(good[:place] + bytes(64) + good[place + 64 :])
    refusal(packed)
    packed.write_bytes(good[:place])
    refusal(packed)


@pytest.mark.parametrize("size", [0, 1, 1000, -1])
def test_a_truncated_binary_is_refused(copy: Path, size: int) -> None:
    data = (copy / BINARY).read_bytes()
    (copy / BINARY).write_bytes(data[:size])
    refusal(copy)


def test_a_longer_binary_is_refused(copy: Path) -> None:
    with (copy / BINARY).open("ab") as stream:
        stream.write(b"\0")
    assert "its manifest describes" in refusal(copy)


def change(copy: Path, edit: Callable[[list[dict]], object]) -> None:
    groups = json.loads((copy / MANIFEST).read_text())
    edit(groups[0]["weights"])
    (copy / MANIFEST).write_text(json.dumps(groups))


def kernel(weights: list[dict]) -> dict:
    return next(w for w in weights if w["name"] == "conv64_down/conv1/conv/filters")


def flip(weights: list[dict]) -> None:
    kernel(weights)["shape"].reverse()


def widen(weights: list[dict]) -> None:
    shape = kernel(weights)["shape"]
    shape[0], shape[1] = shape[0] * shape[1], 1


def flatten(weights: list[dict]) -> None:
    kernel(weights)["shape"] = [int(np.prod(kernel(weights)["shape"]))]


@pytest.mark.parametrize("edit", [flip, widen, flatten])
def test_a_flipped_shape_is_refused(copy: Path, edit: Callable[[list[dict]], object]) -> None:
    change(copy, edit)
    said = refusal(copy)
    assert "conv64_down" in said
    assert "not this network" in said


@pytest.mark.parametrize(
    "edit",
    [
        lambda weights: weights[0].pop("shape"),
        lambda weights: weights[0].update(shape=["a"]),
        lambda weights: weights[0].update(shape=[-1]),
        lambda weights: weights[0].update(shape=[10**30]),
        lambda weights: weights[0].update(dtype="object", quantization=None),
        lambda weights: weights[0].update(quantization={"dtype": "uint8"}),
        lambda weights: weights[0].update(quantization={"dtype": "<f8", "scale": 1, "min": 0}),
        lambda weights: weights.pop(0),
        lambda weights: weights.append(3),
        lambda weights: kernel(weights).update(name="other"),
    ],
    ids=range(10),
)
def test_a_wrong_manifest_is_refused(copy: Path, edit: Callable[[list[dict]], object]) -> None:
    change(copy, edit)
    refusal(copy)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"a": 1}', "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    refusal(copy)


def test_weights_that_are_not_finite_are_refused(copy: Path) -> None:
    groups = json.loads((copy / MANIFEST).read_text())
    groups[0]["weights"][0]["quantization"] = {"dtype": "uint8", "scale": float("nan"), "min": 0}
    (copy / MANIFEST).write_text(json.dumps(groups))
    refusal(copy)
