"""Parts of another package: found, used, held to the suites, and refused in one line."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, said
from logs import Curves

import evonas as api
from evonas.core import registry
from evonas.errors import InputError
from evonas.testing import (
    BackboneConformance,
    LoggerConformance,
    OptimizerConformance,
    TaskConformance,
)

ENTRY_POINTS = """\
[evonas.optimizers]
halving = outside_package:Halving
[evonas.tasks]
doubled = outside_package:Doubled
[evonas.backbones]
grey = outside_package:Grey
[evonas.loggers]
lines = outside_package:Lines
"""
MODULE = '''
"""Parts of a team."""

import json

import numpy as np
from torch.nn import functional

from evonas.models.backbones.base import Backbone
from evonas.optimizers.local import LocalSearch
from evonas.runs.loggers.base import Logger
from evonas.tasks.regression import Regression


class Halving(LocalSearch):
    """Local search of our own."""


class Doubled(Regression):
    """Regression of a quantity, named by us."""


class Grey(Backbone):
    """Means of 2x2 and of 4x4 pixels."""

    def __init__(self, input_size=16):
        super().__init__()
        self.input_size = input_size
        self.register_buffer("scale", np_one())
        self.taps = {"half": (3, input_size // 2, input_size // 2)}
        self.taps["quarter"] = (3, input_size // 4, input_size // 4)
        self.freeze()

    def forward(self, images, taps):
        wanted = self.check_taps(taps)
        found, x = {}, images / 255 * self.scale
        for tap in self.taps:
            if len(found) < len(wanted):
                weight = x.new_full((3, 1, 2, 2), 0.25)
                x = functional.conv2d(x, weight, stride=2, groups=3)
                if tap in wanted:
                    found[tap] = x
        return found


def np_one():
    import torch

    return torch.ones(1)


class Lines(Logger):
    """A line of JSON for every training."""

    needs = ("json", "json")

    def begin(self, experiment):
        self.path = self.folder / "lines.jsonl"
        if not self.path.exists():
            self.path.write_text("")
        return len(self.path.read_text().splitlines())

    def trial(self, step, trial, values):
        with self.path.open("a") as stream:
            stream.write(json.dumps(dict(values)) + "\\n")

    def finish(self, step, winner, file):
        pass
'''


def install(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """Write a distribution as pip leaves it: modules, and the metadata beside them."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package, installed as long as a module's tests last."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "outside-package", ENTRY_POINTS, outside_package=MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    sys.modules.pop("outside_package", None)


