#!/usr/bin/env bash
# The network of en-small, trained on WikiText-2 alone with the words that en-small predicts: what is its text worth?
# Usage: en-small-wikitext-2.sh DATA EN_SMALL OUT [more options of polyseme train]
# DATA holds wiki.train.tokens and wiki.valid.tokens, EN_SMALL is the model. benchmarks/quality.py compares the two.
set -euo pipefail
data=${1:?the folder of wiki.train.tokens} model=${2:?the folder or name of en-small} out=${3:?a folder to write}
shift 3
source "$(dirname "${BASH_SOURCE[0]}")/language_model.sh"

# WikiText's lines are paragraphs, and "@-@" is a hyphen that was cut out of a word: en-small reads sentences, and words.
sentences() {
  local file
  file=$(part "$1")
  case $file in *.xz) xz -dc "$file" ;; *.gz) gzip -dc "$file" ;; *.zst) zstd -dc "$file" ;; *) cat "$file" ;; esac |
    sed -E -e 's/ @([-,.])@ /\1/g' -e 's/ ([.?!]) /&\n/g' -e '/^ *(=.*)?$/d'
}

mkdir -p "$out"
sentences wiki.train.tokens > "$out/train.txt"
sentences wiki.valid.tokens > "$out/valid.txt"
polyseme prepare "$out/train.txt" -o "$out/corpus" --tokenized --lang en --heldout-text "$out/valid.txt" --resume
${LAUNCH:-polyseme} train "$out/corpus" -o "$out/model" --resume --vocab "$model/vocab.txt" \
  --preset tiny --cells 640 --projection 256 --epochs 4 --batch-size 32 --steps 35 \
  --learning-rate 3e-3 --warm-up 300 --dropout 0.15 --dropout-output 0.3 --typos 0.1 --precision bfloat16 \
  --loss sampled --samples 4096 --data "WikiText-2" "$@"
