#!/usr/bin/env bash
# en-small, the English model in the box. Usage: en-small.sh PRETRAIN OUT [more options of polyseme train]
# PRETRAIN holds OPEN.txt, whose files may go into a model that is passed on, and en/. The same command goes on where it was
# stopped. On larger hardware: more --epochs, or LAUNCH="torchrun --nproc-per-node 8 -m polyseme".
set -euo pipefail
pretrain=${1:?the folder of OPEN.txt} out=${2:?a folder to write}
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/small_models.sh"

files en
polyseme prepare "${texts[@]}" "${held_out[@]}" -o "$out/corpus" --lang en --resume
${LAUNCH:-polyseme} train "$out/corpus" -o "$out/model" --resume \
  --preset tiny --cells 640 --projection 256 --vocab-size 32768 --epochs 2 --batch-size 64 --steps 35 \
  --learning-rate 3e-3 --warm-up 500 --dropout 0.05 --dropout-output 0.05 --typos 0.08 --precision bfloat16 \
  --loss sampled --samples 4096 --checkpoint-every 500 --validate-every 5000 \
  --data "public-domain, CC0, CC BY, CC BY-SA and permissively licensed English text; sources in README.md" \
  --licence "CC BY-SA 4.0" "$@"
packed en-small
