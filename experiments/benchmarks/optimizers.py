"""Every optimizer on the same experiment, one after another: a table.

python experiments/benchmarks/optimizers.py experiments/quickstart.yaml --budget 40 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from datetime import date
from pathlib import Path

from rich.console import Console

from evonas import config, registry
from evonas.assembly import Assembly
from evonas.commands import search
from evonas.commands.progress import progress_bars
from evonas.report.tables import Table, markdown
from evonas.store import RunStore


def main() -> None:
    """Run the searches and print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", nargs="?", default="quickstart")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--optimizers", nargs="+", default=registry.names("optimizer"))
    parser.add_argument("--out", type=Path, default=Path("runs/optimizers"))
    args = parser.parse_args()
    assembly = Assembly(config.load(args.experiment, args.overrides))
    with progress_bars(Console()) as progress:  # so that the first search does not pay for them
        assembly.features(assembly.backbone, assembly.taps(), progress)
    rows = []
    for name in args.optimizers:
        runs = [_run(args, name, seed) for seed in args.seeds]
        best, trained, repeats, seconds = (list(column) for column in zip(*runs, strict=True))
        rows.append(
            [
                name,
                f"{statistics.median(best):.3f}",
                f"{min(best):.3f} .. {max(best):.3f}",
                str(round(statistics.median(trained))),
                str(round(statistics.median(repeats))),
                f"{statistics.median(seconds):.0f}",
            ]
        )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {date.today()}"
    seeds = f"seeds {', '.join(map(str, args.seeds))}"
    title = f"{args.experiment}, budget {args.budget}, {seeds}; {machine}"
    head = ["optimizer", "best fitness", "range", "distinct trainings", "repeats", "seconds"]
    text = markdown(Table(title, head, rows))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _run(args: argparse.Namespace, name: str, seed: int) -> tuple[float, int, int, float]:
    """Return best fitness, distinct trainings, repeats and seconds of one search."""
    changes = [*args.overrides, f"optimizer={name}", f"budget={args.budget}", f"seed={seed}"]
    experiment = config.load(args.experiment, changes)
    folder = args.out / f"{experiment.name}-{name}-s{seed}"
    console = Console()
    start = time.monotonic()
    search.run(experiment, folder, resume=(folder / "journal.jsonl").exists(), console=console)
    seconds = time.monotonic() - start
    with RunStore(folder, resume=True) as store:
        trials, best = store.trials(), store.best()
    trained = sum(trial.trained for trial in trials)
    repeats = sum(trial.status == "repeat" for trial in trials)
    return (best.value if best else float("inf")), trained, repeats, seconds


if __name__ == "__main__":
    main()
