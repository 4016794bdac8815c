#!/usr/bin/env bash
# Trains a few hundred updates on WMT text and scores newstest2014 en-fr: scripts/europarl.sh FOLDER [KEY=VALUE ...]
# FOLDER holds europarl-v7.en-fr.train.{en,fr}.gz, newstest2013.en-fr.{en,fr}.gz and newstest2014.en-fr.{en,fr}.gz.
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
  model.encoder_layers=3 model.decoder_layers=3 model.norm=pre train.batch_tokens=4096 train.max_steps=400 \
  train.warmup_steps=100 train.peak_rate=2e-3 train.rate=linear train.log_every=50 train.validate_text=false \
  train.validate_every=400 train.save_every=400 train.average_last=null "$@"
"$python" -m transformer evaluate "$run" --samples 3 decode.beam=1
