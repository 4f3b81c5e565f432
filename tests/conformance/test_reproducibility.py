"""The same seed gives the same journal: in new processes, on Ray, with any number of workers.

Also after a resume, and whatever order Python's sets have (PYTHONHASHSEED).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults.driver import Toys, known, rows
from faults.driver import files as results

from evonas.core import registry

#: All that carries something on from network to network: a model, races, weights, finals.
WORDS = {
    "optimizer": {"name": "cma", "population_size": 4},
    "budget": 12,
    "training": {"epochs": 4},
    "fidelity": {"name": "racing", "rung": 0.5},
    "inherit": True,
    "finals": {"networks": 2, "seeds": 2},
}
HERE = Path(__file__).parents[2]


def search(hash_seed: str, *words: object) -> str:
    """Search in a process of its own; return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "evonas", "search", *map(str, words)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def outcome(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return journal and results; their seconds, and where they were made, are left out."""
    found = results(folder)
    for told in found.values():
        told.pop("experiment", None)
    return rows(folder), json.loads(json.dumps(found), object_hook=_untimed)


def _untimed(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in ("seconds", "at")}


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, components: Any, features: Any
) -> tuple[Path, Path]:
    """An experiment, and the folder of its first search, in one process without Ray."""
    place = tmp_path_factory.mktemp("first")
    experiment = components.experiment.model_dump(mode="json") | WORDS
    (place / "same.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    search("0", place / "same.yaml", "--run-dir", place / "run")
    return place / "same.yaml", place / "run"


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_with_all_that_carries_on_is_repeated_to_the_bit(
    first: tuple[Path, Path], tmp_path: Path
) -> None:
    file, folder = first
    trained = {row["status"] for row in rows(folder)}
    assert {"ok", "stopped", "final"} <= trained, "else there is little to be repeated"
    assert any(row["inherited"] for row in rows(folder))
    resumed = tmp_path / "resumed"
    shutil.copytree(folder, resumed)
    journal = known(folder).splitlines(keepends=True)
    (resumed / "journal.jsonl").write_bytes(b"".join(journal[:3]))  # in its first generation
    for name in ("best.json", "front.json"):
        (resumed / name).unlink()
    ray = ("execution.executor=ray",)
    for name, hash_seed, words in (
        ("another process", "1", (file,)),
        ("ray, 1 worker", "random", (file, *ray, "execution.workers=1")),
        ("resumed", "77", ("--resume", *ray, "execution.workers=2")),
    ):
        output = search(hash_seed, *words, "--run-dir", tmp_path / name)
        assert outcome(tmp_path / name) == outcome(folder), f"{name}: {output}"


@pytest.fixture(scope="module")
def processes() -> Iterator[list[Toys]]:
    """Processes with other orders of sets."""
    made = [Toys(PYTHONHASHSEED=seed) for seed in ("0", "1", "2468")]
    yield made
    for process in made:
        process.close()


@pytest.mark.parametrize(
    ("name", "further"),
    [
        *((name, ()) for name in registry.names("optimizer")),
        *(
            (name, ("inherit=true", "fidelity=racing", "training.epochs=8"))
            for name in registry.names("optimizer")
        ),
        ("surrogate", ("fidelity=curves", "training.epochs=8")),
    ],
)
def test_no_strategy_depends_on_the_order_of_sets(
    processes: list[Toys], name: str, further: tuple[str, ...], tmp_path: Path
) -> None:
    found = []
    for number, toys in enumerate(processes):
        folder = tmp_path / str(number) / "run"
        status, output = toys(folder, f"optimizer={{name: {name}}}", *further)
        assert status == 0, output
        found.append(outcome(folder))
    assert found[0] == found[1] == found[2]
