"""A search that goes on for long while its workers, its driver and its raylet are killed.

The real ``evonas search`` with real Ray workers, of networks that are arithmetic beside a real
training of a fraction of a second. At the end its journal is held against one that nobody
disturbed, and what it left on the machine is counted.

    PYTHONPATH=.:tests:experiments/benchmarks python experiments/benchmarks/soak.py --minutes 60
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import soak_figures
from faults import traces
from faults.arithmetic import TRAININGS
from faults.candidate import WORKERS
from faults.driver import HERE, Toys, known
from soak_figures import Samples

WORDS = ("quickstart", "optimizer=random", "optimizer.population_size=16", "report=false")
WORDS += ("finals.networks=2", "finals.seeds=2", "baselines=[]")
KINDS = ("worker", "driver", "raylet", "gcs_server")
STALLED = 600.0  # seconds without a line in the journal: something hangs
PATIENCE = 120.0  # seconds for Ray's agents, which look for their killed servers for a minute
SAMPLED = 10.0  # seconds between two samples


class Soak:
    """One search, over all its starts.

    Args:
        folder: of everything that it writes.
        seed: of the search and of the faults.
        workers: of Ray.
    """

    def __init__(self, folder: Path, seed: int, workers: int) -> None:
        self.run, self.seed, self.workers = folder / "run", seed, workers
        self.hit: set[str] = set()  # trainings whose worker was killed
        self.starts: list[dict[str, int]] = []
        self.counts = dict.fromkeys((*KINDS, "stalls", "ends"), 0)
        self.left = 0
        self.begun = time.monotonic()
        self._chance = random.Random(seed)
        self._events = (folder / "events.jsonl").open("w", encoding="utf-8")
        self._told = (folder / "output.txt").open("w", encoding="utf-8")
        # Sockets need a short path, so not in the folder.
        self.place = Path(tempfile.mkdtemp(prefix="ray"))

    def order(self, workers: int, folder: Path, *words: str) -> str:
        """Return what ``toy_cluster.py`` is told."""
        fate = {"seed": self.seed, "seconds": [0.2, 1.0]}
        order = {"folder": str(folder), "words": words, "workers": workers, "roomy": True}
        return json.dumps({**order, "fate": fate})

    def start(self, budget: int) -> None:
        """Begin the search, or go on with it."""
        words = [*WORDS, f"seed={self.seed}", f"budget={budget}"]
        if all((self.run / name).exists() for name in ("journal.jsonl", "experiment.yaml")):
            words = ["--resume", f"budget={budget}"]
        noted = {"known": known(self.run).count(b"\n"), "trainings": self.trainings()}
        program = [sys.executable, str(HERE / "toy_cluster.py")]
        self.driver = subprocess.Popen(
            [*program, self.order(self.workers, self.run, *words)],
            env=Toys.environment() | {"RAY_TMPDIR": str(self.place)},
            stdout=self._told,
            stderr=self._told,
            start_new_session=True,
            preexec_fn=traces.heeding_ctrl_c,
        )
        self.starts.append({**noted, "driver": self.driver.pid, "servers": 0})
        self.event("start", driver=self.driver.pid)

    def event(self, what: str, **told: object) -> None:
        """Note that something happened."""
        lines = known(self.run).count(b"\n")
        line = {"at": round(time.monotonic() - self.begun, 2), "what": what, "lines": lines}
        self._events.write(json.dumps({**line, **told}) + "\n")
        self._events.flush()

    def trainings(self) -> int:
        """Return how many trainings were begun."""
        path = self.run.parent / TRAININGS
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def kill(self, what: str) -> None:
        """Kill one process of the search, if there is one that can be."""
        if what == "worker":
            self._kill_worker()
            return
        for number in traces.only(self.driver.pid, what)[:1]:
            self.event(f"kill {what}", number=number)
            self.counts[what] += 1
            self.starts[-1]["servers"] += what != "driver"
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _kill_worker(self) -> None:
        """Kill a worker in a training that was not hit before, whichever comes first."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            numbers = traces.only(self.driver.pid, "worker")
            self._chance.shuffle(numbers)
            for number in numbers:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGSTOP)  # so that it is still in what is read
                    training = self._at_work(number)
                    fair = bool(training) and training not in self.hit
                    os.kill(number, signal.SIGKILL if fair else signal.SIGCONT)
                    if fair:
                        self.hit.add(training)
                        self.counts["worker"] += 1
                        self.event("kill worker", number=number, training=training)
                        return
            time.sleep(0.05)

    def _at_work(self, number: int) -> str:
        """Return the training that a worker is in; empty if in none."""
        path = self.run.parent / WORKERS / str(number)
        text = path.read_text().strip() if path.exists() else "idle"
        return "" if text == "idle" else text

    def ended(self) -> None:
        """Note how the driver ended; what it started may take another minute for it."""
        self.event("ended", status=self.driver.wait())

    def cleared(self) -> None:
        """Wait for all that the drivers started to end, and count what does not."""
        for start in self.starts:
            left = traces.gone(start["driver"], PATIENCE)
            self.left += len(left)
            self.event("left", driver=start["driver"], left=list(left.values()))

    def soak(self, minutes: float, mean: float, weights: tuple[int, ...], out: Path) -> None:
        """Search for so long and disturb it."""
        end, self.begun = time.monotonic() + 60 * minutes, time.monotonic()
        samples = Samples(out)
        self.start(10**5)
        due, sample = time.monotonic() + self._chance.expovariate(1 / mean), time.monotonic()
        lines, moved, missed = 0, time.monotonic(), True
        while time.monotonic() < end:
            time.sleep(0.1)
            now = time.monotonic()
            if now >= sample:
                sample += SAMPLED
                samples.take(self)
            if (found := known(self.run).count(b"\n")) != lines:
                lines, moved, missed = found, now, False
            if self.driver.poll() is not None:
                if self.driver.returncode != -signal.SIGKILL:
                    self.counts["ends"] += 1
                self.ended()
                if not lines and self.driver.returncode in (1, 2):
                    raise SystemExit(f"the search does not begin: see {self._told.name}")
                self.start(10**5)
                moved, missed = time.monotonic(), True
            elif now - moved > STALLED:
                self.counts["stalls"] += 1
                self.event("stalled", family=list(traces.family(self.driver.pid).values()))
                self.driver.kill()
            elif now >= due and not missed:
                what = self._chance.choices(KINDS, weights)[0]
                self.kill(what)
                # Until it goes on there is nothing to kill.
                missed = what != "worker"
                due = time.monotonic() + self._chance.expovariate(1 / mean)
        self.driver.send_signal(signal.SIGINT)
        self.ended()

    def finish(self) -> int:
        """Go on to an end, and return the budget that was spent by then."""
        trained = {row["digest"] for row in soak_figures.rows(self.run) if not row["repeat"]}
        budget = len(trained) + 16
        self.start(budget)
        self.ended()
        if self.driver.returncode:
            raise SystemExit(f"the last start failed: see {self._told.name}")
        return budget

    def undisturbed(self, budget: int) -> Path:
        """Do the same search without Ray and without faults; return its folder."""
        folder = self.run.parent / "undisturbed" / "run"
        folder.parent.mkdir()
        order = self.order(0, folder, *WORDS, f"seed={self.seed}", f"budget={budget}")
        program = [sys.executable, str(HERE / "toy_cluster.py"), order]
        subprocess.run(program, env=Toys.environment(), check=True, stdout=subprocess.DEVNULL)
        return folder


def main() -> None:
    """Soak, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--mean", type=float, default=20, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/soak"), help="must be new")
    weights = "how often worker, driver, raylet and GCS are killed, in proportion"
    parser.add_argument("--weights", type=int, nargs=4, default=(85, 9, 3, 3), help=weights)
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True)
    before = traces.shared()
    soak = Soak(folder, given.seed, given.workers)
    try:
        soak.soak(given.minutes, given.mean, tuple(given.weights), folder / "samples.csv")
        budget = soak.finish()
        soak.cleared()
    finally:
        for start in soak.starts:
            traces.end(start["driver"])
    found = soak_figures.figures(soak, soak.undisturbed(budget))
    found |= {"children left": soak.left, "shared memory left": len(traces.shared() - before)}
    traces.remove(soak.place)
    (folder / "summary.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
