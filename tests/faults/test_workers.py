"""Ray's processes are killed under a search: workers, the driver; and Ctrl-C.

The searches are the real command with real Ray workers; see `toy_cluster.py`. What they have to
end as is a search without Ray that nobody disturbed. EVONAS_TRIES: of each set, as elsewhere.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest
from faults import traces
from faults.driver import KILLED, TRIES, Toys, Whole, known, rows, trainings
from faults.searches import (
    SETS,
    RaySearches,
    done,
    excess,
    marks,
    resembles,
)

STOPPED = 130


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("number", range(TRIES or 1))
def test_workers_that_die_at_any_moment(
    toys: Toys, searches: RaySearches, tmp_path: Path, number: int
) -> None:
    """Some trainings take their worker along, once; some candidates do so always, or shout."""
    words = SETS[number % len(SETS)]
    seed = f"seed={3 + number // len(SETS)}"  # from 3 on all sets have bad candidates
    whole = Whole(toys, tmp_path / "whole", *words, seed)
    failing = sorted({r["digest"] for r in whole.rows if int(r["digest"], 16) % 9 == 0})
    bad = dict(zip(failing, ("segfault", "exit") * len(failing), strict=False))
    fate = {"seed": number, "share": 0.5, "bad": bad}
    folder = tmp_path / "ray" / "run"
    status, output = searches(folder, *words, seed, fate=fate)
    assert status == 0, output
    assert "Traceback" not in output
    resembles(folder, whole)
    came = marks(folder)
    assert came, "nothing was killed"
    assert bad, "no candidate was bad"
    assert not excess(folder, bad)
    for row in rows(folder):
        if row["digest"] in bad and row["status"] == "failed":
            assert row["error"].startswith("worker-death: its worker died: ")
    begun = Counter(row[0] for row in trainings(folder))
    assert {begun[digest] for digest in bad} <= {1, 2}  # 1: its first worker had died idle
    assert not searches.left()
    print(f"{words} {seed}: {sum(came.values())} workers killed, {len(bad)} bad candidates")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("number", range(max(1, TRIES // 4)))
def test_a_driver_that_is_killed_and_stopped_goes_on_each_time(
    toys: Toys, searches: RaySearches, tmp_path: Path, number: int
) -> None:
    words = SETS[number % len(SETS)]
    chance = random.Random(number)
    whole = Whole(toys, tmp_path / "whole", *words)
    folder = tmp_path / "ray" / "run"
    first = chance.randint(2, 4)
    strikes = {"driver": first}
    if TRIES:  # a start of Ray more
        strikes["interrupt"] = first + 3
    strikes[f"interrupt {chance.choice([0, 0.05, 0.3, 1])}"] = first + 6
    statuses, outputs = [], []
    for _ in range(6):
        before, begun = known(folder), len(trainings(folder))
        ended = done(folder)
        status, output = searches(folder, *words, fate={"strikes": strikes})
        assert known(folder).startswith(before), "a result was lost"
        again = {row[:2] for row in trainings(folder)[begun:]} & ended
        assert not again, "a finished training was done again"
        assert "Traceback" not in output, output
        statuses.append(status)
        outputs.append(output)
        if status == 0:
            break
    resembles(folder, whole)
    assert statuses == [KILLED, *[STOPPED] * (len(strikes) - 1), 0], outputs
    kept = traces.sessions(searches.place)
    assert len(kept) == 1, "only the killed one leaves Ray's logs behind"
    assert f"evonas search --resume --run-dir {folder}" in outputs[1]
    assert not searches.left()


def test_nothing_is_looked_for_in_vain(searches: RaySearches) -> None:
    """What counts processes and shared memory sees some that are there."""
    own = os.getsid(0)
    assert os.getpid() in traces.family(own)
    name = f"evonas-{os.getpid()}"
    path = traces.SHARED / name
    path.write_text("left")
    try:
        assert searches.left() == [name]
    finally:
        path.unlink()
    assert not searches.left()
