"""Words and options of a command line: all of them hold in the experiment, or one is named."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Cli, said
from hypothesis import given
from hypothesis import strategies as st
from mutations import fuzz

from evonas.api import comparison, search
from evonas.api.search_result import SearchResult
from evonas.cli import app as cli
from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.core.overrides import Override, Word, merged, parse, saying
from evonas.errors import InputError

ROOT = Path(__file__).parents[2]


def option(name: str, key: str, value: Any) -> Override:
    return Override(tuple(key.split(".")), value, f"{name} {value}")


SURROGATE = option("--optimizer", "optimizer", "surrogate")


def stands(experiment: Experiment, word: Word) -> bool:
    """Whether a word's value is that of the experiment."""
    override, found = parse(word), experiment.model_dump(mode="json")
    for key in override.path:
        found = found[key]
    if isinstance(found, dict) and isinstance(override.value, str | bool):
        found = found["enabled" if isinstance(override.value, bool) else "name"]
    if isinstance(override.value, dict):
        return all(found[key] == value for key, value in override.value.items())
    return bool(found == override.value)


@pytest.mark.parametrize("turned", [False, True])
def test_an_option_drops_no_word_whatever_the_order(turned: bool) -> None:
    """The fault: half of two workers stood idle with population_size 1."""
    words: list[Word] = [SURROGATE, "optimizer.population_size=2"]
    made = config.load("quickstart", words[::-1] if turned else words).optimizer
    assert (made.name, made.options) == ("surrogate", {"population_size": 2})


@pytest.mark.parametrize("name", ["optimizer=cma", "optimizer.name=cma"])
def test_the_name_that_the_file_has_drops_nothing(name: str) -> None:
    assert config.load("headpose_300wlp", [name]).optimizer.options == {"population_size": 10}


@pytest.mark.parametrize("name", ["optimizer=ga", "optimizer.name=ga", "optimizer={name: ga}"])
def test_another_name_drops_the_options_of_the_file_alone(name: str) -> None:
    for words in (["optimizer.parents=3", name], [name, "optimizer.parents=3"]):
        assert config.load("headpose_300wlp", words).optimizer.options == {"parents": 3}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["budget=9", "budget=8"], ("budget=9", "budget=8")),
        (["budget=10", option("--budget", "budget", 20)], ("budget=10", "--budget 20")),
        (["optimizer=ga", SURROGATE], ("optimizer=ga", "--optimizer surrogate")),
        (["optimizer={name: ga}", SURROGATE], ("optimizer={name: ga}", "--optimizer surrogate")),
        (["optimizer=ga", "optimizer.name=cma"], ("optimizer=ga", "optimizer.name=cma")),
        (["inherit=true", "inherit.enabled=false"], ("inherit=true", "inherit.enabled=false")),
        (
            ["training={epochs: 3}", "training.epochs=4"],
            ("training={epochs: 3}", "training.epochs=4"),
        ),
        (["space.tap=block2", "space.tap.x=1"], ("space.tap=block2", "space.tap.x=1")),
        (["space.tap.x=1", "space.tap=[block2]"], ("space.tap=[block2]", "space.tap.x=1")),
        (["logger=[mlflow]", "logger.hparams=true"], ("logger=[mlflow]", "logger.hparams=true")),
    ],
)
def test_what_would_be_dropped_is_named(words: list[Word], named: tuple[str, str]) -> None:
    for order in (words, words[::-1]):
        with pytest.raises(InputError, match="contradict each other") as caught:
            config.load("quickstart", order)
        message = str(caught.value.args[0])
        assert all(word in message for word in named), message
        assert "\n" not in message


@pytest.mark.parametrize(
    "words",
    [
        ["budget=60"],  # as the file has it
        ["budget=7", "budget=7"],
        ["training.learning_rate=1e-3", "training.learning_rate=0.001"],
        ["budget=20", option("--budget", "budget", 20)],
        ["fidelity=racing", "fidelity.rung=0.5"],
        ["inherit=true", "inherit.fresh_epochs=7"],
        ["training={epochs: 3}", "training.ema=0.5"],
        ["data={name: synthetic_faces, identities: 7}", "data.images_per_identity=3"],
        ["task={}", "task.name=head_pose"],
    ],
)
def test_words_that_agree_all_hold(words: list[Word]) -> None:
    for order in (words, words[::-1]):
        made = config.load("quickstart", order)
        assert all(stands(made, word) for word in words)


