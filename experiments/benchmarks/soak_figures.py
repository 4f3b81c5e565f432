"""What ``soak.py`` measures: samples of the machine, and the journal against an undisturbed one."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults import traces
from faults.driver import files, known, rows, trainings

if TYPE_CHECKING:
    from soak import Soak

COLUMNS = ("seconds", "starts", "driver_rss", "worker_rss_most", "workers", "driver_handles")
COLUMNS += ("worker_handles_most", "processes", "all_rss", "shared_bytes", "session_bytes")
COLUMNS += ("sessions", "folder_bytes", "lines", "worker_kills", "driver_kills")
COLUMNS += ("raylet_kills", "gcs_kills")
_LATE = 30.0  # seconds after a start in which a driver and its workers are growing up


class Samples:
    """A table of what a soak holds, one line a sample.

    Args:
        path: of the CSV file.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._stream, COLUMNS)
        self._writer.writeheader()

    def take(self, soak: Soak) -> None:
        """Add a line."""
        number = soak.driver.pid
        family = traces.family(number)
        workers = [n for n, name in family.items() if name == "worker"]
        places = traces.sessions(soak.place)
        sizes = [traces.folder_bytes(place) for place in places]
        row = {
            "seconds": round(time.monotonic() - soak.begun, 1),
            "starts": len(soak.starts),
            "driver_rss": traces.resident(number),
            "worker_rss_most": max(map(traces.resident, workers), default=0),
            "workers": len(workers),
            "driver_handles": traces.handles(number),
            "worker_handles_most": max(map(traces.handles, workers), default=0),
            "processes": len(family),
            "all_rss": sum(map(traces.resident, family)),
            "shared_bytes": traces.shared_bytes(),
            "session_bytes": sizes[-1] if sizes else 0,
            "sessions": len(sizes),
            "folder_bytes": sum(sizes),
            "lines": known(soak.run).count(b"\n"),
            "worker_kills": soak.counts["worker"],
            "driver_kills": soak.counts["driver"],
            "raylet_kills": soak.counts["raylet"],
            "gcs_kills": soak.counts["gcs_server"],
        }
        self._writer.writerow(row)
        self._stream.flush()


def figures(soak: Soak, undisturbed: Path) -> dict[str, Any]:
    """Return what became of a soak that is done."""
    found, wanted = rows(soak.run), rows(undisturbed)
    place = ("generation", "index", "repeat")
    there = {tuple(row[key] for key in place): row for row in found}
    due = {tuple(row[key] for key in place): row for row in wanted}
    lost = [key for key in due if key not in there]
    other = [key for key in due if key in there and there[key] != due[key]]
    died = [row for row in found if row["error"].startswith("worker-death")]
    return {
        "seed": soak.seed,
        "minutes": round((time.monotonic() - soak.begun) / 60, 1),
        "trainings": len({(row["digest"], row["repeat"]) for row in found}),
        "starts": len(soak.starts),
        "killed": {kind: soak.counts[kind] for kind in list(soak.counts)[:4]},
        "ended by themselves": soak.counts["ends"],
        "stalled": soak.counts["stalls"],
        "lost": len(lost),
        "other than undisturbed": len(other),
        "written twice": len(found) - len(there),
        "worker-death": len(died),
        "done again": again(soak),
        "begun again": len(trainings(soak.run)) - len({row[:3] for row in trainings(soak.run)}),
        "best and front as undisturbed": files(soak.run) == files(undisturbed),
        **quarters(soak.run.parent / "samples.csv"),
    }


def again(soak: Soak) -> int:
    """Return how often a training was begun that was done, or in one start without a reason.

    A raylet or a GCS that is killed may take all its workers along.
    """
    begun, lines = trainings(soak.run), known(soak.run).splitlines()
    ends = [start["trainings"] for start in soak.starts[1:]] + [len(begun)]
    wrong = 0
    for start, end in zip(soak.starts, ends, strict=True):
        journal = map(json.loads, lines[: start["known"]])
        done = {(row["digest"], row["repeat"]) for row in journal}
        counts = Counter(tuple(row[:3]) for row in begun[start["trainings"] : end])
        wrong += sum(often for key, often in counts.items() if key[:2] in done)
        twice = Counter({k: n - 1 for k, n in counts.items() if k[:2] not in done})
        twice -= Counter(k for k in counts if ".".join(map(str, k)) in soak.hit)
        wrong += max(0, twice.total() - soak.workers * start["servers"])
    return wrong


def quarters(path: Path) -> dict[str, Any]:
    """Return the least and the most of the first and of the last quarter, in MB and numbers."""
    with path.open(encoding="utf-8", newline="") as stream:
        table = [
            {key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)
        ]
    begun: dict[float, float] = {}
    for row in table:
        begun.setdefault(row["starts"], row["seconds"])
    grown = [r for r in table if r["workers"] and r["seconds"] - begun[r["starts"]] >= _LATE]
    told: dict[str, Any] = {"samples": len(table), "of grown processes": len(grown)}
    told["least and most"] = "of the first quarter, of the last quarter"
    quarter = max(1, len(grown) // 4)
    for name in COLUMNS[2:13]:
        unit = 1e6 if name.split("_")[1:2] in (["rss"], ["bytes"]) else 1
        sides = (grown[:quarter], grown[-quarter:])
        spans = [
            "{:g} to {:g}".format(*(round(f(r[name] for r in side) / unit, 1) for f in (min, max)))
            for side in sides
            if side
        ]
        told[f"{name}{' (MB)' if unit > 1 else ''}"] = ", ".join(spans)
    return told
