"""The command line's help and lists, and that they answer at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from command_line import Cli, said

from evonas.core import registry

VERBS = [
    *("init", "fit"),
    *("search", "retrain", "finetune", "evaluate", "compare", "lineage", "validate", "list"),
    *(
        "probe",
        "prune",
        "quantize",
        "pipeline",
        "report",
        "dashboard",
        "export",
        "predict",
        "cache",
    ),
]
INNER = ["data check", "backbones show", "show space"]


def test_list_shows_every_part(evonas: Cli) -> None:
    code, out, _ = evonas("list")
    assert code == 0
    for kind in registry.KINDS:
        for name in registry.names(kind):
            assert name in out
    assert "quickstart" in out
    assert "master_module" in out


def test_list_as_json_parses(evonas: Cli) -> None:
    code, out, _ = evonas("list", "optimizer", "--json")
    assert code == 0
    assert set(json.loads(out)["optimizer"]) == set(registry.names("optimizer"))
    assert set(json.loads(evonas("list", "--json")[1])) == {*registry.KINDS, "experiment", "space"}
    assert "did you mean 'optimizer'?" in said(evonas("list", "optimiser"))


@pytest.mark.parametrize("verb", [*VERBS, *INNER])
def test_help_shows_an_example(evonas: Cli, verb: str) -> None:
    code, out, _ = evonas(*verb.split(), "--help")
    assert code == 0
    assert f"Example: evonas {verb}" in " ".join(out.split())


def test_help_lists_every_verb(evonas: Cli) -> None:
    code, out, _ = evonas("--help")
    assert code == 0
    from evonas.cli.app import app

    commands = typer.main.get_command(app).commands
    names = {name for name, verb in commands.items() if not verb.hidden}
    assert set(VERBS) <= names
    assert all(name in out for name in names)


def real(*words: object, cwd: Path) -> tuple[int, str, str]:
    """Run the installed command itself."""
    script = shutil.which("evonas", path=str(Path(sys.executable).parent))
    assert script is not None, "evonas is not installed beside this python"
    done = subprocess.run(
        [script, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def test_the_installed_command_says_the_same(tmp_path: Path, tiny_file: Path) -> None:
    line = said(real("search", tiny_file, "--optimizer", "cmaa", cwd=tmp_path))
    assert "did you mean 'cma'?" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["list"], ["cache"]])
def test_what_should_be_quick_imports_neither_torch_nor_ray(
    tmp_path: Path, words: list[str]
) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['evonas', *{words!r}]\n"
        "from evonas.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'ray', 'scipy', 'cma', 'pymoo'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_reading_an_experiment_imports_neither_torch_nor_ray(
    tmp_path: Path, tiny_file: Path
) -> None:
    """What ``validate`` says about keys and values comes before anything heavy."""
    code = (
        "import sys\n"
        "from evonas.core import experiment as config\n"
        f"config.load({str(tiny_file)!r}, ['budget=3'])\n"
        "heavy = {'torch', 'ray', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_tiny_experiment_is_plain_data(tiny_file: Path) -> None:
    assert yaml.safe_load(tiny_file.read_text())["name"] == "tiny"
