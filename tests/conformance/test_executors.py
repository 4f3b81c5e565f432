"""What every executor must do, and that all of them give the same bits.

Ray is started once in this file, by evonas itself; executors made later join it.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch

from evonas.core import registry
from evonas.core.experiment import changed
from evonas.core.settings import TimeLimitSettings, TrainingSettings
from evonas.errors import InputError, RunError
from evonas.estimation.estimator import Job, TrainingContext
from evonas.estimation.execution.base import Executor
from evonas.estimation.measurement import Measurement
from evonas.space import Architecture
from evonas.workflows.components import Components

pytestmark = pytest.mark.ray

NAMES = registry.names("executor")
EPOCH = TrainingSettings(epochs=1)
HEADS = [
    Architecture("residual_head", {"width": width, "tap": tap})
    for width in (4, 8)
    for tap in ("block3", "block4")
] + [Architecture("linear_probe", {})]


def jobs(*architectures: Architecture) -> list[Job]:
    return [
        Job(index=10 + i, architecture=a, seed=i, training=EPOCH, label=f"test #{i}")
        for i, a in enumerate(architectures)
    ]


def answers(executor: Executor, work: Sequence[Job]) -> dict[int, Measurement]:
    found = list(executor.evaluate(work))
    assert sorted(index for index, _ in found) == sorted(job.index for job in work)
    return dict(found)


def without_time(measurement: Measurement) -> Measurement:
    return replace(measurement, seconds=0.0)


@pytest.fixture(scope="module")
def cluster(setting: TrainingContext) -> Iterator[Executor]:
    """The executor with two workers that starts Ray; its metrics are exported every half second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        # Room for executors that join; Ray's CPUs are only a number.
        patch.setattr(os, "cpu_count", lambda: 4)
        executor = registry.load("executor", "ray")(setting, 2, "owner")
    with executor:
        yield executor
    assert not ray.is_initialized()


@pytest.fixture
def executors(setting: TrainingContext, cluster: Executor) -> dict[str, Executor]:
    """Every registered executor by name."""
    made = {name: registry.load("executor", name) for name in NAMES if name != "ray"}
    return {"ray": cluster} | {name: part(setting, 1) for name, part in made.items()}


@pytest.fixture(params=NAMES)
def executor(request: pytest.FixtureRequest, executors: dict[str, Executor]) -> Executor:
    return executors[request.param]


def test_all_jobs_are_answered_once(executor: Executor) -> None:
    found = answers(executor, jobs(*HEADS))
    assert all(measurement.status == "ok" for measurement in found.values())
    assert len({measurement.metrics["mae"] for measurement in found.values()}) == len(HEADS)
    assert answers(executor, []) == {}


def test_a_failing_job_leaves_the_others_alone(executor: Executor) -> None:
    impossible = Architecture("residual_head", {"width": -1})
    found = answers(executor, jobs(HEADS[0], impossible, HEADS[1], impossible, HEADS[2]))
    assert [found[10 + i].status for i in range(5)] == ["ok", "failed", "ok", "failed", "ok"]
    assert found[11].error_kind == "invalid-shape"
    assert "'width'" in found[11].error
    alone = answers(executor, jobs(HEADS[0]))
    assert without_time(alone[10]) == without_time(found[10])


def test_jobs_that_come_while_others_run_are_answered_too(executor: Executor) -> None:
    work = jobs(*HEADS)
    coming = [work[:2], *([job] for job in work[2:])]
    stream = executor.stream(lambda: coming.pop(0) if coming else [])
    found = {index: without_time(measurement) for index, measurement in stream}
    assert found == {i: without_time(one) for i, one in answers(executor, work).items()}


def test_observing_and_notes_are_always_possible(executor: Executor) -> None:
    executor.observe("failed", 0.1, float("inf"))
    executor.observe("ok", 0.1, 2.5)
    assert all(isinstance(note, str) for note in executor.notes())


