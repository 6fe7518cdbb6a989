#!/usr/bin/env bash
# Penn Treebank, an LSTM biLM with a character CNN. Usage: ptb.sh DATA OUT [more options of polyseme train]
# 99 minutes on two cores of an AMD EPYC (bfloat16 in hardware), evaluation included; 3 GB of memory.
set -euo pipefail
data=${1:?the folder of ptb.train.txt} out=${2:?a folder to write}
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/language_model.sh"

polyseme prepare "$(part ptb.train.txt)" -o "$out/corpus" --tokenized --heldout-text "$(part ptb.valid.txt)" --resume
polyseme train "$out/corpus" -o "$out/model" --resume \
  --preset tiny --cells 640 --projection 256 --vocab-size 10002 --epochs 17 --batch-size 32 --steps 35 \
  --learning-rate 3e-3 --warm-up 200 --dropout 0.25 --dropout-output 0.4 --precision bfloat16 \
  --loss sampled --samples 2048 --data "Penn Treebank, Mikolov's preparation" "$@"
results ptb "$(part ptb.valid.txt)" "$(part ptb.test.txt)"
