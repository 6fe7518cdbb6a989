#!/usr/bin/env bash
# Tasks that are ready to use, on the models in the package. Usage: ready.sh TASKS OUT [NAME ...]     (all by default)
# TASKS holds pos/, ner/, sentiment/ and topic/. en-pos and en-entities ship with Polyseme: their data may be passed on.
# The others are for you alone: nobody says that SST, ChnSentiCorp, THUCNews or CoNLL-2003 may be passed on in a model.
# A task that has its folder in OUT is left out.
set -euo pipefail
tasks=${1:?the folder of pos/, ner/, sentiment/ and topic/} out=${2:?a folder to write}
shift 2
wanted=" ${*:-en-pos en-entities en-news-entities en-sentiment zh-sentiment zh-topic} "
mkdir -p "$out"

# one NAME KIND TRAIN [options of polyseme task fit]
one() {
  local name=$1 kind=$2 train=$3
  shift 3
  case $wanted in *" $name "*) ;; *) return 0 ;; esac
  [ -e "$out/$name" ] && { echo "$name: is there already"; return 0; }
  (cd "$tasks" && polyseme task fit "$kind" "$train" -o "$out/$name" --half --seeds 1 "$@")
}

out=$(cd "$out" && pwd)
one en-pos tag pos/ud_english_ewt/train.conllu.xz --dev pos/ud_english_ewt/dev.conllu.xz \
  --test pos/ud_english_ewt/test.conllu.xz \
  --data "Universal Dependencies, English Web Treebank (UPOS)" --licence "CC BY-SA 4.0"
one en-entities tag ner/wnut17/train.conll.xz --dev ner/wnut17/dev.conll.xz --test ner/wnut17/test.conll.xz \
  --repair-tags --data "WNUT 2017, emerging entities in posts of users" --licence "CC BY-SA 4.0 (data CC BY 4.0)"
one en-news-entities tag ner/conll2003_en/train.conll.xz --dev ner/conll2003_en/dev.conll.xz \
  --test ner/conll2003_en/test.conll.xz --repair-tags --data "CoNLL-2003, news" --licence "not to be passed on"

# The five classes of SST as three: 0 and 1, 2, 3 and 4.
three() {
  xz -dc "$tasks/sentiment/sst5/$1.jsonl.xz" |
    sed -E -e 's/"label": "[01]"/"label": "negative"/' -e 's/"label": "2"/"label": "neutral"/' \
      -e 's/"label": "[34]"/"label": "positive"/' > "$out/sst3.$1.jsonl"
}
case $wanted in *" en-sentiment "*) three train; three dev; three test ;; esac
one en-sentiment classify "$out/sst3.train.jsonl" --dev "$out/sst3.dev.jsonl" --test "$out/sst3.test.jsonl" --tokenized \
  --data "Stanford Sentiment Treebank, three classes" --licence "not to be passed on"
one zh-sentiment classify sentiment/chnsenticorp/train.jsonl.xz --dev sentiment/chnsenticorp/dev.jsonl.xz \
  --test sentiment/chnsenticorp/test.jsonl.xz --lang zh --data "ChnSentiCorp" --licence "not to be passed on"
one zh-topic classify topic/thucnews_titles/train.jsonl.xz --test topic/thucnews_titles/test.jsonl.xz --lang zh \
  --data "THUCNews, titles" --licence "not to be passed on"
