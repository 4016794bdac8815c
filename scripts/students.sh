#!/usr/bin/env bash
# From a teacher to a distilled student on real text: scripts/students.sh FOLDER [KEY=VALUE ...]
# FOLDER holds the files of scripts/europarl.sh; the first 200,000 pairs are used (PAIRS). Settings are those of the student.
# TEACHER names a run to distill; without it, one is trained into runs/students/teacher, with TEACHER_SETTINGS. STUDENT is the
# preset.
set -euo pipefail
folder=${1:?folder with europarl-v7.en-fr.train.en.gz and so on}
folder=$(cd "$folder" && pwd)
shift
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/students}
python=${PYTHON:-.venv/bin/python}
student=${STUDENT:-student_6_2_256}
mkdir -p "$runs"
runs=$(cd "$runs" && pwd)
for language in en fr; do
  "$python" -c 'import gzip, itertools, sys; sys.stdout.buffer.writelines(itertools.islice(gzip.open(sys.argv[1]), int(sys.argv[2])))' \
    "$folder/europarl-v7.en-fr.train.$language.gz" "${PAIRS:-200000}" > "$runs/train.$language"
done
text=(data.source=en data.target=fr
  "data.valid={files: ['$folder/newstest2013.en-fr.en.gz', '$folder/newstest2013.en-fr.fr.gz']}"
  "data.test={files: ['$folder/newstest2014.en-fr.en.gz', '$folder/newstest2014.en-fr.fr.gz']}"
  train.validate_text=false train.select_by=loss)
teacher=${TEACHER:-$runs/teacher}
if [ ! -e "$teacher/finished" ]; then
  "$python" -m transformer train configs/wmt14_en_fr_base.yaml --run "$teacher" "${text[@]}" \
    "data.train={files: ['$runs/train.en', '$runs/train.fr']}" tokenizer.vocab_size=8000 tokenizer.sample=200000 \
    model.norm=pre train.batch_tokens=4096 train.max_steps=6000 train.warmup_steps=400 train.peak_rate=1e-3 \
    train.schedule=linear train.ema=0.998 train.validate_every=1000 train.save_every=500 train.average_last=null \
    ${TEACHER_SETTINGS:-}
fi
"$python" -m transformer train "configs/$student.yaml" --run "$runs/$student" "${text[@]}" \
  "data.train={distill: {files: ['$runs/train.en', '$runs/train.fr'], model: '$teacher', beam: 8, pick: chrf}}" \
  tokenizer.vocab_size=8000 train.batch_tokens=4096 train.max_steps=6000 train.warmup_steps=400 train.peak_rate=1e-3 \
  train.schedule=linear train.ema=0.998 train.validate_every=1000 train.save_every=500 "$@"
"$python" -m transformer compare "$teacher" "$runs/$student"
"$python" scripts/student_card.py "$teacher" "$runs/$student"
