"""Shared by all tests: a tiny experiment with its features, the command line, the real data."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiers
import yaml
from hypothesis import settings
from rich.console import Console

from evonas.api.search import search
from evonas.cli.printing import SearchPrinter
from evonas.core.experiment import Experiment, changed, check
from evonas.estimation.estimator import Split, TrainingContext
from evonas.estimation.features.feature_cache import Features
from evonas.workflows.components import Components

# Machines that others use as well have slow moments.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests the markers that follow from their folder, a fixture, or `tiers.py`."""
    unmet = tiers.mark(items)
    if unmet and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        raise pytest.UsageError(f"tests/tiers.py names cases that are no more: {sorted(unmet)}")


@pytest.fixture(scope="session")
def pointing04_root() -> Path:
    """The folder of the real faces."""
    return _real("pointing04")


@pytest.fixture(scope="session")
def aflw2000_root() -> Path:
    """The folder of real head pose labels with roll."""
    return _real("aflw2000_16")


@pytest.fixture(scope="session")
def recognition_weights() -> Path:
    """The folder of the real recognition network's two files."""
    return _real("face_recognition_weights")


@pytest.fixture(scope="session")
def mobilefacenet() -> Path:
    """The file of the real MobileFaceNet."""
    return _real("mobilefacenet_onnx") / "mobilefacenet.onnx"


def _real(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the real data {folder} is not there")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The feature cache of the session."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def tiny(cache: Path) -> dict[str, Any]:
    """An experiment of seconds, as plain data: 12 identities, one stage, one epoch."""
    return _tiny(cache)


@pytest.fixture
def tiny_file(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny experiment as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def components(cache: Path) -> Components:
    """The parts of the tiny experiment."""
    return Components(check(_tiny(cache), "tests"))


@pytest.fixture(scope="session")
def features(components: Components) -> Features:
    """The tiny experiment's features: the one pass of the session that the others share."""
    return components.features(components.backbone, components.taps(), lambda *progress: None)


@pytest.fixture(scope="session")
def setting(components: Components, features: Features) -> TrainingContext:
    """What the tiny experiment's jobs share."""
    sides = components.dataset.splits
    split = Split(sides["train"], sides["validation"])
    return components.context({"backbone": features}, {"search": split})


@pytest.fixture
def tiny_experiment(tiny: dict[str, Any]) -> Experiment:
    """The tiny experiment, checked."""
    return check(tiny, "tests")


@pytest.fixture
def evonas(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, in ``tmp_path``: (exit status, stdout, stderr)."""
    from evonas.cli import app as cli

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["evonas", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def source(
    components: Components, features: Features, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A finished search of 6 networks, of which 2 were trained again twice, and what it said."""
    experiment = changed(components.experiment, ["finals.networks=2", "finals.seeds=2"])
    stream = io.StringIO()
    folder = tmp_path_factory.mktemp("runs") / "source"
    with SearchPrinter(Console(file=stream, width=300)) as view:
        search(experiment, run_dir=folder, callbacks=[view])
    return folder, stream.getvalue()


@pytest.fixture
def run(source: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished search."""
    shutil.copytree(source[0], tmp_path / "run")
    return tmp_path / "run"


def _tiny(cache: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "report": False,  # megabytes a run; tests/report has those that look at one
        "seed": 3,
        "budget": 6,
        "space": {
            "name": "master_module",
            "tap": ["block3", "block4"],
            "stem": [8, 12],
            "stages": 1,
            "n": [0, 1],
            "block1": ["conv", "residual", "depthwise_separable"],
            "kernel1": [1, 3],
            "attention1": "none",
            "activation": "relu",
            "end": ["pool", "flatten"],
            "hidden": 0,
            "dropout": [0.0, 0.2],
        },
        "optimizer": {"name": "random", "population_size": 4},
        "backbone": "synthetic_face",
        "data": {
            "name": "synthetic_faces",
            "identities": 12,
            "images_per_identity": 6,
            "train": 0.6,
            "validation": 0.25,
        },
        "task": "head_pose",
        "tap": "block3",
        "features": {"cache": str(cache)},
        "training": {"epochs": 1},
        "retraining": {"epochs": 1},
        "standard_baselines": False,  # seconds a search; they have tests of their own
        "execution": {"executor": "local", "workers": 1},
    }
