"""Head pose outputs and losses on one network: same architecture, epochs and seeds.

python experiments/benchmarks/head_pose_losses.py experiments/pointing04.yaml \
    data.root=DIR backbone.weights=WEIGHTS

Trains the experiment's first baseline. The last epoch counts, so nothing is chosen on
the validation people and they can judge.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from datetime import date

from rich.console import Console

from evonas.core import experiment as config
from evonas.core.progress_bars import progress_bars
from evonas.report.tables import Table, markdown
from evonas.workflows.components import Components
from evonas.workflows.retraining import Retraining

LOSSES = {
    "angles, Huber 5 degrees": ["task.output=angles", "task.delta=5"],
    "angles, Huber 1 degree": ["task.output=angles", "task.delta=1"],
    "bins, alpha 1": ["task.output=bins", "task.alpha=1"],
    "bins, alpha 2": ["task.output=bins", "task.alpha=2"],
    "6-D rotation, geodesic": ["task.output=rotation6d"],
}


def main() -> None:
    """Train and print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", nargs="?", default="quickstart")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=LOSSES, default=list(LOSSES))
    args = parser.parse_args()
    rows, heads = [], ["output and loss"]
    for name in args.only:
        words = [*args.overrides, *LOSSES[name], "retraining.keep=last"]
        experiment = config.load(args.experiment, words)
        kept = experiment.baselines[:1]
        components = Components(experiment.model_copy(update={"baselines": kept}))
        start = time.monotonic()
        with progress_bars(Console()) as progress:

            def done(number: int, total: int, label: str = name) -> None:
                progress(label, number, total)

            (network, _) = Retraining(components, None, progress).compare(args.repeats, None, done)
        seconds = time.monotonic() - start
        metrics = [m for m in network.results[0] if m != "epoch" and not m.startswith("test_")]
        heads = ["output and loss", *metrics, "k parameters", "seconds"]
        cells = [f"{network.mean(m):.2f} ±{network.spread(m):.2f}" for m in metrics]
        rows.append([name, *cells, f"{network.head.params / 1e3:.0f}", f"{seconds:.0f}"])
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {date.today()}"
    title = f"{experiment.name}, {kept[0].name}, validation split, {experiment.retraining.epochs} "
    title += f"epochs, mean ± sd of {args.repeats} seeds; {machine}"
    print(markdown(Table(title, heads, rows)))


if __name__ == "__main__":
    main()
