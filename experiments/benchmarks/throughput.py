"""How fast evonas is, part by part, measured in one go and written into one Markdown file.

python experiments/benchmarks/throughput.py --parts c d e
python experiments/benchmarks/throughput.py data.identities=60 --parts e --quick

Parts that are not asked for keep their section of the file. key=value changes the
experiment, as in `evonas search`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from datetime import date
from pathlib import Path

from searches import at_least, one_thread_each
from throughput_report import Options, Section, machine, merged, without_places

from evonas.core import experiment as config
from evonas.core.files import write_file
from evonas.errors import EvonasError, InputError

#: letter -> module with ``measure(options) -> Section`` and, in ``NEEDS``, what it imports.
PARTS = {
    **dict.fromkeys("abf", "throughput_training"),
    "c": "throughput_overhead",
    "d": "throughput_utilisation",
    "e": "throughput_growth",
}
HERE = Path(__file__).parent
TITLE = """# Throughput

Made by `throughput.py` (`make bench`); every section says when and how. All figures of a section
come from one run on one machine; contenders took turns (A B A B ...), and a cell with several
figures is the median (lowest..highest).
"""


def main() -> None:
    """Measure the parts that are asked for, and put them into the file."""
    args = _arguments()
    one_thread_each()
    try:
        experiment = config.load(args.experiment, args.overrides)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        for letter in args.parts:
            if why := left_out(letter):
                print(f"part {letter} is left out: {why}", flush=True)
                continue
            print(f"part {letter} ...", flush=True)
            module = importlib.import_module(PARTS[letter])
            options = Options(
                letter, experiment, args.repeats, args.quick, args.out, journal=args.journal
            )
            section: Section = module.measure(options)
            write(args.out, letter, section.markdown(letter, stamp(args, experiment.seed)))
            for verdict in section.verdicts:
                print(verdict, flush=True)
    except (EvonasError, OSError) as error:
        line = " ".join(str(error).split())
        raise SystemExit(f"throughput: {line}") from error
    except KeyboardInterrupt:
        raise SystemExit("interrupted; finished parts are in the file") from None


def left_out(letter: str) -> str:
    """Return why a part cannot run here; empty if it can."""
    name = PARTS[letter]
    if importlib.util.find_spec(name) is None:
        return f"{name}.py is not here"
    missing = [need for need in _needs(name) if importlib.util.find_spec(need) is None]
    return f"{', '.join(missing)} not installed (pip install 'evonas[bench]')" if missing else ""


def _needs(name: str) -> tuple[str, ...]:
    return tuple(getattr(importlib.import_module(name), "NEEDS", ()))


def write(path: Path, letter: str, section: str) -> None:
    """Put a section into the file, in the place of an earlier one, in one step."""
    existing = path.read_text(encoding="utf-8") if path.exists() else ""
    if existing and not existing.startswith(TITLE.split("\n", 1)[0]):
        raise InputError(f"{path}: is no file of this benchmark: take another --out")
    write_file(path, merged(existing, TITLE, {letter: section}))


def stamp(args: argparse.Namespace, seed: int) -> str:
    """Return when, where and how a section was measured."""
    load = os.getloadavg()[1]
    quick = " **Quick: sizes only show that it works.**" if args.quick else ""
    return "\n".join(
        [
            f"{date.today().isoformat()}: `python experiments/benchmarks/throughput.py "
            f"{without_places(args.words)}`, seed {seed}.{quick}",
            *(f"{line}." for line in machine()),
            f"Load average over the last five minutes, own work included: {load:.1f}.",
        ]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the experiment")
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--experiment", default="quickstart", help="name or file")
    parser.add_argument("--repeats", type=int, default=3, help="of each figure, in turns")
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--journal", type=Path, help="folder of a run whose durations to use")
    args = parser.parse_args()
    at_least(parser, args, {"repeats": 1})
    args.parts = list(dict.fromkeys(args.parts))
    args.words = sys.argv[1:]
    return args


if __name__ == "__main__":
    main()