def test_a_mapping_replaces_the_section_of_the_file() -> None:
    made = config.load("quickstart", ["training={epochs: 3}"])
    assert made.training.learning_rate == config.TrainingSettings().learning_rate != 3e-3
    assert config.load("quickstart", ["training.epochs=3"]).training.learning_rate == 3e-3


def test_a_switch_in_the_file_may_be_refined(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(tiny | {"inherit": True}), encoding="utf-8")
    made = config.load(path, ["inherit.fresh_epochs=4"]).inherit
    assert (made.enabled, made.fresh_epochs) == (True, 4)


def test_sections_that_share_an_anchor_change_apart() -> None:
    """The shipped experiment writes ``training: &habits`` and ``retraining: *habits``."""
    made = config.load("hopenet", ["training.epochs=3"])
    assert (made.training.epochs, made.retraining.epochs) == (3, 25)


def test_the_data_that_is_merged_into_stays_as_it_is() -> None:
    data = {"training": {"epochs": 1}, "optimizer": "cma"}
    merged(data, ["training.epochs=2", "optimizer.x=1"], config.SHORT)
    assert data == {"training": {"epochs": 1}, "optimizer": "cma"}


def test_who_set_a_key_is_known() -> None:
    words = ["space={name: master_module, tap: [block2]}", "space.stem=8"]
    assert saying(words, "space.tap", config.SHORT) == words[0]
    assert saying(words, "space", config.SHORT) == words[0]
    assert saying(words, "space.n", config.SHORT) == ""
    assert saying([SURROGATE], "optimizer.name", config.SHORT) == "--optimizer surrogate"


def test_options_of_a_part_contradict_each_other_too() -> None:
    assert config.options(["root=a", "root=a", "jitter=1"]) == {"root": "a", "jitter": 1}
    with pytest.raises(InputError, match="root=a and root=b contradict"):
        config.options(["root=a", "root=b"])


_WORDS = (
    *("optimizer=ga", "optimizer=cma", "optimizer.name=ga", "optimizer.population_size=4"),
    *("optimizer.population_size=5", "optimizer.parents=3", "optimizer={name: ga, parents: 3}"),
    *("optimizer={population_size: 4}", "optimizer={}", "budget=60", "budget=20", "seed=1"),
    *("training={epochs: 3}", "training.epochs=3", "training.epochs=4", "training={ema: 0.5}"),
    *("training.ema=0.5", "fidelity=racing", "fidelity=full", "fidelity.rung=0.5"),
    *("inherit=true", "inherit=false", "inherit.fresh_epochs=3", "inherit={enabled: true}"),
    *("logger=none", "logger=tensorboard", "logger.hparams=true", "logger=[mlflow]"),
    *("space.tap=[block2]", "space.tap=block2", "space.tap.x=1", "space={name: resnet50}"),
    *("execution.workers=2", "execution.executor=local", "tap=block2", "tap.x=1", "budget.x=2"),
)
_OPTIONS = (
    *(("--optimizer", "ga"), ("--optimizer", "surrogate"), ("--budget", "20"), ("--seed", "1")),
    *(("--workers", "2"), ("--executor", "ray"), ("--fidelity", "racing"), ("--inherit",)),
    *(("--address", "auto"), ("--seed", "2")),
)
_KEYS = {
    **{"--optimizer": "optimizer", "--budget": "budget", "--seed": "seed", "--inherit": "inherit"},
    **{"--workers": "execution.workers", "--executor": "execution.executor"},
    **{"--fidelity": "fidelity", "--address": "execution.address"},
}


def _typed(argument: tuple[str, ...] | str) -> str:
    """An option as the word that says the same."""
    if isinstance(argument, str):
        return argument
    return f"{_KEYS[argument[0]]}={argument[1] if argument[1:] else 'true'}"


def _override(argument: tuple[str, ...] | str) -> Word:
    if isinstance(argument, str):
        return argument
    return replace(parse(_typed(argument)), said=" ".join(argument))


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    """Return what an ``evonas search quickstart`` would search, from its arguments."""
    seen: list[Experiment] = []

    def instead(experiment: Experiment, **rest: Any) -> SearchResult:
        seen.append(experiment)
        return SearchResult(Path("run"))

    monkeypatch.setattr(search, "search", instead)

    def run(arguments: Sequence[str]) -> Experiment:
        monkeypatch.setattr(sys, "argv", ["evonas", *arguments])
        cli.app(standalone_mode=False)
        return seen[-1]

    return run


