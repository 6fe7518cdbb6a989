#!/usr/bin/env bash
# WikiText-2, an LSTM biLM with a character CNN. Usage: wikitext-2.sh DATA OUT [more options of polyseme train]
# 161 minutes of one core of an AMD EPYC (bfloat16 in hardware), beside other work, evaluation included; 1.4 GB.
set -euo pipefail
data=${1:?the folder of wiki.train.tokens} out=${2:?a folder to write}
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/language_model.sh"

# The field counts the end of every line, of the empty ones too: 245,569 targets in the test set.
polyseme prepare "$(part wiki.train.tokens)" -o "$out/corpus" --tokenized --empty-lines keep \
  --heldout-text "$(part wiki.valid.tokens)" --resume
polyseme train "$out/corpus" -o "$out/model" --resume \
  --preset tiny --cells 640 --projection 256 --vocab-size 33280 --epochs 6 --batch-size 32 --steps 35 \
  --learning-rate 3e-3 --warm-up 300 --dropout 0.15 --dropout-output 0.3 --precision bfloat16 \
  --loss sampled --samples 4096 --data "WikiText-2" "$@"
results wikitext-2 "$(part wiki.valid.tokens)" "$(part wiki.test.tokens)" --empty-lines keep
