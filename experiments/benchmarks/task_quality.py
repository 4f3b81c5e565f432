"""What a user gets on every task at hand: shipped experiments, searched, retrained and judged.

python experiments/benchmarks/task_quality.py                        # rendered faces alone
python experiments/benchmarks/task_quality.py --data DIR --seeds 0 1 2 --rival random
python experiments/benchmarks/task_quality.py --only quickstart --set tap_prior=false

DIR holds pointing04/, utkface_3000/ and face_recognition_weights/; tasks whose data are missing are
left out. The commands are ``evonas search``, ``evonas retrain`` and, where the backbone runs for
the task alone, ``evonas finetune``; the judging images (test identities, persons or photos) are
seen by neither search nor training. ``--rival random`` repeats each with random search at equal
wall time: without initial designs and probe, and with as many trainings, which take the time. Every
run is a row of experiments/quality.csv; QUALITY.md and its picture are written from all rows.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from math import nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib.pyplot as plt
from quality_runs import ROOT, run_evonas

from evonas.core.files import keep, read_json
from evonas.estimation.cost.latency import processor
from evonas.runs.comparison_schemas import REFITTED

TABLE, PAGE = ROOT / "experiments" / "quality.csv", ROOT / "experiments" / "QUALITY.md"
#: Changes that make a search plain random search.
RANDOM = ("optimizer=random", "initial_designs=false", "tap_prior=false")
INTRODUCTION = """# What a user gets

Each line is one search with a shipped experiment and the retraining of its winner, judged on images
that neither saw, by `make quality DATA=DIR`, which is
`python experiments/benchmarks/task_quality.py --data DIR`, whose text says how. Errors
are means ± standard deviations over so many training seeds. *Hand-made* is the better of the
residual heads on the winner's tap within the limits, with the same recipe and seeds. *Refitted* is
the winner trained on the validation images as well, which is what is exported; the errors beside it
are of trainings on the training images alone. *Fine-tuned* is the refitted winner after
`evonas finetune`, where the backbone runs for this task alone, so that it costs nothing more. The
variant `random` is plain random search with as many trainings. All rows are in
[quality.csv](quality.csv).

Rows of 2026-11-29 are of the space before `stride1` was a gene. They and that of the quickstart of
2026-11-30 are of the same two commands, given by hand (`quickstart` by `make quality RECORD=1`,
`own_faces` as the tutorial says, `pointing04` with the judging persons named). Minutes are those of
a machine with other programs on the same two cores, up to eight times those of a quiet one; only
persons 10-12 of Pointing'04 were searched without, as `shipped`. `finals.validation=folds` is the
default since; before, finals were judged on the validation images of the search. Since 2026-12-01
head poses are medians, and targets on the grid of Pointing'04 are narrow
([decision 115](../docs/decisions/115-targets-as-narrow-as-labels.md)): one head on four folds has
5.75 degrees, 6.86 before. Rows of
`random` and of a default made worse on purpose (`features.jitters=0`) are of seed 0 alone.

