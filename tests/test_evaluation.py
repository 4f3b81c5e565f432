"""``evonas test``: retrained networks on other data, tables, published rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from evonas.assembly import Assembly
from evonas.commands import retrain
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.errors import InputError
from evonas.evaluation import Retrained
from evonas.report import published, tested

Cli = Callable[..., tuple[int, str, str]]
OTHER = ("synthetic_faces", "identities=10", "images_per_identity=4", "seed=9")


def quiet(*progress: object) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, assembly: Assembly) -> Path:
    """The baselines of the tiny experiment, trained with two seeds."""
    folder = tmp_path_factory.mktemp("baselines")
    plain = assembly.experiment.model_dump(mode="json")
    extra = {
        "name": "residual head",
        "network": "residual_head",
        "settings": {"width": 8, "tap": "block4"},
    }
    plain["baselines"] = [*plain["baselines"], extra]
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain.run(folder / "tiny.yaml", [], 0, 2, folder / "out", Console(quiet=True))
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


def test_the_test_split_of_the_same_data_gives_the_metrics_of_the_retraining(
    made: Path, assembly: Assembly
) -> None:
    results = Retrained(made).test("same", assembly.dataset, quiet)
    content = json.loads((made / "comparison.json").read_text("utf-8"))
    assert [result.network for result in results] == ["pooled features + linear", "residual head"]
    for result in results:
        (source,) = [one for one in content["contenders"] if one["name"] == result.network]
        assert result.test_set == "same, test split"
        assert result.images == len(assembly.dataset.splits["test"])
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
    assert "cannot be read as JSON" in evonas("test", tmp_path, *OTHER)[2]
    content = json.loads((folder / "comparison.json").read_text("utf-8"))
    del content["task"]
    (folder / "comparison.json").write_text(json.dumps(content), "utf-8")
    assert "no 'task'" in evonas("test", folder, *OTHER)[2]


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


def test_published_rows_are_those_of_the_sources() -> None:
    rows = published.rows("aflw2000")
    found = {row.method: row for row in rows}
    assert found["HopeNet alpha 2"].errors == (6.47, 6.56, 5.44, 6.16)
    assert found["ResNet-50 + CBAM alpha 2"].errors[-1] == 5.422
    assert "LEAKY" in found["ResNet-50 + CBAM alpha 2"].note
    assert [row.errors[-1] for row in rows] == sorted(row.errors[-1] for row in rows)
    assert all(row.source for row in rows)
    assert published.rows("pointing04") == []


def test_a_mean_that_does_not_follow_from_its_angles_is_said() -> None:
    said = [row.method for row in published.rows("aflw2000") if "give a mean" in row.remarks]
    assert said == ["SSR-Net-MD", "ShuffleNetV2 alpha 2"]


def test_protocols_never_share_a_table() -> None:
    rows = published.rows("biwi")
    tables = tested.published(rows, "w300lp", 13219)
    assert len(tables) == len({row.protocol.text for row in rows}) == 2
    assert all("NOT comparable" in table.title for table in tables)
    assert sum(len(table.rows) for table in tables) == len(rows)


def test_only_the_same_training_set_and_images_are_called_the_same_protocol() -> None:
    rows = published.rows("aflw2000")
    for train, images, same in (
        ("w300lp", 1969, True),
        ("w300lp", 16, False),
        ("pointing04", 1969, False),
    ):
        (table,) = tested.published(rows, train, images)
        assert ("NOT comparable" not in table.title) is same
        notes = " ".join(table.notes)
        assert (f"above: trained on {train}, tested on {images} images" in notes) is not same
