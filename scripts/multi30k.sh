#!/usr/bin/env bash
# Reproduces the Multi30k results of docs/results.md: scripts/multi30k.sh FOLDER [KEY=VALUE ...]
# FOLDER holds train.en, train.de, val.en, val.de, test2016.en and test2016.de.
set -euo pipefail
folder=${1:?folder with train.en, train.de, val.en, val.de, test2016.en, test2016.de}
folder=$(cd "$folder" && pwd)
shift
cd "$(dirname "$0")/.."
run=${RUN:-runs/multi30k_en_de}
python=${PYTHON:-.venv/bin/python}
"$python" -m transformer train configs/multi30k_en_de.yaml --run "$run" \
  "data.train={files: ['$folder/train.en', '$folder/train.de']}" \
  "data.valid={files: ['$folder/val.en', '$folder/val.de']}" \
  "data.test={files: ['$folder/test2016.en', '$folder/test2016.de']}" "$@"
"$python" -m transformer evaluate "$run" --samples 5
