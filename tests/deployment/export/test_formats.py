"""Formats of other runtimes, OpenVINO and LiteRT, and the hashes in the model card."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, said
from exported import answers, crops, pictures, retrained
from finished_search import read

from evonas import load_exported
from evonas.deployment.export.exported_model import ExportedNetwork
from evonas.models.files import openvino_session
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

SHOWN = [1, 8, 15, 22]
FILES = {"openvino": "openvino.xml", "litert": "litert.tflite"}
PACKAGES = {"openvino": "openvino", "litert": "litert_torch"}
KINDS = [
    pytest.param(
        kind,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(package) is None, reason=f"needs the extra {kind!r}"
        ),
    )
    for kind, package in PACKAGES.items()
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A head pose network."""
    return retrained(components, tmp_path_factory.mktemp("pose"))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A network of two tasks."""
    tasks = {"pose": {"name": "head_pose"}, "mouth": {"name": "regression", "labels": "mouth_open"}}
    folder = tmp_path_factory.mktemp("several")
    return retrained(components, folder, task={"name": "several", "tasks": tasks})


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies of one round: they are not looked at here."""
    monkeypatch.setattr("evonas.estimation.cost.latency.ROUNDS", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_answers_as_the_network_and_is_timed_beside_the_others(
    evonas: Cli, made: Path, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "retrained"))
    assert evonas("export", folder)[0] == 0
    code, out, err = evonas("export", folder, "--format", kind)
    assert (code, err) == (0, ""), err
    found = read((folder / "export" / FILES[kind]).with_suffix(".json"))
    names = {"openvino": "OpenVINO, the file", "litert": "LiteRT, the file"}
    assert list(found["latency"]) == [
        *("PyTorch, eager", names[kind], "ONNX Runtime, network.onnx")
    ]
    assert all(name in out for name in found["latency"])
    assert found["parity"]["largest_difference"] < 1e-4
    shipped = ExportedNetwork.load(folder / "export" / FILES[kind])
    assert dict(shipped.card).items() <= found.items()
    for count in (1, 4):
        np.testing.assert_allclose(
            shipped.run(crops(folder, SHOWN[:count])), answers(folder, SHOWN[:count]), atol=1e-4
        )
    photo = pictures(folder, tmp_path / "photos", [3])[0]
    code, out, err = evonas("predict", folder / "export" / FILES[kind], photo)
    assert (code, err) == (0, ""), err
    expected = load_exported(folder / "export" / "network.onnx").predict(photo)
    line = json.loads(out)
    for name, angle in expected.items():
        assert line[name] == pytest.approx(angle, abs=1e-3)
    files = {path.name for path in (folder / "export").iterdir()}
    assert not [name for name in files if name.startswith(".")]


@pytest.mark.parametrize("kind", KINDS)
def test_several_tasks(evonas: Cli, several: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / FILES[kind]
    code, _, err = evonas("export", several, "--format", kind, "--out", file)
    assert (code, err) == (0, ""), err
    found = load_exported(file).predict(pictures(several, tmp_path / "photos", [3])[0])
    assert {name: len(part) for name, part in found.items()} == {"mouth": 1, "pose": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_line(evonas: Cli, made: Path, tmp_path: Path, kind: str) -> None:
    file = tmp_path / FILES[kind]
    assert evonas("export", made, "--format", kind, "--out", file)[0] == 0
    photo = pictures(made, tmp_path / "photos", [3])[0]
    if kind == "openvino":
        file.with_suffix(".bin").unlink()
        assert "cannot be read by OpenVINO" in said(evonas("predict", file, photo))
        file.write_text("<net>")
        assert "cannot be read as XML" in said(evonas("predict", file, photo))
        file.write_text("<net></net>")
        assert "without a model card" in said(evonas("predict", file, photo))
    else:
        content = file.read_bytes()
        file.write_bytes(bytes(200) + content[200:])
        assert "cannot be read by LiteRT" in said(evonas("predict", file, photo))
        file.write_bytes(content[:300])
        assert "cannot be read as a .tflite archive" in said(evonas("predict", file, photo))


@pytest.mark.parametrize("kind", FILES)
def test_a_missing_package_is_named(
    evonas: Cli, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[kind], None)
    line = said(evonas("export", made, "--format", kind, "--out", tmp_path / FILES[kind]))
    assert line.endswith(f"pip install 'evonas[{kind}]'")
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_be_made_of_is_refused(
    evonas: Cli, made: Path, tmp_path: Path
) -> None:
    words = ("export", made, "--format", "openvino")
    assert "a file with the ending .xml" in said(evonas(*words, "--out", tmp_path / "x.onnx"))
    assert "needs --format onnx" in said(evonas(*words, "--keep-embedding"))


def test_the_card_names_what_the_network_was_made_of(
    evonas: Cli, made: Path, tmp_path: Path
) -> None:
    assert evonas("export", made, "--out", tmp_path / "pose.onnx")[0] == 0
    hashes = read(tmp_path / "pose.json")["hashes"]
    parts = Retrained(made).components
    assert hashes["data"] == parts.dataset.fingerprint
    assert hashes["backbone"] == parts.backbone.fingerprint
    weights = made / read(made / "comparison.json")["contenders"][0]["weights"][0]
    assert hashes["files"][weights.name] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert ExportedNetwork.load(tmp_path / "pose.onnx").card["hashes"] == hashes


def test_an_openvino_card_needs_no_openvino(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(
        '<net><rt_info><evonas value="{&quot;a&quot;: 1}"/></rt_info></net>'
    )
    assert openvino_session.note(tmp_path / "x.xml", "evonas") == '{"a": 1}'
