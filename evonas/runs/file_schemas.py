"""Schemas of the files that a search leaves; ``checked`` and ``read`` of any schema.

Writers build these dictionaries, so mypy checks their keys; readers pass a schema to ``read`` or
``checked``. The files belong to a user, who may have changed, mixed or damaged them, and earlier
versions wrote fewer keys. A key may therefore be missing unless ``read`` is asked for it; a key
that is present has a value of the declared type; unknown keys are ignored.

==========================  ================================================================
``experiment.yaml``         ``ExperimentFile``; in full ``evonas.core.experiment.Experiment``
``environment.json``        ``Environment``
``journal.jsonl``           ``evonas.runs.trial.Trial``, one a line; with a budget in minutes
                            also ``evonas.runs.clock_decisions.ClockDecision``
``best.json``               ``Best``
``front.json``              ``Front``
``progress.json``           ``Progress``
``utilisation.json``        ``Utilisation``
``training_record.json``    ``Record``
==========================  ================================================================

Those of a retraining and of an evaluation stand in ``evonas.runs.comparison_schemas``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypeVar, cast

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, TypeAdapter
from pydantic import ValidationError as SchemaError
from typing_extensions import TypedDict  # pydantic does not take that of typing before 3.12

from evonas.core.files import keep, read_json
from evonas.errors import InputError

FORMAT = 1  # of best.json, front.json, comparison.json, training_record.json
_LARGEST = 1e30  # about what a float32 holds

Schema = TypeVar("Schema")


def _bounded(value: float) -> float:
    if abs(value) > _LARGEST:  # nan passes: a metric may be undefined on some images
        raise ValueError(f"expected at most {_LARGEST:g}")
    return value


Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Number = Annotated[float, Field(strict=True, ge=-_LARGEST, le=_LARGEST)]
Metric = Annotated[float, Field(strict=True), AfterValidator(_bounded)] | None
Metrics = dict[str, Metric]
Plain = dict[str, Any]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class _OptimizerPart(TypedDict, total=False):
    name: StrictStr


class _FinalsPart(TypedDict, total=False):
    method: Literal["race", "fixed"]
    networks: Count
    seeds: Annotated[int, Field(strict=True, ge=1, le=2**53)]
    budget: Annotated[int, Field(strict=True, ge=1, le=2**53)] | None
    prefer: Literal["error", "cost"]


class _ObjectivePart(TypedDict, total=False):
    cost: Annotated[str, Field(pattern="^(macs|params|latency)$")]
    target_macs: Count
    target_ms: Number
    weight: Number
    max_macs: Count | None
    counts: Annotated[str, Field(pattern="^(head|total)$")]


class ExperimentFile(TypedDict, total=False):
    """Part of experiment.yaml that a report reads."""

    name: Any
    seed: Any
    budget: Count | None
    minutes: Number | None
    optimizer: _OptimizerPart
    finals: _FinalsPart
    objective: _ObjectivePart
    tap: Any
    table: Any


class Fingerprints(TypedDict, total=False):
    """Hashes of what measurements depend on; ``machine`` where latencies are measured."""

    data: StrictStr
    backbone: StrictStr
    machine: StrictStr


class ErrorMetric(TypedDict, total=False):
    """Name and unit of the metric that is minimised."""

    metric: StrictStr
    unit: StrictStr


class Versions(TypedDict, total=False):
    """Versions that a result depends on, and a hash of the package's source files."""

    evonas: Any
    code: Any
    python: Any
    platform: Any
    packages: Plain


class Environment(Versions, Fingerprints, total=False):
    """Content of environment.json: what a run depends on beside its experiment."""

    space: Any
    images: Any
    views: Any
    backbone_passes: Any
    constant: Number | None
    up_to_taps: dict[StrictStr, Cost]
    begins_with: Any
    error: ErrorMetric
    tap_prior: dict[str, Number]
    warnings: list[StrictStr]


class ArchitectureEntry(TypedDict, total=False):
    """A network family and its settings; ``Architecture.from_dict`` checks them."""

    network: Any
    settings: Plain


class Block(TypedDict):
    """A block of the winner and its cost."""

    name: StrictStr
    layers: StrictStr
    shape: list[Count]
    macs: Count
    params: Count


class Baseline(TypedDict):
    """A baseline: a network, trained as briefly as the candidates, or a fit without a digest.

    ``over_limit``: its costs are beyond the limits of the candidates. ``further``: metrics on the
    folds of the winner's further trainings; the best baseline alone has them.
    """

    name: StrictStr
    digest: NotRequired[StrictStr]
    metrics: NotRequired[Metrics]
    macs: NotRequired[Count]
    params: Count
    latency_ms: NotRequired[Number]
    failed: NotRequired[StrictStr]
    over_limit: NotRequired[StrictBool]
    note: NotRequired[StrictStr]
    further: NotRequired[list[Metrics]]


