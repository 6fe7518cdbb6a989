#!/usr/bin/env bash
# Penn Treebank, a Transformer biLM: every sentence is read by itself. Usage: ptb-transformer.sh DATA OUT [more options]
# 76 minutes of one core of an AMD EPYC (bfloat16 in hardware) where nothing else runs; 1.4 GB of memory.
set -euo pipefail
data=${1:?the folder of ptb.train.txt} out=${2:?a folder to write}
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/language_model.sh"

polyseme prepare "$(part ptb.train.txt)" -o "$out/corpus" --tokenized --heldout-text "$(part ptb.valid.txt)" --resume
polyseme train "$out/corpus" -o "$out/model" --resume \
  --preset transformer-small --vocab-size 10002 --epochs 8 --batch-size 32 --steps 35 \
  --learning-rate 1e-3 --warm-up 700 --dropout 0.2 --dropout-output 0.2 --precision bfloat16 \
  --loss sampled --samples 2048 \
  --data "Penn Treebank, Mikolov's preparation" "$@"
results ptb-transformer "$(part ptb.valid.txt)" "$(part ptb.test.txt)"
