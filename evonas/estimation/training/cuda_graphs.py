"""CUDA graphs of training steps: captured once per training, then replayed.

A step of a small head network is a few hundred kernels of microseconds each, so the GPU waits for
their launches; a graph is one launch. A step that cannot be captured runs without a graph, with
the same results, and the reason is logged.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch
from torch import Tensor

from evonas.errors import clear_frames
from evonas.estimation.training.training_step import Step

#: Steps from which a capture pays: it takes the time of about ten.
LEAST = 50
#: Steps before a capture, in which libraries choose algorithms and allocate workspace.
WARM_UP = 3
#: Failed captures of a worker after which it makes no more, since some versions of torch never
#: free the memory of a failed capture.
PATIENCE = 3

_Run = Callable[[], Tensor]


class Recorder(Protocol):
    """Protocol of recorders, which turn a call into a replay."""

    def record(self, run: _Run) -> _Run:
        """Call ``run``, possibly several times, and return a replay of its work on the device.

        ``run`` works on tensors of fixed addresses; the replay returns the same result tensor
        every time. The caller restores everything that ``run`` changes.
        """


class Graphs:
    """Replays the training steps of one worker's candidates, where possible.

    Args:
        device: ``cpu`` (nothing is replayed) or ``cuda``.
        recorder: captures steps; by default CUDA graphs, on a GPU.
    """

    def __init__(self, device: str, recorder: Recorder | None = None) -> None:
        self._recorder = recorder or (None if device == "cpu" else CudaRecorder(device))
        self._failures = 0

    def replayed(self, step: Step, ahead: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a callable to use in the place of a step.

        Args:
            step: on maps (b, c, h, w) and targets (b, k).
            ahead: number of steps to come.

        Returns:
            The step itself, or a replay that is captured at its first batch. The loss of a replay
            has to be read before the next call.
        """
        if self._recorder is None or ahead < LEAST or self._failures >= PATIENCE:
            return step
        return _Replayed(step, self)

    def capture(self, step: Step, maps: Tensor, targets: Tensor) -> _Run | None:
        """Return a replay of a step on these tensors; None, with a log line, if it fails.

        The state of the training is unchanged.
        """
        assert self._recorder is not None
        try:
            with unchanged(step):
                return self._recorder.record(lambda: step(maps, targets))
        except Exception as error:
            reason = _reason(error)
            clear_frames(error)  # else torch could not free their tensors
        self._failures += 1
        with suppress(RuntimeError):  # raised after a broken capture by some versions of torch
            torch.cuda.empty_cache()
        logging.getLogger("evonas").warning("trained step by step, not as a CUDA graph: %s", reason)
        return None


def _reason(error: Exception) -> str:
    """Return in one line why a capture failed.

    Ending a broken capture raises too; the cause is the error before.
    """
    cause = error.__context__ or error
    words = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {words[0]}"


class _Replayed:
    """A step that is captured at its first batch and replayed for batches of the same shape."""

    def __init__(self, step: Step, graphs: Graphs) -> None:
        self._step, self._graphs = step, graphs
        self._held: tuple[Tensor, Tensor] | None = None
        self._replay: _Run | None = None

    def __call__(self, maps: Tensor, targets: Tensor) -> Tensor:
        if self._held is None:
            self._held = maps.clone(), targets.clone()
            self._replay = self._graphs.capture(self._step, *self._held)
        own_maps, own_targets = self._held
        same = maps.shape == own_maps.shape and targets.shape == own_targets.shape
        if self._replay is None or not same:
            return self._step(maps, targets)
        own_maps.copy_(maps, non_blocking=True)
        own_targets.copy_(targets, non_blocking=True)
        return self._replay()


class CudaRecorder:
    """Captures CUDA graphs on a side stream, since the main stream allows none.

    Args:
        device: ``cuda``, or one of several as ``cuda:1``.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._stream: torch.cuda.Stream | None = None

    def record(self, run: _Run) -> _Run:
        """Warm up, capture, and return the launch of the graph; see ``Recorder``.

        Raises:
            RuntimeError: an operation cannot be captured, such as waiting for the device, or the
                memory does not suffice.
        """
        with torch.cuda.device(self._device):
            self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            generator = torch.cuda.default_generators[torch.cuda.current_device()]
            spare = generator.clone_state()
            graph = torch.cuda.CUDAGraph()
            torch.cuda.synchronize()
            try:
                # Also puts the main stream back if the capture's own context fails to.
                with torch.cuda.stream(self._stream):
                    run()  # what is set up once may wait
                    with _no_waiting():
                        for _ in range(WARM_UP - 1):
                            run()
                    # A thread may be gathering batches in pinned memory meanwhile, which a
                    # capture of mode "global" would take for an offence.
                    with torch.cuda.graph(
                        graph, stream=self._stream, capture_error_mode="thread_local"
                    ):
                        result = run()
            except BaseException:
                # A broken capture leaves the generator capturing: the next dropout would raise.
                generator.graphsafe_set_state(spare)
                raise
            finally:
                torch.cuda.synchronize()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


@contextmanager
def unchanged(step: Step) -> Iterator[None]:
    """Restore, after a ``with`` block, everything that its steps changed, also random states."""
    before = [(tensor, tensor.detach().clone()) for tensor in step.tensors()]
    known = {id(tensor) for tensor, _ in before}
    host = torch.get_rng_state()
    device = None if step.device == "cpu" else torch.cuda.get_rng_state(step.device)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
            for tensor in step.tensors():
                if id(tensor) not in known:
                    tensor.zero_()  # not taken away: a graph writes to where it lies
        torch.set_rng_state(host)
        if device is not None:
            torch.cuda.set_rng_state(device, step.device)


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Make torch raise where the host would wait for the device.

    A capture would fail there too, but with more to clean up than a warm-up.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not find every such place
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
