"""Experiments: YAML plus key=value, checked; every complaint names key, expectation and value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.errors import InputError

ROOT = Path(__file__).parents[2]


def load(tiny_file: Path, *overrides: str) -> Experiment:
    return config.load(tiny_file, overrides)


def complaint(tiny_file: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        config.load(tiny_file, overrides)
    assert "\n" not in caught.value.args[0]
    return str(caught.value.args[0])


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_a_shipped_experiment_is_valid_and_survives_being_written(path: Path) -> None:
    experiment = config.load(path)
    assert experiment.name == path.stem
    plain = json.loads(json.dumps(experiment.model_dump(mode="json")))
    assert config.check(plain, "again") == experiment
    assert config.check(yaml.safe_load(yaml.safe_dump(plain)), "again") == experiment


def test_overrides_reach_every_depth(tiny_file: Path) -> None:
    made = load(tiny_file, "budget=9", "training.epochs=4", "space.stem=[8, 16]", "task.delta=2.5")
    assert (made.budget, made.training.epochs) == (9, 4)
    assert made.space.options["stem"] == [8, 16]
    assert made.space.options["n"] == [0, 1]
    assert made.task.options == {"delta": 2.5}
    assert made.data.options["identities"] == 12


def test_two_values_for_a_key_are_refused(tiny_file: Path) -> None:
    assert "budget=9 and budget=8 contradict each other" in complaint(
        tiny_file, "budget=9", "budget=8"
    )


def test_changed_leaves_the_original_alone(tiny_experiment: Experiment) -> None:
    made = config.changed(tiny_experiment, ["training.epochs=7", "seed=1"])
    assert (made.training.epochs, made.seed) == (7, 1)
    assert (tiny_experiment.training.epochs, tiny_experiment.seed) == (1, 3)


def test_values_are_frozen(tiny_experiment: Experiment) -> None:
    with pytest.raises(ValueError, match="frozen"):
        tiny_experiment.budget = 3  # type: ignore[misc]


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-3", "1.0e-3", "0.001"])
def test_a_number_is_a_number_in_any_notation(tiny_file: Path, text: str) -> None:
    made = load(tiny_file, f"training.learning_rate={text}", f"task.delta={text}")
    assert made.training.learning_rate == 0.001
    assert made.task.options["delta"] == 0.001


def test_a_number_in_the_file_is_one_too(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(tiny) + "objective: {target_ms: 2e1}\n", encoding="utf-8")
    assert config.load(path).objective.target_ms == 20.0


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=3", "unknown key 'training.epoch': did you mean 'epochs'?"),
        ("budgett=3", "unknown key 'budgett': did you mean 'budget'?"),
        ("objective.max_mac=3", "unknown key 'objective.max_mac': did you mean 'max_macs'?"),
        ("execution.worker=3", "unknown key 'execution.worker': did you mean 'workers'?"),
        ("literal=3", "unknown key 'literal': "),
        ("training.lite=3", "unknown key 'training.lite': "),
        (
            "baselines=[{name: a, network: linear_probe, setings: {}}]",
            "unknown key 'baselines.0.setings': did you mean 'settings'?",
        ),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(
    tiny_file: Path, override: str, said: str
) -> None:
    assert said in complaint(tiny_file, override)


@pytest.mark.parametrize(
    "override",
    [
        "budget=0",
        "budget=2.5",
        "budget=many",
        "seed=-1",
        "seed=2147483648",
        "name=../up",
        "name=''",
        "tap=3",
        "training.epochs=0",
        "training.batch_size=1",
        "training.learning_rate=0",
        "training.learning_rate=.nan",
        "training.learning_rate=.inf",
        "training.schedule=linear",
        "training.warmup=1.0",
        "training.ema=-0.1",
        "training.decay=0",
        "objective.mode=both",
        "objective.target_macs=0",
        "objective.target_macs=1.5",
        "objective.target_macs=.inf",
        "objective.weight=-0.06",
        "objective.weight=.nan",
        "objective.weight=.inf",
        "objective.max_macs=0",
        "features.jitters=65",
        "features.strict=perhaps",
        "execution.workers=0",
        "execution.device=tpu",
        "baselines=[1]",
    ],
)
def test_a_value_out_of_range_is_named_with_its_key(tiny_file: Path, override: str) -> None:
    key, value = override.split("=", 1)
    said = complaint(tiny_file, override)
    assert said.startswith(f"{tiny_file}: {key}")
    assert ", got " in said
    assert value.strip("'[].")[:4] in said.split(", got ")[-1]


@pytest.mark.parametrize("override", ["budget", "=3", ".=3", "training.=3", "a..b=3"])
def test_what_is_no_override_is_refused(tiny_file: Path, override: str) -> None:
    assert "expected key=value" in complaint(tiny_file, override)


@pytest.mark.parametrize("override", ["seed.x=3", "training.epochs.x=3", "space.tap.x=3"])
def test_a_value_has_no_keys_of_its_own(tiny_file: Path, override: str) -> None:
    assert "expected a section" in complaint(tiny_file, override)


def test_a_value_alone_stands_for_a_list_of_it(tiny_file: Path) -> None:
    words = ["probe.labels=yaw", "training.schedule=step", "training.milestones=8"]
    found = load(tiny_file, *words)
    assert (found.probe.labels, found.training.milestones) == (("yaw",), (8,))
    with pytest.raises(InputError, match=r"epochs: input should be a valid integer.*got 'yaw'"):
        load(tiny_file, "training.epochs=yaw")


@pytest.mark.parametrize("text", ["[1", "{a: b", "2020-13-45", "!!python/object:os.system x"])
def test_an_override_that_is_no_yaml_is_refused(tiny_file: Path, text: str) -> None:
    assert "cannot be read" in complaint(tiny_file, f"budget={text}")


def test_a_missing_key_is_named(tiny: dict[str, Any]) -> None:
    for key in ("name", "space", "backbone", "data", "task", "tap"):
        with pytest.raises(InputError, match=f"the key '{key}' is missing"):
            config.check({k: v for k, v in tiny.items() if k != key}, "here")


def test_all_complaints_are_collected(tiny: dict[str, Any]) -> None:
    wrong = tiny | {"budget": 0, "sed": 1, "training": {"epochs": 0}}
    with pytest.raises(InputError) as caught:
        config.check(wrong, "here")
    first, *complaints = caught.value.args
    assert len(complaints) == 3
    assert first.startswith("here: ")
    assert "(and 2 more: see `evonas validate`)" in first
    for start in ("unknown key 'sed'", "budget: ", "training.epochs: "):
        assert sum(text.startswith(start) for text in complaints) == 1


def test_a_part_may_be_a_name_alone(tiny_file: Path) -> None:
    assert load(tiny_file).backbone == config.Part(name="synthetic_face")
    assert load(tiny_file, "backbone.random=3").backbone.options == {"random": 3}


@pytest.mark.parametrize("override", ["optimizer=cma", "optimizer.name=cma"])
def test_another_part_drops_the_options_of_the_old_one(tiny_file: Path, override: str) -> None:
    made = load(tiny_file, override)
    assert made.optimizer.name == "cma"
    assert made.optimizer.options == {}
    options = load(tiny_file, override, "optimizer.population_size=6").optimizer.options
    assert options == {"population_size": 6}


def test_the_same_part_named_by_key_keeps_its_options(tiny_file: Path) -> None:
    assert load(tiny_file, "optimizer.name=random").optimizer.options == {"population_size": 4}


def test_options_without_a_name_are_those_of_the_default_strategy() -> None:
    made = config.load("quickstart", ["optimizer.population_size=6"]).optimizer
    default = config.Experiment.model_fields["optimizer"].default
    assert made == config.Part(name=default.name, population_size=6)


def test_find_prefers_the_path_then_the_working_directory_then_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = config.find("experiments", "quickstart")
    assert shipped == ROOT / "experiments" / "quickstart.yaml"
    assert config.find("experiments", "quickstart.yaml") == shipped
    (tmp_path / "experiments").mkdir()
    own = tmp_path / "experiments" / "quickstart.yaml"
    own.write_text("name: mine\n")
    assert config.find("experiments", "quickstart") == own
    assert config.find("experiments", "experiments/quickstart.yaml").resolve() == own
    (tmp_path / "quickstart").write_text("name: a path\n")
    assert config.find("experiments", "quickstart").resolve() == tmp_path / "quickstart"
    elsewhere = tmp_path / "any.yaml"
    elsewhere.write_text("")
    assert config.find("experiments", str(elsewhere)) == elsewhere


def test_find_reads_a_checkout_path_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = config.find("experiments", "experiments/quickstart.yaml")
    assert found == ROOT / "experiments" / "quickstart.yaml"


def test_an_unknown_experiment_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown experiment 'quikstart'.*'quickstart'"):
        config.find("experiments", "quikstart")
    with pytest.raises(InputError, match=r"unknown search space 'mastermodule'.*'master_module'"):
        config.find("search_spaces", "mastermodule")


@pytest.mark.parametrize(
    "content",
    [
        b"name: [1",
        b"a: b: c",
        b"\ttabs",
        b"\xff\xfe\x00",
        b"!!python/object/apply:os.system ['true']",
        b"[" * 5000,
        b"when: 2020-13-45",
        b"- a list",
        b"",
        b"text",
        b"a: &a [*a]\n*a",
        b"#" * 1_100_000,
    ],
    ids=range(12),
)
def test_a_malformed_file_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    assert complaint(path).startswith(f"{path}: ")


def bomb(levels: int = 12, width: int = 9) -> str:
    lines = [f"a0: &a0 [{', '.join('x' * width)}]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(),
        bomb().replace("\na11: &a11", "\nspace:\n  name: master_module\n  stem: &b"),
        "data: &d {name: x, self: *d}",
        "baselines: &b [*b]",
    ],
    ids=["wide", "in an option", "recursive mapping", "recursive list"],
)
def test_an_alias_bomb_is_refused_at_once(tmp_path: Path, tiny: dict[str, Any], text: str) -> None:
    """A few hundred bytes that would unfold to 10^11 values."""
    path = tmp_path / "bomb.yaml"
    rest = {key: value for key, value in tiny.items() if f"{key}:" not in text}
    path.write_text(yaml.safe_dump(rest) + text, encoding="utf-8")
    assert complaint(path).startswith(f"{path}: ")


def test_differences_name_what_may_not_change(tiny_file: Path) -> None:
    def plain(*overrides: str) -> dict[str, Any]:
        return load(tiny_file, *overrides).model_dump(mode="json")

    assert config.differences(plain(), plain()) == []
    free = ["budget=99", "execution.workers=2", "retraining.epochs=9", "features.cache=elsewhere"]
    assert config.differences(plain(), plain(*free, "baselines=[]")) == []
    assert config.differences(plain(), plain("seed=4")) == ["seed: 3 -> 4"]
    assert config.differences(plain(), plain("training.epochs=2")) == ["training.epochs: 1 -> 2"]
    assert config.differences(plain(), plain("features.jitters=2")) == ["features.jitters: 0 -> 2"]
    assert config.differences(plain(), plain("task.delta=2.0")) == ["task.delta: None -> 2.0"]
    both = config.differences(plain(), plain("seed=4", "data.identities=13"))
    assert both == ["data.identities: 12 -> 13", "seed: 3 -> 4"]
