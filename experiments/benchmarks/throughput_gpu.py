"""Part f: training on a GPU against the plain loop there, and against what the card can do."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from throughput_cached import (
    evonas,
    evonas_workers,
    other_seeds,
    plain,
    workers,
    workers_name,
)
from throughput_plain import built
from throughput_report import Options, Section, Verdict, in_turns, spread
from throughput_training import (
    Pass,
    Trainings,
    cores,
    faster,
    in_memory,
    ratios,
    same_in_the_end,
    sized,
)

from evonas.estimation.estimator import Job
from evonas.report.tables import Table

TARGET = 5.0
TITLE = "On a GPU"
EVONAS, PLAIN = "evonas, 1 worker", "plain loop"
WORKERS = 4
#: Bytes of a parameter that a training step cannot do without: read forwards and backwards, its
#: gradient written; AdamW reads it, the gradient and two moments, and writes all but the gradient.
STEP_BYTES = 4 * (2 + 1 + 4 + 3)
#: And of its moving average: both read, one written.
AVERAGE_BYTES = 4 * 3
DEFINITION = (
    "As in part b, with evonas's maps on the card, and the plain loop's in memory, from where a "
    "loader hands them over pinned; float32 is PyTorch's default. Work that cannot be "
    "avoided: 2 operations a multiply-add, three times for an image that trains (forwards, and "
    "backwards to maps and to weights), once for one that validates; bytes: every image's map "
    "once, in 16 bits, and a step's weights, gradients and moments. Activations are left out, so "
    "the share of the bandwidth is a lower bound. Ceilings are measured on this card with CUDA "
    "events: a copy of 1 GiB from the card to itself (read and written), a product of "
    "bfloat16 matrices of 8192 x 8192."
)


@dataclass(frozen=True)
class Work:
    """What trainings cannot avoid, or what a card does in a second.

    Attributes:
        operations: floating point, 2 a multiply-add.
        moved: bytes.
    """

    operations: float
    moved: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.moved + other.moved)

    def share(self, ceiling: Work, seconds: float) -> tuple[float, float]:
        """Return the shares of a ceiling's operations and bytes that were used in ``seconds``."""
        able = (ceiling.operations * seconds, ceiling.moved * seconds)
        return self.operations / able[0], self.moved / able[1]


def measure(options: Options) -> Section:
    """Return the section of part f; without a GPU it says so."""
    if not torch.cuda.is_available():
        line = "There is no GPU here that PyTorch can use, so nothing was measured."
        return Section(TITLE, [line], verdicts=[Verdict(_target(), "no GPU, not measured")])
    trials, epochs = (3, 2) if options.quick else (20, 3)
    words = ["features.jitters=0"]
    experiment = sized(options.experiment, trials, epochs, options.quick, words)
    with tempfile.TemporaryDirectory(prefix="throughput-") as place:
        drawn = Trainings.of(experiment, Path(place) / "asked")
    trainings = replace(drawn, setting=replace(drawn.setting, device="cuda"))
    taps = {trainings.setting.tap_of(job.architecture) for job in trainings.jobs}
    held = {tap: in_memory(trainings.setting, tap) for tap in taps}
    contenders: dict[str, Callable[[], Pass]] = {EVONAS: partial(evonas, trainings)}
    for precision in ("bfloat16", "float32"):
        for loaders in (0, *({min(4, cores() - 1)} - {0})):
            name = f"{PLAIN}, {precision}, {loaders} loader processes"
            contenders[name] = partial(plain, trainings, held, 1, precision, loaders)
    reseeded = other_seeds(trainings)
    plain(trainings, held, 1, "bfloat16")  # its kernels are others
    ceiling = Work(operations_a_second("cuda"), bytes_a_second("cuda"))
    if cores() >= WORKERS:
        with workers(trainings, WORKERS) as executor:
            contenders[workers_name(WORKERS)] = partial(evonas_workers, trainings, executor)
            found = in_turns(contenders, options.repeats)
    else:
        found = in_turns(contenders, options.repeats)
    return _section(trainings, found, ceiling, reseeded, options.quick)


