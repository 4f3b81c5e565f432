"""What a user gets from a shipped experiment, searched and retrained, against recorded bounds.

make quality                                            # the same as the next line
python experiments/benchmarks/quality.py                # compare; exit status 1: a bound is missed
python experiments/benchmarks/quality.py --seeds 0 10   # the mean of two searches, tighter bounds
python experiments/benchmarks/quality.py --record       # five searches; write new bounds

The commands are those of the README, ``evonas search`` and ``evonas retrain``, in processes of
their own, with features computed anew: a cache could hide what has changed. Test identities are
seen by neither search nor training. Networks train on one thread each, so results do not depend
on the number of workers; on another kind of processor sums are rounded otherwise, a search may
take another path, and its winner is another draw from the recorded spread. Retraining counts its
seeds up from the search's, so recorded searches are ten seeds apart.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import quality_bounds
from quality_runs import REPEATS, SHIPPED, Outcome, Shipped, measure
from rich.console import Console
from searches import at_least

from evonas.assembly import surroundings
from evonas.errors import EvonasError, one_line
from evonas.estimation.latency import processor
from evonas.files import keep, make_folder, read_json
from evonas.report.tables import show

HERE = Path(__file__).parent
RECORDED = (0, 10, 20, 30, 40)  # seeds of the searches behind a record


def differences(record: Mapping[str, Any], outcome: Outcome) -> list[str]:
    """Return why results cannot be compared with a record, one line each."""
    pairs = {
        "data": (record["data"], outcome.data),
        "backbone": (record["backbone"], outcome.backbone),
        "repeats": (record["repeats"], REPEATS),
    }
    return [
        f"{name}: expected {before} as recorded, got {now}: record it again with --record"
        for name, (before, now) in pairs.items()
        if before != now
    ]


def about(shipped: Shipped, outcomes: Mapping[int, Outcome]) -> dict[str, Any]:
    """Return where a record comes from."""
    told, outcome = surroundings(), next(iter(outcomes.values()))
    return {
        "command": "python experiments/benchmarks/quality.py --record",
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "versions": {"evonas": told["evonas"], "python": told["python"], **told["packages"]},
        "experiment": str(shipped.file),
        "metric": shipped.metric,
        "repeats": REPEATS,
        "data": outcome.data,
        "backbone": outcome.backbone,
        "seconds": {str(seed): one.seconds for seed, one in outcomes.items()},
        "winners": {str(seed): one.winner for seed, one in outcomes.items()},
    }


def check(
    shipped: Shipped, outcomes: Mapping[int, Outcome], path: Path, console: Console
) -> tuple[list[str], dict[str, Any]]:
    """Compare with the record and print the table; return what is wrong, and data for JSON.

    Raises:
        InputError: the file holds no usable record.
    """
    record = quality_bounds.read(path, shipped.name)
    wrong = differences(record, next(iter(outcomes.values())))
    results = {seed: outcome.values for seed, outcome in outcomes.items()}
    verdicts = quality_bounds.compare(record["values"], results, record["limits"])
    show(quality_bounds.table(shipped.name, verdicts), console)
    for line in remarks(record, outcomes, verdicts):
        console.print(line, soft_wrap=True)
    wrong += [verdict.line() for verdict in verdicts if verdict.state == "missed"]
    found = {
        "results": {str(seed): vars(outcome) for seed, outcome in outcomes.items()},
        "verdicts": quality_bounds.plain(verdicts),
        "wrong": wrong,
    }
    return [f"{shipped.name}: {line}" for line in wrong], found


def remarks(
    record: Mapping[str, Any],
    outcomes: Mapping[int, Outcome],
    verdicts: Sequence[quality_bounds.Verdict],
) -> list[str]:
    """Return what is worth a note and no failure."""
    lines = []
    for verdict in verdicts:
        if verdict.state == "better":
            lines.append(f"better than recorded: record it with --record: {verdict.line()}")
        if verdict.state == "worse":
            more = "luck, or worse: --seeds 0 10 20 30 40 tells them apart"
            lines.append(f"near its bound ({more}): {verdict.line()}")
    for seed, outcome in outcomes.items():
        before = record["values"].get(seed)
        if before is not None and before != outcome.values:
            same = record["winners"].get(str(seed)) == outcome.winner
            lines.append(
                f"seed {seed} gives {'the same' if same else 'another'} winner and other figures "
                f"than on {record['date']}, {record['machine']}: {_changes(before, outcome.values)}"
            )
    return lines


def _changes(before: Mapping[str, float], now: Mapping[str, float]) -> str:
    return "; ".join(
        f"{one.name} {one.text(before[one.name])} -> {one.text(now[one.name])}"
        for one in quality_bounds.MEASURES
        if before[one.name] != now[one.name]
    )


def write_record(
    shipped: Shipped, outcomes: Mapping[int, Outcome], path: Path, console: Console
) -> None:
    """Write the bounds that follow from the outcomes; records of other experiments stay."""
    content: dict[str, Any] = read_json(path) if path.exists() else {}
    kept = content.get("experiments", {}) if content.get("format") == quality_bounds.FORMAT else {}
    results = {seed: outcome.values for seed, outcome in outcomes.items()}
    limits = next(iter(outcomes.values())).limits
    kept[shipped.name] = quality_bounds.entry(results, limits, about(shipped, outcomes))
    new = {"format": quality_bounds.FORMAT, "experiments": kept}
    keep(path, json.dumps(new, indent=2) + "\n")
    verdicts = quality_bounds.compare(results, results, limits)
    show(quality_bounds.table(shipped.name, verdicts), console)
    console.print(f"recorded: {path}", soft_wrap=True)


def main() -> None:
    """Measure, then compare with the record or write a new one."""
    args, console = arguments(), Console()
    wrong: list[str] = []
    found: dict[str, Any] = {}
    try:
        make_folder(args.out.parent)
        with tempfile.TemporaryDirectory(prefix="quality-") as folder:
            for shipped in SHIPPED:
                outcomes = {
                    seed: measure(shipped, seed, Path(folder), args.workers) for seed in args.seeds
                }
                if args.record:
                    write_record(shipped, outcomes, args.bounds, console)
                else:
                    lines, found[shipped.name] = check(shipped, outcomes, args.bounds, console)
                    wrong += lines
        if not args.record:
            keep(args.out, json.dumps(found, indent=2) + "\n")
            console.print(f"written: {args.out}", soft_wrap=True)
    except (EvonasError, OSError) as error:
        raise SystemExit(f"quality: {one_line(error)}") from error
    except KeyboardInterrupt:
        raise SystemExit("quality: interrupted") from None
    if wrong:
        raise SystemExit(f"quality: {'; '.join(wrong)}")


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="of searches (default: 0)")
    parser.add_argument("--record", action="store_true", help="write new bounds")
    parser.add_argument("--workers", type=int, default=0, help="default: one a core")
    parser.add_argument("--bounds", type=Path, default=HERE / "quality_bounds.json")
    parser.add_argument("--out", type=Path, default=Path("runs/quality.json"))
    args = parser.parse_args()
    args.seeds = args.seeds or (list(RECORDED) if args.record else [0])
    at_least(parser, args, {"seeds": 0, "workers": 0})
    if args.record and len(set(args.seeds)) < 2:
        parser.error("--record: expected at least two --seeds, since bounds follow from the spread")
    return args


if __name__ == "__main__":
    main()