Argument = str | tuple[str, ...]


def check_orders(chosen: list[Argument], seed: int, load: Callable[..., Experiment]) -> bool:
    """Whether arguments hold in any order; else one of them is named in any order."""
    results: list[Experiment | None] = []
    for order in (chosen, random.Random(seed).sample(chosen, len(chosen))):
        try:
            results.append(load(order))
        except InputError as error:
            message = str(error.args[0])
            keys = [_typed(one).split("=")[0].split(".")[0] for one in chosen]
            assert any(key in message for key in keys), message
            results.append(None)
    assert results[0] == results[1], chosen
    for word in map(_typed, chosen if results[0] else []):
        made = results[0]
        assert made is not None
        if word == "logger=none":
            assert made.logger == ()
        elif word.startswith("logger"):
            assert made.logger, chosen
            assert word == "logger.hparams=true" or made.logger[0].name in word
        else:
            assert stands(made, word), (word, made)
    return results[0] is not None


def once_an_option(given: list[Argument]) -> bool:
    """The parser of the command line itself takes the last of two."""
    names = [one[0] for one in given if not isinstance(one, str)]
    return len(names) == len(set(names))


ARGUMENTS = st.lists(st.sampled_from([*_WORDS, *_OPTIONS]), max_size=5, unique=True).filter(
    once_an_option
)


def test_each_word_and_option_holds_or_is_named() -> None:
    outcomes = {True: 0, False: 0}

    def load(order: list[Argument]) -> Experiment:
        return config.load("quickstart", [_override(one) for one in order])

    @fuzz(400)
    @given(ARGUMENTS, st.integers(0, 99))
    def try_it(chosen: list[Argument], seed: int) -> None:
        outcomes[check_orders(chosen, seed, load)] += 1

    try_it()
    assert min(outcomes.values()) > 50, outcomes


def test_each_argument_of_a_command_line_holds_or_is_named(
    captured: Callable[..., Experiment],
) -> None:
    def load(order: list[Argument]) -> Experiment:
        flat = [part for one in order for part in ([one] if isinstance(one, str) else one)]
        return captured(["search", "quickstart", *flat])

    @fuzz(12)
    @given(ARGUMENTS, st.integers(0, 99))
    def try_it(chosen: list[Argument], seed: int) -> None:
        check_orders(chosen, seed, load)

    try_it()


VERBS = [
    ("search", ["{experiment}"], ["--optimizer", "ga"], "optimizer=cma"),
    ("search", ["{experiment}"], ["--budget", "3"], "budget=2"),
    ("search", ["{experiment}"], ["--seed", "3"], "seed=2"),
    ("search", ["{experiment}"], ["--workers", "1"], "execution.workers=2"),
    ("search", ["{experiment}"], ["--executor", "local"], "execution.executor=ray"),
    ("search", ["{experiment}"], ["--fidelity", "full"], "fidelity=racing"),
    ("search", ["{experiment}"], ["--inherit"], "inherit=false"),
    ("search", ["{experiment}"], ["--address", "auto"], "execution.address=h:1"),
    ("compare", ["{experiment}"], ["--optimizers", "ga,random"], "optimizer=ga"),
    ("compare", ["{experiment}"], ["--budget", "3"], "budget=2"),
    ("retrain", ["{experiment}"], ["--epochs", "3"], "retraining.epochs=2"),
    ("retrain", ["{experiment}"], ["--schedule", "cosine"], "retraining.schedule=constant"),
    ("probe", ["{experiment}"], ["--labels", "yaw"], "probe.labels=[pitch]"),
    ("validate", ["{experiment}"], ["budget=3"], "budget=2"),
    ("pipeline", ["{experiment}"], ["budget=3"], "budget=2"),
]


@pytest.mark.parametrize(("verb", "first", "given", "word"), VERBS)
def test_a_word_against_an_option_is_named_by_every_verb(
    evonas: Cli, tiny_file: Path, verb: str, first: list[str], given: list[str], word: str
) -> None:
    first = [one.format(experiment=tiny_file) for one in first]
    for arguments in ([*first, word, *given], [*first, *given, word]):
        line = said(evonas(verb, *arguments))
        assert word in line, line
        assert given[0] in line, line
        assert "contradict each other" in line, line


