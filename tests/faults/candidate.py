"""A candidate as a Ray worker has it: arithmetic, a real tiny training, and what befalls it.

Faults are aimed from within: a training that is due to be killed kills itself at its chosen
moment, once, so nobody has to wait and to aim. What is due follows from a seed and from which
training it is, so that any number of processes agrees on it.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch
from faults import traces
from faults.arithmetic import TRAININGS, begun, measured, which

from evonas.estimation.estimator import Job, TrainingContext
from evonas.estimation.measurement import Measurement

MARKS = "marks"  # folder beside the run's: one file a fault that came
WORKERS = "workers"  # folder beside the run's: one file a process, what it trains
MOMENTS = ("before", "within", "kept")  # "kept": weights are written, and nobody knows
ELSEWHERE = "EVONAS_TOY_ELSEWHERE"  # set where a worker is on a node that is not the driver's
DRAW = 1 << 16  # bytes of a block that is printed


@dataclass(frozen=True)
class Fate:
    """What befalls the trainings of a search.

    Attributes:
        place: folder beside the run's.
        seed: of what is due.
        share: of the trainings that take their worker along, once each.
        bad: digest -> what this candidate does at every try.
        seconds: least and most that a training lasts.
        amount: of bytes that a bad candidate takes.
        strikes: what is killed when so many trainings have begun: ``driver``, ``raylet``,
            ``gcs_server``, ``node`` (that of a worker elsewhere), or a Ctrl-C: ``interrupt``,
            ``interrupt 0.1`` for a second one so many seconds later.
    """

    place: Path
    seed: int = 0
    share: float = 0.0
    bad: Mapping[str, str] = field(default_factory=dict)
    seconds: tuple[float, float] = (0.0, 0.02)
    amount: int = 0
    strikes: Mapping[str, int] = field(default_factory=dict)

    def drawn(self, job: Job) -> tuple[random.Random, str]:
        """Return a training's own random numbers, and when it takes its worker along; or not."""
        digest, repeat, until = which(job)
        chance = random.Random(f"{self.seed} {digest} {repeat} {until}")
        due = chance.random() < self.share
        moment = chance.choice(MOMENTS)
        # An idle worker that dies costs the next job a try, whichever that is, also of the next
        # generation. So of three generations idle ones die in the second, others in the first,
        # none in the third, nor in the finals' first seed: nobody is hit twice.
        number = job.label.removeprefix("generation ").partition(" ")[0]
        turn = int(number) % 3 if number.isdigit() else 2 * (repeat == 1)
        if not due or turn == 2:
            return chance, ""
        return chance, f"after-{number}" if turn else moment


def mark(folder: Path, name: str) -> bool:
    """Return whether a fault was not there before, and note that it is now."""
    try:
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Candidate:
    """Answers jobs, unless something befalls them."""

    def __init__(self, fate: Fate, setting: TrainingContext) -> None:
        self._fate = fate
        self._marks = fate.place / MARKS
        noted = fate.place / WORKERS / str(os.getpid())
        for folder in (self._marks, noted.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._noted = os.open(noted, os.O_WRONLY | os.O_CREAT)
        self._kept: list[object] = []
        self._note("idle")

    def __call__(self, job: Job) -> Measurement:
        """Return the answer to a job."""
        name = ".".join(map(str, which(job)))
        self._note(name)
        begun(self._fate.place / TRAININGS, job)
        self._strike()
        chance, moment = self._fate.drawn(job)
        if kind := self._fate.bad.get(job.architecture.digest):
            self._misbehave(kind)
        if moment == "before" and mark(self._marks, name):
            die()
        seconds = chance.uniform(*self._fate.seconds)
        with_death = moment == "within" and mark(self._marks, name)
        train(seconds, chance.random() if with_death else 1.0)
        found = measured(job)
        if moment == "kept" and mark(self._marks, name):
            die()
        self._note("idle")
        if moment.startswith("after") and mark(self._marks, moment):
            threading.Timer(chance.uniform(0, 0.05), die).start()
        return found

    def _note(self, what: str) -> None:
        os.pwrite(self._noted, f"{what:<60}\n".encode(), 0)

    def _strike(self) -> None:
        """Strike what is due by now, once each."""
        number = (self._fate.place / TRAININGS).read_bytes().count(b"\n")
        for what, due in self._fate.strikes.items():
            elsewhere = what != "node" or ELSEWHERE in os.environ
            if number >= due and elsewhere and mark(self._marks, what):
                strike(what)

    def _misbehave(self, kind: str) -> None:
        """Do what no training should."""
        amount = self._fate.amount
        if kind == "segfault":
            ctypes.string_at(0)
        elif kind == "exit":
            os._exit(3)
        elif kind == "print":
            for _ in range(amount // DRAW):
                os.write(1, b"so many words\n" * (DRAW // 14))
        elif kind == "memory":
            while len(self._kept) * 2**24 < amount:
                self._kept.append(b"1" * 2**24)
        elif kind == "handles":
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, most), most))
            while True:
                self._kept.append(os.open(os.devnull, os.O_RDONLY))
        elif kind == "hang":
            while True:
                time.sleep(3600)


def strike(what: str) -> None:
    """Kill a part of the search that this process works for, or interrupt its driver."""
    driver = os.getsid(0)
    verb, _, pause = what.partition(" ")
    if verb == "interrupt":
        again = f"; sleep {pause}; kill -INT {driver}" if pause else ""
        # In a session of its own: this process may not live to see the second one.
        command = ["sh", "-c", f"kill -INT {driver}{again}"]
        subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        return
    aims = [os.getppid()] if what == "node" else traces.only(driver, what)
    for number in aims:
        os.kill(number, signal.SIGKILL)


def train(seconds: float, share: float = 1.0) -> None:
    """Train a real network for so long, and take the process along after a share of it."""
    torch.set_num_threads(1)
    module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(module.parameters())
    start = time.perf_counter()
    while True:
        spent = time.perf_counter() - start
        if share < 1 and spent >= share * seconds:
            die()
        optimizer.zero_grad()
        module(torch.ones(32, 8)).square().mean().backward()
        optimizer.step()
        if spent >= seconds:
            return


def die() -> NoReturn:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
