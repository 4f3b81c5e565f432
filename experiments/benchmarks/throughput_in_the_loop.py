"""Part a: evonas against the published way, which runs the backbone on every batch."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from throughput_processes import (
    Agreement,
    Process,
    agreement,
    candidate,
    medians,
    published,
    search,
    tap_of,
)
from throughput_report import Options, Section, Verdict
from throughput_training import cores, sized, some

from evonas.core.experiment import Experiment
from evonas.estimation.estimator import Split
from evonas.report.tables import Table
from evonas.runs.run_store import Trial, read_journal
from evonas.workflows.components import Components

#: Candidates -> how many times as long the published way is to take, at least.
TARGETS = {20: 15.0, 200: 30.0}
#: Images of the comparison of errors: how many train, how many validate.
SUBSET = (320, 96)
DEFINITION = (
    "evonas: `evonas search` as a user calls it, with an empty feature cache, clocked from the "
    "start of its process to its end: imports, Ray, the backbone's one pass over each view, all "
    "trainings, journal, report. A second search finds the features there. "
    "Published (Matak 2020): a process a candidate, which decodes each image and draws its view "
    "whenever it is used, runs the frozen backbone up to the candidate's tap on every batch, "
    "without gradients, and trains the same head on the same batches with the same settings, "
    "validating it after every epoch."
)


@dataclass(frozen=True)
class Whole:
    """Both ways, with one choice of views.

    Attributes:
        name: of the choice.
        cold, warm: seconds of evonas's search without and with features.
        trainings: of ``warm``, from its first training to the end of its last.
        processes: tap -> a published candidate's process.
        taps: tap -> how many of the search's networks stand on it.
        epochs: of each.
    """

    name: str
    cold: float
    warm: float
    trainings: float
    processes: Mapping[str, Process]
    taps: Mapping[str, int]
    epochs: int

    def each(self, tap: str) -> float:
        """Return the seconds of a published candidate on a tap."""
        return self.processes[tap].around + self.epochs * self.processes[tap].epoch

    def published(self, trials: int) -> float:
        """Return the seconds of so many candidates, the taps in the search's proportion."""
        drawn = sum(number * self.each(tap) for tap, number in self.taps.items())
        return drawn * trials / sum(self.taps.values())

    def evonas(self, trials: int) -> float:
        """Return the seconds of so many: one search, and the trainings of the further ones."""
        return self.cold + (trials / sum(self.taps.values()) - 1) * self.trainings

    def ratio(self, trials: int) -> float:
        """Return how many times as long the published way takes."""
        return self.published(trials) / self.evonas(trials)


def measure(options: Options) -> Section:
    """Return the section of part a."""
    trials, epochs = (3, 1) if options.quick else (20, 5)
    own = options.experiment.features.jitters
    wholes: list[Whole] = []
    ways: dict[int, float] = {}
    with tempfile.TemporaryDirectory(prefix="throughput-") as place:
        for jitters in dict.fromkeys((own, 0)):
            folder = Path(place) / str(jitters)
            words = [f"features.cache={folder / 'cache'}", f"features.jitters={jitters}"]
            experiment = sized(options.experiment, trials, epochs, options.quick, words)
            split = _split(experiment)
            cold = search(experiment, folder / "cold")
            drawn = [trial for trial in read_journal(folder / "cold") if trial.trained]
            chosen, processes = medians(experiment, drawn), {}
            for tap, trial in chosen.items():
                # Both ways to decode once; from then on the one that was faster.
                both = {
                    n: _first_epoch(experiment, trial, split, n, folder)
                    for n in ([min(ways, key=lambda n: ways[n])] if ways else [0, 1])
                }
                ways = ways or {n: process.epoch for n, process in both.items()}
                processes[tap] = min(both.values(), key=lambda process: process.epoch)
            warm = search(experiment, folder / "warm")
            usage = json.loads((folder / "warm" / "utilisation.json").read_text(encoding="utf-8"))
            taps = Counter(tap_of(experiment, trial) for trial in drawn)
            name = f"{2 * (jitters + 1)} views" + (", as the experiment" if jitters == own else "")
            wholes.append(Whole(name, cold, warm, usage["wall"], processes, taps, epochs))
            if jitters == own:
                trial = chosen[max(taps, key=lambda tap: taps[tap])]
                loaders = min(ways, key=lambda n: ways[n])
                few = some(split, *SUBSET)
                same = agreement(experiment, trial, few, loaders, folder)
    return _section(Components(experiment), wholes, ways, same, options.quick)


