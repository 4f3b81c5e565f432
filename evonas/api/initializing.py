"""``evonas.initialize``: from a folder of photos and a backbone to an experiment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evonas.api.inspection import BackboneDescription, describe_backbone
from evonas.api.probing import probe
from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.description import ExperimentDescription
from evonas.core.experiment import Experiment
from evonas.core.files import keep, make_folder
from evonas.core.overrides import Word, given, parse
from evonas.data.readers.folder_contents import FolderContents, Target, read_folder
from evonas.errors import InputError, nearest
from evonas.runs.callbacks import Callback, CallbackList

#: Answers a question: what is asked, the choices (none: any text), and the default.
Ask = Callable[[str, Sequence[str], str], str]

#: Ending of a file -> backbone that reads it, and its option for the file.
_READERS = {
    ".onnx": ("onnx", "file"),
    **dict.fromkeys((".pt2", ".pt", ".ts", ".torchscript"), ("exported", "path")),
}
_SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
_NONE = "none"
_WIDTH = 100
_MEGABYTES = 4e-6  # of a parameter as a 32-bit float


@dataclass(frozen=True)
class InitialExperiment:
    """An experiment that was made from a folder.

    Attributes:
        file: the YAML file.
        experiment: what it says.
        description: what ``evonas validate`` says of it.
        assumptions: what was assumed, a line each; they are comments of the file as well.
    """

    file: Path
    experiment: Experiment
    description: ExperimentDescription = field(repr=False)
    assumptions: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class _Section:
    """A key of an experiment with what was assumed of it, and another comment."""

    key: str
    value: Any
    assumed: tuple[str, ...] = ()
    note: str = ""


def initialize(
    folder: str | Path,
    backbone: str | Path = "",
    *,
    label: str = "",
    group: str = "",
    table: str = "",
    share: float | None = None,
    max_ms: float | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    probe_dir: str | Path | None = None,
    ask: Ask | None = None,
    callbacks: Iterable[Callback] = (),
    overrides: Iterable[Word] = (),
    **changes: Any,
) -> InitialExperiment:
    """Write an experiment for a folder of photos: what to learn, on which taps, at which cost.

    Columns of numbers are quantities, of words classes, yaw, pitch and roll a head pose, pairs of x
    and y key points; columns of persons or of splits divide the photos, boxes crop them. Without a
    table, folders are classes. A linear probe ranks the taps of the backbone.

    Args:
        folder: photos with a table, or with a folder for each class.
        backbone: an .onnx, .pt2 or TorchScript file, or a name; empty: the only such file in the
            folder. Its options are ``backbone.KEY=VALUE`` of ``overrides``.
        label: what is learnt: a column, ``head_pose`` or ``key_points``; empty: the only choice.
        group: column of the person; empty: found by its name.
        table: name of the table; empty: ``labels.csv``, or the only one.
        share: most that a head may have of the backbone's own multiply-adds and weights; None:
            a tenth.
        max_ms: most milliseconds of a head on this machine; None: no limit.
        minutes: for the search; None: 32 networks.
        out: the file; by default ``NAME.yaml`` in the working directory.
        probe_dir: folder for the probe; by default ``runs/NAME/probe``.
        ask: is asked for the label, the column of persons and the share where they are not given
            and not plain, three questions at most; None: defaults, and no choice of a label is
            an error.
        callbacks: receive progress.
        overrides: changes to the experiment as ``key=value`` words.
        changes: changes to the experiment, as ``Experiment.load`` takes them.

    Raises:
        InputError: the folder has no labels, a file of the table is missing, what is to be learnt
            is unclear or cannot be learnt, the backbone is of an unknown kind, or the file exists.

    Examples:
        >>> evonas.initialize("own_faces", "face.onnx", label="age").file
        PosixPath('own_faces.yaml')
    """
    root, callback = Path(folder), CallbackList(callbacks)
    words = [*overrides, *given(changes)]
    name = name_of(root)
    file = Path(out) if out is not None else Path(f"{name}.yaml")
    if file.exists():
        raise InputError(f"{file}: is there already: choose another file with --out, or remove it")
    if share is not None and not 0 < share <= 1:
        raise InputError(f"--share {share:g}: expected a share above 0, at most 1, such as 0.1")
    contents = read_folder(root, table, group)
    named, options = _backbone(root, str(backbone), words)
    target = contents.target(_label(contents, label, ask))
    if not group and "group" not in contents.options:
        columns = [column for column in contents.groups if column not in target.columns]
        question = "Column of the person, whose photos are to be on one side of the split"
        answer = ask(question, [_NONE, *columns], _NONE) if ask and columns else _NONE
        if answer != _NONE:
            contents = read_folder(root, table, answer)
    if share is None:
        share = _percent(ask) if ask else 0.1
    described = describe_backbone(named, options, callbacks=[callback])
    sections = _sections(name, contents, target, described, {"name": named, **options})
    sections += _limits(described, share, max_ms)
    sections += _training(target, minutes)
    experiment = _checked(sections, words, file)
    if _probes(target, words):
        before = Path(probe_dir) if probe_dir is not None else Path("runs") / name / "probe"
        found = probe(experiment, out=before, callbacks=[callback])
        sections = _narrowed(sections, found.taps, list(experiment.space.options["tap"]), before)
        experiment = _checked(sections, words, file)
    description = experiment.describe()
    header = (
        f"Made by evonas from {folder}. What was assumed stands above each key; paths are relative "
        "to the working directory.",
        f"Check it: evonas validate {file}. Search: evonas search {file}",
    )
    make_folder(file.parent)
    keep(file, _text(header, sections, words))
    assumptions = tuple(line for section in sections for line in section.assumed)
    return InitialExperiment(file, experiment, description, assumptions)


def name_of(root: Path) -> str:
    """Return the name of the experiment of a folder."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", root.resolve().name).strip("_.-")
    return name[:80] or "faces"


