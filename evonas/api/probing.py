"""``evonas.probe``: rank the taps of a backbone by linear models of their pooled features."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.experiment import Experiment
from evonas.core.files import keep, make_folder, read_json
from evonas.core.overrides import Word
from evonas.deployment.probing import plots
from evonas.deployment.probing import tables as probing
from evonas.deployment.probing.linear_probe import Primary, Probed
from evonas.deployment.probing.run_probe import probed, wanted
from evonas.deployment.probing.targets import read
from evonas.errors import InputError
from evonas.models.backbones.base import Backbone
from evonas.report.tables import Table, markdown
from evonas.runs.callbacks import Callback, CallbackList
from evonas.workflows.components import Components, training_components

_LITTLE = 0.9  # of the constant's error, above which nothing was learnt to speak of


@dataclass(frozen=True)
class ProbeResult:
    """The ranking of a backbone's taps.

    Attributes:
        folder: with probe.json, probe.md and pictures.
        tables: errors of each tap, knees of the best taps, and all backbones beside each other.
        notes: lines below the tables.
    """

    folder: Path
    tables: tuple[Table, ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)

    @property
    def file(self) -> Path:
        """probe.json, which ``space.tap=@FILE`` of an experiment reads."""
        return self.folder / "probe.json"

    @property
    def content(self) -> dict[str, Any]:
        """What probe.json holds."""
        return read_json(self.file)

    @property
    def taps(self) -> list[str]:
        """The recommended taps, the best first."""
        return list(self.content["taps"])


def probe(
    experiment: Experiment | str | Path,
    *,
    also: Sequence[str] = (),
    out: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    overrides: Iterable[Word] = (),
) -> ProbeResult:
    """Rank the taps of a backbone by what linear models of pooled features learn, in seconds.

    Quantities are fitted by least squares, classes by logistic regression. Method: John et al.
    2019, arXiv 1901.02675, algorithm 1.

    Args:
        experiment: its backbone on its data; a name or a file is loaded.
        also: further backbones for comparison, each ``"NAME key=value ..."``.
        out: folder for tables and pictures; by default ``runs/NAME/probe``.
        callbacks: receive progress.
        overrides: changes to the experiment as ``key=value`` words.

    Raises:
        InputError: the experiment, a label or a backbone is wrong.

    Examples:
        >>> evonas.probe("quickstart").taps
        ['block3', 'block2', 'block4']
    """
    words = list(overrides)
    if not isinstance(experiment, Experiment):
        experiment = config.load(experiment, words)
    elif words:
        experiment = config.changed(experiment, words)
    if experiment.table:
        raise InputError("probe: a search in a table has no backbone to probe")
    components = training_components(experiment)
    labels = [read(components.dataset, name) for name in wanted(components)]
    backbones = {_title(experiment.backbone.name, experiment.backbone.options): components.backbone}
    for text in also:
        name, backbone = _other(text)
        backbones[f"{name} ({len(backbones) + 1})" if name in backbones else name] = backbone
    folder = Path(out) if out is not None else Path("runs") / experiment.name / "probe"
    make_folder(folder)
    progress = CallbackList(callbacks).on_progress
    primaries = [
        probed(components, name, backbone, labels, progress) for name, backbone in backbones.items()
    ]
    names = [target.name for target, _ in labels]
    shown, files, best = _write(folder, components, primaries, names)
    notes = (
        *_costs(backbones, primaries),
        *_hopeless(primaries[0], names),
        f"Recommended taps of {primaries[0].name}, the best first: {', '.join(best)}",
        f"written: {folder}/{', '.join(files)}",
    )
    return ProbeResult(folder, shown, notes)


def _write(
    folder: Path, components: Components, primaries: Sequence[Primary], names: Sequence[str]
) -> tuple[tuple[Table, ...], list[str], list[str]]:
    """Write probe.json, probe.md and pictures; return tables, file names, recommended taps."""
    settings, own = components.experiment.probe, primaries[0]
    facts = {
        "experiment": components.experiment.model_dump(mode="json"),
        "data": components.dataset.fingerprint,
        "protocol": components.dataset.protocol,
        "leaky": components.dataset.leaky,
    }
    content = probing.content(primaries, settings, facts)
    notes = [*probing.classes_note(primaries, settings.classes), *components.warnings()]
    errors = [probing.errors(one, names, settings.folds, notes) for one in primaries]
    matrix = probing.relations(primaries, names)

    def knees(found: Sequence[Probed], title: str) -> Table:
        return probing.knees(found, settings.thresholds, settings.folds, title)

    some = knees([own.best(name) for name in names], f"{own.name}: knees, best tap of each label")
    every = [
        knees([each for name in names for each in one.of(name)], f"{one.name}: knees")
        for one in primaries
    ]
    files, best = ["probe.json", "probe.md", "curves.png"], list(content["taps"])
    try:
        keep(folder / files[0], json.dumps(content, indent=1) + "\n")
        keep(folder / files[1], "\n".join(map(markdown, [*errors, *every, matrix])))
        plots.curves(own, names, settings.thresholds, best, folder / files[2])
        if len(primaries) > 1:
            files.append("relations.png")
            plots.relations(primaries, names, folder / files[3])
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return (errors[0], some, matrix), files, best


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


def _title(name: str, options: Mapping[str, Any]) -> str:
    """Return a backbone's name in tables: with its options, but for where its weights lie."""
    said = [f"{key}={value}" for key, value in options.items() if key not in ("weights", "file")]
    return " ".join([name, *said])


def _costs(backbones: Mapping[str, Backbone], primaries: Sequence[Primary]) -> list[str]:
    """Return a line for each backbone: the seconds that it took, and taps that were left out."""
    lines = []
    for one in primaries:
        left = len(backbones[one.name].taps) - len(one.taps)
        fits = sum(each.seconds for each in one.found)
        features = f"{one.seconds:.1f} s" if one.seconds else "from the cache"
        line = f"{one.name}: features {features}, {len(one.found)} linear models {fits:.1f} s"
        lines.append(line + (f"; {left} taps deep inside were left out" if left else ""))
    return lines


def _hopeless(own: Primary, names: Sequence[str]) -> list[str]:
    """Return a line on the labels of which no linear model learns anything to speak of."""
    vain = [name for name in names if probing.share(own.best(name)) > _LITTLE]
    if not vain:
        return []
    return [
        f"Over {100 * _LITTLE:.0f} % of the constant's error: {', '.join(vain)}. Averages over "
        f"a map do not carry this; a head network that sees the map may still learn it"
    ]
