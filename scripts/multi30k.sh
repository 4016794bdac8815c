#!/usr/bin/env bash
# Reproduces the Multi30k result of docs/results.md from text files; give the folder that holds them (train.en, train.de,
# val.en, val.de, test2016.en, test2016.de) and, if you like, further settings: scripts/multi30k.sh FOLDER train.seed=2
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