def _split(experiment: Experiment) -> Split:
    sides = Components(experiment).dataset.sides()
    return Split(sides["train"], sides["validation"])


def _first_epoch(
    experiment: Experiment, trial: Trial, split: Split, loaders: int, folder: Path
) -> Process:
    wanted = candidate(experiment, trial, split, loaders, epochs=1)
    return published(wanted, folder / f"{trial.digest}-{loaders}.json")


def _section(
    components: Components,
    wholes: Sequence[Whole],
    ways: Mapping[int, float],
    same: Agreement,
    quick: bool,
) -> Section:
    whole, unit = wholes[0], components.task.unit
    drawn, images = sum(whole.taps.values()), len(components.dataset)
    count, threads = _count(cores(), "core"), _count(cores(), "thread")
    lines = [
        DEFINITION,
        f"{drawn} candidates, {_count(whole.epochs, 'epoch')}, {images} images, {count} for "
        f"either: "
        f"evonas uses them with a thread a batch in the backbone's pass and a worker a core "
        f"afterwards, the published way with {threads} of its one process and, for "
        f"the images, {_decoding(ways)}. Images that are rendered, not read, count as decoded.",
        f"The published way would take {whole.published(drawn) / 60:.0f} minutes in full, so of "
        "each tap the candidate of median cost ran as a whole process with one epoch, validation "
        "included; all else is arithmetic: a candidate = process without its epoch + "
        f"{whole.epochs} x epoch, all candidates = the sum over the taps as the search drew them, "
        f"200 = 10 x 20. evonas ran in full, once; its 200 are that search and "
        f"{200 // drawn - 1} times the seconds from the first to the last training of the second "
        f"search, on the features that are there: one search starts once.",
        f"Errors by both ways, one candidate on {same.tap}, {same.images[0]} images that train "
        f"and {same.images[1]} that validate, after each epoch: published "
        f"{_errors(same.published)} {unit}, evonas {_errors(same.ours)} {unit} (its features are "
        f"rounded to 16 bits); evonas from three other seeds {_errors(same.seeds)} {unit}.",
    ]
    verdicts = [
        Verdict(f"{number} candidates, {w.name}: >= {least:g} x", f"{w.ratio(number):.1f} x", met)
        for w in wholes
        for number, least in TARGETS.items()
        for met in [None if quick else w.ratio(number) >= least]
    ]
    said = f"{same.differences[-1]:.3f} {unit}, the spread over seeds is {same.noise:.3f} {unit}"
    met = same.differences[-1] <= same.noise
    verdicts.append(Verdict("Same final error within the spread over seeds (sd)", said, met))
    return Section("Against the backbone in the loop", lines, _tables(wholes), verdicts)


def _tables(wholes: Sequence[Whole]) -> list[Table]:
    parts = []
    for w in wholes:
        for tap, p in w.processes.items():
            epoch = (p.around, p.found.training[0], p.found.validation[0], w.each(tap))
            parts.append([w.name, tap, str(w.taps[tap]), *(f"{part:.1f}" for part in epoch)])
    totals = []
    for w in wholes:
        drawn = sum(w.taps.values())
        totals.append([w.name, f"{drawn}, measured", f"{w.cold:.1f}", f"{w.warm:.1f}"])
        totals[-1] += [f"{w.trainings:.1f}", f"{w.published(drawn):.0f}", f"{w.ratio(drawn):.1f}"]
        totals.append([w.name, "200, arithmetic", f"{w.evonas(200):.0f}", "", ""])
        totals[-1] += [f"{w.published(200):.0f}", f"{w.ratio(200):.1f}"]
    head = ["views", "tap", "candidates", "around, s", "training an epoch, s", "validation, s"]
    return [
        Table("The published way, a process each", [*head, "a candidate, s"], parts),
        Table(
            "All candidates, seconds",
            [
                *("views", "candidates", "evonas", "features there", "its trainings alone"),
                *("published", "times as long"),
            ],
            totals,
        ),
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _decoding(ways: Mapping[int, float]) -> str:
    name = {0: "the same process", 1: "a loader process that decodes ahead"}
    first, second = sorted(ways, key=lambda n: ways[n])
    return (
        f"{name[first]} ({ways[first]:.1f} s an epoch; {name[second]}: {ways[second]:.1f} s, so "
        "not used)"
    )


def _errors(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
