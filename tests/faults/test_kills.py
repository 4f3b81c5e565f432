"""A search that is killed at any moment, or loses its power, goes on as if nothing had been.

EVONAS_TRIES is the number of tries of each set; `make faults` sets it.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.driver import (
    HERE,
    KILLED,
    TRIES,
    Toys,
    Whole,
    beside,
    in_flight,
    known,
    trainings,
    trials,
)

from evonas.runs.run_store import RunStore

SETS = [
    ("optimizer={name: cma}",),
    ("optimizer=ga",),
    ("optimizer=random",),
    ("optimizer=nsga2",),
    ("optimizer=evolution",),
    ("optimizer=surrogate",),
    ("optimizer=ga", "fidelity=racing", "training.epochs=8"),
    ("optimizer={name: cma}", "fidelity=racing", "training.epochs=8"),
    ("optimizer=surrogate", "fidelity=curves", "training.epochs=8"),
    ("optimizer=surrogate", "fidelity=curves", "training.epochs=8", "minutes=600", "budget=12"),
    ("optimizer=evolution", "inherit=true"),
    ("optimizer={name: cma}", "inherit=true", "fidelity=racing", "training.epochs=8"),
    ("optimizer=random", "minutes=600"),
    ("optimizer={name: random, window: 4}", "minutes=600"),
]
Wholes = Callable[[tuple[str, ...]], Whole]


@pytest.fixture(scope="module")
def wholes(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Wholes:
    """Undisturbed runs, each done once."""
    made: dict[tuple[str, ...], Whole] = {}

    def whole(words: tuple[str, ...]) -> Whole:
        if words not in made:
            made[words] = Whole(toys, tmp_path_factory.mktemp("whole"), *words)
        return made[words]

    return whole


def moment(whole: Whole, chance: random.Random) -> int:
    """Draw a moment, each kind of moment being as likely as any other."""
    kinds = sorted({_kind(name) for name in whole.moments})
    kind = chance.choice(kinds)
    return chance.choice([n for n, m in enumerate(whole.moments, 1) if _kind(m) == kind])


def _kind(name: str) -> str:
    verb, _, file = name.partition(" ")
    return f"{verb} weights" if "safetensors" in file else name


def disturbed(whole: Whole, folder: Path, kind: str, chance: random.Random) -> int:
    """Break a run off, some of them again and again, until it is done; return how often."""
    number, often = moment(whole, chance), 0
    while True:
        fault = {"kind": kind, "at": number, "part": chance.random()}
        before, begun = known(folder), len(trainings(folder))
        status, output = whole.toys(folder, *whole.words, fault=fault)
        if status == 0:  # it was over before the moment came
            whole.check(folder, before, begun)
            return often
        assert status == KILLED, output
        often += 1
        if "fidelity=racing" not in whole.words:  # a race has a generation in flight
            assert len(in_flight(folder)) <= 1, "a training that was done was lost"
        if chance.random() < 0.6:
            whole.go_on(folder)
            return often
        number = chance.randint(1, len(whole.moments))


@pytest.mark.parametrize("words", SETS, ids=" ".join)
@pytest.mark.parametrize("kind", ["kill", "power"])
def test_broken_off_at_any_moment(
    wholes: Wholes,
    words: tuple[str, ...],
    kind: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    whole = wholes(words)
    chance = random.Random(f"{kind} {words}")
    faults = sum(
        disturbed(whole, tmp_path / str(n) / "run", kind, chance) for n in range(TRIES or 1)
    )
    assert faults >= (TRIES or 1)
    print(f"{TRIES or 1} runs, {faults} times {kind}")
    record_property("faults", faults)


@pytest.mark.parametrize("words", [SETS[0], SETS[6], SETS[10]], ids=" ".join)
def test_the_journal_cut_at_every_byte_of_its_last_two_lines(
    wholes: Wholes, words: tuple[str, ...], tmp_path: Path
) -> None:
    whole = wholes(words)
    text = (whole.folder / "journal.jsonl").read_bytes()
    lines = text.splitlines(keepends=True)
    first = len(text) - len(lines[-1]) - len(lines[-2])
    for end in range(first, len(text)):  # as the store sees it, at every byte
        (tmp_path / "journal.jsonl").write_bytes(text[:end])
        with RunStore(tmp_path, resume=True) as store:
            assert len(store.trials()) + len(store.decisions) == text[:end].count(b"\n")
    # and as a whole search goes on from there
    step = 293 if not TRIES else 13 if words in SETS[1:] or TRIES < 26 else 1
    for end in sorted({*range(first, len(text), step), first, len(text) - 1}):
        folder = tmp_path / str(end) / "run"
        folder.mkdir(parents=True)
        for path in whole.folder.iterdir():
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        (folder / "journal.jsonl").write_bytes(text[:end])
        whole.go_on(folder)
        missing = len(trials(text)) - len(trials(text[: text.rfind(b"\n", 0, end) + 1]))
        assert len(trainings(folder)) == missing  # what was cut, and no more


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 5, 16] if TRIES else [5])
def test_killed_from_outside(wholes: Wholes, rows: int, tmp_path: Path) -> None:
    """By `kill -9`, when the journal has so many lines; the process knows nothing of it."""
    whole = wholes(SETS[0])
    folder = tmp_path / "run"
    program = (
        "import json, sys; from faults.toy_search import child;"
        "sys.exit(child(json.loads(sys.argv[1])))"
    )
    words = ["quickstart", *beside(whole.words)]
    order = json.dumps({"folder": str(folder), "words": words})
    with subprocess.Popen(
        [sys.executable, "-c", program, order],
        env=Toys.environment(),
        stdout=subprocess.DEVNULL,
        cwd=HERE,
    ) as process:
        while process.poll() is None and known(folder).count(b"\n") < rows:
            pass
        process.send_signal(signal.SIGKILL)
    assert process.returncode in (KILLED, 0)
    whole.go_on(folder)
