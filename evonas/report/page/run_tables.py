"""Results of a run as tables and sentences, for the page and for Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evonas.estimation.cost.limits import limits_text
from evonas.estimation.failure_kinds import KINDS
from evonas.report import search_summary as outcome
from evonas.report.page.formatting import kind_of, millions, number
from evonas.report.page.run_data import Run, portable
from evonas.report.price import price
from evonas.report.tables import Table, held_out, legend, marked, with_spread

_STATES = {
    "running": "still running; this is what is known so far",
    "stopped": "stopped before its end",
    "finished": "finished",
}
_CHEAPER = 3  # most cheaper networks within seed noise in the table


def headline(run: Run) -> str:
    """Return optimizer, seed, progress and state of a run in one sentence."""
    experiment = run.experiment
    strategy = experiment.get("optimizer", {}).get("name", "an unknown strategy")
    words = f"{strategy}, seed {experiment.get('seed', '?')}: {len(run.trained)}"
    words += f" of {run.budget}" if experiment.get("budget", 0) is not None else ""
    minutes = experiment.get("minutes")
    within = "" if minutes is None else f" within {minutes:g} min"
    return f"{words} networks trained{within}, {_STATES[run.state]}."


def sentences(run: Run) -> Iterator[str]:
    """Yield the summary that a search prints at its end."""
    if not run.finalists:
        yield "No network was trained successfully."
        return
    metric, unit = run.error
    yield from outcome.winner(run.finalists, metric, unit, run.environment.get("constant"))
    lines = [
        outcome.reason(run.outcome, run.finals, metric),
        outcome.failed_finals(run.trials),
        outcome.statistically_tied(run.outcome, metric, "RUN"),
    ]
    best = run.best
    if best.get("backbone_cost"):
        lines.append(price(best["macs"], best["params"], best["backbone_cost"], run.counts))
    yield from filter(None, [*lines, best.get("verdict")])
    yield from run.environment.get("warnings", [])


def contenders(run: Run) -> Table:
    """Return a table of the winner, cheaper networks within seed noise, and hand-made networks."""
    metric = run.error[0]
    rows = []
    timed = any(one.trial.latency for one in run.finalists)
    folds = any(one.folds for one in run.finalists)
    named = [("winner", one) for one in run.finalists[:1]]
    named += [("as good, cheaper", one) for one in run.outcome.cheaper[:_CHEAPER]]
    for name, one in named:
        mean, spread = one.metrics().get(metric, float("nan")), one.spread().get(metric)
        on_folds = with_spread(mean, spread) if one.folds else "-"
        alike = with_spread(one.compared().get(metric, mean), None if one.folds else spread)
        settings = one.trial.architecture.get("settings", {})
        tap = "-" if run.replayed else settings.get("tap", run.experiment.get("tap", "-"))
        params = f"{one.trial.params / 1e3:.1f}" if one.trial.params else "-"
        cost = [millions(one.trial.macs), params]
        cost += [f"{one.trial.latency:.3f}"] if timed else []
        seeds = f"{len(one.further)} further" if one.further else "1"
        words = [f"{name} {one.trial.digest[:8]}", str(tap), alike]
        rows.append([*words, *([on_folds] if folds else []), seeds, *cost])
    marks, notes = [], []
    for net in run.best.get("baselines", []):
        value = net.get("metrics", {}).get(metric)
        marks.append(bool(net.get("over_limit")))
        name, _, tap = str(net.get("name", "")).rpartition(" on ")
        name, tap = marked(name or tap, marks[-1]), tap if name else "-"
        notes += [f"{name}: {net['note']}."] if net.get("note") else []
        error = "failed" if value is None else f"{value:.3f}"
        cost = [millions(net["macs"]), f"{net['params'] / 1e3:.1f}"] if net.get("macs") else []
        cost = cost or ["-", "-"]
        cost += [f"{net['latency_ms']:.3f}" if net.get("latency_ms") else "-"] if timed else []
        seeds = "fitted" if net.get("digest") == "" else "1"
        again = [result[metric] for result in net.get("further", []) if metric in result]
        on_folds = _mean(net["further"], metric) if again else "-"
        rows.append([name, tap, error, *([on_folds] if folds else []), seeds, *cost])
    columns = ["network", "tap", run.axis, *(["over folds"] if folds else []), "seeds"]
    columns += ["M multiply-adds", "k parameters", *(["ms"] if timed else [])]
    note = "All trained as briefly as in the search; the cost is that of the head network alone."
    if folds:
        note += (
            " Over folds: the mean of trainings that were each judged on other images, of which "
            "the search had trained on; the best baseline alone was trained so as well."
        )
    if run.replayed:
        note = "Answers of a table of finished trainings; nothing was trained."
    return Table("What came out", columns, rows, [note, *notes, *legend(_limits(run), marks)])


def retrained(run: Run) -> Table | None:
    """Return the table of a retraining; None if there was none."""
    entries = run.retrained.get("contenders", [])
    metric = run.error[0]
    rows, marks = [], []
    prefix = "test_" if any(f"test_{metric}" in r for c in entries for r in c["results"]) else ""
    for one in entries:
        error = _mean(one["results"], prefix + metric)
        if error == "-":
            continue
        head, upto = one["head"], one["backbone_up_to_tap"]
        costs = [millions(head["macs"]), millions(head["macs"] + upto["macs"])]
        sizes = [head["megabytes"], head["megabytes"] + upto["megabytes"]]
        costs += [f"{size:.3g}" for size in sizes]
        marks.append(bool(one.get("over_limit")))
        rows.append([marked(one["name"], marks[-1]), one["tap"] or "-", error, *costs])
    if not rows:
        return None
    side = "test split" if prefix else "validation split"
    side = held_out(run.retrained.get("folds", 0), run.retrained.get("fold_by", "")) or side
    columns = ["network", "tap", run.axis, "M multiply-adds, head", "with backbone"]
    columns += ["MB, head", "MB with backbone"]
    said = [run.retrained.get(key) for key in ("verdict", "selection_bias", "fold_warning")]
    notes = [*filter(None, said), *legend(_limits(run), marks)]
    return Table(f"Retrained, judged on the {side}", columns, rows, notes)


def tested(run: Run) -> list[Table]:
    """Return a table of the retrained networks on each test set of `evonas evaluate`."""
    sets = dict.fromkeys((one["test_set"], one["images"]) for one in run.tested)
    return [
        _on(run, [one for one in run.tested if (one["test_set"], one["images"]) == those])
        for those in sets
    ]


def _on(run: Run, results: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of results on one test set."""
    first, metric = results[0], run.error[0]
    found = dict.fromkeys(name for one in results for repeat in one["repeats"] for name in repeat)
    names = [metric, *(name for name in found if name != metric and name in _metrics(run))]
    rows, marks = [], []
    for one in results:
        head, upto = one["head"], one["upto"]
        cells = [_mean(one["repeats"], name) for name in names]
        cells += [millions(head["macs"]), millions(head["macs"] + upto["macs"])]
        marks.append(bool(one.get("over_limit")))
        rows.append([marked(one["network"], marks[-1]), one["tap"], *cells])
    count = max(len(one["repeats"]) for one in results)
    title = f"Tested on {first['test_set']}, {first['images']} images"
    title += f", mean ± sd of {count} trainings" if count > 1 else ""
    title += ", averaged with the mirrored images" if first.get("flip") else ""
    heads = [run.axis, *names[1:], "M multiply-adds, head", "with backbone"]
    said = [first.get(key) for key in ("protocol", "left_out", "warning")]
    notes = [*filter(None, said), *legend(_limits(run), marks)]
    return Table(title, ["network", "tap", *heads], rows, notes).distinct()


