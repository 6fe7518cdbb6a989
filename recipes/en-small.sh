#!/usr/bin/env bash
# en-small, the English model in the box. Usage: en-small.sh PRETRAIN OUT [more options of polyseme train]
# PRETRAIN holds OPEN.txt, whose files may go into a model that is passed on, and en/. The same command goes on where it was
# stopped. The rate is constant until the cool-down, so on larger hardware only the run gets longer: --updates 130000
# --cool-down 26000 --epochs 4 reads four times as much; LAUNCH="torchrun --nproc-per-node 8 -m polyseme".
# About 2,000 words a second on one core of an AMD EPYC (bfloat16 in hardware), 1.5 GB.
set -euo pipefail
pretrain=${1:?the folder of OPEN.txt} out=${2:?a folder to write}
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/small_models.sh"

files en
card "public-domain, CC0, CC BY, CC BY-SA and permissively licensed English text; sources in README.md" "CC BY-SA 4.0"
polyseme prepare "${texts[@]}" "${held_out[@]}" -o "$out/corpus" --lang en --resume
${LAUNCH:-polyseme} train "$out/corpus" -o "$out/model" --resume \
  --preset tiny --cells 640 --projection 256 --vocab-size 32768 --batch-size 64 --steps 35 \
  --epochs 1 --updates 30000 --schedule constant --cool-down 6000 --learning-rate 2e-3 --warm-up 500 \
  --dropout 0.05 --dropout-output 0.05 --typos 0.1 --passages 2000 --precision bfloat16 \
  --loss sampled --samples 4096 --checkpoint-every 500 --validate-every 4000 \
  "${card[@]}" "$@"
packed en-small
