"""Folds of a cross-validation by group, by image, or one for each group."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import Cli, said
from numpy.typing import NDArray

import evonas
from evonas import InputError
from evonas.data.base import Dataset
from evonas.estimation.estimator import Job
from evonas.estimation.measurement import Measurement
from evonas.report import published_results
from evonas.report.evaluation_tables import published
from evonas.report.page.run_data import Run
from evonas.report.page.run_tables import retrained as retrained_table
from evonas.report.tables import held_out
from evonas.runs.comparison_schemas import Comparison
from evonas.runs.file_schemas import checked
from evonas.workflows.components import Components
from evonas.workflows.fold_splits import Folds, finals_folds, make_folds

PROBE = {"name": "probe", "network": "linear_probe", "settings": {"tap": "block3"}}


class Faces(Dataset):
    """Twenty images of some persons, and four more of another one for the test."""

    def __init__(self, persons: int) -> None:
        names = [f"person{i % persons:02d}" for i in range(20)] + ["other"] * 4
        self.groups = np.array(names)
        self.labels = {"yaw": np.zeros(24, np.float32)}
        index = np.arange(24)
        held_out = (index % persons == 0) & (index < 20)
        self.splits = {
            "train": index[~held_out & (index < 20)],
            "validation": index[held_out],
            "test": index[20:],
        }

    def image(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError


def judged(folds: Folds) -> list[list[int]]:
    return [split.validation.tolist() for split in folds.splits.values()]


@pytest.mark.parametrize(
    ("folds", "by", "count"), [(3, "", 3), (3, "group", 3), (5, "image", 5), (0, "each-group", 4)]
)
def test_every_image_judges_once_and_never_trains_then(folds: int, by: str, count: int) -> None:
    data = Faces(4)
    found = make_folds(data, folds, by, seed=1)
    assert (found.count, found.images, found.by) == (count, 20, by or "group")
    assert sorted(chain(*judged(found))) == list(range(20))  # no image of the test split
    for split in found.splits.values():
        assert sorted([*split.train, *split.validation]) == list(range(20))
        shared = set(data.groups[split.train]) & set(data.groups[split.validation])
        assert bool(shared) is (by == "image")
    assert found.warning.startswith("persons are shared between folds") is (by == "image")


@pytest.mark.parametrize(
    ("persons", "most", "count"), [(10, 4, 4), (10, 20, 9), (5, 4, 4), (3, 4, 2)]
)
def test_folds_of_finals_are_of_other_groups_than_those_of_the_search(
    persons: int, most: int, count: int
) -> None:
    data = Faces(persons)
    found = finals_folds(data, most, seed=3)
    assert len(found) == count
    seen = np.union1d(data.splits["train"], data.splits["validation"])
    judged = [split.validation for split in found]
    assert len(np.unique(np.concatenate(judged))) == sum(map(len, judged)), "each judges once"
    for split in found:
        assert len(split.validation) == pytest.approx(len(data.splits["validation"]), abs=4)
        assert np.array_equal(np.sort([*split.train, *split.validation]), seen)
        assert set(data.splits["validation"]) <= set(split.train)
        assert not set(data.groups[split.train]) & set(data.groups[split.validation])
    again, other = finals_folds(data, most, seed=3), finals_folds(data, most, seed=4)
    assert all(
        np.array_equal(a.validation, b.validation) for a, b in zip(found, again, strict=True)
    )
    if persons == 10:
        assert any(
            not np.array_equal(*pair)
            for pair in zip(judged, [s.validation for s in other], strict=True)
        )


def test_finals_have_no_folds_where_groups_are_too_few() -> None:
    assert finals_folds(Faces(2), 4, seed=0) == []


def test_more_seeds_add_folds_and_change_none() -> None:
    (one,), four = (finals_folds(Faces(10), most, seed=0) for most in (1, 4))
    assert np.array_equal(one.validation, four[0].validation)


def test_groups_are_dealt_in_sorted_order_as_before() -> None:
    groups = Faces(4).groups
    folds = judged(make_folds(Faces(4), 3, "", seed=9))
    assert [sorted(set(groups[one])) for one in folds] == [
        ["person00", "person01"],
        ["person02"],
        ["person03"],
    ]
    assert folds == judged(make_folds(Faces(4), 3, "group", seed=1))
    each = judged(make_folds(Faces(4), 4, "each-group", seed=1))
    assert each == judged(make_folds(Faces(4), 0, "each-group", seed=2))
    assert [set(groups[one]) for one in each] == [{f"person{i:02d}"} for i in range(4)]


def test_folds_by_image_follow_from_the_seed() -> None:
    first, again, other = (judged(make_folds(Faces(4), 5, "image", seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert {len(one) for one in first} == {4}
    assert first != [list(range(start, start + 4)) for start in range(0, 20, 4)]


def test_images_of_their_own_share_nothing() -> None:
    found = make_folds(Faces(20), 5, "image", seed=1)
    assert found.warning == ""
    assert make_folds(Faces(20), 5, "", seed=1).by == "group"  # as before


@pytest.mark.parametrize(
    ("persons", "folds", "by", "message"),
    [
        (4, 0, "group", "--fold-by group: expected --folds N beside it, got none"),
        (4, 0, "image", "--fold-by image: expected --folds N beside it, got none"),
        (4, 3, "images", "unknown --fold-by 'images': did you mean 'image'?"),
        (4, 3, "person", r"unknown --fold-by 'person': known: each-group, group, image"),
        (4, 21, "image", "--folds 21: expected 2 to 20, the number of images"),
        (4, 1, "image", "--folds 1: expected 2 to 20, the number of images"),
        (4, -1, "image", "--folds -1: expected 2 to 20"),
        (4, 5, "", "--folds 5: expected 2 to 4, the number of groups"),
        (4, 3, "each-group", "--folds 3 with --fold-by each-group: expected 4, the number of gr"),
        (20, 5, "group", "--fold-by group: expected a data set with groups, in this one every im"),
        (20, 0, "each-group", "--fold-by each-group: expected a data set with groups"),
    ],
)
def test_what_is_no_protocol_is_refused(persons: int, folds: int, by: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_folds(Faces(persons), folds, by, seed=1)


def test_one_group_cannot_be_left_out() -> None:
    with pytest.raises(InputError, match="--folds 1: expected 2 to 1, the number of groups"):
        make_folds(Faces(1), 0, "each-group", seed=1)


def test_titles_name_the_protocol() -> None:
    assert held_out(4, "") == held_out(4, "group") == "held-out groups of 4 folds"
    assert held_out(5, "image") == "held-out images of 5 random folds by image"
    assert held_out(12, "each-group") == "held-out groups of 12 folds, one group each"
    assert held_out(0, "") == ""


# Published results.


def test_published_rows_are_of_the_same_folds() -> None:
    (row,) = published_results.rows("pointing04", 5, "image")
    assert (row.method, row.cells[:4]) == ("DLDL", ("3.16", "1.69", "-", "-"))
    assert "README of github.com/gaobb/DLDL" in row.remarks
    assert "±0.07 yaw, ±0.32 pitch" in row.remarks
    for folds, by in ((4, "image"), (5, "group"), (0, ""), (0, "image")):
        assert published_results.rows("pointing04", folds, by) == []
    (table,) = published([row], "pointing04", 2232, folds=5, fold_by="image")
    assert table.title == "Published, same kind of folds"
    assert "above: 5 folds by image, 2232 images" in table.notes
    assert "persons shared between folds" in table.notes[0]


def test_the_same_folds_of_as_many_images_are_the_same_protocol() -> None:
    known = published_results.Protocol("a", "a", "", 20, folds=5, fold_by="image")
    assert known.followed_by("a", 20, folds=5, fold_by="image")
    assert not known.followed_by("a", 20)
    assert not known.followed_by("a", 20, folds=5, fold_by="group")
    assert not known.followed_by("a", 21, folds=5, fold_by="image")


# Retraining.


class Untrained:
    """An executor that trains nothing; the constant prediction is judged all the same."""

    def __enter__(self) -> Untrained:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def evaluate(self, jobs: list[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            yield job.index, Measurement.failure("nan", "not trained")


@pytest.fixture
def plain(tiny: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Components, "executor", lambda self, context: Untrained())
    path = tmp_path / "plain.yaml"
    made = {**tiny, "baselines": [PROBE], "retraining": {"epochs": 1}}
    path.write_text(yaml.safe_dump(made), "utf-8")
    return path


def test_protocols_lie_in_folders_of_their_own(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = published_results.rows("pointing04", 5, "image")
    monkeypatch.setattr(
        published_results,
        "rows",
        lambda data, folds, by: row if (folds, by) == (5, "image") else [],
    )
    models = {
        by: evonas.retrain(plain, folds=folds, fold_by=by)
        for by, folds in (("group", 3), ("image", 5), ("each-group", 0))
    }
    assert [model.folder.name for model in models.values()] == [
        "cross-validation",
        "cross-validation-image",
        "cross-validation-each-group",
    ]
    splits = {by: {row["split"] for row in model.table} for by, model in models.items()}
    assert splits["group"] == {"held-out groups of 3 folds"}
    assert splits["image"] == {"held-out images of 5 random folds by image"}
    found = {
        by: json.loads((model.folder / "comparison.json").read_text("utf-8"))
        for by, model in models.items()
    }
    assert {by: content["fold_by"] for by, content in found.items()} == {by: by for by in found}
    groups = found["each-group"]["folds"]
    assert splits["each-group"] == {f"held-out groups of {groups} folds, one group each"}
    assert models["each-group"].table[-1]["trainings"] == groups > 3
    for by, model in models.items():
        text = (model.folder / "comparison.md").read_text("utf-8")
        assert ("persons are shared between folds" in text) is (by == "image")
        assert ("DLDL" in text) is (by == "image")
        assert len(model.tables) == (3 if by == "image" else 2)
        assert next(iter(splits[by])) in model.tables[0].title


def test_an_unknown_protocol_is_refused_before_anything_is_read(evonas: Cli) -> None:
    words = ("retrain", "nowhere.json", "--folds", 3)
    assert said(evonas(*words, "--fold-by", "person")).startswith("unknown --fold-by 'person'")
    assert "--fold-by image: expected --folds N" in said(
        evonas("retrain", "nowhere.json", "--fold-by", "image")
    )


def test_too_many_folds_leave_no_folder(evonas: Cli, plain: Path, tmp_path: Path) -> None:
    words = ("retrain", plain, "--folds", 999, "--fold-by", "image", "--out", tmp_path / "out")
    assert "--folds 999: expected 2 to " in said(evonas(*words))
    assert not (tmp_path / "out").exists()


def test_a_report_names_the_protocol_of_the_folds() -> None:
    cost = {"macs": 10, "params": 10, "megabytes": 0.1}
    row = {"name": "winner", "tap": "block3", "results": [{"error": 2.0}], "head": cost}
    row["backbone_up_to_tap"] = cost
    content = {"contenders": [row], "folds": 5, "fold_by": "image", "fold_warning": "shared"}
    table = retrained_table(Run("run", [], retrained=content))
    assert table is not None
    assert table.title == "Retrained, judged on the held-out images of 5 random folds by image"
    assert table.notes == ["shared"]
    older = retrained_table(Run("run", [], retrained={"contenders": [row], "folds": 5}))
    assert older is not None
    assert older.title == "Retrained, judged on the held-out groups of 5 folds"
    with pytest.raises(InputError, match="fold_by: string should match"):
        checked({"fold_by": "pixel"}, Comparison, "comparison.json")
