#!/usr/bin/env bash
# Measures what fine-tuning gives on real text, by a paired test: scripts/fine_tuning.sh FOLDER [KEY=VALUE ...]
# FOLDER holds the files of scripts/multi30k.sh, and tatoeba.en-de.{train,dev}.{en,de}.gz.
# A general model learns from Tatoeba and Multi30k, and is then tuned on Multi30k. Beside it, a model learns from Multi30k
# alone, as long as the other is tuned.
set -euo pipefail
folder=${1:?folder with train.en, train.de, val.en, val.de, test2016.en, test2016.de, tatoeba.en-de.train.en.gz and so on}
folder=$(cd "$folder" && pwd)
shift
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/fine_tuning}
python=${PYTHON:-.venv/bin/python}
files() { echo "{files: ['$folder/$1.en${2-}', '$folder/$1.de${2-}']}"; }
train() {
  local run=$1
  shift
  "$python" -m transformer train configs/multi30k_en_de.yaml --run "$runs/$run" model.dropout=0.2 "$@"
}
multi30k=("data.train=$(files train)" "data.valid=$(files val)" "data.test=$(files test2016)")
train general train.max_steps=6400 train.keep_last=1 train.validate_every=1600 \
  "data.train=[$(files tatoeba.en-de.train .gz), $(files train)]" "${multi30k[@]:1}" "$@"
train tuned train.max_steps=3200 train.seed=2 train.init_from="$runs/general" "${multi30k[@]}" "$@"
train alone train.max_steps=3200 train.seed=2 "${multi30k[@]}" "$@"
"$python" -m transformer compare "$runs/alone" "$runs/tuned"
