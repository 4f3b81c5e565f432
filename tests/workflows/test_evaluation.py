"""``evonas evaluate``: retrained networks on other data, tables, published rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from evonas.api.retraining import retrain
from evonas.core.array_types import Array
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.errors import InputError
from evonas.report import published_results as published
from evonas.tasks.base import Matrix
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

Cli = Callable[..., tuple[int, str, str]]
OTHER = ("synthetic_faces", "identities=10", "images_per_identity=4", "seed=9")


def quiet(*progress: object) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """The baselines of the tiny experiment, trained with two seeds."""
    folder = tmp_path_factory.mktemp("baselines")
    plain = components.experiment.model_dump(mode="json")
    extra = {
        "name": "residual head",
        "network": "residual_head",
        "settings": {"width": 8, "tap": "block4"},
    }
    plain["baselines"] = [*plain["baselines"], extra]
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(folder / "tiny.yaml", repeats=2, out=folder / "out")
    return folder / "out"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "retrained"))


def test_an_experiments_baselines_train_without_a_search_and_keep_their_weights(
    made: Path,
) -> None:
    content = json.loads((made / "comparison.json").read_text("utf-8"))
    assert content["winner"] is None
    names = {one["name"]: one["weights"] for one in content["contenders"]}
    assert names == {
        "pooled features + linear": [
            "pooled-features-linear-block3.safetensors",
            "pooled-features-linear-block3-1.safetensors",
        ],
        "residual head": ["residual-head-block4.safetensors", "residual-head-block4-1.safetensors"],
        "constant": [],
    }
    assert all((made / file).is_file() for files in names.values() for file in files)


def test_another_task_than_the_learnt_one_is_refused_in_one_line(made: Path) -> None:
    """A change would have no effect: tables and files read networks as they were trained."""
    words = ("features.jitters=0", "task.output=bins")
    with pytest.raises(InputError, match=r"^task\.output=bins: expected no change [^\n]+ again$"):
        _ = Retrained(made, words).components
    assert Retrained(made, (*words[:1], "task.name=head_pose")).components.experiment


def test_the_test_split_of_the_same_data_gives_the_metrics_of_the_retraining(
    made: Path, components: Components
) -> None:
    results = Retrained(made).test("same", components.dataset, quiet)
    content = json.loads((made / "comparison.json").read_text("utf-8"))
    assert [result.network for result in results] == ["pooled features + linear", "residual head"]
    for result in results:
        (source,) = [one for one in content["contenders"] if one["name"] == result.network]
        assert result.test_set == "same, test split"
        assert result.images == len(components.dataset.splits["test"])
        assert len(result.repeats) == 2
        for now, then in zip(result.repeats, source["results"], strict=True):
            for name, value in then.items():
                if name.startswith("test_"):
                    assert now[name.removeprefix("test_")] == pytest.approx(value, abs=1e-3), name


def test_other_data_without_a_test_split_counts_whole(made: Path) -> None:
    other = SyntheticFaces(identities=10, images_per_identity=4, seed=9)
    other.splits = {side: other.splits[side] for side in ("train", "validation")}
    (first, _) = Retrained(made).test("other", other, quiet)
    assert (first.test_set, first.images) == ("other, all images", 40)
    assert first.mean("mae") == pytest.approx(sum(r["mae"] for r in first.repeats) / 2)
    assert first.spread("mae") > 0


def test_the_verb_prints_tables_and_writes_them(evonas: Cli, folder: Path) -> None:
    code, out, err = evonas("test", folder, *OTHER)
    assert code == 0, err
    assert "yaw" in out
    text = (folder / "test.md").read_text("utf-8")
    assert "errors in degrees, mean ± sd of 2 trainings" in text
    heads = "network | tap | yaw | pitch | roll | MAE | geodesic | MB head | MB total | M MACs head"
    assert heads in text
    found = json.loads((folder / "test.json").read_text("utf-8"))
    assert [one["network"] for one in found] == ["pooled features + linear", "residual head"]
    assert json.loads(evonas("test", folder, *OTHER, "--json")[1]) == found
    (folder.parent / "run").mkdir()
    of_a_run = folder.rename(folder.parent / "run" / "retrained")
    assert json.loads(evonas("test", of_a_run.parent, *OTHER, "--json")[1]) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no test set was named"),
        (["identities=4"], "expected the name of a test set first"),
        (["synthetic_face"], "did you mean 'synthetic_faces'?"),
        (["synthetic_faces", "identitys=4"], "did you mean 'identities'?"),
        ([*OTHER, "backbone.random=x"], "backbone.random"),
    ],
)
def test_a_mistake_is_one_line(evonas: Cli, folder: Path, words: list[str], said: str) -> None:
    code, _, err = evonas("test", folder, *words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_folder_that_is_no_result_is_refused(evonas: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "it holds no comparison.json" in evonas("test", tmp_path / "empty", *OTHER)[2]
    content = json.loads((folder / "comparison.json").read_text("utf-8"))
    del content["task"]
    (folder / "comparison.json").write_text(json.dumps(content), "utf-8")
    assert "the key 'task' is missing" in evonas("test", folder, *OTHER)[2]


def test_how_a_data_set_is_split_is_said_only_where_its_test_split_judges(
    evonas: Cli, folder: Path, tmp_path: Path
) -> None:
    rng, root = np.random.default_rng(0), tmp_path / "others"
    root.mkdir()
    lines = ["file,yaw,pitch,roll,person,side"]
    for i in range(12):
        pixels = rng.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        lines.append(f"{i}.png,{i},0,0,p{i},{'test' if i < 5 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines), "utf-8")
    words = ("image_table", f"root={root}", "group=person", "targets=[yaw,pitch,roll]")
    code, out, err = evonas("test", folder, *words)
    assert (code, err) == (0, "")
    assert "image_table, all images (12)" in out
    assert "split at random" not in out
    assert [one["protocol"] for one in json.loads((folder / "test.json").read_text())] == [""] * 2
    code, out, err = evonas("test", folder, *words, "split=side")
    assert (code, err) == (0, "")
    assert "image_table, test split (5)" in out
    assert "tested: split as given by column 'side', its training images split at random" in out


def test_a_confusion_matrix_is_of_all_trainings(
    evonas: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def matrix(self: object, predictions: Array, targets: Array) -> Matrix:
        wrong = int((np.abs(predictions - targets) > 5).any(axis=1).sum())
        counts = np.array([[len(predictions), 0], [0, wrong]])
        return Matrix("near and far", ("near", "far"), counts)

    monkeypatch.setattr("evonas.tasks.head_pose.HeadPose.matrix", matrix)
    code, out, err = evonas("test", folder, *OTHER)
    assert (code, err) == (0, "")
    assert "near and far, sum of 2 trainings" in out
    for one in json.loads((folder / "test.json").read_text("utf-8")):
        assert len(one["repeats"]) == 2
        assert one["matrix"]["counts"][0][0] == 2 * one["images"]


def test_damaged_weights_are_refused_by_name(evonas: Cli, folder: Path) -> None:
    file = folder / "residual-head-block4.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    code, _, err = evonas("test", folder, *OTHER)
    assert code == 2
    assert f"{file}: no weights of 'residual head'" in err
    file.write_bytes((folder / "pooled-features-linear-block3.safetensors").read_bytes())
    assert "no weights of 'residual head'" in evonas("test", folder, *OTHER)[2]


def test_a_test_set_without_the_label_is_refused(made: Path) -> None:
    other = SyntheticFaces(identities=10, images_per_identity=3)
    other.labels = {name: v for name, v in other.labels.items() if name != "roll"}
    with pytest.raises(InputError, match="test set other: has no label 'roll'"):
        Retrained(made).test("other", other, quiet)


def test_leaks_of_training_and_test_stand_below_the_table(evonas: Cli, folder: Path) -> None:
    content = json.loads((folder / "comparison.json").read_text("utf-8"))
    content |= {"leaky": "single images at random", "protocol": "faces, 90/10"}
    (folder / "comparison.json").write_text(json.dumps(content), "utf-8")
    assert evonas("test", folder, *OTHER)[0] == 0
    text = (folder / "test.md").read_text("utf-8")
    assert "trained: faces, 90/10" in text
    tables = text.count("\n**") + 1
    assert tables > 2
    assert text.count("LEAKY split in training: single images at random") == tables


class Mirrored(SyntheticFaces):
    """The same faces seen in a mirror."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fingerprint = "mirrored" + self.fingerprint
        self.labels = {n: -v if n in ("yaw", "roll") else v for n, v in self.labels.items()}

    def image(self, index: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(super().image(index)[:, ::-1])


def test_a_flip_test_judges_a_set_and_its_mirror_image_alike(made: Path) -> None:
    options = {"identities": 10, "images_per_identity": 4, "seed": 9}
    sets, retrained = (SyntheticFaces(**options), Mirrored(**options)), Retrained(made)
    plain = [retrained.test("set", one, quiet) for one in sets]
    flipped = [retrained.test("set", one, quiet, flip=True) for one in sets]
    for (one, other), same in ((plain, False), (flipped, True)):
        for first, second in zip(one, other, strict=True):
            assert first.flip == second.flip == same
            for name in ("mae_yaw", "mae_pitch", "mae_roll", "geodesic", "mae|yaw 0-30"):
                found = second.mean(name) == pytest.approx(first.mean(name), abs=1e-4)
                assert found == same, name
    assert flipped[0][0].mean("mae_yaw") != pytest.approx(plain[0][0].mean("mae_yaw"), abs=1e-3)


def test_every_table_and_the_json_say_that_it_is_a_flip_test(evonas: Cli, folder: Path) -> None:
    assert evonas("test", folder, *OTHER)[0] == 0
    plain = (folder / "test.md").read_text("utf-8")
    assert "flip" not in plain.lower()
    assert not any(one["flip"] for one in json.loads((folder / "test.json").read_text("utf-8")))
    code, out, err = evonas("test", folder, *OTHER, "--flip")
    assert code == 0, err
    assert "FLIP TEST" in out
    text = (folder / "test.md").read_text("utf-8")
    titles = [line for line in text.splitlines() if line.startswith("**")]
    assert len(titles) == plain.count("\n**") + 1 > 2
    assert all(title.endswith("FLIP TEST**") for title in titles)
    assert text.count("costs are of one pass, this takes two") == 1
    found = json.loads((folder / "test.json").read_text("utf-8"))
    assert all(one["flip"] for one in found)


def test_published_figures_beside_a_flip_test_say_what_it_is(
    evonas: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = published.rows("aflw2000")
    monkeypatch.setattr(published, "rows", lambda name: rows)
    for words, said in ((["--flip"], True), ([], False)):
        assert evonas("test", folder, *OTHER, "--published", *words)[0] == 0
        text = (folder / "test.md").read_text("utf-8")
        note = "above: trained on synthetic_faces, tested on"
        (line,) = [line for line in text.splitlines() if note in line]
        assert line.endswith("with a flip test") == said


def test_a_task_without_a_flip_test_is_refused_before_anything_is_computed(
    evonas: Cli, folder: Path
) -> None:
    content = json.loads((folder / "comparison.json").read_text("utf-8"))
    content["task"][1]["output"] = "bins"
    (folder / "comparison.json").write_text(json.dumps(content), "utf-8")
    code, _, err = evonas("test", folder, "synthetic_faces", "seed=77", "--flip")
    assert code == 2
    assert "task.output=bins: has no flip test" in err
    assert "features" not in err
    assert len(err.strip().splitlines()) == 1

    def never(*progress: object) -> None:
        raise AssertionError("features were computed")

    other = SyntheticFaces(identities=4, images_per_identity=4, seed=78, train=0.5)
    with pytest.raises(InputError, match="has no flip test"):
        Retrained(folder).test("other", other, never, flip=True)


def test_landmarks_are_learnt_and_tested_with_and_without_the_mirror(
    evonas: Cli, components: Components, tmp_path: Path
) -> None:
    """Maps, from labels to tables, of a data set that needs no download."""
    plain = components.experiment.model_dump(mode="json")
    plain["data"]["landmarks"] = True
    settings = {"tap": "block3", "width": 16, "upsamples": 0}
    head = {"name": "maps", "network": "heatmap_head", "settings": settings}
    plain |= {"task": {"name": "key_points"}, "baselines": [head]}
    (tmp_path / "points.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(tmp_path / "points.yaml", out=tmp_path / "out")
    results = []
    for words in ([], ["--flip"]):
        code, _, err = evonas("test", tmp_path / "out", *OTHER, "landmarks=true", *words)
        assert code == 0, err
        (found,) = json.loads((tmp_path / "out" / "test.json").read_text("utf-8"))
        results.append(found["repeats"][0])
    assert {"oks", "nme_mouth_left"} <= set(results[0])
    assert results[0]["nme"] != results[1]["nme"]
    _, _, err = evonas("test", tmp_path / "out", *OTHER)
    assert "has no label 'left_eye_outer.x'" in err


def test_key_points_are_tested_beside_published_ones(
    evonas: Cli, components: Components, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps of landmarks, beside the rows of COCO; and no errors of angles among them."""
    plain = components.experiment.model_dump(mode="json")
    plain["data"]["landmarks"] = True
    settings = {"tap": "block3", "width": 16, "upsamples": 0}
    head = {"name": "maps", "network": "heatmap_head", "settings": settings}
    plain |= {"task": {"name": "key_points"}, "baselines": [head]}
    (tmp_path / "points.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(tmp_path / "points.yaml", out=tmp_path / "out")
    rows = published.rows("coco_keypoints")
    monkeypatch.setattr(published, "rows", lambda name: rows)
    code, _, err = evonas("test", tmp_path / "out", *OTHER, "landmarks=true", "--published")
    assert code == 0, err
    text = (tmp_path / "out" / "test.md").read_text("utf-8")
    assert text.count("**Published, NOT comparable with the above**") == 2
    assert "| EvoPose2D-L | random | 512 x 384 | 14.7 | 17.7 | 76.6 |" in text
    assert "yaw" not in text
    assert "no figures of Matak" not in text


def test_what_was_published_without_readable_figures_is_said(
    evonas: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = published.unread("aflw2000")
    assert line.startswith("no figures of Matak 2020 are known: trained on 70 % of 300W-LP")
    assert published.unread("biwi") == [line]
    assert published.unread("coco_keypoints") == published.unread("pointing04") == []
    rows = published.rows("biwi")
    monkeypatch.setattr(published, "rows", lambda name: rows)
    monkeypatch.setattr(published, "unread", lambda name: [line])
    assert evonas("test", folder, *OTHER, "--published")[0] == 0
    assert (folder / "test.md").read_text("utf-8").count(line) == 1