![error of winners as a share of hand-made heads'](quality.png)
"""
COLUMNS = (
    *("task", "variant", "seed", "error", "refitted", "fine-tuned", "hand-made", "linear probe"),
    "constant",
    "tap",
    *("M multiply-adds, head / in all", "MB, head / in all"),
    *("search, min", "retraining, min", "workers busy", "commit"),
)


@dataclass(frozen=True)
class JudgedTask:
    """A shipped experiment and how its judging images are held out.

    Attributes:
        name: of the experiment.
        metric: the error on the judging images.
        unit: of the error.
        folder: of the data below ``--data``; empty: made by the experiment itself.
        folds: what judges -> changes to the experiment; the search sees none of it.
        alone: whether the backbone runs for this task alone, so that its layers are fine-tuned.
    """

    name: str
    metric: str
    unit: str
    folder: str = ""
    folds: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"": ()})
    alone: bool = False


def _persons(validation: str, judging: str) -> tuple[str, str]:
    return f"data.validation=[{validation}]", f"data.test=[{judging}]"


TASKS = (
    JudgedTask("quickstart", "test_mae", "degrees"),
    JudgedTask("own_faces", "test_error", "percent"),
    JudgedTask(
        *("pointing04", "test_mae", "degrees", "pointing04"),
        folds={
            "persons 10-12 judge": _persons("8,9", "10,11,12"),
            "persons 7-9 judge": _persons("5,6", "7,8,9"),
            "persons 4-6 judge": _persons("2,3", "4,5,6"),
            "persons 1-3 judge": _persons("11,12", "1,2,3"),
        },
        alone=True,
    ),
    JudgedTask("utkface_age", "test_mae", "years", "utkface_3000"),
    JudgedTask("utkface_gender", "test_error", "percent", "utkface_3000"),
)


@dataclass(frozen=True)
class Row:
    """One search with the retraining of its winner: a row of quality.csv."""

    date: str
    commit: str
    machine: str
    task: str
    variant: str
    seed: int
    repeats: int
    error: float
    spread: float
    tap: str
    macs_head: int
    macs_total: int
    mb_head: float
    mb_total: float
    hand_made: float
    linear_probe: float
    constant: float
    search_seconds: float
    retrain_seconds: float
    busy: float
    refitted: float = float("nan")
    tuned: float = float("nan")


def main() -> None:
    """Run, append rows and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with the data sets and weights")
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--judges", nargs="+", metavar="FOLD", help="some of the folds of a task")
    parser.add_argument("--rival", choices=["random"], help="repeat each with a rival")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="another default")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    args = parser.parse_args()
    wanted = [task for task in TASKS if task.name in (args.only or [t.name for t in TASKS])]
    for task in [] if args.page else wanted:
        if task.folder and not (args.data and (args.data / task.folder).is_dir()):
            print(f"{task.name}: left out, needs --data with {task.folder}/", flush=True)
            continue
        variants = {" ".join(args.set) or "shipped": tuple(args.set)}
        if args.rival:
            variants[args.rival] = (*args.set, *RANDOM)
        for seed in args.seeds:
            for name, words in variants.items():
                for fold in [one for one in task.folds if one in (args.judges or task.folds)]:
                    append(measured(task, fold, args.data, seed, args.repeats, name, words))
    rows = read(TABLE)
    keep(PAGE, page(rows))
    draw(rows, PAGE.with_name("quality.png"))


def measured(
    task: JudgedTask,
    fold: str,
    data: Path | None,
    seed: int,
    repeats: int,
    variant: str,
    words: Sequence[str],
) -> Row:
    """Search and retrain in a new folder; return the row."""
    with tempfile.TemporaryDirectory() as place:
        experiment, given, path = task.name, list(task.folds[fold]), ""
        if task.name == "own_faces":
            experiment, path = _own_faces(Path(place)), str(Path(place) / "experiments/own_faces")
        if task.folder and data is not None:
            weights = data / "face_recognition_weights"
            given += [f"data.root={data / task.folder}", f"backbone.weights={weights}"]
        run = Path(place) / "run"
        search = ["search", experiment, *given, f"seed={seed}", *words, "--run-dir", str(run)]
        seconds = []
        commands = [search, ["retrain", str(run / "best.json"), "--repeats", str(repeats)]]
        tuned = run / "tuned"
        if task.alone:
            commands.append(["finetune", str(run / "retrained"), "--out", str(tuned)])
        for command in commands:
            start = time.monotonic()
            run_evonas(command, Path(place), path)
            seconds.append(round(time.monotonic() - start, 1))
        usage = read_json(run / "utilisation.json")
        comparison = read_json(run / "retrained" / "comparison.json")
        after = [
            one[task.metric.removeprefix("test_")]
            for one in (read_json(tuned / "finetune.json")["after"] if task.alone else ())
        ]
    networks = {one["name"]: one for one in comparison["contenders"]}
    winner = networks["winner"]
    errors = [result[task.metric] for result in winner["results"]]
    head, below = winner["head"], winner["backbone_up_to_tap"]

    def error(*names: str) -> float:
        found = [
            fmean(result[task.metric] for result in one["results"])
            for key, one in networks.items()
            if key.startswith(names) and one["results"] and not one.get("over_limit")
        ]
        return round(min(found, default=float("nan")), 3)

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return Row(
        date=date.today().isoformat(),
        commit=commit.stdout.strip(),
        machine=f"{processor()}, {os.cpu_count()} cores",
        task=task.name,
        variant=f"{variant}, {fold}" if fold else variant,
        seed=seed,
        repeats=repeats,
        error=round(fmean(errors), 3),
        spread=round(stdev(errors), 3) if len(errors) > 1 else 0.0,
        tap=winner["tap"],
        macs_head=head["macs"],
        macs_total=head["macs"] + below["macs"],
        mb_head=round(head["megabytes"], 3),
        mb_total=round(head["megabytes"] + below["megabytes"], 3),
        hand_made=error("hand-made"),
        linear_probe=error("linear probe", "pooled features + linear"),
        constant=error("constant"),
        search_seconds=seconds[0],
        retrain_seconds=sum(seconds[1:]),
        busy=round(usage["utilisation"], 3),
        refitted=error(REFITTED),
        tuned=round(fmean(after), 3) if after else nan,
    )


