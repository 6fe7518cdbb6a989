#!/usr/bin/env bash
# Which vectors learn most from least, on the tasks of data/tasks: `polyseme compare` on each, results as JSON and pages.
# Usage: tasks.sh OUT MODEL NAME=VECTORS [NAME=VECTORS ...]      English; LANGUAGE=zh for Chinese
# MODEL and VECTORS are from the same text; each alone, and the model with the last VECTORS (elmo+glove), and bow for texts.
# TASKS="sst2 trec6" runs some of them, SEEDS=1 and SHARES="10 100" less of each, HEAD=bcn another network for texts.
# A run can be stopped and started again: a task that has its folder in OUT is left out, and of others every fit is kept.
# python benchmarks/tasks_table.py OUT --save FILE.json makes the tables.
set -euo pipefail
out=${1:?a folder to write} model=${2:?a biLM}
shift 2
data=${POLYSEME_SHARED:-$(dirname "${BASH_SOURCE[0]}")/../../shared}/data/tasks

options=(--seeds "${SEEDS:-3}" --model "$model")
for share in ${SHARES:-1 3 10 30 100}; do options+=(--share "$share"); done
features=(--features elmo)
for each in "$@"; do
  options+=(--vectors "$each")
  features+=(--features "${each%%=*}")
done
[ $# -eq 0 ] || features+=(--features "elmo+${each%%=*}")

# one KIND NAME TRAIN [options of polyseme compare]
one() {
  local kind=$1 name=$2 train=$3 own=("${features[@]}")
  shift 3
  case " ${TASKS:-$name} " in *" $name "*) ;; *) return 0 ;; esac
  [ -e "$out/$name" ] && { echo "$name: is there already"; return 0; }
  [ "$kind" = tag ] || own+=(--features bow)
  [ "$kind" != classify ] || own+=(--head "${HEAD:-attention}")
  echo "$name"
  polyseme compare "$kind" "$data/$train" -o "$out/$name" "${options[@]}" "${own[@]}" "$@" > "$out/$name.log"
}

mkdir -p "$out"
if [ "${LANGUAGE:-en}" = en ]; then
  for name in sst2 sst5; do
    one classify $name sentiment/$name/train.jsonl.xz --dev "$data/sentiment/$name/dev.jsonl.xz" \
      --test "$data/sentiment/$name/test.jsonl.xz" --tokenized
  done
  one classify trec6 topic/trec6/train.jsonl.xz --test "$data/topic/trec6/test.jsonl.xz" --tokenized
  one nli sick nli/sick/train.jsonl.xz --dev "$data/nli/sick/dev.jsonl.xz" --test "$data/nli/sick/test.jsonl.xz" --lang en
  one tag conll2000 chunking/conll2000/train.conll.xz --test "$data/chunking/conll2000/test.conll.xz"
  for name in ner/conll2003_en ner/wnut17; do
    one tag "${name#*/}" $name/train.conll.xz --dev "$data/$name/dev.conll.xz" --test "$data/$name/test.conll.xz" --repair-tags
  done
  one tag ud_english_ewt pos/ud_english_ewt/train.conllu.xz --dev "$data/pos/ud_english_ewt/dev.conllu.xz" \
    --test "$data/pos/ud_english_ewt/test.conllu.xz"
else
  one classify chnsenticorp sentiment/chnsenticorp/train.jsonl.xz --dev "$data/sentiment/chnsenticorp/dev.jsonl.xz" \
    --test "$data/sentiment/chnsenticorp/test.jsonl.xz" --lang zh
  one classify thucnews_titles topic/thucnews_titles/train.jsonl.xz --test "$data/topic/thucnews_titles/test.jsonl.xz" --lang zh
  one nli ocnli nli/ocnli/train.jsonl.xz --test "$data/nli/ocnli/dev.jsonl.xz" --lang zh
  one tag weibo_zh ner/weibo_zh/train.conll.xz --dev "$data/ner/weibo_zh/dev.conll.xz" \
    --test "$data/ner/weibo_zh/test.conll.xz" --repair-tags
fi
