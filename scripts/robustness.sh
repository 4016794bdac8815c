#!/usr/bin/env bash
# Measures what augmentation gives on real text: scripts/robustness.sh FOLDER [KEY=VALUE ...]
# FOLDER holds the files of scripts/multi30k.sh. Two runs with the same seed and as many updates, one with augmentation;
# then both are evaluated on the test text and its variants: capitals, typos, no full stop, emoji, tags.
set -euo pipefail
folder=${1:?folder with train.en, train.de, val.en, val.de, test2016.en, test2016.de}
folder=$(cd "$folder" && pwd)
shift
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/robustness}
python=${PYTHON:-.venv/bin/python}
augment=${AUGMENT:-upper: 0.05, lower: 0.03, title: 0.03, no_end_mark: 0.1, typos: 0.1, blanks: 0.02, symbols: 0.03, merge: 0.05}
files() { echo "files: ['$folder/$1.en', '$folder/$1.de']"; }
train() {
  local run=$1 more=$2
  shift 2
  "$python" -m transformer train configs/multi30k_en_de.yaml --run "$runs/$run" \
    "data.train={$(files train)$more}" "data.valid={$(files val)}" "data.test={$(files test2016)}" "$@"
  "$python" -m transformer evaluate "$runs/$run" --robustness
}
train plain "" "$@"
train augmented ", augment: {$augment}" "$@"
