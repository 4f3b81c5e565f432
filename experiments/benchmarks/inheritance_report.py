"""Tables of ``inheritance.py``: what starts are worth, with intervals over children."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from quality_report import mean_interval

Row = dict[str, str]
STARTS = ("fresh", "published", "inherited")


def report(path: Path) -> str:
    """Return Markdown tables, those of each experiment below its name."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines: list[str] = []
    for name in dict.fromkeys(row["experiment"] for row in rows):
        some = [row for row in rows if row["experiment"] == name]
        seeds = len({row["seed"] for row in some})
        lines += [f"## {name}, {seeds} seeds", ""]
        for group, title in (("any", "any one gene changed"), ("kernel", "one kernel changed")):
            lines += [f"Children with {title}:", "", *_starts(some, group), ""]
        lines += [*_reached(some), ""]
    return "\n".join(lines)


def _starts(rows: list[Row], group: str) -> list[str]:
    found = defaultdict(dict)
    for row in rows:
        if row["group"] == group:
            found[int(row["epochs"]), row["child"], row["seed"]][row["start"]] = row
    lines = [
        "| epochs | start | children | loss | less than fresh (95 %) | error | less than fresh | "
        "lower loss than fresh |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for epochs in sorted({key[0] for key in found}):
        cases = [starts for key, starts in found.items() if key[0] == epochs]
        for start in STARTS:
            both = [case for case in cases if start in case and "fresh" in case]
            if both and any("inherited" in case for case in both):
                lines.append(_line(epochs, start, both))
    return lines


def _line(epochs: int, start: str, cases: list[dict[str, Row]]) -> str:
    cells = [str(epochs), start, str(len(cases))]
    for what in ("loss", "error"):
        own = np.array([float(case[start][what]) for case in cases])
        fresh = np.array([float(case["fresh"][what]) for case in cases])
        less = fresh - own
        cells.append(f"{own.mean():.3f}")
        if start == "fresh":
            cells.append("")
        else:
            low, high = mean_interval(less) if len(less) > 1 else (less[0], less[0])
            cells.append(f"{less.mean():.3f} ({low:.3f}..{high:.3f})")
    losses = [(float(case[start]["loss"]), float(case["fresh"]["loss"])) for case in cases]
    won = sum(mine < theirs for mine, theirs in losses)
    cells.append("" if start == "fresh" else f"{won} of {len(cases)}")
    return "| " + " | ".join(cells) + " |"


def _reached(rows: list[Row]) -> list[str]:
    """Say after how many epochs a fresh start is where an inherited child is after one."""
    curves = defaultdict(dict)
    aims = {}
    for row in rows:
        if row["group"] == "any":
            who = row["seed"], row["child"]
            if row["start"] == "fresh":
                curves[who][int(row["epochs"])] = float(row["loss"])
            elif row["epochs"] == "1":
                aims[who] = float(row["loss"])
    most = max((max(curve) for curve in curves.values()), default=0)
    needed = []
    for who, aim in aims.items():
        curve = curves.get(who, {})
        if most in curve:
            there = [epochs for epochs, loss in sorted(curve.items()) if loss <= aim]
            needed.append(there[0] if there else most + 1)
    if not needed:
        return []
    tried = sorted({epochs for curve in curves.values() for epochs in curve})
    parts = [f"{needed.count(e)} after {e}" for e in tried if e in needed]
    if most + 1 in needed:
        parts.append(f"{needed.count(most + 1)} not after {most}")
    return [
        f"Epochs of a fresh start (its own schedule each) until its loss is that of the inherited "
        f"child after one, of {len(needed)} children: {', '.join(parts)}."
    ]
