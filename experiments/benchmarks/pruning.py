"""A pruned backbone against the whole one, trained on in the same way, at several thresholds.

evonas search experiments/pointing04.yaml data.root=DIR backbone.weights=WEIGHTS
evonas retrain runs/pointing04-surrogate-s0/best.json --repeats 3
python experiments/benchmarks/pruning.py runs/pointing04-surrogate-s0/retrained

Each training of the winner is pruned at each threshold, and trained on with its head; beside them
stands the whole backbone up to the tap, trained on for as many epochs with the same settings, so
that what training on gains is not taken for what pruning does. Rows go to a CSV; what it holds is
not done again. The last epoch counts, so the images that judge choose nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from searches import append, finished
from torch import nn

from evonas.core.progress_bars import progress_bars
from evonas.deployment.pruning.reduction import Cost, reduction
from evonas.deployment.pruning.task_pruning import Pruning
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import EvonasError
from evonas.estimation.cost.complexity import count
from evonas.report.tables import Table, markdown
from evonas.workflows.evaluation import Retrained

_WHOLE = "whole"


@dataclass(frozen=True)
class Row:
    """One training: what was trained on, and what came of it.

    ``before`` is the error of the whole network as it was retrained, ``cut`` that of the pruned
    one before training, ``after`` that behind it.
    """

    threshold: str
    repeat: str
    epochs: str
    macs: str
    params: str
    less_macs: str
    less_params: str
    before: str
    cut: str
    after: str
    seconds: str


COLUMNS = [field.name for field in fields(Row)]


def main() -> None:
    """Do what the file lacks, print the table, draw the picture."""
    args = arguments()
    try:
        measure(args)
    except (EvonasError, OSError) as error:
        raise SystemExit(f"pruning: {' '.join(str(error).split())}") from error
    rows = [Row(**row) for row in finished(args.out, COLUMNS) if row["epochs"] == str(args.epochs)]
    unit = Retrained(args.folder, tuple(args.overrides)).task.unit
    text = markdown(table(rows, unit))
    print(text)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    draw(rows, unit, args.out.with_suffix(".png"))


def measure(args: argparse.Namespace) -> None:
    """Append a row for each threshold and repeat that the file lacks."""
    retrained = Retrained(args.folder, tuple(args.overrides))
    with progress_bars(Console(stderr=True)) as progress:
        for threshold, repeat in plan(args):
            network = RetrainedNetwork(retrained, args.network, repeat, progress)
            append(args.out, asdict(row(network, threshold, repeat, args.epochs)))


def plan(args: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield thresholds and repeats that are to be done, one repeat after the other."""
    for repeat in range(args.repeats):
        for threshold in [*map(str, args.thresholds), _WHOLE]:
            done = finished(args.out, COLUMNS)
            if (threshold, str(repeat), str(args.epochs)) not in {
                (row["threshold"], row["repeat"], row["epochs"]) for row in done
            }:
                yield threshold, repeat


def row(network: RetrainedNetwork, threshold: str, repeat: int, epochs: int) -> Row:
    """Return what a training gives; of the whole network if there is no threshold."""
    settings = network.components.experiment.prune
    metric = network.retrained.task.metric
    training = settings.training.model_copy(update={"epochs": epochs})
    if threshold != _WHOLE:
        settings = settings.model_copy(update={"threshold": float(threshold)})
    work = Pruning(network, settings)
    plan = work.prunable.plan({}) if threshold == _WHOLE else work.plan()[0]
    graph, head, _ = work.pruned(plan)
    before = network.judge(network.full_network)[metric]
    whole = nn.Sequential(graph, head)
    cut, begun = network.judge(whole)[metric], time.perf_counter()
    network.train(whole, training, lambda done, total: None)
    spent = time.perf_counter() - begun
    # A traced graph holds its weights apart from its steps, so they are counted apart.
    images = count(whole, tuple(network.example.shape[1:]))
    cost = Cost(images.macs, sum(parameter.numel() for parameter in whole.parameters()))
    found = reduction(cost, network.components.backbone)
    return Row(
        threshold,
        str(repeat),
        str(epochs),
        str(cost.macs),
        str(cost.params),
        f"{found.percent('macs') or 0:.2f}",
        f"{found.percent('params') or 0:.2f}",
        f"{before:.4f}",
        f"{cut:.4f}",
        f"{network.judge(whole)[metric]:.4f}",
        f"{spent:.0f}",
    )


