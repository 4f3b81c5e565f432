"""Disks that are really full, folders that may really not be written, and a run of another's."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from exported import retrained
from faults.driver import KILLED, Toys, Whole, known
from faults.places import FULL, SmallDisk, hand_over, stranger, strangers_folder, without_rights
from mutations import command
from run_folder import run_folder, trials
from small_modules import ConvNet
from torch import nn

from evonas.core import experiment as config
from evonas.core.files import keep
from evonas.deployment import onnx_file
from evonas.deployment.quantization import pt2e as quantize_pt2e
from evonas.deployment.quantization.capture import trace
from evonas.errors import EvonasError
from evonas.models.files import safetensors_files as weights
from evonas.models.tracing import save
from evonas.workflows.components import Components

WORDS = ("optimizer={name: cma}", "inherit=true", "fidelity=racing", "training.epochs=8")


@pytest.fixture(scope="module")
def whole(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(toys, tmp_path_factory.mktemp("whole"), *WORDS)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.close()


def line(result: tuple[int, str, str]) -> str:
    """Return the one line of a command that could not write."""
    code, out, err = result
    assert code in (1, 2), result
    assert "Traceback" not in out + err
    (found,) = [one for one in err.splitlines() if one.startswith("evonas: ")]
    return found


def test_a_journal_on_a_full_disk(whole: Whole, tmp_path: Path) -> None:
    chance, refused, tries = random.Random(1), 0, 4
    for number in range(tries):
        place, folder = SmallDisk(tmp_path / f"disk{number}"), tmp_path / str(number) / "run"
        folder.parent.mkdir()
        (place.folder / "run").mkdir()
        folder.symlink_to(place.folder / "run")  # what the toys note lies beside, off the disk
        try:
            leave = 4096 * chance.randrange(1, 12)
            order = {} if place.real else {"limit": leave}
            with place.full(leave) if place.real else place.full(1 << 30):
                status, output = whole.toys(folder, *WORDS, **order)
            assert status in (0, 1, 2), output
            if status:
                assert "Traceback" not in output
                (said,) = [one for one in output.splitlines() if one.startswith("evonas: ")]
                assert re.search(rf"cannot be written \(({FULL})\)", said)
                refused += 1
            if (folder / "journal.jsonl").exists():
                text = (folder / "journal.jsonl").read_bytes()
                assert text == known(folder), "half a line was left behind"
            if (folder / "journal.jsonl").exists() and not (folder / "experiment.yaml").exists():
                (folder / "journal.jsonl").unlink()
            ended(whole, folder)
        finally:
            place.close()
    print(f"{tries} runs, {refused} refused")
    assert refused >= 2


def ended(whole: Whole, folder: Path) -> None:
    """Go on; weights of a parent that found no room change who inherits, so compare with care."""
    before = known(folder)
    status, output = whole.toys(folder, *whole.words)
    assert status == 0, output
    after = (folder / "journal.jsonl").read_bytes()
    assert after.startswith(before), "a result was lost"
    numbers = [(r["digest"], r["repeat"]) for r in map(json.loads, after.splitlines())]
    assert len(numbers) >= 14
    assert (folder / "best.json").exists()
    assert not [*folder.glob(".*draft")]


def test_features_on_a_disk_that_fills_up(disk: SmallDisk, tmp_path: Path) -> None:
    """In a process of its own: a map of a file without room ends one by SIGBUS."""
    script = """
import resource, sys
from evonas.core import registry
from evonas.models.backbones.synthetic_face import SyntheticFace
from evonas.errors import InputError
from evonas.estimation.features import feature_cache as features
from evonas.estimation.features.views import View

folder, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
features.check_space = lambda *given: None  # others fill the disk after it was looked at
given = {"identities": 6, "images_per_identity": 10, "train": 0.5, "validation": 0.5}
data = registry.create("data", "synthetic_faces", given)
try:
    found = features.FeatureCache(__import__("pathlib").Path(folder)).ensure(
        SyntheticFace(), data, ["block3"], [View()]
    )
    print("made", found.passes)
except InputError as error:
    print(error)
