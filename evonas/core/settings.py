"""How to train and what to minimise: the checked values of an experiment."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}")
Axis = Literal["error", "macs", "params", "latency"]


class Settings(BaseModel):
    """Frozen values that refuse unknown keys, infinities and nan."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainingSettings(Settings):
    """How long and how to train a head network.

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step.
        learning_rate: the highest, for batches of ``reference_batch``.
        reference_batch: size of the batches that ``learning_rate`` is meant for. The highest
            rate grows with the batch (Goyal et al. 2017, arXiv 1706.02677, section 2.1), and
            warm-up begins at ``learning_rate`` itself; McNally et al. (2021) have 2.5e-4 for
            32. 0: ``learning_rate`` is meant for these batches, and warm-up begins near 0.
        schedule: ``cosine`` to zero, ``exponential`` (times ``decay`` after every
            epoch; Matak 2020 uses 0.8), ``step`` (times ``decay`` after each of the
            ``milestones``) or ``constant``.
        decay: factor of the exponential and the step schedule.
        milestones: numbers of epochs, rising, after which the step schedule takes its
            steps; (8, 18) is: epochs 9 to 18 at ``decay``, the later ones at its square.
        warmup: share of all steps over which the rate rises linearly.
        weight_decay: decoupled (AdamW, Loshchilov & Hutter 2019, arXiv 1711.05101); with
            0 the optimizer is Adam (Kingma & Ba 2015, arXiv 1412.6980), as Ruiz et al.
            (2018, arXiv 1710.00925) have it.
        ema: decay per step of the exponential moving average of the weights that is
            validated and kept; 0 keeps the last weights themselves.
        keep: the epoch whose weights count, ``best`` on validation by ``objective.error`` or
            ``last``.
        patience: stop early when ``objective.error`` has had no new best on validation for
            so many epochs; 0 never does. Only with ``keep=best``.
        precision: in which networks compute while they train: ``float32`` (never TF32, which
            torch would take in a GPU's convolutions), ``bfloat16`` (weights stay float32), or
            ``auto``: bfloat16 on a GPU of compute capability 8.0 or later, which has arithmetic
            for it, and float32 elsewhere. Predictions are float32 always.
        start: file of a state dict whose tensors replace the fresh ones where name and
            shape fit (see ``start.start_from``); empty for a fresh start.
    """

    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 2e-3
    reference_batch: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["cosine", "exponential", "step", "constant"] = "cosine"
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    milestones: Annotated[tuple[int, ...], Field(validate_default=True)] = ()
    warmup: Share = 0.1
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-2
    ema: Share = 0.0
    keep: Literal["best", "last"] = "best"
    patience: Annotated[int, Field(ge=0)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    start: str = ""

    @property
    def highest_rate(self) -> float:
        """The learning rate after warm-up, for these batches."""
        return self.learning_rate * self.batch_size / (self.reference_batch or self.batch_size)

    @field_validator("milestones")
    @classmethod
    def _milestones_fit(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        schedule = info.data.get("schedule")  # missing where it is itself wrong
        if schedule == "step" and not value:
            raise PydanticCustomError(
                "milestones", "expected at least one epoch for schedule=step, such as [8, 18]"
            )
        if schedule not in ("step", None) and value:
            # Taken silently, they would promise steps that never come.
            raise PydanticCustomError(
                "milestones",
                "expected none with schedule={schedule}: choose schedule=step, or milestones=[]",
                {"schedule": schedule},
            )
        if any(late <= early for early, late in zip((0, *value), value, strict=False)):
            raise PydanticCustomError("milestones", "expected rising numbers of epochs from 1")
        return value

    @field_validator("patience")
    @classmethod
    def _patience_keeps_the_best(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("keep") == "last":
            # The last epoch would be one chosen for having got no better.
            raise PydanticCustomError(
                "patience", "expected 0 with keep=last: stopping early needs keep=best"
            )
        return value


class ObjectiveSettings(Settings):
    """Error times a penalty on cost; see ``objective.Objective``.

    Attributes:
        error: what is multiplied: the task's own ``metric`` (100 - OKS of key points, degrees
            of head pose), or its ``loss`` on the validation images, ``held_out_loss``, as
            McNally et al. (2021) have it. It also chooses the epoch whose weights are kept, in
            the search and in retraining, and is the error of races, finals and fronts.
        mode: ``one_sided`` or ``soft``.
        cost: F, what is penalised: ``macs`` (as floating point operations), ``params``, or
            ``latency``, which is measured on the machine that trains (batch 1, of the head
            network) and so is not the same twice.
        target_mflops: T, in millions of floating point operations (2 a multiply-add)
            of the head network.
        target_mparams: T where parameters are penalised, in millions.
        target_ms: T where latency is penalised, in milliseconds.
        latency_threads: that a network has on a CPU while its latency is measured.
        weight: w, the exponent of the penalty.
        max_macs: hard limit on the head network's multiply-adds, checked before
            training; none if left out.
        axes: what the archive ``front.json`` and a strategy for fronts trade off:
            ``error``, and one or more of ``macs``, ``params``, ``latency``.
    """

    error: Literal["metric", "loss"] = "metric"
    mode: Literal["one_sided", "soft"] = "one_sided"
    cost: Literal["macs", "params", "latency"] = "macs"
    target_mflops: Annotated[float, Field(gt=0.0)] = 10.0
    target_mparams: Annotated[float, Field(gt=0.0)] = 5.0
    target_ms: Annotated[float, Field(gt=0.0)] = 1.0
    latency_threads: Annotated[int, Field(ge=1, le=1024)] = 1
    weight: Annotated[float, Field(ge=0.0)] = 0.06
    max_macs: Annotated[int, Field(ge=1)] | None = None
    axes: Annotated[tuple[Axis, ...], Field(validate_default=True)] = ("error", "macs")

    @field_validator("axes")
    @classmethod
    def _trade_something(cls, value: tuple[Axis, ...]) -> tuple[Axis, ...]:
        if value[:1] != ("error",) or len(value) < 2 or len(set(value)) < len(value):
            raise PydanticCustomError(
                "axes", "expected error first, then one or more of macs, params, latency"
            )
        return value


class FinalsSettings(Settings):
    """How the winner is named: the best are trained again; see ``finals``.

    Attributes:
        networks: how many of the best; 0: none, the search's own results decide.
        seeds: further seeds of each.
    """

    networks: Annotated[int, Field(ge=0)] = 3
    seeds: Annotated[int, Field(ge=1)] = 3


class FidelitySettings(Settings):
    """How much of a training a candidate gets; see ``racing``.

    Attributes:
        name: ``full``: all of it; ``racing``: a first rung, and the rest only for the better
            part of a generation.
        rung: share of the epochs that is the first rung, at least one epoch.
        go_on: share of a generation that goes on, at least one candidate.
    """

    name: Literal["full", "racing"] = "full"
    rung: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25
    go_on: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class InheritanceSettings(Settings):
    """Whether networks start with the weights of a parent; see ``lineage``.

    Attributes:
        enabled: whether they do; ``inherit: true`` is short for it.
        fresh_epochs: of a network that has no parent, as in the first generation, or takes too
            little from it, and in the finals, where all start afresh; 0: ``training.epochs``.
        least: share of a network's numbers that it has to take for ``training.epochs`` to do.
        keep: the weights of how many networks, the best, are kept as those of possible parents,
            where the strategy does not say who may become one.
    """

    enabled: bool = False
    fresh_epochs: Annotated[int, Field(ge=0)] = 0
    least: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    keep: Annotated[int, Field(ge=1)] = 64

    @model_validator(mode="before")
    @classmethod
    def _from_switch(cls, value: Any) -> Any:
        return {"enabled": value} if isinstance(value, bool) else value


class FeatureSettings(Settings):
    """What of the backbone is cached.

    Attributes:
        jitters: jittered copies of each image beside the plain one; each also
            mirrored.
        strict: refuse a data set of which images cannot be decoded, instead of
            leaving these out.
        cache: folder of the cache.
    """

    jitters: Annotated[int, Field(ge=0, le=64)] = 0
    strict: bool = True
    cache: str = "~/.cache/evonas"


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|gpu(:\d{1,3})?", value):
        raise PydanticCustomError("device", "expected auto, cpu, gpu, or gpu:N such as gpu:0")
    return value


class TimeLimitSettings(Settings):
    """How long one training may take; beyond, it counts as failed (``timeout``).

    Attributes:
        times: of the running median of the trainings that are done, in seconds an epoch; 0: no
            limit at all.
        least: seconds that every training may take.
        most: seconds that none may take, also before there is a median.
    """

    times: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    least: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    most: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 21600.0

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.least > self.most:
            raise PydanticCustomError("time_limit", "expected least to be no more than most")
        return self


class ExecutionSettings(Settings):
    """Where candidates are trained, and for how long at most.

    Attributes:
        executor: ``local``, ``ray``, or ``auto``: ray for more than one worker or a
            GPU.
        workers: how many candidates train at once; ``auto`` is one a core or GPU.
        device: ``cpu``, ``gpu``, ``gpu:N`` (one GPU by its number), or ``auto``: a GPU where
            there is one; with ``address``, in the cluster.
        threads: of each worker on a CPU; ``auto``: so many that all workers together have one a
            core. More than one sums in another order, so the last bits of results, and a
            search with them, then depend on their number; with 1 they depend on nothing.
        address: of a Ray cluster to join, ``auto`` (the one that runs on this machine) or
            ``host:port``; workers ``auto`` is then one a CPU of the cluster. Empty: the
            Ray of this process, or one started for the run.
        time_limit: of one training.
    """

    executor: str = "auto"
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    device: Annotated[str, AfterValidator(_device)] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = 1
    address: str = ""
    time_limit: TimeLimitSettings = TimeLimitSettings()

    @field_validator("address", mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: object) -> object:
        return "" if value is None else value  # ``execution.address=`` in a shell

    @field_validator("address")
    @classmethod
    def _can_be_joined(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        if value.startswith("ray://"):
            # Ray Client runs the driver elsewhere: it has no node to serve features from.
            raise PydanticCustomError(
                "address",
                "expected auto or host:port, no ray://: run evonas on a machine of the "
                "cluster, with the port of `ray start --head` (6379)",
            )
        if value != "auto" and not _HOST_AND_PORT.fullmatch(value):
            raise PydanticCustomError(
                "address", "expected auto or host:port, such as 192.168.1.2:6379"
            )
        executor = info.data.get("executor")  # missing where it is itself wrong
        if executor not in ("auto", "ray", None):
            raise PydanticCustomError(
                "address",
                "expected none with executor={executor}, which joins no cluster: use "
                "execution.executor=ray, or leave the address out",
                {"executor": executor},
            )
        return value


class TableSettings(Settings):
    """A table of finished trainings to search in; see ``table.Table``.

    Attributes:
        file: CSV with a header.
        genes: columns that say what an architecture is; or ``digits`` instead:
        digits: column of words of one length, each character of which is a gene.
        error: column of what is minimised; or ``accuracy`` instead:
        accuracy: column in percent; the error is 100 minus it.
        cost: column of the cost, for the penalty and the limit; without, it is 0.
        cost_in: what it counts: ``flops`` (two a multiply-add) or ``macs``.
        params: column of parameters, for ``objective.axes``; without, it is 0.
        unordered: genes whose numbers are mere names, so that 1 is no nearer to 2 than to
            5; ``true``: all of them. A gene of words is unordered anyway.
    """

    file: str
    genes: tuple[str, ...] = ()
    digits: str = ""
    error: str = ""
    accuracy: str = ""
    cost: str = ""
    cost_in: Literal["flops", "macs"] = "flops"
    params: str = ""
    unordered: bool | tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_what_is_what(self) -> Self:
        if bool(self.genes) == bool(self.digits) or bool(self.error) == bool(self.accuracy):
            raise PydanticCustomError(
                "table", "expected genes or digits, and error or accuracy, one of each two"
            )
        return self
