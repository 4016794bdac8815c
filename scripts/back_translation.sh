#!/usr/bin/env bash
# Measures what back-translation gives on real text, by a paired test: scripts/back_translation.sh FOLDER [KEY=VALUE ...]
# FOLDER holds the files of scripts/multi30k.sh. The pairs are the first 14,500; of the others only the English is used.
# German-English is trained on these pairs alone, and on them and on the other English with German by a model of the same
# pairs. All three trainings have the same number of updates.
set -euo pipefail
folder=${1:?folder with train.en, train.de, val.en, val.de, test2016.en, test2016.de}
folder=$(cd "$folder" && pwd)
shift
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/back_translation}
python=${PYTHON:-.venv/bin/python}
mkdir -p "$runs"
runs=$(cd "$runs" && pwd)
for language in en de; do
  head -n 14500 "$folder/train.$language" > "$runs/half.$language"
done
tail -n +14501 "$folder/train.en" > "$runs/other.en"
files() { echo "{files: ['$1.$2', '$1.$3']}"; }
train() {
  local run=$1 source=$2 target=$3 corpora=$4
  shift 4
  "$python" -m transformer train configs/multi30k_en_de.yaml --run "$runs/$run" \
    "data.source=$source" "data.target=$target" "data.train=$corpora" \
    "data.valid=$(files "$folder/val" "$source" "$target")" \
    "data.test=$(files "$folder/test2016" "$source" "$target")" train.max_steps=4000 "$@"
}
train en_de en de "$(files "$runs/half" en de)" "$@"
train half de en "$(files "$runs/half" de en)" "$@"
train half_and_synthetic de en "[$(files "$runs/half" de en), \
  {back_translate: {text: '$runs/other.en', model: '$runs/en_de'}, tag: '<bt>'}]" "$@"
"$python" -m transformer compare "$runs/half" "$runs/half_and_synthetic"