def work_of(
    macs: int, params: int, map_bytes: int, images: tuple[int, int], steps: int, average: bool
) -> Work:
    """Return what one epoch of one training cannot avoid.

    Args:
        macs: multiply-adds of the network for one image.
        params: its parameters.
        map_bytes: of one image's map.
        images: how many train, how many validate.
        steps: of the epoch.
        average: whether a moving average of the weights is kept.
    """
    trained, validated = images
    a_step = params * (STEP_BYTES + AVERAGE_BYTES * average)
    return Work(
        2 * macs * (3 * trained + validated), map_bytes * (trained + validated) + steps * a_step
    )


def operations_a_second(device: str, side: int = 8192, times: int = 20) -> float:
    """Return the operations a second of a product of square bfloat16 matrices."""
    one = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    two, out = torch.randn_like(one), torch.empty_like(one)
    return 2 * side**3 * times / _seconds(lambda: torch.mm(one, two, out=out), times)


def bytes_a_second(device: str, size: int = 2**30, times: int = 20) -> float:
    """Return the bytes a second, read and written, of a copy within the device's memory."""
    one = torch.zeros(size, device=device, dtype=torch.uint8)
    two = torch.empty_like(one)
    return 2 * size * times / _seconds(lambda: two.copy_(one), times)


def _seconds(task: Callable[[], object], times: int) -> float:
    """Return the seconds of so many runs, by the GPU's own clock."""
    for _ in range(3):
        task()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        task()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def _work(trainings: Trainings, job: Job) -> Work:
    setting, settings = trainings.setting, job.training
    split, shape = setting.splits[job.split], setting.shapes[setting.tap_of(job.architecture)]
    steps = max(len(split.train) // settings.batch_size, 1)
    trained = min(steps * settings.batch_size, len(split.train))
    module = built(job, setting, trainings.components.task)
    epoch = work_of(
        trainings.components.cost(job.architecture),
        sum(parameter.numel() for parameter in module.parameters()),
        2 * shape[0] * shape[1] * shape[2],
        (trained, len(split.validation)),
        steps,
        settings.ema > 0,
    )
    return Work(epoch.operations * settings.epochs, epoch.moved * settings.epochs)


def _section(
    trainings: Trainings,
    found: Mapping[str, Sequence[Pass]],
    ceiling: Work,
    reseeded: Pass,
    quick: bool,
) -> Section:
    unit, epochs = trainings.components.task.unit, trainings.components.experiment.training.epochs
    number, ours = len(trainings.jobs), found[EVONAS]
    images = trainings.images() * epochs * number
    work = sum((_work(trainings, job) for job in trainings.jobs), Work(0, 0))
    rows = []
    for name, passes in found.items():
        seconds = [one.seconds for one in passes]
        operations, moved = work.share(ceiling, statistics.median(seconds))
        rows.append(
            [
                name,
                spread([number / one for one in seconds], 2),
                spread([images / one for one in seconds], 0),
                spread(ratios(passes, ours), 2),
                f"{100 * operations:.3f} %",
                f"{100 * moved:.3f} %",
            ]
        )
    head = ["contender", "networks/s", "images/s", "times evonas's, 1 worker"]
    head += ["of the operations", "of the bandwidth"]
    best = min(
        (name for name in found if name.startswith(PLAIN)),
        key=lambda name: statistics.median(one.seconds for one in found[name]),
    )
    exact = next(name for name in found if name.startswith(f"{PLAIN}, float32"))
    lines = [
        DEFINITION,
        f"{torch.cuda.get_device_name()}: {ceiling.operations / 1e12:.0f} TFLOP/s in bfloat16, "
        f"{ceiling.moved / 1e9:.0f} GB/s. evonas computes in bfloat16 (8 bits of mantissa); its "
        "errors are held against the plain loop's in float32.",
    ]
    verdicts = [
        faster(f"{_target()}, its fastest: {best}", ratios(found[best], ours), _least(quick)),
        same_in_the_end(ours[0], found[exact][0], reseeded, unit),
    ]
    title = f"{number} networks, {epochs} epochs"
    return Section(TITLE, lines, [Table(title, head, rows, names=1)], verdicts)


def _target() -> str:
    return f"Plain loop against {EVONAS}, on a GPU: >= {TARGET:g} x"


def _least(quick: bool) -> float | None:
    return None if quick else TARGET