def table(rows: list[Row], unit: str) -> Table:
    """Return the rows for people, means over the repeats."""
    cells = []
    for name, own in grouped(rows):
        figures = [mean(own, key) for key in ("before", "cut", "after")]
        gains = np.array([float(one.after) - float(one.before) for one in own])
        cells.append(
            [
                name if name == _WHOLE else f"t = {name}",
                f"{float(own[0].macs) / 1e6:.1f}",
                f"{float(own[0].params) / 1e6:.3f}",
                f"-{own[0].less_macs} %",
                f"-{own[0].less_params} %",
                *figures,
                f"{gains.mean():+.2f}",
                str(len(own)),
                f"{np.mean([float(one.seconds) for one in own]):.0f}",
            ]
        )
    heads = ["backbone", "M MACs", "M params", "MACs", "params"]
    heads += ["retrained", "untrained", "trained on", "change", "trainings", "s"]
    notes = [
        f"errors in {unit}, mean ± sd over trainings; MACs and params are against the whole "
        "backbone with what stands behind its last tap, head included in what is left"
    ]
    return Table("Pruned and trained on", heads, cells, notes, names=1)


def grouped(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Return threshold -> rows, the cheapest first."""
    names = sorted({row.threshold for row in rows}, key=lambda t: -1.0 if t == _WHOLE else float(t))
    return [(name, [row for row in rows if row.threshold == name]) for name in reversed(names)]


def mean(rows: list[Row], key: str) -> str:
    """Return the mean and, of several, the sample standard deviation of a column."""
    values = [float(getattr(one, key)) for one in rows]
    spread = f" ±{np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def draw(rows: list[Row], unit: str, path: Path) -> None:
    """Draw error against multiply-adds, a point a training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    middles = []
    for name, own in grouped(rows):
        macs = [float(one.macs) / 1e6 for one in own]
        errors = [float(one.after) for one in own]
        colour = "0.35" if name == _WHOLE else "#2b6cb0"
        axes.plot(macs, errors, "o", color=colour, alpha=0.5, markersize=5)
        middles.append((np.mean(macs), np.mean(errors)))
        words = "whole, trained on" if name == _WHOLE else f"t = {name}"
        side = {"ha": "right"} if name == _WHOLE else {}
        place = (-6, -14) if name == _WHOLE else (6, 6)
        axes.annotate(words, middles[-1], place, textcoords="offset points", fontsize=8, **side)
    axes.plot(*zip(*middles, strict=True), "-", color="#2b6cb0", linewidth=1.2, zorder=1)
    before = [float(one.before) for one in rows]
    axes.axhline(np.mean(before), color="#c0392b", linestyle="--", linewidth=1)
    axes.annotate(
        "whole, as retrained (backbone frozen)",
        (min(m for m, _ in middles), float(np.mean(before))),
        (0, 4),
        textcoords="offset points",
        fontsize=8,
        color="#c0392b",
    )
    axes.set_xlabel("million multiply-adds, backbone and head")
    axes.set_ylabel(f"error, {unit}")
    axes.set_title("Pruned at the knee and trained on", fontsize=10)
    axes.grid(alpha=0.2)
    figure.savefig(path, dpi=130)


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of a retraining")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--network", default="", help="default: the winner")
    parser.add_argument("--thresholds", nargs="+", type=float, default=[0.1, 0.01, 0.001])
    parser.add_argument("--repeats", type=int, default=3, help="trainings of the network")
    parser.add_argument("--epochs", type=int, default=8, help="of training on")
    parser.add_argument("--out", type=Path, default=Path("runs/pruning.csv"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