def test_all_executors_give_the_same_bits(
    executors: dict[str, Executor], setting: TrainingContext
) -> None:
    work = jobs(*HEADS)
    results = {name: answers(made, work) for name, made in executors.items()}
    single = registry.load("executor", "ray")(setting, 1, "single")
    results["ray with one worker"] = answers(single, work[::-1])
    single.close()
    expected = {index: without_time(m) for index, m in results["local"].items()}
    for name, found in results.items():
        assert {index: without_time(m) for index, m in found.items()} == expected, name


def test_local_has_one_worker(setting: TrainingContext) -> None:
    with pytest.raises(InputError, match=r"execution\.workers=2: .*execution\.executor=ray"):
        registry.load("executor", "local")(setting, 2)


class Deadly(str):
    """A label that kills whoever unpickles it, ``times`` times (counted in a file)."""

    def __new__(cls, counter: Path, times: int) -> Deadly:
        made = super().__new__(cls, "deadly")
        made.counter, made.times = counter, times
        return made

    def __reduce__(self) -> tuple[object, ...]:
        code = (
            "import os, pathlib\n"
            f"path = pathlib.Path({str(self.counter)!r})\n"
            "died = len(path.read_text()) if path.exists() else 0\n"
            "with path.open('a') as stream: stream.write('x')\n"
            f"if died < {self.times}: os._exit(1)\n"
        )
        return exec, (code,)


def test_a_worker_that_dies_is_replaced_and_its_job_tried_twice(
    executors: dict[str, Executor], cluster: Executor, tmp_path: Path
) -> None:
    work = jobs(*HEADS)
    expected = answers(executors["local"], work)
    work[0] = replace(work[0], label=Deadly(tmp_path / "always", times=99))
    work[2] = replace(work[2], label=Deadly(tmp_path / "once", times=1))
    found = answers(cluster, work)
    assert (tmp_path / "always").read_text() == "xx"
    assert (found[10].status, found[10].error_kind) == ("failed", "worker-death")
    assert "its worker died: ActorDiedError (2 times)" in found[10].error
    assert (tmp_path / "once").read_text() == "xx"  # the second time it lived
    for index in (11, 12, 13, 14):
        assert without_time(found[index]) == without_time(expected[index])
    assert answers(cluster, jobs(*HEADS[:2])).keys() == {10, 11}


def test_what_runs_out_of_memory_beside_others_is_tried_alone(
    cluster: Executor, setting: TrainingContext, tmp_path: Path
) -> None:
    class Crowded:  # local, so that workers get it by value
        def __init__(self, setting: TrainingContext) -> None:
            pass

        def __call__(self, job: Job) -> Measurement:
            tried = tmp_path / "tried"
            if job.index == 10:
                first = not tried.exists()
                tried.touch()
                others = list(tmp_path.glob("running*"))
                if first or others:
                    return Measurement.failure("oom-gpu", f"beside {len(others)}")
                return Measurement("ok", {"alone": 1.0})
            if job.index == 11:
                return Measurement.failure("oom-gpu", "too large for any")
            own = tmp_path / f"running{job.index}"
            own.touch()
            for _ in range(400):
                if tried.exists():
                    break
                time.sleep(0.05)
            own.unlink()
            return Measurement("ok", {"alone": 0.0})

    executor = registry.load("executor", "ray")(setting, 2, "crowded", Crowded)
    with executor:
        order = [index for index, _ in executor.evaluate(jobs(*HEADS, *HEADS[:3]))]
        assert sorted(order) == list(range(10, 18))
        assert set(order[-2:]) == {10, 11}, "alone, so after all others"
        (tmp_path / "tried").unlink()
        found = answers(executor, jobs(*HEADS))
    assert found[10].metrics == {"alone": 1.0}
    assert (found[11].status, found[11].error_kind) == ("failed", "oom-gpu")
    assert found[11].error == "too large for any (alone as well)"
    assert {found[n].metrics["alone"] for n in (12, 13, 14)} == {0.0}


