#!/bin/bash
# Everything about a GPU in nine minutes: bash benchmarks/gpu.sh OUT [--small]
#
# Runs the tests that need a device; captured steps beside plain ones for every shipped pair, and for all settings of the
# text step in float32 and bf16; evidence; an epoch of images; and of Table 2 at the paper's schedule as much as fits.
# Nothing is built: Python and packages are those of $PYTHON, 20 Newsgroups is in $PPL_VAE_DATA, else downloaded or the last
# part fails. Each part has a time limit of its own; one that fails or is ended does not stop the rest. OUT gets
# PART.json and PART.log, and parts.json: of each part its exit status (124: ended by its limit) and its seconds.
# --small takes sizes of no account, on the CPU, to see that all of it runs.
set -u
out=${1:?usage: bash benchmarks/gpu.sh OUT [--small]}
small=${2:-}
python=${PYTHON:-python}
cd "$(dirname "$0")/.." || exit 2
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
device=cuda preset=paper
[ "$small" = --small ] && device=cpu preset=smoke

first=1
part() { # NAME LIMIT COMMAND...
    local name=$1 limit=$2 begun=$SECONDS
    shift 2
    timeout --signal=INT --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1
    local status=$?
    [ $first = 1 ] && echo '{' > "$out/parts.json" || echo ',' >> "$out/parts.json"
    printf ' "%s": {"status": %d, "seconds": %d, "limit": %d}' "$name" $status $((SECONDS - begun)) "$limit" >> "$out/parts.json"
    first=0
    echo "$name: status $status, $((SECONDS - begun)) s of $limit"
}
measure() { part "$1" "$2" "$python" -m benchmarks.gpu "$1" --device $device $small --out "$out/$1.json"; }

# The limits add up to 535 seconds. What decides whether the rest can be believed comes first.
part tests 60 "$python" -m pytest -q -p no:cacheprovider tests/training/test_cuda_graph.py
measure steps 90
measure capture 150
measure evidence 60
measure epoch 55
part table2 120 "$python" -m ppl_vae experiment text_table2 --preset $preset --seeds 1 --device $device --out "$out/table2"
printf '\n}\n' >> "$out/parts.json"
