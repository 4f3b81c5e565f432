"""An experiment: YAML plus ``key=value``, checked, as frozen values.

``overrides`` says in which order changes are applied.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from evonas.core import budget as budgets
from evonas.core import recipe as recipes
from evonas.core import recommended_taps as recommended
from evonas.core import short_forms
from evonas.core.compression_settings import (
    FinetuneSettings,
    ProbeSettings,
    PruneSettings,
    QuantizeSettings,
)
from evonas.core.description import ExperimentDescription
from evonas.core.files import read_yaml
from evonas.core.overrides import Word, given, merged, plain
from evonas.core.settings import (
    ExecutionSettings,
    FeatureSettings,
    FidelitySettings,
    FinalsSettings,
    InheritanceSettings,
    ObjectiveSettings,
    Settings,
    TableSettings,
    TrainingSettings,
)
from evonas.errors import InputError, nearest

#: Sections that a plain value may stand for: a part's name, or whether weights are inherited.
SHORT: dict[str, tuple[str, type]] = {
    **dict.fromkeys(("space", "optimizer", "backbone", "data", "task"), ("name", str)),
    **dict.fromkeys(("fidelity", "logger"), ("name", str)),
    "inherit": ("enabled", bool),
}
#: What an experiment on a table says of the parts that training needs.
_NO_TRAINING = dict.fromkeys(("space", "backbone", "data", "task", "tap"), "table")
#: What may differ on resume; not the threads (last bits of results) nor the images of finals.
FREE_ON_RESUME = (
    *("budget", "minutes", "retraining", "baselines", "standard_baselines", "features.cache"),
    *(f"finals.{name}" for name in ("method", "networks", "seeds", "budget", "prefer")),
    *("probe", "prune", "finetune", "quantize", "report", "logger"),
    *(f"execution.{name}" for name in ("executor", "workers", "device", "address")),
    *(f"execution.time_limit.{name}" for name in ("times", "least", "most")),
)


class Part(BaseModel):
    """An exchangeable part: its registered name and its own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """Return everything but the name."""
        return dict(self.model_extra or {})


class Baseline(Settings):
    """A hand-made network that the winner is held against when it is retrained.

    Attributes:
        name: for tables.
        network: a registered family.
        settings: of its architecture; ``tap`` says where it stands. Settings such as
            ``task.output`` are its recipe. A recipe gene of the experiment that is not among
            them has the winner's value in a retraining with a winner, and otherwise, as in the
            search, the first choice of the gene.
        start: file of weights to start its training from, as ``retraining.start`` is the
            winner's; empty for a fresh start.
    """

    name: str
    network: str
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    start: str = ""


def _parts(value: Any) -> Any:
    """Return a list of parts: of one that stands alone, or of none."""
    if isinstance(value, Mapping) and [*value] == ["name"]:
        value = value["name"]
    if value in (None, "", "none"):
        return []
    return [value] if isinstance(value, str | Mapping | Part) else value