@pytest.mark.slow
def test_a_worker_that_leaks_is_given_up_for_a_new_one(
    cluster: Executor, setting: TrainingContext
) -> None:
    class Leaking:
        def __init__(self, setting: TrainingContext) -> None:
            from evonas.estimation.execution.ray_cluster import leak_detector as _wear

            _wear._LEAK = 2**24  # of this worker's process
            self.kept: list[bytearray] = []

        def __call__(self, job: Job) -> Measurement:
            if job.index == 3:
                self.kept.append(bytearray(b"x") * 2**26)
            return Measurement("ok", {"process": float(os.getpid())})

    def processes(executor: Executor) -> list[float]:
        one = jobs(HEADS[0])[0]
        found = dict(executor.evaluate([replace(one, index=n) for n in range(9, -1, -1)]))
        return [found[n].metrics["process"] for n in range(9, -1, -1)]

    with registry.load("executor", "ray")(setting, 1, "leaking", Leaking) as executor:
        first, second = processes(executor), processes(executor)
    assert len(set(first)) == 1, "young: what it holds then is what it needs"
    assert first[0] == second[0]
    # it kept 64 MB when it was young; the 64 MB of the second time are too many
    assert len(set(second)) == 2
    assert second.index(next(p for p in second if p != first[0])) == 7


class Odd:
    """Answers most jobs; what the others do, their label says."""

    def __init__(self, setting: TrainingContext) -> None:
        pass

    def __call__(self, job: Job) -> Measurement:
        name, _, place = str(job.label).partition(" ")
        if name == "endless":
            while True:
                try:
                    sum(range(1000))
                except Exception:
                    continue
        if name == "stuck":  # in C, where no signal handler of Python runs
            re.fullmatch(r"(a|a)*b", "a" * 100)
        if name == "unusable" and not Path(place).exists():
            Path(place).touch()
            return Measurement.failure("worker-death", "CUDA error: an illegal memory access")
        if name == "useless":
            return Measurement.failure("worker-death", "CUDA error: an illegal memory access")
        if name == "open":
            self.files = [open(os.devnull) for _ in range(300)]  # noqa: SIM115
        return Measurement("ok", {"process": float(os.getpid())}, seconds=0.01, epochs=1)


def odd(*labels: str) -> list[Job]:
    return [replace(job, label=name) for job, name in zip(jobs(*HEADS * 3), labels, strict=False)]


