"""Gives orders to children, and holds what became of a run against an undisturbed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TRIES = int(os.environ.get("EVONAS_TRIES", "0"))  # of each set; 0: few, as in `make test-all`
COMMON = ("budget=14", "finals.networks=2", "finals.seeds=2", "baselines=[]", "report=false")
KILLED = -9
_UNTOLD = ("seconds", "at")


def beside(words: Sequence[str]) -> list[str]:
    """Return words with the common ones that set other keys."""
    keys = [word.partition("=")[0] for word in words]
    return [*(word for word in COMMON if word.partition("=")[0] not in keys), *words]


class Toys:
    """A process that does toy searches, each in a child of its own.

    Args:
        script: that the process runs.
        given: further variables of its environment.
    """

    def __init__(self, script: str = "toy_search.py", **given: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment() | given,
        )

    @staticmethod
    def environment() -> dict[str, str]:
        """Return the environment of a process that does toy searches."""
        roots = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent)))
        return os.environ | {"PYTHONPATH": roots, "OMP_NUM_THREADS": "1", "COLUMNS": "500"}

    def __call__(self, folder: Path, *words: str, **order: Any) -> tuple[int, str]:
        """Search, or go on where a search was; return exit status and output."""
        if (folder / "experiment.yaml").exists() and (folder / "journal.jsonl").exists():
            given = ["--resume"]
        else:
            given = ["quickstart", *beside(words)]
        return self.order(folder, given, **order)

    def order(self, folder: Path, words: Sequence[str], **order: Any) -> tuple[int, str]:
        """Have a command given; return exit status and output."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"folder": str(folder), "words": list(words), **order})
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        return int(reply["status"]), str(reply["output"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Whole:
    """An undisturbed run: what every disturbed one has to end as."""

    def __init__(self, toys: Toys, folder: Path, *words: str) -> None:
        self.toys, self.words, self.folder = toys, words, folder / "run"
        folder.mkdir(parents=True, exist_ok=True)
        status, output = toys(self.folder, *words)
        assert status == 0, output
        self.rows, self.files = rows(self.folder), files(self.folder)
        self.moments: list[str] = json.loads((folder / "moments.json").read_text())

    def go_on(self, folder: Path) -> None:
        """Resume a disturbed run to its end and compare: nothing lost, nothing done twice."""
        before, begun = known(folder), len(trainings(folder))
        status, output = self.toys(folder, *self.words)
        assert status == 0, output
        self.check(folder, before, begun)

    def check(self, folder: Path, before: bytes, begun: int) -> None:
        """Compare a run with this one.

        Args:
            folder: of the run, which is done.
            before: the whole lines of its journal when it went on.
            begun: how many trainings had been begun by then.
        """
        assert (folder / "journal.jsonl").read_bytes().startswith(before), "a result was lost"
        done = trials(before)
        ended = {(row["digest"], row["repeat"]) for row in done if row["status"] != "stopped"}
        steps = {(row["digest"], row["repeat"], row["epochs"]) for row in done}
        for digest, repeat, until, _ in trainings(folder)[begun:]:
            again = (digest, repeat) in ended or (digest, repeat, until) in steps
            assert not again, "a finished training was done again"
        assert rows(folder) == self.rows
        assert files(folder) == self.files
        assert not [*folder.glob(".*.draft")], "a draft was left behind"


def known(folder: Path) -> bytes:
    """Return the whole lines of a journal."""
    path = folder / "journal.jsonl"
    text = path.read_bytes() if path.exists() else b""
    return text[: text.rfind(b"\n") + 1]


def trials(text: bytes) -> list[dict[str, Any]]:
    """Return the trials of a journal, without decisions of the clock."""
    return [row for row in map(json.loads, text.splitlines()) if "clock" not in row]


def trainings(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return digest, which further seed, rung and process of every training that was begun."""
    place = folder.parent / "trainings.txt"
    return [tuple(json.loads(s)) for s in place.read_text().splitlines()] if place.exists() else []


def in_flight(folder: Path) -> set[tuple[str, int]]:
    """Return the trainings that were begun and do not stand in the journal."""
    ended = {(row["digest"], row["repeat"]) for row in trials(known(folder))}
    return {row[:2] for row in trainings(folder)} - ended


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the journal in order, without what no two runs have in common; decisions come last."""
    found = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if k not in _UNTOLD} for row in found]
    place = ("generation", "index", "repeat")
    return sorted(kept, key=lambda row: ("clock" in row, *(row.get(key, 0) for key in place)))


def files(folder: Path) -> dict[str, Any]:
    """Return what best.json and front.json say."""
    return {n: json.loads((folder / n).read_text()) for n in ("best.json", "front.json")}
