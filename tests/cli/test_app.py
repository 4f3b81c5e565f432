"""The command line: a mistake is one line on stderr and status 2, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Cli, said
from PIL import Image
from safetensors import SafetensorError

import evonas as library
from evonas.core import registry
from evonas.core.files import read_yaml
from evonas.core.version import __version__
from evonas.estimation.features.feature_cache import Features
from evonas.runs.run_store import RunStore
from evonas.workflows.components import Components

HEAD = "file,person,pitch_deg,yaw_deg,box_cx,box_cy,box_w,box_h"


def refused(evonas: Cli, source: object, *words: object) -> str:
    """The one line of a search that was refused before anything was made."""
    folder = Path("run")
    line = said(evonas("search", source, "--run-dir", folder, *words))
    assert not folder.exists(), list(folder.iterdir())
    return line


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Three small real image files with a table."""
    root = tmp_path / "faces"
    (root / "images").mkdir(parents=True)
    rows = [HEAD]
    for number, person in enumerate((1, 2, 10)):
        pixels = np.full((60, 60, 3), 50 * number, np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"f{number}.png")
        rows.append(f"f{number}.png,{person},0,{15 * number},30,30,20,20")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def on(faces: Path) -> list[str]:
    return [f"data={{name: pointing04, root: {faces}, validation: [10]}}"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--optimizer", "cmaa"], "unknown optimizer 'cmaa': did you mean 'cma'?"),
        (["optimizer.sigma=1"], "unknown key optimizer.sigma of optimizer 'random'"),
        (["space=master_modul"], "unknown search space 'master_modul'"),
        (["training.epoch=3"], "unknown key 'training.epoch': did you mean 'epochs'?"),
        (["space.stm=8"], "has no gene 'stm': did you mean 'stem'?"),
        (["data=synthetic_face"], "unknown data 'synthetic_face': did you mean 'synthetic_faces'?"),
        (["backbone=face_recogniton"], "did you mean 'face_recognition'?"),
        (["task=head_pos"], "unknown task 'head_pos': did you mean 'head_pose'?"),
        (["tap=block9"], "has no tap 'block9': did you mean 'block"),
        (["space.tap=[block3, block9]"], "has no tap 'block9'"),
        (["--budget", 0], "budget: "),
        (["--seed", -1], "seed: "),
        (["--workers", 0], "execution.workers: "),
        (["training.learning_rate=-1"], "training.learning_rate: "),
        (["data.identities=1"], "data.identities: expected a whole number from 2 to"),
        (["data.identities=many"], "data.identities: "),
        (["optimizer.population_size=0"], "population_size"),
        (["space.stem=[]"], "expected a list with at least one choice"),
        (["objective.max_macs=5"], "objective.max_macs=5: no architecture of space"),
        (["task.angles=[yawn]"], "task.angles: "),
        (["--executor", "dask"], "execution.executor=dask: no such executor"),
        (["--workers", 2, "--executor", "local"], "execution.workers=2: "),
        (["data=pointing04"], "data 'pointing04' needs data.root="),
        (["data={name: pointing04, root: nowhere}"], "nowhere/labels.csv: cannot be read"),
        (["backbone=face_recognition"], "backbone.weights=FOLDER"),
        (["backbone.weights=nowhere.safetensors"], "found none at nowhere.safetensors"),
        (["features.cache=/proc/nowhere"], "feature cache /proc/nowhere: cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_no_run_directory(
    evonas: Cli, tiny_file: Path, words: list[object], expected: str
) -> None:
    assert expected in refused(evonas, tiny_file, *words)


def test_the_version_is_that_of_the_package(evonas: Cli) -> None:
    assert evonas("--version") == (0, f"evonas {__version__}\n", "")


def test_an_unknown_experiment_is_answered_with_the_nearest(evonas: Cli) -> None:
    line = refused(evonas, "quikstart")
    assert "unknown experiment 'quikstart': no such file; did you mean 'quickstart'?" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("executor", registry.names("executor"))
def test_a_gpu_that_is_not_there_is_refused(evonas: Cli, tiny_file: Path, executor: str) -> None:
    words = ("execution.device=gpu", "--executor", executor)
    assert "execution.device=gpu: there is no GPU" in refused(evonas, tiny_file, *words)


def test_a_label_that_is_not_finite_is_named(evonas: Cli, tiny_file: Path, faces: Path) -> None:
    table = faces / "labels.csv"
    table.write_text(table.read_text().replace(",15,", ",nan,"))
    line = refused(evonas, tiny_file, *on(faces))
    assert "'yaw', 1 are not, the first is nan for f1.png" in line


def test_a_missing_image_is_named(evonas: Cli, tiny_file: Path, faces: Path) -> None:
    (faces / "images" / "f1.png").unlink()
    line = refused(evonas, tiny_file, *on(faces))
    assert f"1 of 3 files are not in {faces / 'images'}: 'f1.png'" in line


def test_images_that_cannot_be_decoded_are_counted_and_the_first_is_named(
    evonas: Cli, tiny_file: Path, faces: Path
) -> None:
    for number in (0, 2):
        (faces / "images" / f"f{number}.png").write_bytes(b"no picture")
    line = refused(evonas, tiny_file, *on(faces))
    assert "2 of 3 images cannot be decoded, the first: " in line
    assert "f0.png" in line


def test_a_backbone_file_that_does_not_fit_is_named(
    evonas: Cli, tiny_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")  # a safetensors file without tensors
    assert str(path) in refused(evonas, tiny_file, f"backbone.weights={path}")
    path.write_bytes(b"something else")
    assert str(path) in refused(evonas, tiny_file, f"backbone.weights={path}")


@pytest.mark.parametrize("content", ["budget: [1", "- list", "budget: 0", "&a [*a]", ""])
def test_a_broken_experiment_is_named(evonas: Cli, tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    assert refused(evonas, path).startswith(f"{path}: ")


def test_a_broken_space_is_named(evonas: Cli, tiny_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    gene = "{name: x, kind: choice, choices: []}"
    path.write_text(f"name: own\nnetwork: linear_probe\ngenes: [{gene}]\n")
    line = refused(evonas, tiny_file, f"space={path}")
    assert f"{path}, gene 'x': expected a list with at least one choice" in line


@pytest.fixture(scope="module")
def short_search(
    components: Components, features: Features, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run directory of a search of two networks."""
    folder = tmp_path_factory.mktemp("short") / "finished"
    library.search(components.experiment, run_dir=folder, budget=2)
    return folder


@pytest.fixture
def finished(short_search: Path, tmp_path: Path) -> Path:
    """A copy of the run directory, which a test may damage."""
    return Path(shutil.copytree(short_search, tmp_path / "finished"))


def test_a_search_says_what_comes_next(evonas: Cli, tiny_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code, out, err = evonas("search", tiny_file, "--run-dir", folder, "--budget", 2)
    assert (code, err) == (0, "")
    assert f"Next: evonas retrain {folder / 'best.json'}" in out
    assert "2 networks trained" in out


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "lock"}


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        (["--seed", 4], "seed: 3 -> 4"),
        (["space.stem=[8, 16]"], "space.stem: [8, 12] -> [8, 16]"),
        (["data.identities=13"], "data.identities: 12 -> 13"),
        (["--optimizer", "cma"], "optimizer.name: 'random' -> 'cma'"),
        (["backbone.random=1"], "backbone.random: None -> 1"),
        (["training.epochs=2"], "training.epochs: 1 -> 2"),
    ],
)
def test_a_run_is_not_resumed_with_something_else(
    evonas: Cli, finished: Path, words: list[object], differs: str
) -> None:
    before = snapshot(finished)
    line = said(evonas("search", "--resume", "--run-dir", finished, *words))
    assert "cannot be resumed with other values" in line
    assert differs in line
    assert snapshot(finished) == before


def test_a_run_is_not_resumed_on_changed_images(
    evonas: Cli, tiny_file: Path, faces: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    code, _, _ = evonas("search", tiny_file, "--run-dir", folder, "--budget", 1, *on(faces))
    assert code == 0
    Image.new("RGB", (60, 60), (9, 9, 9)).save(faces / "images" / "f0.png")
    line = said(evonas("search", "--resume", "--run-dir", folder))
    assert "the content of the data" in line


def test_a_damaged_journal_is_named_with_its_line(evonas: Cli, finished: Path) -> None:
    journal = finished / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([b"{damaged", *lines[1:], b""]))
    line = said(evonas("search", "--resume", "--run-dir", finished))
    assert f"{journal}, line 1: " in line


def test_a_run_directory_is_protected(evonas: Cli, finished: Path, tiny_file: Path) -> None:
    before = snapshot(finished)
    line = said(evonas("search", tiny_file, "--run-dir", finished))
    assert "already holds a run: go on with --resume" in line
    with RunStore(finished, resume=True):
        line = said(evonas("search", "--resume", "--run-dir", finished))
        assert "in use by process" in line
    assert snapshot(finished) == before


def test_nothing_can_be_resumed_where_nothing_is(
    evonas: Cli, tmp_path: Path, tiny_file: Path
) -> None:
    line = said(evonas("search", "--resume", "--run-dir", tmp_path / "none"))
    assert "holds no run to resume" in line
    line = said(evonas("search", tiny_file, "--resume", "--run-dir", tmp_path / "none"))
    assert "holds no run to resume" in line
    assert not (tmp_path / "none").exists()
    assert "--resume needs --run-dir" in said(evonas("search", "--resume"))


def test_a_run_directory_that_existed_is_left_as_it_was(
    evonas: Cli, tiny_file: Path, tmp_path: Path, faces: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    (faces / "images" / "f0.png").write_bytes(b"no picture")
    said(evonas("search", tiny_file, "--run-dir", tmp_path / "mine", *on(faces)))
    assert snapshot(tmp_path / "mine") == {"notes.txt": b"keep"}
    code, _, _ = evonas("search", tiny_file, "--run-dir", tmp_path / "mine", "--budget", 1)
    assert code == 0


def test_the_run_directory_holds_what_a_person_needs(finished: Path) -> None:
    best = json.loads((finished / "best.json").read_text())
    wanted = (
        "format genome architecture digest fitness metrics macs flops params experiment space "
        "backbone data seed evonas"
    )
    assert set(wanted.split()) <= set(best)
    assert best["flops"] == 2 * best["macs"] > 0
    assert best["params"] > 0
    environment = json.loads((finished / "environment.json").read_text())
    assert {"evonas", "packages", "data", "backbone", "space"} <= set(environment)
    assert read_yaml(finished / "experiment.yaml")["seed"] == 3


def test_search_prints_json_alone_where_a_program_reads(
    evonas: Cli, tiny_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    code, out, _ = evonas("search", tiny_file, "--run-dir", folder, "--budget", 1, "--json")
    assert code == 0
    assert json.loads(out) == {"best": str(folder / "best.json")}


def test_a_search_without_a_run_directory_never_overwrites(
    evonas: Cli, tiny_file: Path, tmp_path: Path
) -> None:
    said_first = (
        "note: runs/tiny-random-s3 is a search of this experiment; all is trained anew into "
        "runs/tiny-random-s3-2. To go on with that one instead: evonas search --resume --run-dir "
        "runs/tiny-random-s3\n"
    )
    for expected, line in (("tiny-random-s3", "evonas "), ("tiny-random-s3-2", said_first)):
        code, out, _ = evonas("search", tiny_file, "--budget", 1)
        assert code == 0
        assert (tmp_path / "runs" / expected / "best.json").exists()
        assert out.startswith(line)
    assert evonas("search", tiny_file, "--budget", 1, "training.epochs=2")[1].startswith("evonas ")


def test_the_winner_is_retrained_beside_its_baselines(evonas: Cli, finished: Path) -> None:
    code, out, err = evonas("retrain", finished / "best.json", "--repeats", 2)
    assert (code, err) == (0, "")
    folder = finished / "retrained"
    assert (folder / "winner.safetensors").stat().st_size > 1000
    table = (folder / "comparison.md").read_text(encoding="utf-8")
    for name in ("winner", "pooled features + linear", "constant"):
        assert f"| {name} |" in table
    assert "written: " in out
    contenders = json.loads((folder / "comparison.json").read_text())["contenders"]
    results = {c["name"]: c["results"] for c in contenders}
    assert [len(found) for found in results.values()] == [2, 2, 2, 2]
    assert results["winner"][0] != results["winner"][1]
    assert results["constant"][0] == results["constant"][1]
    assert all("test_mae" in result for found in results.values() for result in found)


def test_a_retraining_whose_weights_cannot_be_kept_says_so(
    evonas: Cli, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr("evonas.estimation.estimator.save_file", full)
    local = ("execution.executor=local", "execution.workers=1", "--epochs", 1)
    code, out, err = evonas("retrain", finished / "best.json", *local)
    assert (code, err) == (0, "")
    content = json.loads((finished / "retrained" / "comparison.json").read_text())
    winner = content["contenders"][0]
    assert (winner["results"], winner["weights"]) == ([], [])
    assert winner["failures"] == ["disk: its weights could not be written"]
    assert "its weights could not be written" in out


def test_cross_validation_judges_on_every_fold(evonas: Cli, finished: Path) -> None:
    code, _, err = evonas("retrain", finished / "best.json", "--folds", 3, "--epochs", 4)
    assert (code, err) == (0, "")
    content = json.loads((finished / "cross-validation" / "comparison.json").read_text())
    names = [c["name"] for c in content["contenders"]]
    assert names[:2] == ["winner", "winner on random backbone"]
    assert all(len(c["results"]) == 3 for c in content["contenders"])
    trained = [result for c in content["contenders"][:-1] for result in c["results"]]
    assert {result["epoch"] for result in trained} == {4}  # the fold that judges chooses none


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda best: best.pop("format"),
            "expected a best.json or front.json of format 1, got None",
        ),
        (
            lambda best: best.update(format=99),
            "expected a best.json or front.json of format 1, got 99",
        ),
        (lambda best: best.pop("architecture"), "the key 'architecture' is missing"),
        (
            lambda best: best.update(architecture=3),
            "architecture: input should be a valid dictionary",
        ),
        (lambda best: best.update(digest="0" * 16), "the digest does not fit"),
        (lambda best: best["experiment"].update(seed=-1), "seed: "),
        (lambda best: best.update(experiment=3), "got '3'"),
        (lambda best: best.update(experiment=["seed"]), "got "),
        (lambda best: best["experiment"].pop("task"), "the key 'task' is missing"),
    ],
)
def test_a_changed_best_json_is_refused(
    evonas: Cli, finished: Path, change: Callable[[dict], object], expected: str
) -> None:
    path = finished / "best.json"
    best = json.loads(path.read_text())
    change(best)
    path.write_text(json.dumps(best))
    line = said(evonas("retrain", path))
    assert expected in line
    assert not (finished / "retrained").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_what_is_no_best_json_is_refused(evonas: Cli, tmp_path: Path, content: str) -> None:
    (tmp_path / "best.json").write_text(content)
    assert str(tmp_path / "best.json") in said(evonas("retrain", tmp_path / "best.json"))


def test_a_folder_that_cannot_be_made_is_named(evonas: Cli, finished: Path) -> None:
    words = ("retrain", finished / "best.json", "--out", finished / "best.json" / "deeper")
    assert "cannot be made" in said(evonas(*words))


def test_a_missing_best_json_and_too_many_folds_are_refused(evonas: Cli, finished: Path) -> None:
    assert "nowhere.json" in said(evonas("retrain", "nowhere.json"))
    line = said(evonas("retrain", finished / "best.json", "--folds", 99))
    assert line == "--folds 99: expected 2 to 10, the number of groups"
