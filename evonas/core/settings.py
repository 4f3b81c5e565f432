"""Settings of an experiment: training, objective, finals, racing, features and execution."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from evonas.core.overrides import one_or_several

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}")
Axis = Literal["error", "macs", "params", "latency"]


class Settings(BaseModel):
    """Base class of settings: frozen, without unknown keys, infinities and nan.

    A single word or number may stand for a list of it alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _one_or_several(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        return one_or_several(check, value)


class TrainingSettings(Settings):
    """Training of a head network.

    Attributes:
        epochs: passes over the training split.
        batch_size: images per step.
        learning_rate: highest learning rate for batches of ``reference_batch`` images.
        reference_batch: batch size that ``learning_rate`` refers to. The highest rate is
            proportional to the batch size (Goyal et al. 2017, arXiv 1706.02677, section 2.1), and
            warm-up begins at ``learning_rate``; McNally et al. (2021) use 2.5e-4 for 32. 0:
            ``learning_rate`` refers to ``batch_size``, and warm-up begins near 0.
        schedule: ``cosine`` to zero, ``exponential`` (times ``decay`` after every
            epoch; Matak 2020 uses 0.8), ``step`` (times ``decay`` after each of the
            ``milestones``) or ``constant``.
        decay: factor of the exponential and the step schedule.
        milestones: increasing numbers of epochs after which the step schedule multiplies the
            rate; with (8, 18), epochs 9 to 18 have the factor ``decay``, later ones its square.
        warmup: share of all steps in which the rate rises linearly.
        weight_decay: decoupled weight decay (AdamW, Loshchilov & Hutter 2019, arXiv
            1711.05101); with 0 the optimizer is Adam (Kingma & Ba 2015, arXiv 1412.6980), as used
            by Ruiz et al. (2018, arXiv 1710.00925).
        ema: decay per step of an exponential moving average of the weights, which is validated
            and kept; 0: the weights themselves are.
        keep: epoch whose weights are kept: ``best`` on validation by ``objective.error``, or
            ``last``.
        patience: stop after this many epochs without a new best ``objective.error`` on
            validation; 0: never. Only with ``keep=best``.
        precision: precision of the training: ``float32`` (without TF32, which torch uses for
            convolutions on a GPU), ``bfloat16`` (weights stay float32), or ``auto``: bfloat16 on
            a GPU of compute capability 8.0 or later, which supports it, else float32. Predictions
            are always float32.
        start: file of a state dict whose tensors replace the initial ones of equal name and
            shape; empty: random initial weights.
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
        """Learning rate after warm-up, for batches of ``batch_size``."""
        return self.learning_rate * self.batch_size / (self.reference_batch or self.batch_size)

    @field_validator("milestones")
    @classmethod
    def _milestones_fit(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        schedule = info.data.get("schedule")  # missing if it is invalid itself
        if schedule == "step" and not value:
            raise PydanticCustomError(
                "milestones", "expected at least one epoch for schedule=step, such as [8, 18]"
            )
        if schedule not in ("step", None) and value:
            # Ignored milestones would suggest steps that never happen.
            raise PydanticCustomError(
                "milestones",
                "expected none with schedule={schedule}: choose schedule=step, or milestones=[]",
                {"schedule": schedule},
            )
        if any(late <= early for early, late in zip((0, *value), value, strict=False)):
            raise PydanticCustomError("milestones", "expected increasing numbers of epochs from 1")
        return value

    @field_validator("patience")
    @classmethod
    def _patience_keeps_the_best(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("keep") == "last":
            # The kept last epoch would be one without improvement.
            raise PydanticCustomError(
                "patience", "expected 0 with keep=last: stopping early needs keep=best"
            )
        return value


class ObjectiveSettings(Settings):
    """Objective of a search: the error times a penalty on the cost of the network.

    Attributes:
        error: the error: the task's ``metric`` (100 - OKS for key points, degrees for head
            pose), or its ``loss`` on the validation images, ``held_out_loss``, as used by McNally
            et al. (2021). It also selects the epoch whose weights are kept, in the search and in
            retraining, and is the error in races, finals and Pareto fronts.
        mode: ``one_sided`` or ``soft``.
        cost: F, the penalised cost: ``macs`` (multiply-adds), ``params``, or ``latency`` of the
            head network for one image, which is measured on the training machine and therefore
            not exactly repeatable.
        target_macs: T for ``macs``: multiply-adds of the head network. Older files have
            ``target_mflops`` in its place, see ``evonas.core.short_forms``.
        target_mparams: T for ``params``, in millions.
        target_ms: T for ``latency``, in milliseconds.
        latency_threads: CPU threads of a network while its latency is measured.
        weight: w, the exponent of the penalty.
        counts: whose multiply-adds and parameters F, the limits and the axes are: those of the
            ``head``, for a backbone that runs anyway, or the ``total`` of the head and the
            backbone up to its tap, which would run for this task alone. Latency is always that
            of the head.
        max_macs: hard limit on the multiply-adds, checked before training; None: no limit.
        max_params: hard limit on the parameters, checked before training; None: no limit.
        max_mb: hard limit on the size of the weights in 10^6 bytes: 4 for each parameter and
            each running mean and variance of batch norms; checked before training; None: no
            limit.
        max_ms: hard limit on the latency of the head network for one image, in milliseconds. The
            untrained network is measured on the machine that would train it; None: no limit.
        axes: objectives of the Pareto front in ``front.json`` and of multi-objective
            strategies: ``error``, and one or more of ``macs``, ``params``, ``latency``.
    """

    error: Literal["metric", "loss"] = "metric"
    mode: Literal["one_sided", "soft"] = "one_sided"
    cost: Literal["macs", "params", "latency"] = "macs"
    target_macs: Annotated[int, Field(ge=1)] = 5_000_000
    target_mparams: Annotated[float, Field(gt=0.0)] = 5.0
    target_ms: Annotated[float, Field(gt=0.0)] = 1.0
    latency_threads: Annotated[int, Field(ge=1, le=1024)] = 1
    weight: Annotated[float, Field(ge=0.0)] = 0.06
    counts: Literal["head", "total"] = "head"
    max_macs: Annotated[int, Field(ge=1)] | None = None
    max_params: Annotated[int, Field(ge=1)] | None = None
    max_mb: Annotated[float, Field(gt=0.0)] | None = None
    max_ms: Annotated[float, Field(gt=0.0)] | None = None
    axes: Annotated[tuple[Axis, ...], Field(validate_default=True)] = ("error", "macs")

    @field_validator("axes")
    @classmethod
    def _axes_are_valid(cls, value: tuple[Axis, ...]) -> tuple[Axis, ...]:
        if value[:1] != ("error",) or len(value) < 2 or len(set(value)) < len(value):
            raise PydanticCustomError(
                "axes", "expected error first, then one or more of macs, params, latency"
            )
        return value


class FinalsSettings(Settings):
    """Selection of the winner: the best networks are trained again with further seeds.

    Attributes:
        method: ``race``: rounds of one further seed, after each of which the worse half, and
            whatever is worse beyond noise, is dropped; ``fixed``: all seeds for every network.
        networks: number of best networks; 0: none, the results of the search decide.
        seeds: number of further seeds per network; of a race, the most.
        budget: most trainings of a race; None: as many as halving takes.
        prefer: what names the winner: ``error``: the lowest mean; ``cost``: the lowest
            ``objective.cost`` among networks with two further seeds or more whose error is within
            seed noise of that (two standard errors).
        validation: images that judge the further trainings: ``folds``: for each seed another fold
            of the training images, whole groups together, while all other images of training and
            validation train; ``search``: the validation images of the search, for every seed.
    """

    method: Literal["race", "fixed"] = "race"
    networks: Annotated[int, Field(ge=0)] = 6
    seeds: Annotated[int, Field(ge=1)] = 4
    budget: Annotated[int, Field(ge=1)] | None = None
    prefer: Literal["error", "cost"] = "error"
    validation: Literal["folds", "search"] = "folds"

    @field_validator("budget")
    @classmethod
    def _budget_is_of_a_race(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("method") == "fixed":
            raise PydanticCustomError("budget", "expected none beside finals.method=fixed")
        return value


class FidelitySettings(Settings):
    """Full trainings, or trainings that pause and go on only where it is worth it.

    Attributes:
        name: ``full``: every training is complete; ``racing``: only the better candidates of a
            generation continue after a first rung; ``curves``: the strategy weighs each paused
            training against new candidates, by a forecast of its learning curve.
        rung: share of the epochs in the first rung, at least one epoch.
        go_on: share of a generation that continues, at least one candidate (``racing``).
    """

    name: Literal["full", "racing", "curves"] = "full"
    rung: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25
    go_on: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class InheritanceSettings(Settings):
    """Weight inheritance: networks start with the weights of a parent.

    Attributes:
        enabled: whether weights are inherited; ``inherit: true`` is short for it.
        fresh_epochs: epochs of a network that has no parent, as in the first generation, or
            inherits too little, and of all networks in the finals; 0: ``training.epochs``.
        least: least fraction of parameters inherited from the parent; below it the network trains
            for ``fresh_epochs``.
        keep: number of best networks whose weights are kept for possible children, if the
            strategy does not track parents.
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
    """Cache of backbone features.

    Attributes:
        jitters: number of jittered copies of each image beside the original; all are also
            mirrored.
        strict: whether to refuse a data set with images that cannot be decoded, instead of
            leaving them out.
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
    """Time limit of a training, after which it counts as failed (``timeout``).

    Attributes:
        times: limit as a multiple of the median seconds per epoch of the finished trainings; 0:
            no limit.
        least: lower bound on the limit, seconds.
        most: upper bound on the limit, seconds; it also holds before there is a median.
    """

    times: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    least: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    most: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 21600.0

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.least > self.most:
            raise PydanticCustomError("time_limit", "expected least to be at most as large as most")
        return self


class ExecutionSettings(Settings):
    """Executor, workers, device and time limit of the trainings.

    Attributes:
        executor: ``local``, ``ray``, or ``auto``: ray for more than one worker or a GPU.
        workers: number of candidates that train at once; ``auto``: one per core or GPU.
        device: ``cpu``, ``gpu``, ``gpu:N`` (a GPU by its index), or ``auto``: a GPU if there is
            one; with ``address``, in the cluster.
        threads: CPU threads per worker; ``auto``: the cores divided by the workers. The number
            of threads changes the order of sums and so the last bits of results, and the search
            with them; with 1, results do not depend on the machine's cores.
        address: Ray cluster to join: ``auto`` (the one running on this machine) or
            ``host:port``; workers ``auto`` is then one per CPU of the cluster. Empty: the Ray of
            this process, or one started for the run.
        time_limit: time limit of a training.
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
            # With Ray Client, the driver is not on a node of the cluster and cannot serve features.
            raise PydanticCustomError(
                "address",
                "expected auto or host:port, no ray://: run evonas on a machine of the "
                "cluster, with the port of `ray start --head` (6379)",
            )
        if value != "auto" and not _HOST_AND_PORT.fullmatch(value):
            raise PydanticCustomError(
                "address", "expected auto or host:port, such as 192.168.1.2:6379"
            )
        executor = info.data.get("executor")  # missing if it is invalid itself
        if executor not in ("auto", "ray", None):
            raise PydanticCustomError(
                "address",
                "expected none with executor={executor}, which joins no cluster: use "
                "execution.executor=ray, or leave the address out",
                {"executor": executor},
            )
        return value


class TableSettings(Settings):
    """Tabular benchmark: a table of finished trainings that a search looks up.

    Attributes:
        file: CSV file with a header.
        genes: columns of the genes of an architecture; or give ``digits``.
        digits: column of words of equal length, each character of which is a gene.
        error: column of the error to minimise; or give ``accuracy``.
        accuracy: column of the accuracy in percent; the error is 100 minus it.
        cost: column of the cost, for penalty and limit; without it, the cost is 0.
        cost_in: unit of the cost: ``flops`` (two per multiply-add) or ``macs``.
        params: column of the number of parameters, for ``objective.axes``; without it, 0.
        unordered: genes whose numbers have no order; ``true``: all of them. A gene of words is
            always unordered.
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
    def _columns_are_given(self) -> Self:
        if bool(self.genes) == bool(self.digits) or bool(self.error) == bool(self.accuracy):
            raise PydanticCustomError(
                "table", "expected either genes or digits, and either error or accuracy"
            )
        return self
