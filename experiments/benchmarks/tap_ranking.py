"""Does a probe rank taps as searches do? Linear models against the best searched head on each tap.

python experiments/benchmarks/tap_ranking.py pointing04 data.root=DIR backbone.weights=WEIGHTS
python experiments/benchmarks/tap_ranking.py quickstart --taps block2 block4 --budget 2

The probe judges taps on held-out training images alone; the searches, alike but for their tap,
by the best network's error on validation. Features of all taps are computed in one pass and
take gigabytes where early taps are among them. Rows go to a CSV, one a tap; what it holds is
not searched again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.stats import kendalltau, spearmanr
from searches import append, finished, one_thread_each

import evonas
from evonas.core import experiment as config
from evonas.core.progress_bars import progress_bars
from evonas.deployment.probing import run_probe as probe
from evonas.deployment.probing.linear_probe import Primary, rank
from evonas.deployment.probing.targets import read
from evonas.errors import EvonasError, InputError
from evonas.report.tables import Table, markdown
from evonas.workflows.components import Components

_LEAST = 3  # taps below which a rank correlation says nothing


@dataclass(frozen=True)
class Row:
    """One tap: what the probe says of it, and what a search on it found.

    Errors of the probe are relative to the constant's; seconds leave features out.
    """

    tap: str
    budget: str
    seed: str
    held_out: str
    probe_seconds: str
    error: str
    macs: str
    search_seconds: str
    training_seconds: str


COLUMNS = [field.name for field in fields(Row)]


def main() -> None:
    """Probe, search on every tap that the file lacks, print the table."""
    args = arguments()
    one_thread_each()
    try:
        rows, unit = measure(args)
    except (EvonasError, OSError) as error:
        raise SystemExit(f"tap_ranking: {' '.join(str(error).split())}") from error
    text = markdown(table(rows, unit))
    print(text)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")


def measure(args: argparse.Namespace) -> tuple[list[Row], str]:
    """Return a row a tap, in the order of the backbone, and the unit of the searches' errors."""
    same = [f"budget={args.budget}", f"seed={args.seed}", "finals.networks=0", "baselines=[]"]
    components = Components(config.load(args.experiment, [*args.overrides, *same]))
    everything = list(components.backbone.taps)
    taps = [tap for tap in everything if tap in (args.taps or everything[1::2])]
    components.backbone.check_taps(args.taps or ())
    found = {row["tap"]: Row(**row) for row in finished(args.out, COLUMNS) if fits(row, args)}
    missing = [tap for tap in taps if tap not in found]
    with progress_bars(Console(stderr=True)) as progress:
        labels = [read(components.dataset, name) for name in probe.wanted(components)]
        known = probe.probed(components, "probe", components.backbone, labels, progress)
        if missing:  # one pass for all taps
            components.features(components.backbone, missing, progress)
    for tap in missing:
        found[tap] = searched(tap, args, same, known)
        append(args.out, asdict(found[tap]))
    return [found[tap] for tap in taps], components.task.unit


def searched(tap: str, args: argparse.Namespace, same: Sequence[str], known: Primary) -> Row:
    """Return the row of a tap after a search that has no other."""
    words = [*args.overrides, *same, f"space.tap=[{tap}]", f"tap={tap}"]
    experiment = config.load(args.experiment, words)
    folder = args.out.with_suffix("") / f"{tap}-b{args.budget}-s{args.seed}"
    begun, resume = time.perf_counter(), (folder / "journal.jsonl").exists()
    view = evonas.LiveView(Console(stderr=True))
    result = evonas.search(experiment, run_dir=folder, resume=resume, callbacks=[view])
    spent = time.perf_counter() - begun
    trained = [trial for trial in result.trials if trial.trained and trial.succeeded]
    if not trained:
        raise InputError(f"{folder}: no network was trained successfully on tap {tap}")
    metric = result.metric
    best = min(trained, key=lambda trial: trial.metrics[metric])
    return Row(
        tap,
        str(args.budget),
        str(args.seed),
        f"{dict(rank(known.found))[tap]:.4f}",
        f"{sum(one.seconds for one in known.found if one.tap == tap):.3f}",
        f"{best.metrics[metric]:.4f}",
        str(best.macs),
        f"{spent:.1f}",
        f"{np.mean([trial.seconds for trial in trained]):.2f}",
    )


def table(rows: Sequence[Row], unit: str) -> Table:
    """Return the rows for people, and how well both orders agree."""
    heads = ["tap", "held out, %", "probe s", f"best head, {unit}", "M multiply-adds"]
    heads += ["search s", "training s"]
    cells = [
        [
            row.tap,
            f"{100 * float(row.held_out):.1f}",
            row.probe_seconds,
            row.error,
            f"{int(row.macs) / 1e6:.2f}",
            row.search_seconds,
            row.training_seconds,
        ]
        for row in rows
    ]
    notes = [agreement([float(r.held_out) for r in rows], [float(r.error) for r in rows])]
    probing = np.mean([float(row.probe_seconds) for row in rows])
    training = np.mean([float(row.training_seconds) for row in rows])
    notes.append(
        f"To probe a tap took {probing:.2f} s, to train one head network {training:.1f} s: "
        f"{training / probing:.1f} times as long, {float(rows[0].budget) * training / probing:.0f} "
        f"times for a search of {rows[0].budget} (the article has 78 times for one training)."
    )
    return Table("Taps, probed and searched", heads, cells, notes, names=1)


def agreement(probed: Sequence[float], found: Sequence[float]) -> str:
    """Return both rank correlations as a sentence."""
    if len(probed) < _LEAST:
        return f"No rank correlation of {len(probed)} tap(s): it takes {_LEAST}."
    rho, tau = spearmanr(probed, found).statistic, kendalltau(probed, found).statistic
    return f"Rank correlation: Spearman {rho:.2f}, Kendall {tau:.2f}, over {len(probed)} taps."


def fits(row: dict[str, str], args: argparse.Namespace) -> bool:
    """Whether a line of the file is of the same budget and seed."""
    return (row["budget"], row["seed"]) == (str(args.budget), str(args.seed))


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", help="a YAML file or the name of a shipped one")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--taps", nargs="+", help="default: every second of the backbone")
    parser.add_argument("--budget", type=int, default=12, help="networks of each search")
    parser.add_argument("--seed", type=int, default=0, help="of every search")
    parser.add_argument("--out", type=Path, default=Path("runs/tap_ranking.csv"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
