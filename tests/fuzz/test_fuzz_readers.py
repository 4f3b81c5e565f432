"""The readers of data sets and tables, sidecars of caches, results of pruning and TorchScript."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from face_files import write_biwi
from hypothesis import given
from hypothesis import strategies as st
from mutations import command, damaged, edited, fuzz, owed, refused_or_read, watched
from PIL import Image
from small_modules import ConvNet

from evonas.api import pipeline
from evonas.core import registry
from evonas.core.settings import TableSettings
from evonas.data.leeds_sports import JOINTS
from evonas.errors import InputError, UnreadableImage
from evonas.estimation.cost import latency_cache as timing
from evonas.estimation.cost.latency import Latency
from evonas.estimation.cost.latency_cache import Timing
from evonas.estimation.features.cache_files import commit, intact, sidecar
from evonas.models.backbones.exported import Exported
from evonas.models.backbones.synthetic_face import SyntheticFace
from evonas.runs.compression_schemas import PruneResult, QuantizeResult
from evonas.runs.file_schemas import read
from evonas.space import Architecture
from evonas.workflows.result_table import Table

CELLS = st.sampled_from(
    [
        *("", "'", '"', "../../etc/passwd", "/etc/passwd", "nan", "inf", "1e400", "-3e38", "1e30"),
        *("\x00", '"a\nb"', "x" * 300, "C:\\x", ".", "..", "٣", "1_0", "=cmd()", "-1", "1e9"),
    ]
)
# values of a person's size; counts of 1e30 are a wish, not a mistake
SMALL: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 0.5, "", "nan", float("nan"), float("inf"), [], {}, [None], "a\nb", "../x"]
)
POINTS = ",".join(f"{20 + 5 * k},{30 + 3 * k},1" for k in range(14))
FOLDERS = {
    "pointing04": (
        "labels.csv",
        "file,person,pitch_deg,yaw_deg,box_cx,box_cy,box_w,box_h",
        ["a.png,1,0,0,40,30,20,20", "b.png,1,15,-30,40,30,20,20", "c.png,10,0,0,5,30,20,20"],
        {"validation": (10,)},
    ),
    "leeds_sports": (
        "joints.csv",
        "file," + ",".join(f"{joint}_{part}" for joint in JOINTS for part in "xyv"),
        [f"{name}.png,{POINTS}" for name in "abc"],
        {},
    ),
}
COCO = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": 80, "height": 60} for i in (1, 2)],
    "annotations": [
        {
            **{"id": 10 + i, "image_id": i, "category_id": 1, "iscrowd": 0, "area": 900.0},
            **{"bbox": [5.0, 6.0, 40.0, 45.0], "num_keypoints": 17},
            "keypoints": [8 + i, 9, 2] * 17,
        }
        for i in (1, 2)
    ],
    "categories": [{"id": 1, "name": "person", "keypoints": [f"k{i}" for i in range(17)]}],
}


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of labels is remembered in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))


@pytest.fixture
def tried(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> Iterator[Callable[..., None]]:
    """Writes many damaged files and reads each; says how many they were."""
    count = 0

    def all_of(
        path: Path, examples: int, contents: st.SearchStrategy[bytes], read: Callable[[], object]
    ) -> None:
        @fuzz(examples)
        @given(contents)
        def try_it(content: bytes) -> None:
            nonlocal count
            count += 1
            path.write_bytes(content)
            with watched(tmp_path):
                refused_or_read(read)

        try_it()

    yield all_of
    record_property("inputs", count)
    print(f"{count} inputs")


def celled(head: str, rows: list[str]) -> st.SearchStrategy[bytes]:
    """A table with one to three cells replaced."""

    def changed(edits: list[tuple[int, str]]) -> bytes:
        table = [line.split(",") for line in (head, *rows)]
        for number, cell in edits:
            row = table[number % len(table)]
            row[number // 7 % len(row)] = cell
        return "\n".join(",".join(row) for row in table).encode()

    return st.lists(st.tuples(st.integers(0, 10**4), CELLS), min_size=1, max_size=3).map(changed)


def looked_at(name: str, **options: Any) -> None:
    """Make a data set and look at its first images."""
    data = registry.create("data", name, options)
    for index in range(min(2, len(data))):
        with suppress(UnreadableImage):
            assert data.image(index).ndim == 3


def folder_of(place: Path, name: str) -> Path:
    """Write a data set; return its table."""
    file, head, rows, _ = FOLDERS[name]
    root = place / "data"
    (root / "images").mkdir(parents=True)
    for row in rows:
        Image.new("RGB", (120, 100), (9, 90, 40)).save(root / "images" / row.split(",")[0])
    (root / file).write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return root / file


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_tables_of_data_sets(tmp_path: Path, tried: Callable[..., None], name: str) -> None:
    _, head, rows, options = FOLDERS[name]
    table = folder_of(tmp_path, name)
    root = str(table.parent)
    looked_at(name, root=root, **options)
    contents = st.one_of(celled(head, rows), damaged(table.read_bytes()))
    tried(table, 80, contents, lambda: looked_at(name, root=root, **options))


@pytest.mark.parametrize("name", sorted(FOLDERS))
@pytest.mark.parametrize("cell", ["a\x00.png", "../a.png", "/etc/hostname", "b/../../a.png", ""])
def test_photos_lie_below_their_folder(tmp_path: Path, name: str, cell: str) -> None:
    table = folder_of(tmp_path, name)
    first = FOLDERS[name][2][0].split(",")[0]
    (tmp_path / "data" / "a.png").write_bytes((table.parent / "images" / first).read_bytes())
    table.write_text(table.read_text().replace(first, cell))
    with pytest.raises(
        InputError, match=r"expected names of files below|are not in|byte|empty|no file"
    ):
        looked_at(name, root=str(table.parent), **FOLDERS[name][3])


def test_annotations_of_coco(tmp_path: Path, tried: Callable[..., None]) -> None:
    for i in (1, 2):
        Image.new("RGB", (80, 60), (9, 90, 40)).save(tmp_path / f"{i}.png")
    whole = json.dumps(COCO).encode()
    path = tmp_path / "test.json"
    path.write_bytes(whole)
    read = lambda: looked_at(  # noqa: E731
        "coco_keypoints", root=str(tmp_path), test="test.json", images="."
    )
    read()
    changed = st.one_of(edited(COCO), edited(COCO, SMALL)).map(lambda d: json.dumps(d).encode())
    tried(path, 120, st.one_of(changed, changed, damaged(whole)), read)


def test_published_annotations_of_coco(tmp_path: Path, tried: Callable[..., None]) -> None:
    real = Path(__file__).parents[3] / "shared/data/coco_samples/coco/test_coco.json"
    # where the data set is not there, its form is
    whole = real.read_bytes() if real.is_file() else json.dumps(COCO).encode()
    path = tmp_path / "test.json"
    tried(
        path,
        25,
        damaged(whole),
        lambda: looked_at("coco_keypoints", root=str(tmp_path), test="test.json", images="."),
    )


@pytest.mark.parametrize("name", ["frame_00003_pose.txt", "rgb.cal"])
def test_poses_and_cameras_of_biwi(tmp_path: Path, tried: Callable[..., None], name: str) -> None:
    root = tmp_path / "biwi"
    write_biwi(root, videos=2, frames=1)
    path = root / "01" / name
    whole = path.read_bytes()
    looked_at("biwi", root=str(root))
    words = whole.decode().split(" ")
    cells = st.tuples(st.integers(0, len(words) - 1), CELLS).map(
        lambda one: " ".join([*words[: one[0]], one[1], *words[one[0] + 1 :]]).encode()
    )
    contents = st.one_of(damaged(whole), cells)
    tried(path, 80, contents, lambda: looked_at("biwi", root=str(root)))


def test_a_table_of_trainings(tmp_path: Path, tried: Callable[..., None]) -> None:
    path, head = tmp_path / "past.csv", "width,kind,rmse,ops,params"
    rows = [f"{w},{k},{w / 8 + 1},{w * 100},{w}" for w in (8, 16, 32) for k in ("a", "b")]
    kinds = ({"genes": ("width", "kind")}, {"digits": "width"})

    def read() -> None:
        for more in kinds:
            refused_or_read(partial(used, more))

    def used(more: dict[str, Any]) -> None:
        given = {"file": str(path), "error": "rmse", "cost": "ops", "params": "params", **more}
        table = Table(TableSettings.model_validate(given))
        made: Architecture = table.space.decode([0.4] * table.space.dim)
        assert table.cost(made) >= 0
        table.measure(made)

    whole = "\n".join([head, *rows]) + "\n"
    path.write_text(whole, encoding="utf-8")
    used(kinds[0])
    tried(path, 120, st.one_of(celled(head, rows), damaged(whole.encode())), read)


def test_a_search_in_a_damaged_table_says_so_in_one_line(
    tmp_path: Path, tried: Callable[..., None]
) -> None:
    path = tmp_path / "past.csv"
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerows([["width", "rmse"], *([w, w / 8] for w in (8, 16, 32))])
    plain = {
        **{"table": {"file": "past.csv", "genes": ["width"], "error": "rmse"}, "budget": 2},
        **{"name": "past", "optimizer": {"name": "random"}, "report": False},
    }
    (tmp_path / "past.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")

    def read() -> None:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        owed(command(tmp_path, "search", "past.yaml", "--run-dir", "run"))

    tried(path, 15, damaged(stream.getvalue().encode()), read)


def test_torchscript(tmp_path: Path, tried: Callable[..., None]) -> None:
    path = tmp_path / "net.pt"
    traced: Any = torch.jit.trace(ConvNet().eval(), torch.zeros(1, 3, 32, 32))
    traced.save(path)
    tried(path, 30, damaged(path.read_bytes()), lambda: Exported(path=str(path), input_size=32))


def test_a_card_beside_shipped_weights(tmp_path: Path, tried: Callable[..., None]) -> None:
    source = Path(registry.load("backbone", "synthetic_face").__module__.replace(".", "/"))
    whole = (Path(__file__).parents[2] / source).with_suffix(".json").read_bytes()
    weights = (Path(__file__).parents[2] / source).with_suffix(".safetensors")
    shutil.copy(weights, tmp_path / "w.safetensors")
    (tmp_path / "w.json").write_bytes(whole)
    read = lambda: SyntheticFace(weights=str(tmp_path / "w.safetensors"))  # noqa: E731
    read()
    changed = edited(json.loads(whole)).map(lambda data: json.dumps(data).encode())
    tried(tmp_path / "w.json", 60, st.one_of(changed, damaged(whole)), read)


def test_what_is_noted_beside_features(tmp_path: Path, tried: Callable[..., None]) -> None:
    path, note = tmp_path / "a.npy", tmp_path / "a.json"
    np.save(tmp_path / "draft.npy", np.ones((3, 2), np.float16))
    commit(tmp_path / "draft.npy", path, {1: "b.jpg: cannot be decoded"})
    plain, told = json.loads(note.read_text()), sidecar(path)

    def read() -> None:
        if intact(path):
            assert sidecar(path)["unreadable"] == told["unreadable"]

    changed = edited(plain).map(lambda data: json.dumps(data).encode())
    tried(note, 150, st.one_of(changed, damaged(note.read_bytes())), read)


def test_tables_of_latencies(
    tmp_path: Path, tried: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "latency", lambda *given: Latency(2.5, 0.01))

    def ask() -> float:
        return Timing(tmp_path)(
            Architecture("toy", {}), torch.nn.Identity(), (3, 4, 4), 2, "cpu"
        ).ms

    assert ask() == 2.5
    (path,) = tmp_path.glob("*.json")
    whole = path.read_bytes()
    monkeypatch.setattr(timing, "latency", lambda *given: Latency(7.5, 0.01))

    def read() -> None:
        assert ask() in (2.5, 7.5)

    changed = edited(json.loads(whole)).map(lambda data: json.dumps(data).encode())
    tried(path, 120, st.one_of(changed, damaged(whole)), read)


def test_results_of_pruning_and_quantising(tmp_path: Path, tried: Callable[..., None]) -> None:
    """What the table of a pipeline is made of."""
    less = {"macs_of_whole": 90.0, "params_of_whole": 95.0}
    cost = {"params": 5000, "macs": 10**6, "less_in_percent": less}
    common = {"format": 1, "network": "winner", "repeat": 0, "tap": "block3", "settings": {}}
    pruned = {
        **common,
        "from": "runs/x",
        "maps": [],
        "fixed": [["block3", "is the output"]],
        "metrics": {"whole": {"mae": 4.0}, "pruned": {"mae": 4.5}},
        "cost": {"up to the tap, with head": cost, "pruned, with head": cost},
        "judged": {"side": "test", "images": 20},
        "difference": 1e-6,
        "environment": {},
        "origin": {},
    }
    small = {
        **common,
        **{"file": "quantized.onnx", "seed": 0, "calibration_images": 20, "judged_on": {}},
        **{"before": {"mae": 4.5}, "after": {"mae": 4.6}, "operators": {}, "latency": {}},
        **{"bytes": {"before": 100, "after": 30, "ratio": 3.3}, "training": [], "seconds": {}},
        **{"cpu": "any", "packages": {}, "notes": []},
    }
    files = {"prune.json": (pruned, PruneResult), "quantize.json": (small, QuantizeResult)}
    for name, (plain, _) in files.items():
        path = tmp_path / name

        def table(path: Path = path) -> None:
            one, two = (
                read(path, kind, "a result") if file == path.name else whole
                for file, (whole, kind) in files.items()
            )
            pipeline.stages(cast(Any, one), cast(Any, two), ["mae"], "degrees")

        path.write_text(json.dumps(plain), "utf-8")
        table()
        changed = edited(plain).map(lambda data: json.dumps(data).encode())
        tried(path, 60, st.one_of(changed, damaged(json.dumps(plain).encode())), table)
