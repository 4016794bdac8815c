#!/usr/bin/env bash
# Reproduces the Europarl results of docs/results.md: scripts/europarl.sh FOLDER [KEY=VALUE ...]
# FOLDER holds europarl-v7.en-fr.train.{en,fr}.gz, newstest2013.en-fr.{en,fr}.gz and newstest2014.en-fr.{en,fr}.gz.
# The update count fits an hour of two cores; train.max_steps=250 takes minutes and only shows that all parts work.
set -euo pipefail
folder=${1:?folder with europarl-v7.en-fr.train.en.gz and so on}
folder=$(cd "$folder" && pwd)
shift
cd "$(dirname "$0")/.."
run=${RUN:-runs/europarl_en_fr}
python=${PYTHON:-.venv/bin/python}
files() { echo "{files: ['$folder/$1.en.gz', '$folder/$1.fr.gz']}"; }
"$python" -m transformer train configs/wmt14_en_fr_base.yaml --run "$run" \
  "data.train=$(files europarl-v7.en-fr.train)" "data.valid=$(files newstest2013.en-fr)" \
  "data.test=$(files newstest2014.en-fr)" \
  tokenizer.vocab_size=8000 tokenizer.sample=200000 model.width=256 model.heads=4 model.feed_forward=1024 \
  model.encoder_layers=3 model.decoder_layers=3 model.norm=pre model.dropout=0 train.batch_tokens=4096 \
  train.max_steps=3500 train.warmup_steps=400 train.peak_rate=2e-3 train.schedule=linear train.ema=0.998 \
  train.log_every=50 train.validate_text=false train.validate_every=1000 train.save_every=500 train.keep_last=8 \
  train.select_by=loss train.average_last=null "$@"
"$python" -m transformer evaluate "$run" --samples 3
