"""Find out what a folder of photos holds: its table or class folders, and what can be learnt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas.core.files import reading
from evonas.core.rotations import ANGLES
from evonas.data.images.image_io import SUFFIXES
from evonas.data.readers.csv_table import Table, number, read_table
from evonas.errors import InputError, nearest

_FILES = ("file", "filename", "file_name", "image", "image_path", "path", "photo", "img")
_GROUPS = (
    *("person", "group", "identity", "subject", "person_id", "subject_id", "identity_id"),
    *("group_id", "source", "user", "user_id"),
)
_BOXES = (
    *(("left", "top", "right", "bottom"), ("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2")),
    ("xmin", "ymin", "xmax", "ymax"),
)
_SIZED_BOXES = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
_POINT = re.compile(r"(?P<name>.+)[._ -](?P<part>[xyv])|(?P<part_>[xyv])[._ -](?P<name_>.+)", re.I)
_FEW = 20  # rows whose files tell the folder of the images
_WIDEST = 99.0  # degrees, up to which head pose is learnt as a distribution
_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Target:
    """Something that can be learnt from a folder.

    Attributes:
        name: a column, or ``head_pose``, ``key_points`` or ``class``.
        task: the task, with its name and options.
        data: options of the data set for it.
        columns: columns of the table that it needs.
        assumed: why it is this task, in words.
    """

    name: str
    task: Mapping[str, Any]
    data: Mapping[str, Any]
    columns: tuple[str, ...]
    assumed: str


@dataclass(frozen=True)
class FolderContents:
    """What a folder holds.

    Attributes:
        reader: name of the data set that reads it.
        options: of the data set, whatever is learnt.
        targets: what can be learnt.
        refused: column -> why it cannot be learnt.
        splits: names of the splits that the folder gives; empty: it gives none.
        groups: columns that might name persons, where none does by its name.
        assumed: key of the options -> what was assumed, in words.
    """

    reader: str
    options: dict[str, Any]
    targets: tuple[Target, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    splits: frozenset[str] = frozenset()
    groups: tuple[str, ...] = ()
    assumed: dict[str, str] = field(default_factory=dict)

    def target(self, label: str) -> Target:
        """Return what is learnt.

        Args:
            label: its name; empty: the only one.

        Raises:
            InputError: there is no such target, none at all, or several and no choice.
        """
        where, known = self.options["root"], [target.name for target in self.targets]
        for target in self.targets:
            if label in (target.name, *([""] if len(known) == 1 else [])):
                return target
        if label in self.refused:
            raise InputError(f"{where}: --label {label}: {self.refused[label]}")
        if label:
            raise InputError(f"{where}: --label {label}: no such column: {nearest(label, known)}")
        if not known:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.refused.items())
            raise InputError(
                f"{where}: expected a column to learn, got {reasons or 'none'}: add one to the "
                "table"
            )
        raise InputError(
            f"{where}: expected one thing to learn, got {len(known)} ({', '.join(known)}): choose "
            "one with --label"
        )


def read_folder(root: Path, table: str = "", group: str = "") -> FolderContents:
    """Return what a folder of photos holds.

    Args:
        root: the folder.
        table: name of its table; empty: ``labels.csv``, or the only one.
        group: column of the person; empty: found by its name.

    Raises:
        InputError: there is no such folder, it has no labels, or the table cannot be understood.
    """
    with reading(root, "give a folder of photos with a table, or with a folder for each class"):
        entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    tables = [path.name for path in entries if path.suffix.lower() == ".csv"]
    chosen = table or next((name for name in tables if name == "labels.csv"), "")
    if not chosen and len(tables) > 1:
        raise InputError(
            f"{root}: expected one table, got {len(tables)} ({', '.join(tables)}): choose one "
            "with --table"
        )
    if chosen or tables:
        return _of_table(root, chosen or tables[0], group)
    return _of_folders(root, entries, group)


def _of_folders(root: Path, entries: Sequence[Path], group: str) -> FolderContents:
    folders = [path for path in entries if path.is_dir()]
    sides = [path for path in folders if path.name in _SPLITS]
    inner = [child for side in sides for child in side.iterdir() if child.is_dir()]
    if len({path.name for path in inner or folders if _has_images(path)}) < 2:
        photos = sum(path.suffix.lower() in SUFFIXES for path in root.rglob("*"))
        raise InputError(
            f"{root}: expected a table (.csv) or a folder for each of two classes, got {photos} "
            "photos without labels: add labels.csv with the columns file and what is to be learnt"
        )
    if group:
        raise InputError(
            f"{root}: --group {group}: there is no table: give data.group_pattern, a regular "
            "expression that finds the person in a file's name"
        )
    target = Target(
        "class",
        {"name": "classification", "label": "class", "label_smoothing": 0.1},
        {},
        (),
        "each folder of images is a class",
    )
    named = frozenset(_SPLITS[path.name] for path in sides if inner)
    assumed = {
        "group_pattern": "persons are not known, so photos of one person may be on both sides of "
        "the split, and errors may flatter: data.group_pattern finds them in file names"
    }
    return FolderContents("class_folders", {"root": str(root)}, (target,), {}, named, (), assumed)


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _of_table(root: Path, name: str, group: str) -> FolderContents:
    table = read_table(root / name)
    options: dict[str, Any] = {"root": str(root), "table": name}
    assumed: dict[str, str] = {}
    file = _file_column(table)
    options["file"] = file
    folder = _image_folder(root, table, file)
    if folder:
        options["images"] = folder
    free = [column for column in table.columns if column != file]
    if group and group not in free:
        raise InputError(f"{table.path}: --group {group}: no such column: {nearest(group, free)}")
    group = group or next((c for known in _GROUPS for c in free if c.lower() == known), "")
    if group:
        options["group"] = group
        assumed["group"] = f"all photos with the same {group} are on one side of the split"
        free.remove(group)
    sides = _split_column(table, free)
    splits: frozenset[str] = frozenset()
    if sides:
        options["split"] = sides
        free.remove(sides)
        splits = frozenset(_SPLITS[cell.lower()] for cell in _cells(table, sides))
        assumed["split"] = f"the column {sides} says which images train, validate and test"
    if box := _box(table, free):
        options["box"] = list(box)
        free = [column for column in free if column not in box]
        assumed["box"] = f"{', '.join(box)} are a box in pixels, around which photos are cropped"
    targets, refused = _targets(table, free)
    candidates: tuple[str, ...] = ()
    if not group:
        taken = {column for target in targets if len(targets) == 1 for column in target.columns}
        candidates = tuple(c for c in free if c not in taken and _repeats(_cells(table, c)))
        assumed["group"] = (
            "persons are not known, so photos of one person may be on both sides of the split, "
            "and errors may flatter: --group COLUMN names them"
        )
    return FolderContents(
        "image_table", options, tuple(targets), refused, splits, candidates, assumed
    )


def _cells(table: Table, column: str) -> list[str]:
    place = table.columns.index(column)
    return [row[place] for row in table.rows]


def _file_column(table: Table) -> str:
    for known in _FILES:
        for column in table.columns:
            if column.lower() == known:
                return column
    for column in table.columns:
        if all(Path(cell).suffix.lower() in SUFFIXES for cell in _cells(table, column)):
            return column
    raise InputError(
        f"{table.path}: expected a column of file names, such as file, got "
        f"{', '.join(table.columns)}: name it file"
    )


def _image_folder(root: Path, table: Table, file: str) -> str:
    """Return the folder below root in which most of the first files are."""
    names = _cells(table, file)[:_FEW]
    folders = ["", *sorted(path.name for path in root.iterdir() if path.is_dir())]
    return max(folders, key=lambda folder: sum((root / folder / one).is_file() for one in names))


def _split_column(table: Table, free: Iterable[str]) -> str:
    for column in free:
        cells = {cell.lower() for cell in _cells(table, column)}
        if column.lower() in ("split", "subset", "set", "partition") and cells <= {*_SPLITS}:
            return column
    return ""


def _box(table: Table, free: Sequence[str]) -> tuple[str, ...]:
    lower = {column.lower(): column for column in free}
    for box in _BOXES:
        if set(box) <= set(lower):
            return tuple(lower[name] for name in box)
    for box in _SIZED_BOXES:
        if set(box) <= set(lower):
            raise InputError(
                f"{table.path}: expected boxes as left, top, right, bottom, got {', '.join(box)}: "
                "add a column right = x + width and a column bottom = y + height"
            )
    return ()


def _repeats(cells: Sequence[str]) -> bool:
    return all(cells) and 2 < len(set(cells)) <= len(cells) / 2


def _targets(table: Table, free: Sequence[str]) -> tuple[list[Target], dict[str, str]]:
    """Return what can be learnt, and why the other columns cannot."""
    refused = {}
    useful = []
    for column in free:
        if why := _useless(_cells(table, column)):
            refused[column] = why
        else:
            useful.append(column)
    targets = []
    angles = {column.lower(): column for column in useful if column.lower() in ANGLES}
    if angles and all(_is_numeric(_cells(table, column)) for column in angles.values()):
        targets.append(_head_pose(table, angles))
        useful = [column for column in useful if column not in angles.values()]
    points = _points(table, free)
    if points:
        parts = {column for columns in points.values() for column in columns}
        useful = [column for column in useful if column not in parts]
        refused = {column: why for column, why in refused.items() if column not in parts}
        targets.append(_key_points(points))
    return [*targets, *(_column(column, _cells(table, column)) for column in useful)], refused


def _useless(cells: Sequence[str]) -> str:
    """Return why a column cannot be learnt; empty if it can."""
    if empty := sum(not cell for cell in cells):
        return f"{empty} of {len(cells)} cells are empty, fill them in or remove the rows"
    distinct = set(cells)
    if len(distinct) == 1:
        return f"it is {cells[0]!r} in every row, so there is nothing to learn"
    numbers = [value for value in map(number, cells) if value is not None]
    if numbers and len(numbers) < len(cells):
        return f"{len(numbers)} of {len(cells)} cells are numbers and the others are not"
    if not numbers and len(distinct) > len(cells) / 2:
        return f"{len(distinct)} different values in {len(cells)} rows: an id, not a class"
    whole = numbers and all(value == int(value) for value in numbers)
    if whole and 2 < len(set(numbers)) == len(cells) == max(numbers) - min(numbers) + 1:
        return f"it counts from {min(numbers):g} to {max(numbers):g}: an id, not a quantity"
    return ""


def _is_numeric(cells: Sequence[str]) -> bool:
    return all(number(cell) is not None for cell in cells)


def _column(name: str, cells: Sequence[str]) -> Target:
    data: dict[str, Any] = {"targets": [name]}
    distinct = sorted(set(cells))
    if _is_numeric(cells) and distinct != ["0", "1"]:
        quantity = {"name": "regression", "labels": [name], "output": "distribution"}
        return Target(name, quantity, data, (name,), f"{name} holds numbers: it is a quantity")
    if distinct == ["0", "1"]:
        data["classes"] = {name: distinct}
    task: dict[str, Any] = {"name": "classification", "label": name, "label_smoothing": 0.1}
    words = (
        f"{name} holds {len(distinct)} different {'numbers' if data.get('classes') else 'words'}"
    )
    return Target(name, task, data, (name,), f"{words}: they are classes")


def _head_pose(table: Table, angles: Mapping[str, str]) -> Target:
    labels = {angle: angles[angle] for angle in ANGLES if angle in angles}
    values = [abs(float(cell)) for column in labels.values() for cell in _cells(table, column)]
    output = "distribution" if max(values) <= _WIDEST else "angles"
    task = {"name": "head_pose", "angles": list(labels), "output": output}
    said = f"{', '.join(labels.values())} are a head pose in degrees"
    if max(values) <= 3.2:
        said += f", though none is beyond {max(values):.3g}: multiply radians by 57.2958"
    return Target("head_pose", task, {"targets": labels}, tuple(labels.values()), said)


def _points(table: Table, columns: Iterable[str]) -> dict[str, list[str]]:
    """Return key point -> its columns of x, y and, where there is one, visibility."""
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        match = _POINT.fullmatch(column)
        if match and _is_numeric(_cells(table, column)):
            name = match["name"] or match["name_"]
            found.setdefault(name, {})[(match["part"] or match["part_"]).lower()] = column
    return {
        name: [parts[part] for part in "xyv" if part in parts]
        for name, parts in found.items()
        if {"x", "y"} <= parts.keys()
    }


def _key_points(points: Mapping[str, list[str]]) -> Target:
    columns = tuple(column for parts in points.values() for column in parts)
    return Target(
        "key_points",
        {"name": "key_points"},
        {"targets": [], "points": dict(points)},
        columns,
        f"pairs of columns are {len(points)} key points in pixels: {', '.join(points)}",
    )
