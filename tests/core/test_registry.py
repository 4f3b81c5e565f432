"""Names of the exchangeable parts: a file's name is the public name."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from evonas.core import registry
from evonas.errors import InputError, nearest
from evonas.space import SearchSpace

PARTS = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]
SPACE = SearchSpace.from_dict(
    {
        "name": "toy",
        "network": "toy",
        "genes": [{"name": "x", "kind": "integer", "low": 1, "high": 9}],
    }
)


def test_the_parts_of_every_kind_are_found() -> None:
    known = {
        "optimizer": {"bobyqa", "cma", "ga", "local", "pso", "random"},
        "network": {"master_module", "linear_probe", "residual_head"},
        "block": {"conv", "residual", "ghost"},
        "backbone": {"synthetic_face", "face_recognition"},
        "data": {"synthetic_faces", "pointing04"},
        "task": {"head_pose"},
        "executor": {"local", "ray"},
        "logger": {"mlflow", "tensorboard"},
    }
    assert set(known) == set(registry.KINDS)
    for kind, names in known.items():
        found = registry.names(kind)
        assert names <= set(found)
        assert found == sorted(found)
        assert "base" not in found
        assert [f"{registry.KINDS[kind].package}.{name}" for name in found] == registry.modules(
            kind
        )


@pytest.mark.parametrize("kind", registry.KINDS)
def test_a_folder_of_parts_holds_parts_and_their_base_alone(kind: str) -> None:
    """Helpers live in sub-packages, so that every file of the folder is a part by its name."""
    entry = registry.KINDS[kind]
    package = importlib.import_module(entry.package)
    base = getattr(importlib.import_module(entry.base_module), entry.base)
    folder = Path(package.__path__[0])
    stems = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert stems == set(registry.names(kind))
    for stem in stems:
        assert not stem.startswith("_")
        assert issubclass(registry.load(kind, stem), base)
    for inner in (path for path in folder.iterdir() if path.is_dir()):
        assert not inner.name.startswith("_") or inner.name == "__pycache__"


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_module_defines_exactly_one_public_class(kind: str, name: str) -> None:
    part = registry.load(kind, name)
    assert part.__module__.rsplit(".", 1)[-1] == name
    assert not inspect.isabstract(part)
    assert registry.load(kind, name) is part


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_part_says_in_one_line_what_it_is(kind: str, name: str) -> None:
    line = registry.summary(kind, name)
    assert 10 < len(line) < 120
    assert line[0].isupper() or line[0].isdigit()
    assert line.endswith(".")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_an_unknown_name_is_answered_with_the_nearest(kind: str) -> None:
    name = registry.names(kind)[0]
    with pytest.raises(InputError, match=rf"unknown {kind} '{name}x': did you mean '{name}'"):
        registry.load(kind, f"{name}x")


@pytest.mark.parametrize("name", ["base", "_sampling", "../errors", "", "os", "__init__"])
def test_what_is_no_part_cannot_be_loaded(name: str) -> None:
    with pytest.raises(InputError, match="unknown optimizer"):
        registry.load("optimizer", name)


CALLS = {
    "names": lambda kind: registry.names(kind),
    "load": lambda kind: registry.load(kind, "cma"),
    "summary": lambda kind: registry.summary(kind, "cma"),
    "options": lambda kind: registry.options(kind, "cma"),
    "create": lambda kind: registry.create(kind, "cma", {}, SPACE, budget=4, seed=1),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("optimizers", "unknown kind of part 'optimizers': did you mean 'optimizer'? (known: "),
        ("Network", "unknown kind of part 'Network': did you mean 'network'? (known: "),
        ("", "unknown kind of part '': known: backbone, block, data, "),
        (None, "unknown kind of part None: "),
        (["optimizer"], "unknown kind of part ['optimizer']: "),
    ],
)
def test_an_unknown_kind_is_answered_with_the_nearest(call: str, kind: Any, answer: str) -> None:
    with pytest.raises(InputError) as caught:
        CALLS[call](kind)
    assert str(caught.value).startswith(answer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", [registry.load, registry.summary, registry.options])
@pytest.mark.parametrize("name", ["cmaa", "../errors", None, 3, ["cma"]])
def test_every_call_answers_an_unknown_name(call: Any, name: Any) -> None:
    with pytest.raises(InputError, match=r"^unknown optimizer .*known: bobyqa, cma"):
        call("optimizer", name)


@pytest.mark.parametrize("given", [None, ["sigma"], "sigma=1"])
def test_options_that_are_no_mapping_are_refused(given: Any) -> None:
    with pytest.raises(InputError, match="optimizer 'cma': expected its options as a mapping"):
        registry.create("optimizer", "cma", given, SPACE, budget=4, seed=1)


@pytest.mark.parametrize("name", registry.names("optimizer"))
def test_a_strategy_called_directly_answers_as_create_does(name: str) -> None:
    strategy = registry.load("optimizer", name)
    assert strategy(SPACE, budget=4, seed=0).trained == 0
    with pytest.raises(InputError) as direct:
        strategy(SPACE, budget=4, seed=0, popsize=3)
    with pytest.raises(InputError) as created:
        registry.create("optimizer", name, {"popsize": 3}, SPACE, budget=4, seed=0)
    start = f"unknown key optimizer.popsize of optimizer {name!r}: did you mean 'population_size'?"
    assert str(direct.value).startswith(start)
    assert str(created.value).startswith(start)
    with pytest.raises(InputError, match=rf"^optimizer '{name}' needs optimizer\.budget=\.\.\.: "):
        strategy(SPACE, seed=0)
    with pytest.raises(InputError, match=r"^budget: expected a whole number .* got 'x'$"):
        strategy(SPACE, budget="x", seed=0)
    with pytest.raises(InputError, match=r"^space: expected a SearchSpace, got 'space.yaml'"):
        strategy("space.yaml", budget=4, seed=0)


def test_nearest_offers_what_is_close_and_lists_the_rest() -> None:
    assert nearest("cmaa", ["ga", "cma"]) == "did you mean 'cma'? (known: cma, ga)"
    assert nearest("quantum", ["ga", "cma"]) == "known: cma, ga"
    assert nearest("x", []) == "none is known"


def make(name: str, options: dict[str, object]) -> object:
    return registry.create("optimizer", name, options, SPACE, budget=4, seed=1, macs=None)


def test_create_passes_options_on() -> None:
    assert make("random", {"population_size": 7}).population_size == 7
    assert make("random", {"population_size": "7"}).population_size == 7


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        make("random", {"population_sise": 7})
    assert str(caught.value).startswith(
        "unknown key optimizer.population_sise of optimizer 'random': "
        "did you mean 'population_size'?"
    )


@pytest.mark.parametrize("key", ["budget", "seed", "macs", "space"])
def test_what_evonas_passes_itself_is_no_option(key: str) -> None:
    with pytest.raises(InputError, match=rf"unknown key optimizer\.{key} "):
        make("random", {key: 1})


@pytest.mark.parametrize("value", ["many", [1], 2.5, {}])
def test_an_option_of_the_wrong_type_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"^optimizer\.population_size: .*, got ") as caught:
        make("random", {"population_size": value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"labels": ["yaw"]}, {"labels": "yaw"}, {"label": "yaw"}, {"label": ["yaw"]}]
)
def test_a_word_alone_stands_for_a_list_and_a_label_for_labels(given: dict[str, Any]) -> None:
    schema: dict[str, tuple[str, ...]] = {"yaw": (), "smile": ()}
    task = registry.create("task", "regression", {**given, "centre": 30, "scale": 2.5}, schema)
    assert (task.labels, list(task.centre), list(task.scale)) == (("yaw",), [30.0], [2.5])
    with pytest.raises(InputError, match=r"task.label and task.labels are the same option"):
        registry.create("task", "regression", {"label": "yaw", "labels": "yaw"}, schema)
    with pytest.raises(InputError, match=r"task.labels: input should be a valid tuple, got True"):
        registry.create("task", "regression", {"labels": True}, schema)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(InputError, match=r"data 'pointing04' needs data\.root="):
        registry.create("data", "pointing04", {})


def test_a_module_with_two_public_parts_is_a_programming_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from evonas.optimizers import random

    class Another(random.Random):
        pass

    Another.__module__ = random.__name__
    monkeypatch.setattr(random, "Another", Another, raising=False)
    with pytest.raises(TypeError, match="exactly one public Optimizer"):
        registry.load("optimizer", "random")
