"""Rows of the table of all runs: state, progress, winner, workers and time of each, as text."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from evonas.core.budget import whole_epochs
from evonas.report.dashboard.followed_run import FollowedRun
from evonas.report.live_view import Tally, TimeLeft, Work, duration
from evonas.report.page.run_data import Run
from evonas.report.tables import multiply_adds, with_spread


class Row(TypedDict):
    """A row of the table of all runs.

    Attributes:
        key: path of the run below the folder.
        version: number that grows when the files of the run change.
        state: ``running``, ``stopping``, ``finished``, ``stopped`` or ``damaged``.
        words: the state in words.
        problem: what is wrong with the files; empty if nothing.
        strategy: optimizer and seed.
        done: trainings done, and of how many.
        share: what is done, 0..1; None: not known.
        error, unit: of the winner so far.
        cost, cost_unit: of the winner so far.
        spent, left: time of searching.
        workers, busy: their number, and the share of their time that was training.
        started: when; empty: not known.
        command: that goes on with the run; empty: there is none.
    """

    key: str
    version: int
    state: str
    words: str
    problem: str
    strategy: str
    done: str
    share: float | None
    error: str
    unit: str
    cost: str
    cost_unit: str
    spent: str
    left: str
    workers: str
    busy: str
    started: str
    command: str


def row(run: FollowedRun, tally: Tally | None) -> Row:
    """Return the row of a run.

    Args:
        run: the run.
        tally: counts of its trials; None where it has no content.
    """
    content = run.content
    state = _state(run)
    found: Row = {
        "key": run.key,
        "version": run.version,
        "state": state,
        "words": _words(run, state),
        "problem": run.problem,
        "strategy": "",
        "done": f"{run.trained} networks" if run.trained else "",
        "share": None,
        "error": "",
        "unit": "",
        "cost": "",
        "cost_unit": "",
        "spent": "",
        "left": "",
        "workers": "",
        "busy": "",
        "started": _started(run.folder),
        "command": _command(run, state),
    }
    if content is None or tally is None:
        return found
    found["strategy"] = _strategy(content)
    found["done"] = str(tally.trained) + ("" if tally.budget is None else f" of {tally.budget}")
    done, whole = tally.share
    found["share"] = 1.0 if state == "finished" else min(done / whole, 1.0) if whole else None
    _set_winner(found, content)
    last = max((trial.at for trial in content.trials), default=0.0)
    if run.running and content.progress:
        before = content.progress.get("seconds", 0.0) if tally.time_budget is None else 0.0
        found["spent"] = duration(max(before + tally.spent, last))
        left = "time left: not known yet"
        found["left"] = left if tally.left is None else f"about {duration(tally.left)} left"
    elif last:
        found["spent"] = duration(last)
    _set_workers(found, content, last)
    return found


def _state(run: FollowedRun) -> str:
    if run.problem:
        return "damaged"
    if run.stopping:
        return "stopping"
    if run.running:
        return "running"
    return run.content.state if run.content is not None else "stopped"


def _words(run: FollowedRun, state: str) -> str:
    """Return the state in words: what a running search is doing."""
    if state == "damaged" and run.running:
        return "running, damaged files"
    if state != "running":
        return {"damaged": "damaged files"}.get(state, state)
    if run.content is None:
        return "running: features and first training"
    stage = run.content.progress.get("stage", "search")
    return "running" if stage == "search" else f"running: {stage}"


def tally_of(run: Run, clock: Callable[[], float]) -> Tally:
    """Return the counts of a run, whose time is that since the last start of the search.

    Args:
        run: the run.
        clock: returns seconds since 1970.
    """
    start, minutes = run.progress, run.experiment.get("minutes")
    budget = run.experiment.get("budget", len(run.trained))
    before = start.get("seconds", 0.0)
    fidelity = run.experiment.get("fidelity", {}).get("name", "full")
    work = Work(
        budget,
        start.get("trained", 0),
        start.get("workers", 1),
        start.get("further", 0),
        whole_epochs(fidelity, run.experiment.get("training", {}).get("epochs", 0)),
    )
    time_budget = None if minutes is None else TimeLeft(60.0 * minutes, before)
    if run.state != "running":  # it has used what its journal says, and no more
        spent = max((trial.at for trial in run.trials), default=0.0)
        tally = Tally(work, lambda: spent - before, time_budget, start=0.0)
    else:
        tally = Tally(work, clock, time_budget, start=start.get("started"))
    for trial in sorted(run.trials, key=lambda trial: trial.at):
        tally.take(trial)
    return tally


def _set_winner(row: Row, run: Run) -> None:
    metric, unit = run.error
    for best in run.finalists[:1]:
        error = best.metrics().get(metric)
        if error is not None:
            row["error"], row["unit"] = with_spread(error, best.spread().get(metric)), unit
        amount, _, name = multiply_adds(run.cost_of(best.trial, "macs")).rpartition(" ")
        row["cost"], row["cost_unit"] = amount, name
        if best.trial.latency:
            row["cost_unit"] += f", {best.trial.latency:.3f} ms"


def _strategy(run: Run) -> str:
    name = run.experiment.get("optimizer", {}).get("name", "")
    seed = run.experiment.get("seed")
    return name if seed is None else f"{name}, seed {seed}"


def _set_workers(row: Row, run: Run, last: float) -> None:
    """Set the number of workers and the share of their time in finished trainings."""
    if run.state == "running":
        workers, begun = run.progress.get("workers", 0), run.progress.get("seconds", 0.0)
        whole = workers * (last - begun)
        busy = sum(trial.seconds for trial in run.trials if trial.at > begun)
        share = min(1.0, busy / whole) if whole > 0 else None
    else:
        workers = run.usage.get("workers") or run.progress.get("workers", 0)
        share = run.usage.get("utilisation")
    row["workers"] = str(workers or "")
    row["busy"] = "" if share is None else f"{100 * share:.0f} % busy"


def _started(folder: Path) -> str:
    """Return when a run was first started, as its log says; empty if none does."""
    for name in ("log.old.txt", "log.txt"):
        try:
            with (folder / name).open(encoding="utf-8", errors="replace") as stream:
                word = stream.readline(200).partition(" ")[0]
            return datetime.fromisoformat(word).strftime("%Y-%m-%d %H:%M")
        except (OSError, ValueError):
            continue
    return ""


def _command(run: FollowedRun, state: str) -> str:
    """Return the command that goes on with a run: resumes it, or retrains its winner."""
    folder = shlex.quote(str(run.folder))
    if state in ("stopped", "running", "stopping") and (run.folder / "experiment.yaml").is_file():
        return f"evonas search --resume --run-dir {folder}"
    return f"evonas retrain {folder}" if state == "finished" else ""
