"""``evonas evaluate`` from retraining to table: what was trained on does not judge unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import Cli, said
from PIL import Image
from rich.console import Console

from evonas.api.retrained_model import RetrainedModel
from evonas.api.retraining import retrain
from evonas.runs.training_record import FILE, TrainingRecord
from evonas.workflows.evaluation import Retrained

QUIET = Console(quiet=True)
SAME_REASON = "images: training or validation saw them"


def write(root: Path, persons: range, seed: int = 0) -> Path:
    """Faces of noise, four of each person."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    lines = ["file,person,pitch_deg,yaw_deg,box_cx,box_cy,box_w,box_h"]
    for person in persons:
        for k in range(4):
            rng = np.random.default_rng([seed, person, k])
            noise = rng.integers(0, 256, (48, 64, 3), np.uint8)
            Image.fromarray(noise).save(root / "images" / f"{person}_{k}.png")
            lines.append(f"{person}_{k}.png,{person},{5 * k},{person},32,24,30,30")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def experiment(tiny: dict[str, Any], root: Path, **changes: Any) -> dict[str, Any]:
    head = {"name": "head", "network": "linear_probe", "settings": {"tap": "block3"}}
    data = {"name": "pointing04", "root": str(root), "validation": [1, 2]}
    task = {"name": "regression", "labels": ["yaw", "pitch"]}
    return {**tiny, "data": data, "task": task, "baselines": [head], **changes}