def _own_faces(place: Path) -> str:
    """Make the tutorial's photos; return its experiment."""
    (place / "experiments").symlink_to(ROOT / "experiments")
    maker = ROOT / "experiments" / "own_faces" / "make.py"
    words = ["own_faces", "--people", "150", "--each", "8"]
    subprocess.run([sys.executable, str(maker), *words], cwd=place, check=True)
    return str(ROOT / "experiments" / "own_faces" / "own_faces.yaml")


def append(row: Row) -> None:
    """Append a row to quality.csv and print it."""
    new = not TABLE.is_file()
    with TABLE.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Row)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))
    print(f"quality: {row}", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of quality.csv with numbers as numbers."""
    kinds = {field.name: field.type for field in fields(Row)}
    cast = {"int": int, "float": float, "str": str}
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            {name: cast[str(kinds[name])](value or "nan") for name, value in row.items()}
            for row in csv.DictReader(stream)
        ]


def page(rows: Iterable[dict[str, Any]]) -> str:
    """Return QUALITY.md: a table of all runs, by task and commit."""
    lines = [INTRODUCTION, "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    rows = list(rows)
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join([*lines, *over_folds(rows)]) + "\n"


def over_folds(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of means over the folds of a task, each fold's latest search."""
    names = ("error", "refitted", "tuned", "hand_made", "linear_probe", "constant")
    lines = ["", "Means over folds, each with a search of its own; no image judges twice:", ""]
    heads = ("task", "variant", "seed", "folds", *(name.replace("_", " ") for name in names))
    lines += ["| " + " | ".join((*heads, "largest cost, M multiply-adds / MB in all")) + " |"]
    lines += ["|" + " --- |" * (len(heads) + 1)]
    found: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        variant, _, fold = row["variant"].rpartition(", ")
        if fold in {task.name: task for task in TASKS}[row["task"]].folds and variant:
            found.setdefault((row["task"], variant, row["seed"]), {})[fold] = row
    found = {key: by_fold for key, by_fold in found.items() if len(by_fold) > 1}
    for (task, variant, seed), by_fold in found.items():
        some = [*by_fold.values()]
        values = [fmean(row[name] for row in some) for name in names]
        means = ["-" if value != value else f"{value:.2f}" for value in values]
        macs, size = (max(row[name] for row in some) for name in ("macs_total", "mb_total"))
        cost = f"{macs / 1e6:.1f} / {size:.2f}"
        line = [task, variant, str(seed), str(len(some)), *means, cost]
        lines.append("| " + " | ".join(line) + " |")
    return lines if found else []


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the page's table."""
    unit = {task.name: task.unit for task in TASKS}[row["task"]]
    error = f"**{row['error']:.2f}** ±{row['spread']:.2f} {unit} ({row['repeats']})"
    known = [row[n] for n in ("refitted", "tuned", "hand_made", "linear_probe", "constant")]
    others = ["-" if value != value else f"{value:.2f}" for value in known]
    macs = f"{row['macs_head'] / 1e6:.2f} / {row['macs_total'] / 1e6:.1f}"
    size = f"{row['mb_head']:.2f} / {row['mb_total']:.2f}"
    seconds = [row[f"{name}_seconds"] for name in ("search", "retrain")]
    minutes = ["-" if value != value else f"{value / 60:.1f}" for value in seconds]
    busy, when = f"{100 * row['busy']:.0f} %", f"{row['commit']}, {row['date']}"
    first = [row["task"], row["variant"], str(row["seed"]), error]
    return [*first, *others, row["tap"], macs, size, *minutes, busy, when]


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the winner's error as a share of the hand-made head's, by task and run."""
    rows = [row for row in rows if row["hand_made"] == row["hand_made"]]
    names = list(dict.fromkeys((row["task"], row["variant"]) for row in rows))
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.4 * len(names)), layout="constrained")
    for place, (task, variant) in enumerate(names):
        found = [r for r in rows if (r["task"], r["variant"]) == (task, variant)]
        shares = [row["error"] / row["hand_made"] for row in found]
        axes.plot(shares, [place] * len(shares), "o", color="tab:blue", alpha=0.7)
    axes.axvline(1.0, color="0.5", linewidth=1)
    axes.set_yticks(range(len(names)), [f"{task}, {variant}" for task, variant in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("error of the winner / of the best hand-made head", loc="right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