def _metrics(run: Run) -> set[str]:
    """Return the names of the metrics that the retraining reports."""
    results = [result for one in run.retrained["contenders"] for result in one["results"]]
    return {name.removeprefix("test_") for result in results for name in result}


def _mean(repeats: Sequence[Mapping[str, float]], name: str) -> str:
    """Return mean and spread of a metric; ``-`` where a training has none."""
    values = [one[name] for one in repeats if name in one]
    if not values:
        return "-"
    spread = statistics.stdev(values) if len(values) > 1 else None
    return with_spread(statistics.fmean(values), spread)


def _limits(run: Run) -> str:
    return limits_text(run.experiment.get("objective", {}))


def counts(run: Run) -> Table:
    """Return the number of trials per status, and the hours spent."""
    found = Counter(trial.status for trial in run.trials)
    meaning = {
        "ok": "trained to the end",
        "stopped": "stopped after the first rung",
        "failed": "failed",
        "repeat": "repeats, answered without training",
        "infeasible": "over the limit, not trained",
        "final": "trained again with another seed",
        "earlier": "taken over from another run",
        "suggested": "suggested by another run",
        "design": "hand-made networks, trained first",
    }
    rows = [[meaning[name], str(found[name])] for name in meaning if found[name]]
    seconds = sum(trial.seconds for trial in run.trials)
    rows.append(["hours of training, all workers added up", f"{seconds / 3600:.2f}"])
    spent = max((trial.at for trial in run.trials), default=0.0)
    if spent:
        rows.append(["hours of searching", f"{spent / 3600:.2f}"])
    if run.usage.get("utilisation"):
        rows.append(["share of the workers' time that was training", _share(run.usage)])
    return Table("Trials", ["what", "number"], rows, names=1)


