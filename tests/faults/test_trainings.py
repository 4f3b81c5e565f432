"""A long training that is killed, loses its power or is stopped goes on with the same command.

EVONAS_TRIES is the number of tries of each set; `make faults` sets it.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from exported import retrained
from faults.driver import KILLED, TRIES, Toys
from faults.trainings import EPOCHS

from evonas.models.files.safetensors_files import load_file, load_notes
from evonas.workflows.components import Components

#: What is given -> its words; MADE and TINY are a retraining and its experiment.
COMMANDS = {
    "retrain": ("retrain", "TINY", "--epochs", "3", "--repeats", "2"),
    "folds": ("retrain", "TINY", "--epochs", "3", "--folds", "2"),
    "finetune": ("finetune", "MADE", "--epochs", "3"),
    "prune": ("prune", "MADE", "--epochs", "3", "--threshold", "0.2"),
    "quantize": ("quantize", "MADE", "--qat", "--images", "16", "quantize.training.epochs=3"),
}
HEAD = {"name": "head", "network": "residual_head", "settings": {"width": 8}}
KINDS = ("kill", "stop", "power")
STOPPED = 130
#: Keys of results that no two runs have in common.
_UNTOLD = ("seconds", "latency")


@pytest.fixture(scope="module")
def commands() -> Iterator[Toys]:
    """Gives commands."""
    made = Toys("trainings.py")
    yield made
    made.close()


@pytest.fixture(scope="module")
def made(components: Components, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head, trained twice."""
    return retrained(components, tmp_path_factory.mktemp("made"), baselines=[HEAD])


@pytest.mark.slow
@pytest.mark.parametrize("what", COMMANDS)
def test_broken_off_in_a_training(
    commands: Toys,
    made: Path,
    what: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    if what == "quantize":
        pytest.importorskip("torchao")
    names = {"MADE": str(made), "TINY": str(made.parent / "tiny.yaml")}
    words = [names.get(word, word) for word in COMMANDS[what]]
    whole = tmp_path / "whole" / "out"
    status, output = commands.order(whole, words)
    assert status == 0, output
    moments = json.loads((whole.parent / "moments.json").read_text())
    within = [number for number, name in enumerate(moments, 1) if name == "epoch"]
    chance, faults = random.Random(what), 0
    for n in range(TRIES or 2):
        folder, often = tmp_path / str(n) / "out", 0
        number = within[len(within) // 2] if n < 3 else chance.randint(1, len(moments))
        kind = KINDS[n % 3]
        fault = {"kind": kind, "at": number, "part": chance.random()}
        while (found := commands.order(folder, words, fault=fault))[0]:
            often += 1
            assert found[0] == (STOPPED if kind == "stop" else KILLED), found[1]
            said = "the same command goes on from the trainings that are finished, and from the"
            assert (said in " ".join(found[1].split())) == (kind == "stop"), found[1]
            fault["at"] = chance.randint(1, 2 * len(moments))  # half of them never come
        assert often, "nothing was broken off"
        assert trained(folder) - trained(whole) in range(often + 1), "an epoch a fault is lost"
        assert results(folder) == results(whole)
        faults += often
    print(f"{TRIES or 2} runs, {faults} faults")
    record_property("faults", faults)


def trained(folder: Path) -> int:
    """Return how many epochs were trained for a folder."""
    return (folder.parent / EPOCHS).read_text().count("\n")


def results(folder: Path) -> dict[str, Any]:
    """Return the files of a folder and what is in them, without drafts that a kill left."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            content = json.loads(path.read_text("utf-8"))
            found[name] = {key: value for key, value in content.items() if key not in _UNTOLD}
        elif path.suffix == ".safetensors":  # the order of its notes varies
            tensors = {key: (one.dtype, one.tolist()) for key, one in load_file(path).items()}
            found[name] = tensors, {k: v for k, v in load_notes(path).items() if k != "crc32"}
        elif path.suffix == ".pt2":  # holds addresses of memory beside the weights
            with zipfile.ZipFile(path) as file:
                entries = [entry for entry in file.namelist() if "/weights/" in entry]
                found[name] = {entry: file.read(entry) for entry in entries}
        elif path.name != "quantize.md" and path.suffix != ".draft":  # it says milliseconds
            found[name] = path.read_bytes() if path.is_file() else None
    return found