@pytest.mark.parametrize(
    ("verb", "given", "word"),
    [
        ("prune", ["--threshold", "0.1"], "prune.threshold=0.2"),
        ("prune", ["--epochs", "1"], "prune.training={epochs: 2}"),
        ("finetune", ["--epochs", "1"], "finetune.training={epochs: 2}"),
        ("finetune", ["--from", "block1"], "finetune.frozen_up_to=block2"),
        ("quantize", ["--images", "8"], "quantize.images=9"),
        ("quantize", ["--qat"], "quantize.aware=false"),
        ("quantize", ["--aware"], "quantize.aware=false"),
        ("quantize", ["--backend", "onnx"], "quantize.road=pt2e"),
        ("quantize", ["--road", "onnx"], "quantize.road=pt2e"),
    ],
)
def test_a_word_against_an_option_of_a_retrained_network(
    evonas: Cli, tiny: dict[str, Any], tmp_path: Path, verb: str, given: list[str], word: str
) -> None:
    cost = {"macs": 1, "params": 1, "megabytes": 0.1}
    costs: dict[str, Any] = {"head": cost, "backbone_up_to_tap": cost, "results": []}
    one = {"name": "winner", "tap": "block3", "architecture": None, "weights": ["w"], **costs}
    keys: dict[str, Any] = {"task": ["head_pose", {}, {}], "contenders": [one], "data": ""}
    content = {"format": 1, "experiment": tiny, "protocol": "", "leaky": "", **keys}
    (tmp_path / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    line = said(evonas(verb, tmp_path, word, *given))
    assert (word in line, given[0] in line, "contradict" in line) == (True, True, True), line


def test_an_address_brings_its_executor_unless_one_is_named(
    captured: Callable[..., Experiment],
) -> None:
    joined = captured(["search", "quickstart", "--address", "auto"]).execution
    assert (joined.executor, joined.address) == ("ray", "auto")
    words = ["--address", "auto", "execution.executor=auto"]
    assert captured(["search", "quickstart", *words]).execution.executor == "auto"


def test_a_resumed_run_drops_no_word(
    captured: Callable[..., Experiment], tiny: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    resume = ["search", "--resume", "--run-dir", str(tmp_path)]
    words = ["optimizer.population_size=2", "finals.networks=1", "--budget", "9"]
    made = captured([*resume, *words, "--optimizer", "surrogate"])
    assert made.optimizer == config.Part(name="surrogate", population_size=2)
    assert (made.budget, made.finals.networks) == (9, 1)
    with pytest.raises(InputError, match="budget=8 and --budget 9 contradict"):
        captured([*resume, "budget=8", "--budget", "9"])


def test_every_search_of_a_comparison_has_the_words(
    evonas: Cli, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Experiment] = []

    def trials(folder: Path) -> list[Any]:
        return []

    def searching(experiment: Experiment, **rest: Any) -> None:
        searched.append(experiment)
        if len(searched) == 4:
            raise InputError("that is enough")

    monkeypatch.setattr(comparison, "search", searching)
    monkeypatch.setattr(comparison, "read_journal", trials)
    monkeypatch.setattr(comparison.Curve, "of", lambda *arguments: None)
    words = ["optimizer.population_size=5", "seed=7", "--seeds", "2"]
    line = said(evonas("compare", tiny_file, *words, "--optimizers", "ga,random"))
    assert "that is enough" in line
    assert [(one.optimizer.name, one.seed) for one in searched] == [
        *(("ga", 7), ("ga", 8), ("random", 7), ("random", 8)),
    ]
    assert {one.optimizer.options["population_size"] for one in searched} == {5}
    assert not any(one.report for one in searched)


def test_a_comparison_says_what_is_wrong_before_its_first_search(
    evonas: Cli, tiny_file: Path
) -> None:
    line = said(evonas("compare", tiny_file, "optimizer.parents=3", "--optimizers", "ga,random"))
    assert "unknown key optimizer.parents of optimizer 'random'" in line
    line = said(evonas("compare", tiny_file, "optimizer=ga"))
    assert "optimizer=ga and the search with " in line
    assert "report=true" in said(evonas("compare", tiny_file, "report=true"))
    assert not (tiny_file.parent / "runs").exists()


def test_a_pipeline_chooses_its_taps_itself(evonas: Cli, tiny_file: Path) -> None:
    for word in ("space.tap=[block3]", "space={name: master_module, tap: [block3]}"):
        line = said(evonas("pipeline", tiny_file, word))
        assert line.startswith(f"{word}: ")
        assert "no effect" in line