def trained(plain: dict[str, Any], folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return retrain(path, out=folder).folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Persons 1 to 6."""
    return write(tmp_path / "faces", range(1, 7))


@pytest.fixture
def folder(tiny: dict[str, Any], root: Path, tmp_path: Path) -> Path:
    """Trained on persons 3 to 6, validated on 1 and 2."""
    return trained(experiment(tiny, root), tmp_path / "retrained")


def outcome(folder: Path) -> dict[str, Any]:
    (found,) = json.loads((folder / "test.json").read_text("utf-8"))
    return dict(found)


def test_the_same_photos_with_other_validation_persons_do_not_judge(
    evonas: Cli, folder: Path, root: Path
) -> None:
    words = ("test", folder, "pointing04", f"root={root}", "validation=[5, 6]")
    line = said(evonas(*words))
    assert "test set pointing04: no image is left to judge: training or validation used" in line
    assert "--include-validation (8 that only validated) or --include-trained (all)" in line

    code, out, err = evonas(*words, "--include-validation")
    assert (code, err) == (0, "")
    found = outcome(folder)
    assert (found["images"], found["seen_images"], found["seen_groups"]) == (8, 16, 0)
    assert found["left_out"] == f"left out: 16 {SAME_REASON}"
    assert found["warning"].startswith("of 8 images 8 validated, which chooses epochs")

    code, out, err = evonas(*words, "--include-trained")
    assert (code, err) == (0, "")
    warning = "LEAKY test, errors on it flatter: of 24 images 16 were trained on, 8 validated"
    assert warning in " ".join(out.split())
    text = (folder / "test.md").read_text("utf-8")
    assert text.count(warning) == text.count("\n**") + 1  # in every table
    found = outcome(folder)
    assert (found["images"], found["seen_images"], found["left_out"]) == (24, 0, "")


def test_of_a_larger_root_only_other_persons_judge(
    evonas: Cli, folder: Path, tmp_path: Path
) -> None:
    more = write(tmp_path / "more", range(1, 9))
    extra = write(tmp_path / "again", range(6, 7), seed=1)  # person 6 on another day
    lines = (extra / "labels.csv").read_text("utf-8").replace("6_", "new_6_").splitlines()[1:]
    for path in (extra / "images").iterdir():
        shutil.copy(path, more / "images" / f"new_{path.name}")
    with (more / "labels.csv").open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
    words = ("test", folder, "pointing04", f"root={more}", "validation=[1]")
    code, out, err = evonas(*words)
    assert (code, err) == (0, "")
    found = outcome(folder)
    assert (found["images"], found["seen_images"], found["seen_groups"]) == (8, 24, 4)
    assert found["test_set"] == "pointing04, unseen images"
    reason = f"left out: 24 {SAME_REASON}; 4 more: their person or source photo was seen"
    assert found["left_out"] == reason
    assert reason in " ".join(out.split())
    assert reason in (folder / "test.md").read_text("utf-8")


def test_photos_are_recognised_in_the_folder_of_another_reader(
    evonas: Cli, folder: Path, root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    lines = ["file,yaw,pitch,person"]
    for number, path in enumerate(sorted((root / "images").iterdir())):
        shutil.copy(path, other / f"photo{number}.png")
        lines.append(f"photo{number}.png,0,0,{path.name[0]}")
    Image.new("RGB", (64, 48), (9, 90, 40)).save(other / "new.png")
    lines.append("new.png,3,4,1")  # person 1 of this table is not person 1 of the other reader
    (other / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("shares={train: 0.5, validation: 0.5}",)
    code, _, err = evonas("test", folder, "image_table", f"root={other}", *words)
    assert (code, err) == (0, "")
    found = outcome(folder)
    assert (found["images"], found["seen_images"], found["seen_groups"]) == (1, 24, 0)


def test_a_folder_of_an_earlier_version_is_judged_by_its_own_data_or_refused(
    evonas: Cli, folder: Path, root: Path, tmp_path: Path
) -> None:
    (folder / FILE).unlink()
    content = json.loads((folder / "comparison.json").read_text("utf-8"))
    del content["selection_bias"]
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    words = ("test", folder, "pointing04", f"root={write(tmp_path / 'more', range(1, 8))}")
    validation = "validation=[1]"
    assert evonas(*words, validation)[0] == 0
    assert (outcome(folder)["images"], outcome(folder)["seen_images"]) == (4, 24)
    # other options of the data cannot change what was trained on, other than where it lies
    moved = root.rename(tmp_path / "moved")
    assert "is not recorded" not in said(evonas(*words, "--flip", validation))
    line = said(evonas(*words, validation, f"data.root={tmp_path / 'more'}"))
    assert "the images that this network was trained on are not recorded: retrain it" in line
    assert evonas(*words, validation, f"data.root={moved}", "data.validation=[7]")[0] == 0
    assert (outcome(folder)["images"], outcome(folder)["seen_images"]) == (4, 24)
    assert evonas(*words, validation, "--include-trained")[0] == 0
    assert outcome(folder)["warning"] == "which images were trained on is not recorded"


def test_what_pruning_trains_on_is_seen_as_well(
    evonas: Cli, folder: Path, root: Path, tmp_path: Path
) -> None:
    new = write(tmp_path / "new", range(5, 9), seed=1)
    changes = [f"data.root={new}", "data.validation=[5]", "prune.training.epochs=1"]
    words = [*changes, "prune.threshold=0.3"]
    small = RetrainedModel(folder).prune(out=tmp_path / "small", overrides=words).folder
    before, after = TrainingRecord.load(folder), TrainingRecord.load(small)
    assert before is not None
    assert after is not None
    assert before.train.images < after.train.images
    assert len(after.train.images | after.validation.images) == 24 + 16
    for place, persons in ((root, range(1, 7)), (new, range(5, 9))):
        words = ("test", small, "pointing04", f"root={place}", f"validation=[{persons[0]}]")
        assert "no image is left to judge" in said(evonas(*words)), persons


def test_weights_that_a_training_starts_from_bring_their_record(
    tiny: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    (weights,) = Retrained(folder).contender()["weights"]
    other = write(tmp_path / "other", range(7, 10), seed=2)
    plain = experiment(tiny, other)
    plain["data"]["validation"] = [9]
    plain["baselines"][0]["start"] = str(folder / weights)
    again = TrainingRecord.load(trained(plain, tmp_path / "again"))
    before = TrainingRecord.load(folder)
    assert again is not None
    assert before is not None
    assert before.train.images < again.train.images
    assert len(again.train.images) == 16 + 8
    assert len(again.validation.images) == 8 + 4


def test_images_that_a_search_used_warn_where_they_are_the_test_split_of_a_retraining(
    evonas: Cli, tiny_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert evonas("search", tiny_file, "--run-dir", run, "--budget", 1, "finals.networks=0")[0] == 0
    record = TrainingRecord.load(run)
    assert record is not None
    assert (len(record.train.images), len(record.validation.images)) == (42, 18)
    code, out, _ = evonas("retrain", run / "best.json")
    assert code == 0
    assert "LEAKY" not in out
    code, out, _ = evonas("retrain", run / "best.json", "data.train=0.3", "--out", run / "other")
    assert code == 0
    assert "LEAKY test split, errors on it flatter: of 30 images 18 validated" in " ".join(
        out.split()
    )
