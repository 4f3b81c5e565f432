"""Starts toy searches with Ray's workers, and looks at what they leave behind."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from faults import traces
from faults.candidate import MARKS
from faults.driver import HERE, Toys, Whole, beside, files, known, rows, trainings

#: What is searched; the first carries the most from network to network.
SETS = [
    ("optimizer={name: cma}", "inherit=true", "fidelity=racing", "training.epochs=8"),
    ("optimizer=ga",),
    ("optimizer=random",),
    ("optimizer={name: cma}", "fidelity=racing", "training.epochs=8"),
    ("optimizer=evolution", "inherit=true"),
]
#: Ray looks for a killed GCS for a minute before it gives up, which is long for a test.
SOON = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
PATIENCE = 150.0  # seconds for Ray's agents, which end by themselves once they have given up
#: Seconds after which a search hangs.
LIMIT = 500.0


class RaySearches:
    """Each start is a process in a session of its own, by which its children are known."""

    def __init__(self) -> None:
        # Sockets need a short path, so not in a test's folder.
        self.place = Path(tempfile.mkdtemp(prefix="ray"))
        self.started: list[int] = []
        self._before = traces.shared()

    def __call__(
        self, folder: Path, *words: str, env: Mapping[str, str] | None = None, **order: Any
    ) -> tuple[int, str]:
        """Search, or go on where a search was; return exit status and output."""
        given = ["quickstart", *beside(words)]
        if all((folder / name).exists() for name in ("experiment.yaml", "journal.jsonl")):
            given = ["--resume"]
        folder.parent.mkdir(parents=True, exist_ok=True)
        told = json.dumps({"folder": str(folder), "words": given, **order})
        process = subprocess.Popen(
            [sys.executable, str(HERE / "toy_cluster.py"), told],
            env=Toys.environment() | SOON | {"RAY_TMPDIR": str(self.place)} | dict(env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=traces.heeding_ctrl_c,
        )
        self.started.append(process.pid)
        try:
            output = process.communicate(timeout=LIMIT)[0]
        except subprocess.TimeoutExpired:
            traces.end(process.pid)
            raise
        return process.returncode, output

    def left(self) -> list[str]:
        """Wait for what was started to end; return what did not, and what else is left."""
        found = [name for n in self.started for name in traces.gone(n, PATIENCE).values()]
        return [*found, *(traces.shared() - self._before)]

    def close(self) -> None:
        """Remove all of it."""
        for number in self.started:
            traces.end(number)
        traces.remove(self.place)


def marks(folder: Path) -> Counter[str]:
    """Return how often each training of a run took its worker along, and idle ones died."""
    return Counter(path.name for path in (folder.parent / MARKS).glob("*"))


def excess(folder: Path, bad: Collection[str] = ()) -> list[str]:
    """Return the trainings that were begun more often than once plus once a kill of theirs.

    Those of bad candidates are not looked at.

    A worker that dies idle may have been given its next training already: one more, of any.
    """
    came, begun = marks(folder), [row for row in trainings(folder) if row[0] not in bad]
    often = Counter(".".join(map(str, row[:3])) for row in begun)
    more = [name for name, n in often.items() for _ in range(n - 1 - (name in came))]
    return more[sum(name.startswith("after") for name in came) :]


def done(folder: Path) -> set[tuple[str, int]]:
    """Return the trainings that stand in the journal."""
    return {(row["digest"], row["repeat"]) for row in map(json.loads, known(folder).splitlines())}


def resembles(found: Path, whole: Whole) -> None:
    """Compare a run with an undisturbed one; why a network failed is a matter of its own."""
    assert plain(rows(found)) == plain(whole.rows)
    assert files(found) == whole.files


def plain(journal: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what a worker's death changes in the row of a network that fails."""
    told = ("error", "epochs", "params", "curve", "losses")
    return [
        {k: v for k, v in row.items() if row["status"] != "failed" or k not in told}
        for row in journal
    ]


def after_a_server_is_killed(
    what: str, toys: Toys, searches: RaySearches, place: Path, number: int
) -> None:
    """Let a search end without a server of Ray, or be over before it needs it, and go on."""
    words = SETS[number % len(SETS)]
    whole = Whole(toys, place / "whole", *words)
    folder = place / "ray" / "run"
    fate = {"strikes": {what: random.Random(number).randint(1, 12)}}
    status, output = searches(folder, *words, fate=fate)
    assert what in marks(folder)
    assert status in (0, 1), output
    if status:
        last = output.rstrip().splitlines()[-1]
        assert last.startswith(f"evonas: Ray's {what} ended (status -9); nothing that is done")
        assert last.endswith(f"go on with evonas search --resume --run-dir {folder}")
        before, begun = known(folder), len(trainings(folder))
        ended = done(folder)
        assert len({row[:2] for row in trainings(folder)} - ended) <= 2 or "racing" in str(words)
        status, output = searches(folder, *words)
        assert status == 0, output
        assert known(folder).startswith(before), "a result was lost"
        assert not {row[:2] for row in trainings(folder)[begun:]} & ended
    resembles(folder, whole)
    assert not searches.left()


def searched(
    whole: Whole,
    searches: RaySearches,
    folder: Path,
    *kinds: str,
    env: dict[str, str] | None = None,
    **fate: Any,
) -> list[tuple[str, dict[str, Any]]]:
    """Search with a bad candidate of each kind; return what became of them."""
    failing = sorted({r["digest"] for r in whole.rows if int(r["digest"], 16) % 9 == 0})
    bad = dict(zip(failing, kinds, strict=False))
    assert len(bad) == len(kinds), "the search has too few candidates that fail"
    status, output = searches(folder, *whole.words, env=env, fate={"bad": bad, **fate})
    assert status == 0, output
    assert "Traceback" not in output
    resembles(folder, whole)
    assert not searches.left()
    return [(bad[row["digest"]], row) for row in rows(folder) if row["digest"] in bad]