"""

    def made(limit: int = 0) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", script, str(disk.folder / "cache"), str(limit)]
        return subprocess.run(
            words, capture_output=True, text=True, check=False, env=Toys.environment()
        )

    for leave in (65536, 1 << 18):  # 60 maps of 8 KiB are 480 KiB
        with disk.full(leave) if disk.real else disk.full(1 << 30):
            found = made(0 if disk.real else leave)
        assert found.returncode == 0, found
        assert re.search(rf"cannot be written \(({FULL})\): free some space or", found.stdout)
        assert len(found.stdout.splitlines()) == 1
        assert disk.names() == set(), "something half was left behind"
    assert made().stdout.strip() == "made 60"


def test_retrained_and_exported_networks(
    disk: SmallDisk, components: Components, tmp_path: Path
) -> None:
    folder = retrained(components, tmp_path)
    out = disk.folder / "retrained"
    words = ("retrain", tmp_path / "tiny.yaml", "--out", out)
    with disk.full(4096):
        said = line(command(tmp_path, *words, also=disk.folder))
    assert re.search(rf"comparison\.(md|json): cannot be written \(({FULL})\)", said)
    assert not {name for name in disk.names() if name.endswith((".json", ".md", ".draft"))}
    assert command(tmp_path, *words, also=disk.folder)[0] == 0
    assert {"comparison.json", "linear-head-block3.safetensors"} <= disk.names()
    shutil.rmtree(out)
    for kind, name in (("onnx", "n.onnx"), ("torch_export", "n.pt2")):
        file = disk.folder / name
        words = ("export", folder, "--format", kind, "--out", file)
        with disk.full(4096):
            said = line(command(tmp_path, *words, also=disk.folder))
        assert re.search(rf"cannot be written \(({FULL})\)", said), said
        assert disk.names() == set()
        assert command(tmp_path, *words, also=disk.folder)[0] == 0
        assert disk.names() == {name, "n.json"}
        for path in disk.folder.iterdir():
            path.unlink()


def test_pages_and_pictures(disk: SmallDisk, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", trials(12))
    page = disk.folder / "report.html"
    with disk.full(1 << 20):  # it has some megabytes
        said = line(command(tmp_path, "report", folder, "--out", page, also=disk.folder))
    assert re.search(FULL, said)
    assert disk.names() == set()
    assert command(tmp_path, "report", folder, "--out", page, also=disk.folder)[0] == 0
    assert disk.names() == {"report.html"}


def test_pruned_and_quantised_networks(disk: SmallDisk) -> None:
    network, example = ConvNet().eval(), torch.zeros(2, 3, 32, 32)
    onnx = pytest.importorskip("onnx")
    value = onnx.numpy_helper.from_array(torch.ones(3000).numpy(), "w")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "net", [], [], [value]))
    state = nn.Linear(50, 50).state_dict()
    works = {
        "pruned.pt2": lambda path: save(network, example, path),
        "head.safetensors": lambda path: keep(path, weights.packed(state)),
        "quantized.pt2": lambda path: quantize_pt2e.save(trace(network, 32, True), path),
        "n.onnx": lambda path: onnx_file.save(model, path, {"a": "b"}),
    }
    for name, work in works.items():
        with disk.full(4096):
            if name == "n.onnx":  # `evonas export` gives it the name of a draft
                with pytest.raises(OSError, match=FULL):
                    work(disk.folder / name)
                (disk.folder / name).unlink()
            else:
                with pytest.raises(EvonasError, match=r"cannot be written \(") as caught:
                    work(disk.folder / name)
                assert "\n" not in str(caught.value)
            assert disk.names() == set(), name
        work(disk.folder / name)
        assert disk.names() == {name}
        (disk.folder / name).unlink()


# As somebody without rights


@pytest.fixture
def theirs() -> Iterator[Path]:
    with strangers_folder() as folder:
        yield folder


def test_a_run_directory_that_is_read_only(whole: Whole, toys: Toys, theirs: Path) -> None:
    folder = theirs / "run"
    assert toys(folder, *WORDS, fault={"kind": "kill", "at": 150}, **stranger())[0] == KILLED
    before = (folder / "journal.jsonl").read_bytes()
    folder.chmod(0o555)
    for name in ("journal.jsonl", "lock"):
        (folder / name).chmod(0o444)
    status, output = toys(folder, **stranger())
    assert status == 2
    assert "Traceback" not in output
    (said,) = [one for one in output.splitlines() if one.startswith("evonas: ")]
    assert "cannot be written (Permission denied)" in said
    assert (folder / "journal.jsonl").read_bytes() == before
    folder.chmod(0o755)
    for name in ("journal.jsonl", "lock"):
        (folder / name).chmod(0o644)
    status, output = toys(folder, **stranger())
    assert status == 0, output
    whole.check(folder, known(folder), 10**6)


def test_a_run_that_was_copied_to_another_person(
    whole: Whole, toys: Toys, theirs: Path, tmp_path: Path
) -> None:
    """As to another machine: other path, other owner."""
    folder = tmp_path / "here" / "run"
    for share in (0.2, 0.5, 0.8):
        at = int(share * len(whole.moments))
        shutil.rmtree(folder.parent, ignore_errors=True)
        assert whole.toys(folder, *WORDS, fault={"kind": "kill", "at": at})[0] == KILLED
        there = theirs / f"copied {share}"
        shutil.copytree(folder.parent, there)
        hand_over(there)
        before = known(there / "run")
        status, output = toys(there / "run", *WORDS, **stranger())
        assert status == 0, output
        whole.check(there / "run", before, 10**6)
        assert known(folder) == before, "the copy wrote into the original"


def spoken(words: list[str], folder: Path) -> tuple[int, str, str]:
    """Run a command without the rights of root."""
    env = Toys.environment() | {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [*without_rights(), sys.executable, "-m", "evonas", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_caches_and_results_that_are_read_only(tmp_path: Path, tiny: dict[str, Any]) -> None:
    theirs = tmp_path
    plain: dict[str, Any] = {**tiny, "features": {"cache": str(theirs / "maps")}, "budget": 1}
    config.check(plain, "tiny")
    (theirs / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    (theirs / "maps").mkdir()
    (theirs / "out").mkdir()
    for name in ("maps", "out"):
        (theirs / name).chmod(0o555)
    said = line(spoken(["search", "tiny.yaml", "--run-dir", "run"], theirs))
    assert said.startswith(f"evonas: feature cache {theirs / 'maps'}: cannot be written (Perm")
    said = line(spoken(["search", "tiny.yaml", "--run-dir", "out/run"], theirs))
    assert "out/run" in said
    assert "(Permission denied)" in said
    said = line(spoken(["retrain", "tiny.yaml", "--out", "out"], theirs))
    assert said.startswith("evonas: out: cannot be made (it may not be written into): choose")
