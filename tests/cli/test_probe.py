"""The verb that ranks taps, and experiments that take its recommendation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import Cli, said
from mutations import command
from PIL import Image

from evonas.core import experiment as config
from evonas.core import recommended_taps as recommended
from evonas.estimation.features import feature_cache as features
from evonas.workflows.components import Components

TAPS = ["block1", "block2", "block3", "block4"]


@pytest.fixture(scope="module")
def probe(components: Components, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny experiment was probed."""
    folder = tmp_path_factory.mktemp("probed")
    experiment = components.experiment.model_dump(mode="json")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    code, out, err = command(folder, "probe", "tiny.yaml", "probe.keep=2", also=cache)
    assert (code, err) == (0, "")
    assert "Recommended taps of synthetic_face, the best first: block" in out
    return folder


@pytest.fixture
def probed(probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What probe.json holds; a copy lies in the working directory."""
    shutil.copytree(probe / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = json.loads((tmp_path / "runs/tiny/probe/probe.json").read_text())
    return found


@pytest.mark.slow
def test_how_classes_are_fitted_is_said_and_chosen(
    evonas: Cli, tiny_file: Path, tmp_path: Path
) -> None:
    errors = []
    for words, line in (
        ((), "classes: fitted by logistic regression, where John et al. (2019) regress"),
        (("probe.classes=least_squares",), "classes: least squares on their indicators"),
    ):
        code, out, err = evonas("probe", tiny_file, "--labels", "yaw,identity", "--json", *words)
        assert code == 0
        found = json.loads(out)["primaries"][0]["found"]
        errors.append({(o["label"], o["tap"]): o["held_out"]["error"] for o in found})
        assert line in " ".join(err.split())
        assert line in (tmp_path / "runs/tiny/probe/probe.md").read_text("utf-8")
    differing = {label for label, tap in errors[0] if len({e[label, tap] for e in errors}) > 1}
    assert differing == {"identity"}
    evonas("probe", tiny_file)
    assert "classes:" not in (tmp_path / "runs/tiny/probe/probe.md").read_text("utf-8")


def test_what_is_written(probed: dict[str, Any], tmp_path: Path) -> None:
    assert (probed["format"], probed["order"]) == (1, TAPS)
    ranking = [row["tap"] for row in probed["ranking"]]
    assert sorted(ranking) == TAPS
    assert probed["taps"] == ranking[:2]
    shares = [row["held_out"] for row in probed["ranking"]]
    assert shares == sorted(shares)
    (own,) = probed["primaries"]
    assert own["name"] == "synthetic_face"
    pairs = [(one["tap"], one["label"]) for one in own["found"]]
    assert pairs == [(tap, label) for tap in TAPS for label in ("yaw", "pitch", "roll")]
    for one in own["found"]:
        assert one["judged"] == "test"
        assert one["test"]["constant"] > 5, "degrees"
        assert len(one["curve"]["errors"]) == len(one["curve"]["filters"]) == 100
        assert [knee["threshold"] for knee in one["knees"]] == [0.1, 0.01, 0.001]
        kept = [knee["filters"] for knee in one["knees"]]
        assert 1 <= kept[0] <= kept[1] <= kept[2]
        assert one["seconds"] > 0
    means = {
        tap: np.mean([f["held_out"]["relative"] for f in own["found"] if f["tap"] == tap])
        for tap in TAPS
    }
    for row in probed["ranking"]:
        assert row["held_out"] == pytest.approx(means[row["tap"]])
    folder = tmp_path / "runs/tiny/probe"
    text = (folder / "probe.md").read_text("utf-8")
    assert "| tap | rank | held out | yaw | pitch | roll |" in text
    assert text.count("| yaw | block") == 4, "knees of every tap"
    assert "| backbone | yaw | pitch | roll |" in text
    with Image.open(folder / "curves.png") as picture:
        assert picture.size[0] > 800
        assert len(set(np.asarray(picture.convert("RGB")).reshape(-1, 3).sum(1).tolist())) > 20
    assert not (folder / "relations.png").exists(), "one row is no picture"


def test_one_pass_for_all_taps_and_none_the_second_time(
    evonas: Cli, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    run = features._run

    def counted(backbone: Any, images: Any, maps: Any, start: int) -> None:
        passes.append(len(images))
        assert sorted(maps) == TAPS
        run(backbone, images, maps, start)

    monkeypatch.setattr(features, "_run", counted)
    words = ["probe", tiny_file, f"features.cache={tmp_path}/fresh"]
    code, first, _ = evonas(*words)
    assert code == 0
    assert sum(passes) == 72
    code, second, _ = evonas(*words)
    assert sum(passes) == 72
    assert "features from the cache" in second
    assert "features from the cache" not in first
    tables = [[line for line in text.splitlines() if "│" in line] for text in (first, second)]
    assert len(tables[0]) > 8
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_other_labels_and_another_backbone(evonas: Cli, tiny_file: Path, tmp_path: Path) -> None:
    also = "synthetic_face random=1"
    words = ["--labels", "smile, identity", "--also", also, "--out", "there", "--json"]
    code, out, err = evonas("probe", tiny_file, *words)
    assert code == 0, err
    found = json.loads(out)
    assert [one["name"] for one in found["primaries"]] == ["synthetic_face", also]
    assert len({one["backbone"] for one in found["primaries"]}) == 2
    assert {one["label"] for one in found["primaries"][1]["found"]} == {"smile", "identity"}
    who = [one for one in found["primaries"][0]["found"] if one["label"] == "identity"]
    for one in who:
        assert one["judged"] == "held out"
        assert one["held_out"]["mae"] is None
        assert any("not groups" in note for note in one["notes"])
    assert min(one["held_out"]["relative"] for one in who) < 0.6
    assert "Best tap of each backbone for each label" in err
    assert "identity: folds over images" in err
    assert {path.name for path in (tmp_path / "there").iterdir()} == {
        *("probe.json", "probe.md", "curves.png", "relations.png")
    }
    assert json.loads((tmp_path / "there/probe.json").read_text()) == found


@pytest.mark.slow
def test_key_points_are_targets_of_two_columns(evonas: Cli, tiny_file: Path) -> None:
    points = [
        "data.landmarks=true",
        "task={name: key_points, points: [nose_tip, chin]}",
        "data.images_per_identity=3",
    ]
    code, out, err = evonas("probe", tiny_file, *points, "--json")
    assert code == 0, err
    labels = {one["label"] for one in json.loads(out)["primaries"][0]["found"]}
    assert labels == {"nose_tip", "chin"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--labels", "yaaw"], "no label 'yaaw': did you mean 'yaw'?"),
        (["--also", "synthetic_fase random=1"], "unknown backbone 'synthetic_fase': did you mean"),
        (["--also", "synthetic_face randm=1"], "unknown key backbone.randm"),
        (["--also", "synthetic_face 'random=1"], "--also"),
        (["--also", ""], "--also ''"),
        (["--also", "synthetic_face random"], "'random': expected key=value"),
        (["probe.folds=1"], "probe.folds: "),
        (["probe.folds=400"], "probe.folds=400: 'yaw' has only"),
        (["probe.fold=2"], "unknown key 'probe.fold': did you mean 'folds'?"),
        (["--out", "/proc/nowhere"], "/proc/nowhere: cannot be made"),
        (["tap=@nowhere.json"], "tap=@nowhere.json: nowhere.json: cannot be read as JSON"),
    ],
)
def test_what_is_wrong_is_one_line(
    evonas: Cli, tiny_file: Path, words: list[str], expected: str
) -> None:
    code, _, err = evonas("probe", tiny_file, *words)
    assert code == 2
    assert expected in err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("evonas: ")]) == 1


def test_a_table_has_no_backbone(evonas: Cli) -> None:
    assert "no backbone to probe" in said(evonas("probe", "nas_bench_macro"))


def test_an_experiment_takes_the_recommended_taps(
    probed: dict[str, Any], tiny_file: Path, tmp_path: Path
) -> None:
    """In the order of the backbone, as an ordinal gene wants them; literal in what is stored."""
    name = "@runs/tiny/probe/probe.json"
    made = config.load(tiny_file, [f"space.tap={name}", f"tap={name}"])
    assert made.space.options["tap"] == sorted(probed["taps"])
    assert made.tap == probed["taps"][0]
    assert "@" not in json.dumps(made.model_dump(mode="json"))
    again = config.changed(config.load(tiny_file), [f"space.tap={name}"])
    assert again.space.options["tap"] == sorted(probed["taps"])
    file = tmp_path / "written.yaml"
    content = yaml.safe_load(tiny_file.read_text())
    content["space"]["tap"] = content["tap"] = name
    file.write_text(yaml.safe_dump(content))
    assert config.load(file) == made


def test_taps_are_put_in_the_order_of_the_backbone(tiny_file: Path, tmp_path: Path) -> None:
    header = recommended.header(["block3", "block1", "block4", "block2"], TAPS, 3)
    (tmp_path / "probe.json").write_text(json.dumps(header))
    name = f"@{tmp_path}/probe.json"
    made = config.load(tiny_file, [f"space.tap={name}", f"tap={name}"])
    assert made.space.options["tap"] == ["block1", "block3", "block4"]
    assert made.tap == "block3"


def test_a_search_runs_on_them(
    probed: dict[str, Any], evonas: Cli, tiny_file: Path, tmp_path: Path
) -> None:
    words = ["space.tap=@runs/tiny/probe/probe.json", "--budget", 2, "finals.networks=0"]
    code, _, err = evonas("search", tiny_file, *words, "--run-dir", "run", "baselines=[]")
    assert code == 0, err
    stored = yaml.safe_load((tmp_path / "run/experiment.yaml").read_text())
    assert stored["space"]["tap"] == sorted(probed["taps"])
    (tmp_path / "runs/tiny/probe/probe.json").unlink()
    code, _, err = evonas("search", "--resume", "--run-dir", "run")
    assert code == 0, err


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "no json",
        '{"format": 1, "taps": [], "order": ["block1"]}',
        '{"format": 1, "taps": ["block1"]}',
        '{"format": 1, "taps": ["block1"], "order": ["block2"]}',
        '{"format": 1, "taps": [3], "order": [3]}',
        '{"format": 2, "taps": ["block1"], "order": ["block1"]}',
    ],
)
def test_another_file_is_refused_in_one_line(
    evonas: Cli, tiny_file: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "other.json").write_text(content)
    for key in ("space.tap", "tap"):
        line = said(evonas("search", tiny_file, f"{key}=@other.json", "--run-dir", "run"))
        assert f"{key}=@other.json: " in line
        assert "evonas probe" in line


def test_taps_of_another_backbone_are_refused(evonas: Cli, tiny_file: Path, tmp_path: Path) -> None:
    header = recommended.header(["conv9", "conv1"], ["conv1", "conv9"], 1)
    assert header["taps"] == ["conv9"]
    (tmp_path / "other.json").write_text(json.dumps(header))
    line = said(evonas("search", tiny_file, "space.tap=@other.json", "--run-dir", "run"))
    assert "has no tap 'conv9'" in line