class SearchedMetrics(TypedDict, total=False):
    """Result of the search's own training of the winner."""

    fitness: float
    metrics: Metrics


class Latency(TypedDict, total=False):
    """Milliseconds for one image, and their spread as a share; absent if not measured."""

    latency_ms: float
    latency_noise: float


class Network(Latency, total=False):
    """A network of best.json or front.json."""

    genome: Any
    architecture: ArchitectureEntry
    digest: StrictStr
    fitness: float
    macs: StrictInt
    flops: Any
    params: StrictInt
    cost_scope: Any
    metrics: dict[str, float]


class FrontNetwork(Network, total=False):
    """A network of front.json."""

    axes: Any


class FinalistEntry(Latency, total=False):
    """A finalist, or a cheaper network that is statistically tied with the winner."""

    digest: Any
    architecture: Any
    macs: Any
    fitness: Any
    metrics: Any
    spread: Any
    further_seeds: Any


class SearchFile(Fingerprints, total=False):
    """What best.json and front.json both say of their search."""

    format: Any
    experiment: Any
    space: Any
    seed: StrictInt
    evonas: Any
    baselines: list[Baseline]
    verdict: StrictStr


class BackboneCost(TypedDict):
    """Backbone that a head stands on; ``full``: macs and params with all layers, if known."""

    tap: StrictStr
    up_to_tap: Cost
    full: NotRequired[dict[StrictStr, Count] | None]


class Best(SearchFile, Network, total=False):
    """Content of best.json: the winner; ``baselines`` as soon as the search has finished."""

    spread: dict[str, float]
    seeds: Annotated[int, Field(strict=True, ge=1)]
    searched: SearchedMetrics
    finalists: Any
    as_good_and_cheaper: Any
    blocks: list[Block]
    backbone_cost: BackboneCost | None


class Chosen(Best, total=False):
    """A network of best.json or front.json, with the keys that its file has for all of them."""

    axes: Any


class Front(SearchFile, total=False):
    """Content of front.json: the Pareto front, the cheapest network first."""

    axes: Any
    note: Any
    front: Any


class Utilisation(TypedDict, total=False):
    """Content of utilisation.json: worker seconds of the last start that trained."""

    workers: Count
    candidates: Count
    wall: Number
    busy: Number
    tail: Number
    few: Number
    between: Number
    hand_over: Number
    utilisation: Number


class Progress(TypedDict, total=False):
    """Content of progress.json: the last start of a search, at its first training.

    ``started``: seconds since 1970; ``trained`` and ``seconds``: of the starts before it;
    ``further``: most trainings after those of the budget, finals and baselines.
    """

    started: Number
    trained: Count
    seconds: Number
    workers: Annotated[int, Field(strict=True, ge=1, le=2**53)]
    further: Count
    stage: Literal["search", "finals", "baselines"]


class UsedImages(TypedDict):
    """Images and groups of one side of a split."""

    images: list[_Hash]
    groups: list[StrictStr]


class Record(TypedDict):
    """Content of training_record.json."""

    format: Any
    train: UsedImages
    validation: UsedImages


class Cost(TypedDict):
    """Cost of a head network, or of a backbone up to a tap, for one image."""

    macs: Count
    params: Count
    megabytes: Number
    not_counted: NotRequired[list[StrictStr]]


def checked(
    content: Any, schema: type[Schema], where: Path | str, needs: Collection[str] = ()
) -> Schema:
    """Return plain data as they are, if they fit a schema.

    Args:
        content: of a file.
        schema: one of this module.
        where: names the file in messages.
        needs: keys that have to be present.

    Raises:
        InputError: a value is of another type, or a key is missing.
    """
    for key in needs:
        if key not in content:
            raise InputError(f"{where}: the key {key!r} is missing: restore the file")
    try:
        _adapter(cast(Any, schema)).validate_python(content)
    except SchemaError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg'][0].lower()}"
            f"{first['msg'][1:]}, got {repr(first['input'])[:80]}: restore the file"
        ) from error
    checked_content: Schema = content
    return checked_content


def read(path: Path, schema: type[Schema], what: str, needs: Collection[str] = ()) -> Schema:
    """Return the content of a JSON file that has a format number.

    Args:
        path: the file.
        schema: one of this module.
        what: the file, in messages.
        needs: keys that have to be present.

    Raises:
        InputError: the file is missing, damaged, or of another format, or lacks a key.
    """
    content = read_json(path)
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path}: expected {what} of format {FORMAT}, got {content.get('format')!r}: restore "
            f"the file, or make it again"
        )
    return checked(content, schema, path, needs)


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Write a JSON file in one step.

    Raises:
        RunError: the file cannot be written; the old one stays.
    """
    keep(path, json.dumps(content, indent=2) + "\n")


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)