Install = Callable[..., None]


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a further package for one test."""
    before = set(sys.modules)

    def work(name: str, entry_points: str, **modules: str) -> None:
        install(tmp_path / "site", name, entry_points, **modules)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    yield work
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.usefixtures("package")
class TestOptimizer(OptimizerConformance):
    names = ("outside_package:Halving",)


@pytest.mark.usefixtures("package")
class TestTask(TaskConformance):
    names = ("doubled",)
    options = {"labels": ["age"]}  # noqa: RUF012


@pytest.mark.usefixtures("package")
class TestBackbone(BackboneConformance):
    names = ("grey",)
    distinct = weightless = ("grey",)


@pytest.mark.usefixtures("package")
class TestLogger(LoggerConformance):
    names = ("lines",)
    blockers = {"lines": "lines.jsonl/x"}  # noqa: RUF012

    def read(self, name: str, run: Path) -> Curves:
        found: Curves = {}
        lines = (run / "lines.jsonl").read_text().splitlines()
        for step, line in enumerate(lines, 1):
            for key, value in json.loads(line).items():
                found.setdefault(key, []).append((step, value))
        return found


def test_parts_are_in_the_lists(package: Path, evonas: Cli) -> None:
    for names, name in (
        (api.list_optimizers(), "halving"),
        (api.list_tasks(), "doubled"),
        (api.list_backbones(), "grey"),
        (api.list_loggers(), "lines"),
    ):
        assert name in names
        assert names == sorted(names)
    assert api.list_parts("task")["task"]["doubled"] == "Regression of a quantity, named by us."
    assert registry.options("backbone", "grey") == ["input_size"]
    code, out, err = evonas("list", "optimizer")
    assert (code, err) == (0, "")
    assert "Local search of our own." in out
    assert "did you mean 'halving'?" in said(evonas("search", "quickstart", "optimizer=halvin"))


@pytest.mark.parametrize("prefix", ["", "outside_package:"])
def test_a_search_uses_them_and_is_resumed(
    package: Path, evonas: Cli, tiny_file: Path, prefix: str
) -> None:
    chosen = {"optimizer": "halving", "task.name": "doubled", "logger": "lines"}
    dotted = {"optimizer": "Halving", "task.name": "Doubled", "logger": "Lines"}
    words = [f"{key}={prefix}{(dotted if prefix else chosen)[key]}" for key in chosen]
    words += ["task.labels=[smile]", "finals.networks=0", "--budget", "3", "--run-dir", "run"]
    code, _, err = evonas("search", tiny_file, *words)
    assert (code, err) == (0, "")
    best = json.loads((tiny_file.parent / "run/best.json").read_text("utf-8"))
    assert best["experiment"]["task"]["name"] == words[1].partition("=")[2]
    assert len((tiny_file.parent / "run/lines.jsonl").read_text().splitlines()) == 3
    code, _, err = evonas("search", "--resume", "--run-dir", "run", "--budget", "4")
    assert (code, err) == (0, "")
    assert len((tiny_file.parent / "run/lines.jsonl").read_text().splitlines()) == 4


def test_a_module_of_the_working_directory_is_found_by_its_dotted_name(
    evonas: Cli, tmp_path: Path
) -> None:
    (tmp_path / "local_strategy.py").write_text(
        "from evonas.optimizers.random import Random\n\nclass Mine(Random):\n    pass\n"
    )
    path = list(sys.path)
    try:
        code, out, err = evonas("validate", "quickstart", "optimizer=local_strategy:Mine")
        assert (code, err) == (0, ""), out
        assert sys.path == path
        words = ("optimizer=local_strategy:Mine", "optimizer.sigma=1")
        line = said(evonas("search", "quickstart", *words))
        assert "unknown key optimizer.sigma of optimizer 'local_strategy:Mine': known: " in line
    finally:
        sys.modules.pop("local_strategy", None)


def test_reading_a_run_imports_no_dotted_name(evonas: Cli, run: Path, tmp_path: Path) -> None:
    """Looking at a run of somebody else runs none of the code that it names."""
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
    path = run / "experiment.yaml"
    path.write_text(path.read_text("utf-8").replace("name: random", "name: trap:Mine"), "utf-8")
    assert "trap:Mine" in path.read_text("utf-8")
    for verb in (["report", run], ["lineage", run]):
        code, out, err = evonas(*verb)
        assert "imported" not in out + err
        assert code in (0, 2)
    assert "trap" not in sys.modules


WRONG = {
    "absent": ("halving_x:Mine", "there is no module 'halving_x' among what is installed or in "),
    "needs": ("broken_needs:Mine", "importing 'broken_needs' needs 'no_such_library', which is "),
    "fails": ("broken_fails:Mine", "importing 'broken_fails' fails (ZeroDivisionError: division "),
    "attribute": ("wrong_parts:Mime", "has no 'Mime': did you mean 'Mine'?"),
    "function": (
        "wrong_parts:function",
        "expected a subclass of evonas.optimizers.base.Optimizer, got a function",
    ),
    "subclass": (
        "wrong_parts:Mine",
        "expected a subclass of evonas.optimizers.base.Optimizer, got a class Mine",
    ),
    "abstract": (
        "wrong_parts:Half",
        "expected a complete evonas.optimizers.base.Optimizer, but Half lacks _ask, _tell",
    ),
    "form": ("wrong parts:Mine", "expected package.module:Class, such as my_package:Mine"),
}
MODULES = {
    "broken_needs": "import no_such_library\n",
    "broken_fails": "1 / 0\n",
    "wrong_parts": "from evonas.optimizers.base import Optimizer\n\nclass Mine:\n    pass\n\n"
    "class Half(Optimizer):\n    pass\n\ndef function():\n    pass\n",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_dotted_name_that_is_no_part_is_one_line(other: Install, case: str) -> None:
    name, expected = WRONG[case]
    other("wrong-package", "", **MODULES)
    with pytest.raises(InputError) as caught:
        registry.load("optimizer", name)
    line = str(caught.value)
    assert line.startswith(f"optimizer {name!r}: ")
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize("case", WRONG)
def test_a_broken_entry_point_names_its_package_and_hides_no_other_part(
    other: Install, evonas: Cli, case: str
) -> None:
    target, expected = WRONG[case]
    other("wrong-package", f"[evonas.optimizers]\nbroken = {target}\n", **MODULES)
    shown = api.list_parts("optimizer")["optimizer"]
    assert {"broken", "cma", "random"} <= set(shown)
    place = f"package wrong-package, entry point 'broken' of evonas.optimizers = {target!r}: "
    assert shown["broken"].startswith(f"Cannot be loaded: {place}")
    assert expected in shown["broken"]
    line = said(evonas("search", "quickstart", "optimizer=broken"))
    assert place in line
    assert expected in line


def test_a_name_of_evonas_itself_cannot_be_taken(other: Install) -> None:
    module = "from evonas.optimizers.random import Random\n\nclass Mine(Random):\n    pass\n"
    other("rival", "[evonas.optimizers]\ncma = rival_parts:Mine\n", rival_parts=module)
    with pytest.warns(UserWarning, match=r"package rival, entry point 'cma' of evonas\.optimizers"):
        assert "cma" in registry.names("optimizer")
    found = registry.load("optimizer", "cma")
    assert found.__module__ == "evonas.optimizers.cma"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert "rival_parts:Mine" in registry.names("optimizer")
    assert registry.load("optimizer", "rival_parts:Mine").__name__ == "Mine"


def test_a_name_of_two_packages_is_neither_one_s(other: Install) -> None:
    for name in ("one", "two"):
        module = "from evonas.optimizers.random import Random\n\nclass Mine(Random):\n    pass\n"
        other(name, f"[evonas.optimizers]\nmine = {name}_parts:Mine\n", **{f"{name}_parts": module})
    with pytest.warns(UserWarning, match="the name is one of another package as well"):
        names = registry.names("optimizer")
    assert {"one_parts:Mine", "two_parts:Mine"} <= set(names)
    with pytest.raises(InputError, match="unknown optimizer 'mine'"):
        registry.load("optimizer", "mine")


def test_a_block_of_a_gene_is_never_imported_by_a_dotted_name(other: Install) -> None:
    other("wrong-package", "", trap_block="raise RuntimeError('imported')\n")
    with pytest.raises(InputError, match="unknown block 'trap_block:Mine'"):
        registry.load("block", "trap_block:Mine")
    assert "trap_block" not in sys.modules


def test_a_class_is_named_as_it_is_found(package: Path) -> None:
    found: Any = registry.load("optimizer", "halving")
    assert registry.name_of(found) == "halving"
    assert registry.name_of(registry.load("data", "pointing04")) == "pointing04"
    assert importlib.import_module("outside_package").Halving is found


def test_a_suite_without_names_says_what_it_needs() -> None:
    with pytest.raises(pytest.UsageError, match=r"Empty\.names: expected a list of names"):
        type("Empty", (OptimizerConformance,), {})().pytest_generate_tests(None)  # type: ignore[arg-type]
