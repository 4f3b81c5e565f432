"""What a user gets from a shipped experiment, searched and retrained, against recorded bounds.

make quality                                               # the same as the next line
python experiments/benchmarks/quality.py                   # exit status 1: a bound is missed
python experiments/benchmarks/quality.py --seeds 0 10 20   # luck of one search, or worse?
python experiments/benchmarks/quality.py --record          # write new bounds

The commands are those of the README, ``evonas search`` and ``evonas retrain``, in processes of
their own, with features computed anew: a cache could hide what has changed. Test identities are
seen by neither search nor training. Networks train on one thread each, so results do not depend
on the number of workers. On another kind of processor sums are rounded otherwise and a search may
find another winner; that, like several searches, is held against the spread of recorded searches.
Retraining counts its seeds up from the search's, so recorded searches are ten seeds apart.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import quality_bounds
from quality_bounds import MEASURES, Sample, Verdict
from quality_runs import SHIPPED, ExportedNetwork, Outcome, measure
from rich.console import Console
from searches import at_least

from evonas.core.files import keep, make_folder, read_json
from evonas.errors import EvonasError, one_line
from evonas.estimation.cost.latency import processor
from evonas.report.tables import show
from evonas.workflows.base_components import surroundings

HERE = Path(__file__).parent
REPEATS, RECORDED_REPEATS = 3, 10  # trainings of each network, and for a record
RECORDED_SEEDS = (0, 10, 20, 30, 40)  # of searches, for a record; the first is the shipped one

Outcomes = Mapping[int, Outcome]  # by the search's seed


def check(
    shipped: ExportedNetwork, outcomes: Outcomes, path: Path, console: Console
) -> tuple[list[str], dict[str, Any]]:
    """Compare with the record and print the table; return what is wrong, and data for JSON.

    Raises:
        InputError: the file holds no usable record.
    """
    record = quality_bounds.read(path, shipped.name)
    wrong = differences(record, outcomes)
    same = same_winner(record, outcomes)
    known, new = quality_bounds.sample(record), pooled(outcomes)
    verdicts = quality_bounds.compare(known, new, record["limits"], same)
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


def pooled(outcomes: Outcomes) -> Sample:
    """Return the results of all searches and of all their retrainings."""
    trainings = [one for outcome in outcomes.values() for one in outcome.trainings]
    return Sample(trainings, [outcome.values(REPEATS) for outcome in outcomes.values()])


def differences(record: Mapping[str, Any], outcomes: Outcomes) -> list[str]:
    """Return why results cannot be compared with a record, one line each."""
    outcome = next(iter(outcomes.values()))
    pairs = {
        "data": (record["data"], outcome.data),
        "backbone": (record["backbone"], outcome.backbone),
    }
    return [
        f"{name}: expected {before} as recorded, got {now}: record it again with --record"
        for name, (before, now) in pairs.items()
        if before != now
    ]


def same_winner(record: Mapping[str, Any], outcomes: Outcomes) -> bool:
    """Return whether a change of evonas alone can make the winner another than the recorded."""
    if list(outcomes) != [RECORDED_SEEDS[0]]:
        return False
    outcome = outcomes[RECORDED_SEEDS[0]]
    return bool(record["processor"] == processor() or record["winner"] == outcome.winner)


def remarks(
    record: Mapping[str, Any], outcomes: Outcomes, verdicts: Sequence[Verdict]
) -> Iterator[str]:
    """Yield what is worth a note and no failure."""
    for verdict in verdicts:
        if verdict.state == "better":
            yield f"better than recorded: record it with --record: {verdict.line()}"
        if verdict.state == "worse":
            yield f"worse than recorded, yet within the bound: {verdict.line()}"
    for seed, outcome in outcomes.items():
        before, now = record["searches"].get(str(seed)), outcome.values(REPEATS)
        if before is None or before == now:
            continue
        changes = "; ".join(
            f"{one.words} {one.text(before[one.name])} -> {one.text(now[one.name])}"
            for one in MEASURES
            if before[one.name] != now[one.name]
        )
        yield f"seed {seed} gave other figures on {record['date']}, {record['machine']}: {changes}"
    first = outcomes.get(RECORDED_SEEDS[0])
    if first is not None and first.winner != record["winner"]:
        yield (
            "the search finds another winner than the recorded one: --seeds 0 10 20 tells luck of "
            "one search from what is worse"
        )


def write_record(
    shipped: ExportedNetwork, outcomes: Outcomes, path: Path, console: Console
) -> None:
    """Write the record that the outcomes are; records of other experiments stay."""
    told, first = surroundings(), next(iter(outcomes.values()))
    record: dict[str, Any] = {
        "command": "python experiments/benchmarks/quality.py --record",
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "processor": processor(),
        "versions": {"evonas": told["evonas"], "python": told["python"], **told["packages"]},
        "experiment": str(shipped.file),
        "metric": shipped.metric,
        "repeats": REPEATS,
        "data": first.data,
        "backbone": first.backbone,
        "seconds": {str(seed): one.seconds for seed, one in outcomes.items()},
        "winner": first.winner,
        "limits": first.limits,
        "trainings": first.trainings,
        "searches": {str(seed): one.values(REPEATS) for seed, one in outcomes.items()},
    }
    record["bounds"] = {k: round(v, 4) for k, v in quality_bounds.bounds(record).items()}
    content: dict[str, Any] = read_json(path) if path.exists() else {}
    kept = content.get("experiments", {}) if content.get("format") == quality_bounds.FORMAT else {}
    new = {"format": quality_bounds.FORMAT, "experiments": {**kept, shipped.name: record}}
    keep(path, json.dumps(new, indent=2) + "\n")
    known = quality_bounds.sample(record)
    usual = Sample(first.trainings[:REPEATS], [first.values(REPEATS)])
    for title, same in (("", True), (" beside other searches", False)):
        verdicts = quality_bounds.compare(known, usual, first.limits, same)
        show(quality_bounds.table(shipped.name + title, verdicts), console)
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
                outcomes = {}
                for seed in args.seeds:
                    many = args.record and seed == args.seeds[0]
                    repeats = RECORDED_REPEATS if many else REPEATS
                    outcomes[seed] = measure(shipped, seed, repeats, Path(folder), args.workers)
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
    parser.add_argument("--workers", type=int, help="default: as the experiment says, one a core")
    parser.add_argument("--bounds", type=Path, default=HERE / "quality_bounds.json")
    parser.add_argument("--out", type=Path, default=Path("runs/quality.json"))
    args = parser.parse_args()
    args.seeds = args.seeds or list(RECORDED_SEEDS if args.record else RECORDED_SEEDS[:1])
    at_least(parser, args, {"seeds": 0} | ({} if args.workers is None else {"workers": 1}))
    if args.record and (args.seeds[0] != RECORDED_SEEDS[0] or len(set(args.seeds)) < 2):
        parser.error("--record: expected the shipped seed 0 and further --seeds, for their spread")
    return args


if __name__ == "__main__":
    main()
