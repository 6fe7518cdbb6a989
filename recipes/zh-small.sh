#!/usr/bin/env bash
# zh-small, the Chinese model in the box. Usage: zh-small.sh PRETRAIN OUT [more options of polyseme train]
# PRETRAIN holds OPEN.txt, whose files may go into a model that is passed on, and zh/. TEXTS=all reads everything under zh/
# instead: more text and a better model, which may not be passed on. The same command goes on where it was stopped.
# Words are those of rjieba (docs/log.md says why words, and no characters). 70 minutes of one core of an AMD EPYC beside other work, 1.2 GB.
set -euo pipefail
pretrain=${1:?the folder of OPEN.txt} out=${2:?a folder to write}
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/small_models.sh"

files zh
card "permissively licensed simplified Chinese text: law and documentation; sources in README.md" "CC BY-SA 4.0"
polyseme prepare "${texts[@]}" "${held_out[@]}" -o "$out/corpus" --lang zh --resume
${LAUNCH:-polyseme} train "$out/corpus" -o "$out/model" --resume \
  --preset tiny --cells 320 --projection 128 --vocab-size 16384 --batch-size 32 --steps 35 \
  --epochs 6 --updates 10500 --schedule constant --cool-down 2100 --learning-rate 2.5e-3 --warm-up 200 \
  --dropout 0.1 --dropout-output 0.1 --typos 0.05 --passages 2000 --precision bfloat16 \
  --loss sampled --samples 2048 --checkpoint-every 1000 --validate-every 2500 \
  "${card[@]}" "$@"
packed zh-small
