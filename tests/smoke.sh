#!/usr/bin/env bash
# A small search with Ray, the same one stopped and resumed, and its winner retrained.
# Needs evonas on PATH; writes into a temporary folder only.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export OMP_NUM_THREADS=1

small=(
    quickstart --optimizer cma --workers 2 --executor ray
    data.identities=20 data.images_per_identity=6 features.jitters=0
    "features.cache=$folder/cache" training.epochs=1 optimizer.population_size=4
)
fail() { echo "smoke: $*" >&2; exit 1; }

echo "smoke: a search of 8 networks"
evonas search "${small[@]}" --budget 8 --run-dir whole

echo "smoke: the same in two halves"
evonas search "${small[@]}" --budget 4 --run-dir split
evonas search --resume --run-dir split --budget 8
[ -s split/report.html ] || fail "split/report.html is missing"

python3 - <<'PYTHON' || fail "the resumed journal is not that of the search in one go"
import json
import sys


def journal(run):
    with open(f"{run}/journal.jsonl") as stream:
        rows = [json.loads(line) for line in stream]
    for row in rows:
        del row["seconds"], row["at"]
    return sorted(rows, key=lambda row: (row["generation"], row["index"], row["repeat"]))


def best(run):
    with open(f"{run}/best.json") as stream:
        return json.load(stream)


whole, split = journal("whole"), journal("split")
# the finals of the smaller budget were trained, so they stay; nothing else may differ
more = [row for row in split if row not in whole]
same = [row for row in split if row in whole] == whole
trained = sum(row["status"] in ("ok", "failed") for row in whole)
early = all(row["status"] == "final" for row in more)
sys.exit(0 if trained == 8 and same and early and best("whole") == best("split") else 1)
PYTHON

echo "smoke: the winner and its baselines, 2 epochs"
evonas retrain split/best.json --epochs 2 execution.executor=local execution.workers=1
for file in winner.safetensors comparison.md comparison.json; do
    [ -s "split/retrained/$file" ] || fail "split/retrained/$file is missing"
done
echo "smoke: all is well"