def _share(usage: Mapping[str, float]) -> str:
    return f"{100 * usage['utilisation']:.1f} % of {usage['workers']:g} worker(s)"


def failures(run: Run) -> Table | None:
    """Return the failures by kind, each with its first message; None if there are none."""
    failed = [trial for trial in run.trials if trial.error and trial.fitness is None]
    if not failed:
        return None
    found = Counter(kind_of(trial) for trial in failed)
    rows = []
    for kind, count in found.most_common():
        first = next(trial for trial in failed if kind_of(trial) == kind)
        line = str(portable(first.error)).partition(":")[2].strip()
        known = KINDS.get(kind)
        what = f"{known.meaning}: {known.advice}" if known else "-"
        rows.append([kind, str(count), f"{line} ({first.digest})", what])
    return Table("Failures", ["kind", "trainings", "the first", "what it means, what helps"], rows)


def blocks(run: Run) -> Table | None:
    """Return the table of the winner's blocks; None if no file has them."""
    found = run.best.get("blocks", [])
    if not found:
        return None
    rows = [
        [
            one["name"],
            one["layers"],
            "×".join(map(str, one["shape"])) or "-",
            f"{one['macs']:,}".replace(",", " "),
            f"{one['params']:,}".replace(",", " "),
        ]
        for one in found
    ]
    columns = ["block", "layers", "gives", "multiply-adds", "parameters"]
    return Table(f"The winner, {run.best.get('digest', '')}", columns, rows)


def origin(run: Run) -> Table:
    """Return seeds, versions and hashes of a run."""
    environment = run.environment
    rows = [["seed", str(run.experiment.get("seed", "-"))]]
    for key in ("evonas", "code", "data", "backbone", "images", "python", "platform"):
        if environment.get(key) not in (None, ""):
            name = {"code": "hash of evonas' code", "data": "hash of the data"}.get(key, key)
            name = "hash of the backbone" if key == "backbone" else name
            rows.append([name, str(environment[key])])
    rows += [[name, str(value)] for name, value in environment.get("packages", {}).items()]
    return Table("Seeds, versions, hashes", ["what", "value"], rows, names=1)


def again(run: Run) -> list[str]:
    """Return the command that repeats the run from its experiment.yaml."""
    where = [
        f"{key}=..."  # a path of the machine where it ran
        for key, value in flat(run.experiment)
        if isinstance(value, str) and portable(value) != value and not key.endswith("cache")
    ]
    words = ["evonas", "search", f"{run.name}/experiment.yaml", *where]
    return [" ".join([*words, "--run-dir", f"{run.name}-again"])]


def flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each entry of nested mappings."""
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, content


def front(run: Run, most: int = 12) -> Table:
    """Return at most ``most`` networks of the Pareto front, the cheapest first."""
    chosen: Sequence[Any] = run.front
    if len(chosen) > most:
        chosen = [chosen[round(i * (len(chosen) - 1) / (most - 1))] for i in range(most)]
    rows = [
        [
            trial.digest,
            millions(run.cost_of(trial, "macs")),
            f"{run.cost_of(trial, 'params') / 1e3:.1f}" if trial.params else "-",
            f"{run.error_of(trial):.3f}",
            number(trial.value),
        ]
        for trial in chosen
    ]
    whole = " in all" if run.counts == "total" else ""
    columns = ["network", f"M multiply-adds{whole}", f"k parameters{whole}", run.axis, "fitness"]
    shown = f", {len(rows)} of {len(run.front)}" if len(rows) < len(run.front) else ""
    return Table(f"The front{shown}", columns, rows, names=1)