#: Enough for a quick answer on a machine that others keep busy.
SOON = TimeLimitSettings(times=30.0, least=4.0, most=4.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_that_never_ends_is_a_timeout_and_the_others_go_on(
    name: str, cluster: Executor, setting: TrainingContext
) -> None:
    quick = replace(setting, time_limit=SOON)
    with registry.load("executor", name)(quick, 1, "endless", estimator=Odd) as executor:
        found = answers(executor, odd("", "endless", ""))
        assert [found[10 + n].error_kind for n in range(3)] == ["", "timeout", ""]
        assert found[11].error == "it took more than 4 s"
        assert answers(executor, odd(""))[10].status == "ok"


@pytest.mark.slow
def test_what_hangs_outside_of_python_is_ended_with_its_worker(
    cluster: Executor, setting: TrainingContext
) -> None:
    quick = replace(setting, time_limit=SOON)
    with registry.load("executor", "ray")(quick, 1, "stuck", Odd) as executor:
        found = answers(executor, odd("", "stuck", ""))
    assert [found[10 + n].error_kind for n in range(3)] == ["", "timeout", ""]
    assert len({found[n].metrics["process"] for n in (10, 12)}) == 2


@pytest.mark.slow
def test_a_process_that_cannot_go_on_is_replaced_and_its_job_tried_once_more(
    cluster: Executor, setting: TrainingContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with registry.load("executor", "ray")(setting, 1, "unusable", Odd) as executor:
        work = odd("", f"unusable {tmp_path / 'once'}", "", "useless", "")
        found = answers(executor, work)
    assert [found[10 + n].error_kind for n in range(5)] == ["", "", "", "worker-death", ""]
    assert found[13].error == "CUDA error: an illegal memory access (2 times)"
    assert len({found[n].metrics["process"] for n in (10, 12, 14)}) > 1
    assert "tried again" in caplog.text


def test_this_process_cannot_be_replaced(setting: TrainingContext) -> None:
    executor = registry.load("executor", "local")(setting, 1, estimator=Odd)
    with pytest.raises(RunError, match="this process cannot train any more: CUDA error"):
        answers(executor, odd("", "useless", ""))


@pytest.mark.slow
def test_a_worker_that_leaves_files_open_is_given_up_for_a_new_one(
    cluster: Executor, setting: TrainingContext
) -> None:
    with registry.load("executor", "ray")(setting, 1, "files", Odd) as executor:
        found = answers(executor, odd(*[""] * 10, "open", "", ""))
    processes = [found[10 + n].metrics["process"] for n in range(13)]
    assert processes[0] == processes[10]
    assert processes[11] == processes[12] != processes[10]


def test_actors_carry_the_experiments_name(cluster: Executor) -> None:
    named = [name for name in ray.util.list_named_actors() if ":owner:" in name]
    assert len(set(named)) == 2
    for name in named:
        assert re.fullmatch(rf"evonas:owner:{os.getpid()}:worker-\d+", name)


def test_closing_gives_the_actors_back_and_leaves_a_cluster_of_others_running(
    cluster: Executor, setting: TrainingContext
) -> None:
    guest = registry.load("executor", "ray")(setting, 1, "guest")
    assert [name for name in ray.util.list_named_actors() if ":guest:" in name]
    guest.close()
    assert not [name for name in ray.util.list_named_actors() if ":guest:" in name]
    assert ray.is_initialized()


def test_more_workers_than_a_running_cluster_has_cpus_are_refused(
    cluster: Executor, setting: TrainingContext
) -> None:
    """Ray would wait for ever."""
    with pytest.raises(InputError, match=r"execution\.workers=5: .* 4 CPUs"):
        registry.load("executor", "ray")(setting, 5, "crowd")
    assert ray.is_initialized()


def test_the_dashboard_stays_on_this_machine_behind_a_token(cluster: Executor) -> None:
    (note,) = cluster.notes()
    assert re.search(r"http://127\.0\.0\.1:\d+ ", note)
    assert "ray get-auth-token" in note


def test_trials_appear_in_rays_metrics(cluster: Executor) -> None:
    answers(cluster, jobs(HEADS[0]))
    cluster.expect(3, 7)
    cluster.observe("ok", 1.5, 0.125)
    cluster.observe("failed", 0.5, 0.125)
    port = ray.nodes()[0]["MetricsExportPort"]
    run = rf'run="owner:{os.getpid()}"'
    wanted = [
        rf'^ray_evonas_trials_total\{{.*{run}.*status="ok".*\}} [1-9]',
        rf"^ray_evonas_best_fitness\{{.*{run}.*\}} 0\.125",
        rf"^ray_evonas_trial_seconds_count\{{.*{run}.*\}} [1-9]",
        rf"^ray_evonas_trial_seconds_bucket\{{.*{run}.*\}} [1-9]",
        rf"^ray_evonas_trained\{{.*{run}.*\}} 5",
        rf"^ray_evonas_budget\{{.*{run}.*\}} 7",
        rf"^ray_evonas_workers\{{.*{run}.*\}} [1-9]",
        rf"^ray_evonas_workers_busy\{{.*{run}.*\}} 0",
    ]
    text = ""
    for _ in range(60):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        if all(re.search(pattern, text, re.MULTILINE) for pattern in wanted):
            return
        time.sleep(0.25)
    lines = [line for line in text.splitlines() if "evonas" in line]
    pytest.fail(f"missing in /metrics; there is {lines}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_that_is_not_there_is_refused(
    name: str, components: Components, setting: TrainingContext
) -> None:
    wanted = changed(components.experiment, ["execution.device=gpu", f"execution.executor={name}"])
    with pytest.raises(InputError, match=r"execution\.device=gpu: there is no GPU here"):
        Components(wanted).device_description()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_ray_without_a_gpu_says_so_instead_of_waiting(
    cluster: Executor, setting: TrainingContext
) -> None:
    with pytest.raises(InputError, match="Ray sees no GPU"):
        registry.load("executor", "ray")(replace(setting, device="cuda"), 1, "gpu")
    assert ray.is_initialized()