def _label(contents: FolderContents, label: str, ask: Ask | None) -> str:
    names = [target.name for target in contents.targets]
    if label or ask is None or len(names) < 2:
        return label
    return ask("What is to be learnt", names, names[0])


def _percent(ask: Ask) -> float:
    question = "Most that the head may add to the backbone's own cost, in percent"
    answer = ask(question, [], "10")
    try:
        share = float(answer.rstrip("% ")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(f"{question}: expected a number above 0, at most 100, got {answer!r}")
    return share


def _backbone(root: Path, named: str, words: Sequence[Word]) -> tuple[str, dict[str, Any]]:
    """Return the name of a backbone and its options.

    Raises:
        InputError: no backbone is given, or it is neither a file of a known kind nor a name.
    """
    said = [parse(word) for word in words]
    options = {one.path[1]: one.value for one in said if one.path[0] == "backbone" and one.path[1:]}
    kinds = ", ".join(_READERS)
    if not named:
        files = [path for path in sorted(root.iterdir()) if path.suffix.lower() in _READERS]
        if len(files) != 1:
            raise InputError(
                f"{root}: holds {len(files) or 'no'} files of a backbone ({kinds}): give one, or "
                f"a name, with --backbone: {nearest('', registry.names('backbone'))}"
            )
        named = str(files[0])
    path = Path(named).expanduser()
    if named in registry.names("backbone") or (":" in named and not path.exists()):
        return named, options
    if path.suffix.lower() in _READERS and path.is_file():
        reader, option = _READERS[path.suffix.lower()]
        return reader, {option: named, **options}
    if path.exists():
        raise InputError(
            f"--backbone {named}: expected a file with the ending {kinds}, got "
            f"{path.suffix or 'none'!r}: export the network to ONNX, or name a backbone that takes "
            "weights and give backbone.weights=FILE"
        )
    if path.suffix.lower() in _READERS or "/" in named:
        raise InputError(f"--backbone {named}: there is no such file: give its path, or a name")
    known = nearest(named, registry.names("backbone"))
    raise InputError(f"--backbone {named}: expected a file ({kinds}) or a name: {known}")


def _sections(
    name: str,
    contents: FolderContents,
    target: Target,
    described: BackboneDescription,
    backbone: dict[str, Any],
) -> list[_Section]:
    taps = [tap.name for tap in described.taps if min(tap.shape[1:]) > 1] or [
        tap.name for tap in described.taps
    ]
    data = {"name": contents.reader, **contents.options, **target.data}
    comments = list(contents.assumed.values())
    if not contents.splits:
        data["shares"] = dict(_SHARES)
        comments.append(
            "the split is by chance: 60 % of the photos train, 20 % validate, 20 % test"
        )
    elif "validation" not in contents.splits and "train" in contents.splits:
        data["shares"] = {"train": 0.75, "validation": 0.25}
        comments.append("no photos validate, so a quarter of those that train do")
    if contents.splits and "test" not in contents.splits:
        comments.append("no photos test, so those that validate judge, and errors flatter")
    others = [one.name for one in contents.targets if one.name != target.name]
    if others:
        comments.append(f"not learnt here: {', '.join(others)}")
    for column, why in contents.refused.items():
        comments.append(f"{column} is left out: {why}")
    dense = target.task["name"] == "key_points"
    space: dict[str, Any] = {"name": "heatmap_head" if dense else "master_module", "tap": taps}
    if not dense:
        space["dropout"] = [0.0, 0.2, 0.4]
    return [
        _Section("name", name),
        _Section("seed", 0),
        _Section("space", space, note="Heads on each of these taps of the backbone are searched."),
        _Section("backbone", backbone, tuple(described.remarks)),
        _Section("data", data, tuple(comments)),
        _Section("task", dict(target.task), (target.assumed,)),
        _Section("tap", taps[-1], note="Where baselines stand that choose no tap."),
    ]


def _limits(described: BackboneDescription, share: float, max_ms: float | None) -> list[_Section]:
    whole = described.whole or described.taps[-1]
    macs = max(1, round(share * whole.macs))
    megabytes = float(f"{max(share * whole.params * _MEGABYTES, 1e-3):.3g}")
    objective: dict[str, Any] = {
        "mode": "one_sided",
        "target_macs": max(1, round(float(f"{macs:.3g}") / 2)),  # half of the limit
        "weight": 0.06,
        "max_macs": macs,
        "max_mb": megabytes,
    }
    comments = [
        f"a head has at most {100 * share:.3g} % of the backbone's own {whole.macs / 1e6:.1f} M "
        f"multiply-adds and of its {whole.params * _MEGABYTES:.2f} MB; beyond half of that it is "
        "penalised"
    ]
    if max_ms is not None:
        objective["max_ms"] = max_ms
        comments.append(f"a head takes at most {max_ms:g} ms for an image on this machine")
    return [_Section("objective", objective, tuple(comments))]


def _training(target: Target, minutes: float | None) -> list[_Section]:
    training = {"epochs": 10, "learning_rate": 2e-3, "ema": 0.98}
    final = {"epochs": 30, "learning_rate": 2e-3, "ema": 0.99, "keep": "last"}
    found = [
        _Section("budget", 32, note="Networks that are trained.")
        if minutes is None
        else _Section("minutes", minutes, note="Of the search, from the features to the report."),
        _Section("features", {"jitters": 3}, note="Shifted and scaled copies of each photo."),
        _Section("training", training, note="Of each candidate."),
        _Section("retraining", final, note="Of the winner and what stands beside it."),
    ]
    if target.task["name"] == "key_points":
        found.append(_Section("baselines", [], note="None of the shipped ones gives maps."))
    return found


def _plain(sections: Sequence[_Section], words: Sequence[Word]) -> dict[str, Any]:
    """Return the content of the file; options of the backbone are in the sections already."""
    own = [word for word in words if parse(word).path[0] != "backbone"]
    found = config.merge({section.key: section.value for section in sections}, own)
    order = [section.key for section in sections]
    keys = sorted(found, key=lambda key: order.index(key) if key in order else len(order))
    return {key: found[key] for key in keys if found[key] is not None}


def _checked(sections: Sequence[_Section], words: Sequence[Word], file: Path) -> Experiment:
    return config.check(_plain(sections, words), str(file))


def _probes(target: Target, words: Sequence[Word]) -> bool:
    """Return whether a linear probe can rank the taps, and nobody has chosen some."""
    said = [parse(word).path for word in words]
    return target.task["name"] != "key_points" and ("space", "tap") not in said


def _narrowed(
    sections: Sequence[_Section], ranked: Sequence[str], order: Sequence[str], folder: Path
) -> list[_Section]:
    """Return the sections with the taps that a probe recommends."""
    best = sorted(ranked, key=order.index) if set(ranked) <= set(order) else list(ranked)
    note = (
        f"taps of which linear models learn most, the best first: {', '.join(ranked)} "
        f"({folder / 'probe.md'})"
    )
    changed = []
    for section in sections:
        if section.key == "space":
            section = _Section("space", {**section.value, "tap": best}, (note,))
        if section.key == "tap":
            section = _Section("tap", ranked[0], section.assumed, section.note)
        changed.append(section)
    return changed


def _text(header: Iterable[str], sections: Sequence[_Section], words: Sequence[Word]) -> str:
    """Return the commented YAML."""
    own = {section.key: section for section in sections}
    lines = [f"# {line}" for line in header]
    for key, value in _plain(sections, words).items():
        section = own.get(key, _Section(key, value))
        lines += [f"# {section.note}"] if section.note else []
        lines += [f"# Assumed: {' '.join(line.split())}" for line in section.assumed]
        lines.append(_yaml(key, value))
    return "\n".join(lines) + "\n"


def _yaml(key: str, value: Any) -> str:
    """Return a key of the file, in one line where it fits."""
    if not isinstance(value, Mapping):
        return _dumped({key: value}, False)
    line = f"{key}: {_dumped(value, True)}"
    return line if "\n" not in line and len(line) <= _WIDTH else _dumped({key: value}, None)


def _dumped(value: Any, flow: bool | None) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=flow, sort_keys=False, width=_WIDTH, allow_unicode=True
    )
    return text.rstrip("\n")
