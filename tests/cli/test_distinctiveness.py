"""Distinctiveness of what a retraining left: tables beside chance, and errors without units."""

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

from evonas.api.retrained_model import RetrainedModel
from evonas.api.retraining import retrain
from evonas.data.class_folders import ClassFolders
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.deployment.distinctiveness import run_study as distinctiveness
from evonas.deployment.distinctiveness import study as unit_removal
from evonas.deployment.distinctiveness.study import Removal
from evonas.errors import InputError
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

HIDDEN = {
    "name": "two layers",
    "network": "master_module",
    "settings": {
        **{"tap": "block4", "stem": 8, "n": 0, "stages": 1, "block1": "conv"},
        **{"attention1": "none", "activation": "relu", "end": "pool", "hidden": 24},
    },
}
PROBE = {"name": "probe", "network": "linear_probe", "settings": {"tap": "block4"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """Two networks that tell left, front and right apart, trained with two seeds."""
    folder = tmp_path_factory.mktemp("classes")
    faces = SyntheticFaces(identities=18, images_per_identity=8, occluded=0.0, seed=4)
    yaw = faces.labels["yaw"]
    for side, chosen in faces.splits.items():
        for index in chosen.tolist():
            name = "front" if abs(yaw[index]) < 20 else "left" if yaw[index] > 0 else "right"
            (folder / "faces" / side / name).mkdir(parents=True, exist_ok=True)
            path = folder / "faces" / side / name / f"{index}.png"
            Image.fromarray(faces.image(index)).save(path)
    plain = components.experiment.model_dump(mode="json")
    plain["data"] = {"name": "class_folders", "root": str(folder / "faces"), "size": 64}
    plain |= {"task": {"name": "classification"}, "baselines": [HIDDEN, PROBE]}
    plain["retraining"] |= {"epochs": 25, "learning_rate": 0.02}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(folder / "tiny.yaml", repeats=2, out=folder / "out")
    return folder / "out"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """What was retrained, to be looked at with other options."""
    return Path(shutil.copytree(made, tmp_path / "out"))


@pytest.fixture(scope="module")
def found(made: Path) -> list[Removal]:
    return list(RetrainedModel(made).distinctiveness(patterns=60, repeats=5).removals)


def test_every_layer_is_compared_and_merged_in_each_way(found: list[Removal]) -> None:
    layers = {(one.network, one.layer.units, one.layer.outputs) for one in found}
    assert layers == {("two layers", 24, 3), ("two layers", 8, 24), ("probe", 128, 3)}
    assert len(found) == 3 * 2 * 2 * 2  # layers, seeds, vectors, merges
    assert len({(one.network, one.weights) for one in found}) == 4


def test_before_is_what_a_test_of_the_network_says(made: Path, found: list[Removal]) -> None:
    retrained = Retrained(made)
    results = retrained.test("same", retrained.components.dataset, lambda *progress: None)
    for result in results:
        own = [one for one in found if one.network == result.network]
        for file in {one.weights for one in own}:
            before = {tuple(one.before.items()) for one in own if one.weights == file}
            assert len(before) == 1
        errors = sorted({one.before["error"] for one in own})
        assert errors == pytest.approx(sorted({r["error"] for r in result.repeats}), abs=1e-4)


def test_sizes_fall_by_what_each_unit_takes_along(found: list[Removal]) -> None:
    for one in found:
        before, after = one.params
        # a column each; and of a hidden layer a row and a bias
        each = one.layer.outputs + (8 + 1 if one.layer.producer else 0)
        assert before - after == one.removed * each
        assert one.removed >= one.related.removed(one.merge)
        if one.merge == "literal":
            assert one.removed == one.related.removed("literal")
    assert any(one.removed for one in found if one.layer.producer)


def test_what_is_not_removed_changes_nothing_and_some_removals_do(found: list[Removal]) -> None:
    assert all(one.after == one.before for one in found if not one.removed)
    assert any(one.after != one.before for one in found if one.removed)


def test_merging_nothing_but_near_copies_exactly_keeps_the_answers(
    copy: Path, found: list[Removal]
) -> None:
    """Half a degree apart, units are copies of one another or never change."""
    model = RetrainedModel(copy)
    options = {"similar": 0.5, "complementary": 179.5, "repeats": 1}
    near = model.distinctiveness(network="two layers", **options).removals
    wide = [one for one in found if one.network == "two layers"]
    pairs = [sum(one.related.similar_pairs for one in each) for each in (near, wide)]
    assert pairs[0] < pairs[1]
    exact = [one for one in near if (one.vectors, one.merge) == ("activations", "exact")]
    assert all(abs(one.after["error"] - one.before["error"]) < 10 for one in exact)
    assert {one.network for one in near} == {"two layers"}


def test_files_and_tables_say_the_same_and_chance_stands_beside(
    made: Path, found: list[Removal]
) -> None:
    text = (made / "distinctiveness" / "distinctiveness.md").read_text("utf-8")
    pairs, after = text.split("**Without these units")
    for kind in ("similar", "complementary"):
        assert f"{kind} pairs | {kind} pairs, random | {kind} pairs, shuffled" in pairs
    assert "mean ± sd of 2 trainings" in text
    assert pairs.count("\n| two layers") == 2 * 2
    assert after.count("\n| two layers") == 2 * 2 * 2
    assert "judged on the test split" in text
    assert "activations of 60 training images" in text
    assert "rows of end.hidden_of_channels" in text
    own = [o for o in found if o.layer.units == 128 and o.vectors == "weights"]
    counts = [o.related.similar_pairs for o in own if o.merge == "exact"]
    nulls = [own[0].random.similar, [o.shuffled.similar for o in own if o.merge == "exact"]]
    row = [f"{np.mean(counts):.0f} ±{np.std(counts, ddof=1):.0f}"]
    row.append(f"{nulls[0].mean:.0f} ±{nulls[0].sd:.0f}")
    row.append(f"{np.mean([one.mean for one in nulls[1]]):.0f} ±")
    assert " | ".join(row) in pairs
    content: list[dict[str, Any]] = json.loads(
        (made / "distinctiveness" / "distinctiveness.json").read_text("utf-8")
    )
    assert [o["removed"] for o in content] == [o.removed for o in found]
    assert content[0]["shuffled"]["similar"].keys() == {"mean", "sd"}


def test_the_verb_prints_the_tables(copy: Path, evonas: Cli) -> None:
    words = ("prune", copy, "--method", "distinctiveness", "--network", "probe")
    code, out, err = evonas(*words)
    assert (code, err) == (0, "")
    assert "Without these units" in out
    assert f"written: {copy / 'distinctiveness'}" in out
    assert "takes no --repeat, --out" in said(evonas(*words, "--repeat", 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similar": 0.0}, "expected 0 < similar"),
        ({"complementary": 80.0}, "expected 0 < similar"),
        ({"patterns": 1}, "at least 2 patterns"),
        ({"network": "prob"}, "did you mean 'probe'"),
    ],
)
def test_mistakes_are_one_line(copy: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        RetrainedModel(copy).distinctiveness(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_networks_without_linear_layers_are_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_removal.linear_units, "final_linears", lambda *given: [])
    with pytest.raises(InputError, match="no network of it ends in a linear layer"):
        RetrainedModel(copy).distinctiveness(network="probe")


def test_images_that_judge_give_no_activations(
    copy: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns, judging = [], []
    predict, validate = distinctiveness.predict, distinctiveness.validate

    def shown(module: Any, data: Any, indices: Any, *rest: Any) -> Any:
        patterns.append(np.asarray(indices))
        return predict(module, data, indices, *rest)

    def judged(module: Any, data: Any, task: Any, indices: Any, *rest: Any) -> Any:
        judging.append(np.asarray(indices))
        return validate(module, data, task, indices, *rest)

    monkeypatch.setattr(distinctiveness, "predict", shown)
    monkeypatch.setattr(distinctiveness, "validate", judged)
    RetrainedModel(copy).distinctiveness(network="probe", patterns=10, repeats=1)
    splits = ClassFolders(str(made.parent / "faces"), size=64).splits
    assert [len(one) for one in patterns] == [10, 10]  # two seeds
    assert all(set(one) <= set(splits["train"]) for one in patterns)
    assert len(judging) == 2 * (1 + 4)
    assert all(set(one) == set(splits["test"]) for one in judging)
