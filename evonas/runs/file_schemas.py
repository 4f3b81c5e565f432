"""What a report reads of a run's files, and what these values have to be.

The files belong to a person, who may have changed, mixed or damaged them; a value of another
kind is said by name here, so that nothing that draws has to look twice. Everything may be
missing, and what no report reads may be anything.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictStr

Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Number = Annotated[float, Field(strict=True, ge=-1e30, le=1e30)]  # what a float32 holds
Epochs = Annotated[list[Number], Field(max_length=1_000_000)]


class _Optimizer(BaseModel):
    name: StrictStr = ""


class _Finals(BaseModel):
    networks: Count = 0


class _Objective(BaseModel):
    cost: Annotated[str, Field(pattern="^(macs|params|latency)$")] = "macs"
    target_mflops: Number = 0.0
    target_ms: Number = 0.0
    weight: Number = 0.0
    max_macs: Count | None = None


class Experiment(BaseModel):
    """Of experiment.yaml."""

    budget: Count = 0
    optimizer: _Optimizer = _Optimizer()
    finals: _Finals = _Finals()
    objective: _Objective = _Objective()


class _Error(BaseModel):
    metric: StrictStr = ""
    unit: StrictStr = ""


class Environment(BaseModel):
    """Of environment.json."""

    error: _Error = _Error()
    warnings: list[StrictStr] = []
    constant: Number | None = None
    packages: dict[str, Any] = {}


class _Block(BaseModel):
    name: StrictStr
    layers: StrictStr
    shape: list[Count]
    macs: Count
    params: Count


class _Rival(BaseModel):
    name: StrictStr
    metrics: dict[str, Number] = {}
    macs: Count = 0
    params: Count
    latency_ms: Number = 0.0


class _Architecture(BaseModel):
    settings: dict[str, Any] = {}


class Best(BaseModel):
    """Of best.json."""

    digest: StrictStr = ""
    architecture: _Architecture = _Architecture()
    blocks: list[_Block] = []
    baselines: list[_Rival] = []


class Usage(BaseModel):
    """Of utilisation.json."""

    workers: Count
    wall: Number = 0.0
    busy: Number = 0.0
    tail: Number = 0.0
    few: Number = 0.0
    between: Number = 0.0
    utilisation: Number = 0.0


class _Backbone(BaseModel):
    macs: Count


class _Head(_Backbone):
    megabytes: Number


class _Contender(BaseModel):
    name: StrictStr
    tap: StrictStr | None
    results: list[dict[str, Number]]
    head: _Head
    backbone_up_to_tap: _Backbone
    curves: list[Epochs] = []


class Retrained(BaseModel):
    """Of retrained/comparison.json."""

    contenders: list[_Contender] = []
    folds: Count = 0
    selection_bias: StrictStr = ""
