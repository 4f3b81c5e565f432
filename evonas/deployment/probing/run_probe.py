"""``evonas probe``: what each tap of a frozen backbone knows of some labels, in seconds."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.experiment import Experiment
from evonas.core.files import keep, make_folder
from evonas.core.progress_bars import progress_bars
from evonas.deployment.probing import plots as probe_pictures
from evonas.deployment.probing import probe_file
from evonas.deployment.probing import tables as probing
from evonas.deployment.probing.linear_probe import Primary, Probed, probe
from evonas.deployment.probing.targets import Flags, Target, read
from evonas.errors import InputError
from evonas.estimation.features.feature_cache import FeatureCache, Progress
from evonas.estimation.features.views import View
from evonas.models.backbones.base import Backbone, Pooled, informative_taps
from evonas.report.tables import Table, markdown, show
from evonas.workflows.components import Components

_FEW = 40  # taps that are all probed
_LITTLE = 0.9  # of the constant's error, above which nothing was learnt to speak of
Labels = list[tuple[Target, Flags]]


def run(
    experiment: Experiment,
    also: Sequence[str],
    out: Path | None,
    as_json: bool,
    console: Console,
) -> Path:
    """Probe and return the path of probe.json.

    Args:
        experiment: its backbone on its data.
        also: further backbones, each ``NAME key=value ...``.
        out: folder for tables and pictures; ``runs/NAME/probe`` if left out.
        as_json: print probe.json alone.
        console: where to print.

    Raises:
        InputError: the experiment, a label or a backbone is wrong.
    """
    if experiment.table:
        raise InputError("probe: a search in a table has no backbone to probe")
    assembly, settings = Components(experiment), experiment.probe
    labels = [read(assembly.dataset, name) for name in wanted(assembly)]
    backbones = {_title(experiment.backbone.name, experiment.backbone.options): assembly.backbone}
    for words in also:
        name, backbone = _other(words)
        backbones[f"{name} ({len(backbones) + 1})" if name in backbones else name] = backbone
    folder = out or Path("runs") / experiment.name / "probe"
    make_folder(folder)
    with progress_bars(console) as progress:
        primaries = [
            probed(assembly, name, backbone, labels, progress)
            for name, backbone in backbones.items()
        ]
    facts = {
        "experiment": experiment.model_dump(mode="json"),
        "data": assembly.dataset.fingerprint,
        "protocol": assembly.dataset.protocol,
        "leaky": assembly.dataset.leaky,
    }
    content = probe_file.content(primaries, settings, facts)
    names = [target.name for target, _ in labels]
    own, best = primaries[0], content["taps"]
    notes = [*probing.classes_note(primaries, settings.classes), *assembly.warnings()]
    tables = [probing.errors(one, names, settings.folds, notes) for one in primaries]
    matrix = probing.relations(primaries, names)

    def knees(found: Sequence[Probed], title: str) -> Table:
        return probing.knees(found, settings.thresholds, settings.folds, title)

    some = knees([own.best(name) for name in names], f"{own.name}: knees, best tap of each label")
    for table in [tables[0], some, matrix]:  # probe.md has all
        show(table, console)
    tables += [
        knees([each for name in names for each in one.of(name)], f"{one.name}: knees")
        for one in primaries
    ]
    tables.append(matrix)
    files = ["probe.json", "probe.md", "curves.png"]
    text = json.dumps(content, indent=1) + "\n"
    try:
        keep(folder / files[0], text)
        keep(folder / files[1], "\n".join(map(markdown, tables)))
        probe_pictures.curves(own, names, settings.thresholds, best, folder / files[2])
        if len(primaries) > 1:
            files.append("relations.png")
            probe_pictures.relations(primaries, names, folder / files[3])
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    for line in _closing(backbones, primaries, names, best, folder, files):
        console.print(line, soft_wrap=True)
    if as_json:
        print(text, end="")
    return folder / files[0]


def wanted(assembly: Components) -> tuple[str, ...]:
    """Return the labels to probe for: those of the settings, else those of the task."""
    return tuple(dict.fromkeys(assembly.experiment.probe.labels or assembly.task.labels))


def probed(
    assembly: Components, name: str, backbone: Backbone, labels: Labels, progress: Progress
) -> Primary:
    """Probe the taps of a backbone on an experiment's data.

    Args:
        assembly: of the experiment.
        name: of the backbone, for people.
        backbone: of any input size.
        labels: what to learn, and which images have it.
        progress: is told how far features and fits are.

    Raises:
        InputError: features cannot be computed, or a label has too few training images.
    """
    settings, dataset, begun = assembly.experiment.features, assembly.dataset, time.monotonic()
    cache = FeatureCache(Path(settings.cache).expanduser(), settings.strict)
    taps = informative_taps(backbone.taps, _FEW)
    features = cache.ensure(
        Pooled(backbone),
        dataset,
        taps,
        (View(),),
        lambda label, done, total: progress(f"{name}: {label}", done, total),
    )
    spent = time.monotonic() - begun if features.passes else 0.0
    usable = np.isin(np.arange(len(dataset)), features.usable)
    found = []
    for tap in taps:
        pooled = features.open(tap)[0].reshape(len(dataset), -1)
        for target, there in labels:
            splits = {side: rows[(usable & there)[rows]] for side, rows in dataset.sides().items()}
            how = assembly.experiment.probe
            found.append(probe(tap, pooled, target, dataset.groups, splits, how.folds, how.classes))
            progress(f"{name}: linear models", len(found), len(taps) * len(labels))
    return Primary(name, backbone.fingerprint, tuple(taps), tuple(found), spent)


def _other(words: str) -> tuple[str, Backbone]:
    """Return the name and the backbone of ``NAME key=value ...``."""
    try:
        name, *options = shlex.split(words)
    except ValueError as error:
        raise InputError(
            f"--also {words!r}: expected a backbone and its options, such as "
            f"'face_recognition random=1'"
        ) from error
    given = config.options(word.removeprefix("backbone.") for word in options)
    return _title(name, given), registry.create("backbone", name, given)


def _title(name: str, options: dict[str, Any]) -> str:
    """Return what a person calls a backbone: where its weights lie does not matter."""
    said = [f"{key}={value}" for key, value in options.items() if key not in ("weights", "file")]
    return " ".join([name, *said])


def _closing(
    backbones: dict[str, Backbone],
    primaries: Sequence[Primary],
    names: Sequence[str],
    best: Sequence[str],
    folder: Path,
    files: Sequence[str],
) -> list[str]:
    lines = []
    for one in primaries:
        left = len(backbones[one.name].taps) - len(one.taps)
        fits = sum(each.seconds for each in one.found)
        features = f"{one.seconds:.1f} s" if one.seconds else "from the cache"
        line = f"{one.name}: features {features}, {len(one.found)} linear models {fits:.1f} s"
        lines.append(line + (f"; {left} taps deep inside were left out" if left else ""))
    own = primaries[0]
    vain = [name for name in names if probing.share(own.best(name)) > _LITTLE]
    if vain:
        lines.append(
            f"Over {100 * _LITTLE:.0f} % of the constant's error: {', '.join(vain)}. Averages over "
            f"a map do not carry this; a head network that sees the map may still learn it"
        )
    lines.append(f"Recommended taps of {own.name}, the best first: {', '.join(best)}")
    lines.append(f"written: {folder}/{', '.join(files)}")
    lines.append(f"Next: evonas search with space.tap=@{folder / files[0]}")
    return lines
