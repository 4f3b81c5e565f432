"""Tables, photos, labels, weights and programs, with any of their bytes damaged."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from face_files import write_mat
from hypothesis import given
from hypothesis import strategies as st
from mutations import command, damaged, fuzz, owed, refused_or_read
from PIL import Image
from safetensors.torch import save_file
from small_modules import ConvNet, export

from evonas.core import registry
from evonas.data.images.image_io import read_photo
from evonas.data.readers.csv_table import located, read_table
from evonas.data.readers.mat_labels import read_mat
from evonas.deployment.export.photo_inputs import boxes_of
from evonas.errors import InputError, UnreadableImage
from evonas.models.backbones.common.tfjs_weights import read_weights
from evonas.models.files.exported_programs import load_program
from evonas.models.files.state_dicts import read_state

HEADER = "file,person,yaw,left,top,right,bottom,split"
LINES = [f"{i}.jpg,p{i},{i}.5,1,2,30,35,{('train', 'val')[i % 2]}" for i in range(4)]
CELLS = st.sampled_from(
    [
        *("", "'", '"', "../../etc/passwd", "/etc/passwd", "nan", "1e400", "-3e38", "1e30", "é"),
        *("\x00", '"a\nb"', "x" * 300, "C:\\x", "\\\\host\\share", ".", "..", "0.jpg/", "٣"),
        *("1_0", "=cmd()"),
    ]
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(4):
        picture = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.jpg")
    (tmp_path / "labels.csv").write_text("\n".join([HEADER, *LINES]), encoding="utf-8")
    return tmp_path


def celled(edits: list[tuple[int, str]]) -> bytes:
    rows = [line.split(",") for line in (HEADER, *LINES)]
    for number, cell in edits:
        row = rows[number % len(rows)]
        row[number // 7 % len(row)] = cell
    return "\n".join(",".join(row) for row in rows).encode()


def tried(
    path: Path, examples: int, read: Callable[[], object], *others: st.SearchStrategy[bytes]
) -> None:
    """Damage a file many times, and read it each time."""

    @fuzz(examples)
    @given(st.one_of(damaged(path.read_bytes()), *others))
    def try_it(content: bytes) -> None:
        path.write_bytes(content)
        refused_or_read(read)

    try_it()


def test_a_damaged_table_of_images(photos: Path) -> None:
    def read() -> None:
        data = registry.create("data", "image_table", {"root": str(photos)})
        for i in range(len(data)):
            assert data.image(i).shape == (192, 192, 3)

    edits = st.lists(st.tuples(st.integers(0, 1000), CELLS), min_size=1, max_size=3)
    tried(photos / "labels.csv", 100, read, edits.map(celled))


def test_a_damaged_table_of_boxes(photos: Path) -> None:
    named = {photos / "0.jpg": {"0.jpg"}, photos / "1.jpg": {"1.jpg"}}
    edits = st.lists(st.tuples(st.integers(0, 1000), CELLS), min_size=1, max_size=3)
    table = photos / "labels.csv"
    tried(table, 100, lambda: boxes_of(table, named), edits.map(celled))


def test_damaged_labels_of_matlab(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    pose = np.array([[0.1, 0.2, 0.3, 1, 1, 1, 1]], np.float32)
    write_mat(path, {"pt2d": np.zeros((2, 21)), "Pose_Para": pose})
    tried(path, 150, lambda: read_mat(path))


def test_damaged_labels_of_matlab_as_they_are_published(
    aflw2000_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes((aflw2000_root / "image00050.mat").read_bytes())
    tried(path, 60, lambda: read_mat(path))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_a_damaged_photo_is_decoded_or_unreadable(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.effect_noise((40, 50), 90).convert("RGB").save(path)

    def read() -> None:
        with suppress(UnreadableImage):
            assert read_photo(path, upright=True).mode == "RGB"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tried(path, 80, read)


def test_a_damaged_state(tmp_path: Path) -> None:
    state = {"a": torch.zeros(3, 3), "b": torch.ones(2)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    tried(tmp_path / "w.safetensors", 100, lambda: read_state(tmp_path / "w.safetensors"))
    tried(tmp_path / "w.pt", 100, lambda: read_state(tmp_path / "w.pt"))


def test_a_damaged_program(tmp_path: Path) -> None:
    path = export(ConvNet(), tmp_path / "net.pt2")
    tried(path, 25, lambda: load_program(path))


def test_a_damaged_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from evonas.deployment.export.exported_model import ExportedNetwork

    path = tmp_path / "net.onnx"
    path.write_bytes(small_onnx(onnx))
    shipped = ExportedNetwork.load(path)
    assert shipped.answers([np.zeros((8, 8, 3), np.uint8)]).shape == (1, 3)
    tried(path, 100, lambda: ExportedNetwork.load(path))


def small_onnx(onnx: Any) -> bytes:
    """A network of means of colours, with what evonas says of one."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    card = {
        "format": 1,
        "input": {"size": 8},
        "answer": {"kind": "values", "columns": ["r", "g", "b"], "unit": ""},
        "crop": {
            **{"shape": "whole", "context": 1.0, "widening": None},
            **{"margin": 0.0, "size": 8, "smooth": False},
        },
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["values"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", kind, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("values", kind, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"evonas": json.dumps(card)})
    return bytes(model.SerializeToString())


def test_predict_says_in_one_line_what_is_wrong(photos: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = photos / "net.onnx"
    whole = small_onnx(onnx)
    model.write_bytes(whole)
    words = ("predict", model, photos / "0.jpg", "--boxes", photos / "labels.csv")
    assert command(photos, *words)[0] == 0

    @fuzz(25)
    @given(damaged(whole))
    def try_it(content: bytes) -> None:
        model.write_bytes(content)
        owed(command(photos, *words))

    try_it()


@pytest.mark.parametrize("name", ["weights_manifest.json", "weights.bin"])
def test_a_damaged_manifest(tmp_path: Path, name: str) -> None:
    listing = [{"weights": [{"name": "a", "shape": [2, 2], "dtype": "float32"}]}]
    (tmp_path / "weights_manifest.json").write_text(json.dumps(listing), encoding="utf-8")
    (tmp_path / "weights.bin").write_bytes(np.ones(4, np.float32).tobytes())
    read = lambda: read_weights(tmp_path, "weights_manifest.json", "weights.bin")  # noqa: E731
    tried(tmp_path / name, 80, read)


def test_a_picture_of_gigapixels_is_unreadable_and_quick(tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("1", (8, 8)).save(small)
    header = bytearray(small.read_bytes())
    header[16:24] = (50_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    small.write_bytes(bytes(header))
    with pytest.raises(UnreadableImage, match=r"small\.png"):
        read_photo(small)


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "C:\\x", "a\\..\\..\\x", "a/../../x"])
def test_a_table_names_files_below_its_folder_alone(photos: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected names of files below"):
        located(photos, [name], "the table")


def test_a_cell_with_a_byte_that_no_path_has_is_refused(photos: Path) -> None:
    table = photos / "labels.csv"
    table.write_bytes(celled([(1, "\x00")]))
    refused_or_read(lambda: located(photos, read_table(table).texts("file"), str(table)))