def _each_once(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    if len({part.name for part in parts}) < len(parts):
        raise PydanticCustomError("parts", "expected each name once")
    return parts


Parts = Annotated[tuple[Part, ...], BeforeValidator(_parts), AfterValidator(_each_once)]


class Experiment(Settings):
    """All settings of a search: space, optimizer, backbone, data, task, training.

    Attributes:
        name: of the experiment; names run directories.
        seed: of the optimizer and, through it, of every candidate.
        budget: distinct networks to train; ``{minutes: 10}`` in its place is short for ``minutes``,
            ``{trainings: 32, minutes: 10}`` for both.
        minutes: for the whole search, from the features to the report. With a ``budget`` the
            search ends with whichever is spent first.
        space: name or file of the search space; further keys narrow its genes
            (``space.tap=[block2, block3]``, ``space.stem=16``). ``space.tap=@probe.json`` are
            the taps that ``evonas probe`` recommends there, ``tap=@probe.json`` the best;
            ``space.tap=auto`` are those that the backbone itself selects, ``tap=auto`` the last.
        optimizer, backbone, data, task: a registered part with its options; without a name the
            optimizer's are those of the default. ``tasks: {pose: ..., age: ...}`` for ``task`` is
            short for the task ``several``, ``datasets: {...}`` for ``data`` for the set ``union``.
        tap: the tap of networks that choose none (baselines, and spaces without a gene ``tap``).
        tap_prior: whether a quick probe of the taps becomes a prior of the strategy, where the
            space has a choice of taps and the strategy an option ``prior``.
        features, objective, training, fidelity, inherit, finals, retraining: see their classes.
        execution, probe, prune, finetune, quantize: see their classes.
        baselines: trained beside the winner by ``evonas retrain``.
        standard_baselines: whether baselines on the winner's tap stand beside it besides: residual
            heads at equal cost and at the limit, a linear probe, classical models, a constant. No
            effect in a table, and where a task learns maps.
        initial_designs: whether the search trains hand-made networks of its space first, where the
            network family has some.
        report: whether a search ends with writing report.html.
        logger: where else a search is written down: a registered part with its options, or a
            list of them; ``none`` by default.
        table: a file of finished trainings to search in, instead of training; space,
            backbone, data, task and tap are then not asked for.
        recipe: genes of the training and the task: ``training.KEY``, ``task.KEY``, or of one of
            several tasks ``tasks.NAME.KEY`` -> choices, as in ``{training.ema: [0.9, 0.98],
            task.output: [bins, rotation6d]}``. The value of a gene replaces that of ``training``,
            ``retraining`` or ``task``. ``{}``: none.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    budget: budgets.Trainings = 60
    minutes: Annotated[float, Field(gt=0.0)] | None = None
    space: Part
    optimizer: Part = Part(name="surrogate")
    backbone: Part
    data: Part
    task: Part
    tap: str
    tap_prior: bool = True
    initial_designs: bool = True
    features: FeatureSettings = FeatureSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    fidelity: FidelitySettings = FidelitySettings()
    inherit: InheritanceSettings = InheritanceSettings()
    finals: FinalsSettings = FinalsSettings()
    retraining: TrainingSettings = TrainingSettings(epochs=30)
    execution: ExecutionSettings = ExecutionSettings()
    probe: ProbeSettings = ProbeSettings()
    prune: PruneSettings = PruneSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    baselines: tuple[Baseline, ...] = (
        Baseline(name="pooled features + linear", network="linear_probe"),
    )
    standard_baselines: bool = True
    report: bool = True
    logger: Parts = ()
    table: TableSettings | None = None
    recipe: Annotated[dict[str, list[Any]], BeforeValidator(recipes.as_lists)] = Field(
        default_factory=dict
    )

    @field_validator("optimizer", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Return options without a name as those of the default strategy."""
        name = cls.model_fields["optimizer"].default.name
        return {"name": name, **value} if isinstance(value, Mapping) else value

    @field_validator("recipe")
    @classmethod
    def _recipe_fits(
        cls, value: dict[str, list[Any]], info: ValidationInfo
    ) -> dict[str, list[Any]]:
        known = info.data  # without sections that are invalid themselves
        if value and known.get("table"):
            raise PydanticCustomError("recipe", "expected none: a table holds finished trainings")
        sections: tuple[str, ...] = ("training", "retraining")
        trainings = {name: known[name] for name in sections if name in known}
        error = known["objective"].error if "objective" in known else "metric"
        try:
            recipes.check(value, trainings, error)
        except InputError as problem:
            raise PydanticCustomError("recipe", "{problem}", {"problem": str(problem)}) from problem
        return value

    @classmethod
    def load(cls, source: str | Path, /, **changes: Any) -> Experiment:
        """Read an experiment and apply changes, as the command line does.

        A nested mapping changes the keys that it names and no others: ``training={"epochs": 3}``
        is ``training.epochs=3`` of the command line. The name of another part
        (``optimizer="ga"``) drops the options of the file's part.

        Args:
            source: name of a shipped experiment, or a YAML file.
            changes: key -> value; sections as mappings, or with dots in the key
                (``**{"training.epochs": 3}``).

        Raises:
            InputError: the file, a key or a value is wrong, or changes contradict each other.

        Examples:
            >>> experiment = Experiment.load("quickstart", budget=8, training={"epochs": 3})
            >>> experiment.budget, experiment.training.epochs
            (8, 3)
        """
        return load(source, given(changes))

    def changed(self, **changes: Any) -> Experiment:
        """Return the experiment with changes applied; see ``load``.

        Raises:
            InputError: a key or a value is wrong, or changes contradict each other.

        Examples:
            >>> Experiment.load("quickstart").changed(seed=1, optimizer="ga").seed
            1
        """
        return changed(self, given(changes))

    def describe(self) -> ExperimentDescription:
        """Check parts, files and cost limit, and describe what is going to be trained.

        Nothing is trained and no feature is computed; ``print`` shows the description as
        ``evonas validate`` does.

        Raises:
            InputError: something is wrong; all complaints are in ``error.args[1:]``.

        Examples:
            >>> description = Experiment.load("quickstart").describe()
            >>> description.macs.median, description.images["train"]
            (1016064, 1680)
        """
        # It needs backbone and networks, and so torch: far above this module.
        module = importlib.import_module("evonas.api.description")
        found: ExperimentDescription = module.describe(self)
        return found


def load(source: str | Path, overrides: Iterable[Word] = ()) -> Experiment:
    """Read an experiment by name or path and apply overrides, which all hold in the result.

    Raises:
        InputError: the file, a key or a value is wrong, or overrides contradict each other.
    """
    path = find("experiments", str(source))
    return check(merge(read_yaml(path), overrides), str(path))


def changed(experiment: Experiment, overrides: Iterable[Word]) -> Experiment:
    """Return the experiment with overrides applied, which all hold in the result.

    Raises:
        InputError: a key or a value is wrong, or overrides contradict each other.
    """
    return check(merge(experiment.model_dump(mode="json"), overrides), "command line")


def merge(data: Any, overrides: Iterable[Word]) -> dict[str, Any]:
    """Return the content of an experiment file with overrides applied; see ``overrides.merged``.

    Raises:
        InputError: as the functions of ``short_forms``, and ``overrides.merged``.
    """
    return merged(short_forms.written_out(data), short_forms.overrides(overrides), SHORT)


def options(words: Iterable[str]) -> dict[str, Any]:
    """Return the options of a part from ``key=value`` words.

    Raises:
        InputError: a word is not of this form, its value is no YAML, or two words contradict
            each other.
    """
    return merged({}, words, {})


def check(data: Any, where: str) -> Experiment:
    """Turn plain data into an experiment.

    Raises:
        InputError: a key or value is wrong; all complaints are in ``error.args[1:]``.
    """
    if isinstance(data, dict) and data.get("table"):
        data = {**_NO_TRAINING, "baselines": [], "standard_baselines": False, **data}
    try:
        return Experiment.model_validate(recommended.resolved(plain(short_forms.written_out(data))))
    except ValidationError as error:
        complaints = [_complaint(detail) for detail in error.errors()]
        more = f" (and {len(complaints) - 1} more: see `evonas validate`)" if complaints[1:] else ""
        raise InputError(f"{where}: {complaints[0]}{more}", *complaints) from error


def find(folder: str, name: str) -> Path:
    """Return the file behind a name or path.

    An existing path is taken as it is; a bare name is looked up as ``<folder>/<name>.yaml`` in the
    working directory, beside the package (a checkout), and where an installed evonas keeps files.

    Raises:
        InputError: nothing has the name (the nearest is offered).
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    for place in places():
        candidate = place / folder / f"{name.removesuffix('.yaml')}.yaml"
        if "/" not in name and candidate.is_file():
            return candidate
        if (place / name).is_file() and path.suffix == ".yaml":
            return place / name
    known = {found.stem for place in places() for found in (place / folder).glob("*.yaml")}
    what = {"experiments": "experiment", "search_spaces": "search space"}[folder]
    raise InputError(f"unknown {what} {name!r}: no such file; {nearest(path.stem, known)}")


def places() -> list[Path]:
    """Return where shipped experiments and search spaces are looked for, in order."""
    return [Path.cwd(), Path(__file__).parents[2], Path(sys.prefix) / "share" / "evonas"]


def differences(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    prefix: str = "",
    free: Sequence[str] = FREE_ON_RESUME,
) -> list[str]:
    """Return ``key: old -> new`` for all that differs and may not; ``free`` may."""
    found = []
    for key in sorted({*old, *new}):
        name = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if name in free or before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{name}.", free)
        else:
            found.append(f"{name}: {before!r} -> {after!r}")
    return found


def _complaint(detail: Any) -> str:
    place = [
        str(part)
        for part in detail["loc"]
        if not str(part).startswith(("constrained-", "literal["))
    ]
    key = ".".join(place)
    if detail["type"] == "extra_forbidden":
        listed = place[0] == "baselines"
        fields: Any = (Baseline if listed else Experiment).model_fields
        for part in [] if listed else place[:-1]:
            kind = fields[part].annotation
            kinds = get_args(kind) or (kind,)  # of a section that may be none
            fields = next(one for one in kinds if hasattr(one, "model_fields")).model_fields
        return f"unknown key {key!r}: {nearest(place[-1], fields)}"
    if detail["type"] == "missing":
        return f"the key {key!r} is missing"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{key}: {message}, got {str(detail['input'])[:80]!r}"
