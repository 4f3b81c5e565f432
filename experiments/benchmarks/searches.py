"""Many searches on a few processes; each that is finished is a line of a CSV, and stays."""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evonas.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")


def one_thread_each() -> None:
    """Keep the processes out of each other's way; numpy and torch read it when imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def finished(path: Path, fields: Sequence[str]) -> list[dict[str, str]]:
    """Return the whole lines of a CSV; a last line that was cut off is removed from it.

    Raises:
        InputError: its columns are others than ``fields``.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8", newline="")
    rows = list(csv.DictReader(whole.splitlines()))
    if rows and set(rows[0]) != set(fields):
        raise InputError(
            f"{path}: expected columns {list(fields)}, got {list(rows[0])}; take another --out"
        )
    return rows


def append(path: Path, row: Mapping[str, str]) -> None:
    """Append a line to a CSV; the first one brings the names of the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def results(
    execute: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, Result]]:
    """Yield each job with its result, as they are done; 0 workers: in this process."""
    if workers == 0 or not jobs:
        yield from ((job, execute(job)) for job in jobs)
        return
    # spawn: a forked process would share locks and random states with this one
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: dict[Future[Result], Job] = {pool.submit(execute, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise SystemExit("interrupted; the same command goes on from here") from None


def measured(
    jobs: Sequence[Job],
    path: Path,
    fields: Sequence[str],
    execute: Callable[[Job], Mapping[str, object] | str],
    *,
    key: Callable[[Job], tuple[str, ...]],
    key_fields: Sequence[str],
    name: Callable[[Job], tuple[str, int]],
    workers: int,
    console: Console,
) -> tuple[list[dict[str, str]], list[str]]:
    """Run the searches that a CSV does not hold yet; return its lines of all, and failures.

    Args:
        jobs: what is asked for.
        path: the CSV; each finished search is appended at once.
        fields: its columns.
        execute: returns the line of a job, or in one line why it failed.
        key: returns what tells a job apart, as it stands in the columns ``key_fields``.
        key_fields: these columns.
        name: returns who searches, and with which seed.
        workers: processes; 0 runs the searches in this one.
        console: for the progress.
    """
    wanted = {key(job) for job in jobs}
    path.parent.mkdir(parents=True, exist_ok=True)
    known = finished(path, fields)
    rows = [row for row in known if tuple(row[field] for field in key_fields) in wanted]
    done = {tuple(row[field] for field in key_fields) for row in rows}
    waiting = [job for job in jobs if key(job) not in done]
    failures: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeRemainingColumn(), console=console) as progress,
        path.open("a", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, fields)
        if stream.tell() == 0:
            writer.writeheader()
        task = progress.add_task("searches", total=len(jobs), completed=len(jobs) - len(waiting))
        for job, row in results(execute, waiting, workers):
            if isinstance(row, str):
                who, seed = name(job)
                failures.setdefault(who, f"{who} failed, seed {seed}: {row}")
            else:
                writer.writerow(row)
                stream.flush()
                rows.append({field: str(value) for field, value in row.items()})
            progress.advance(task)
    return rows, list(failures.values())


def at_least(
    parser: argparse.ArgumentParser, args: argparse.Namespace, least: Mapping[str, int]
) -> None:
    """End with a message where a number, or one of several, is below what it must be."""
    for name, bound in least.items():
        given = getattr(args, name)
        for number in given if isinstance(given, list) else [given]:
            if number < bound:
                parser.error(f"--{name.replace('_', '-')}: expected at least {bound}, got {number}")
