# What the recipes for PTB and WikiText-2 share; sourced, not run.
#   part NAME        the file of a part, whatever its compression
#   results NAME     evaluates the dev and the test set of DATA with OUT/model and writes recipes/results/NAME.json

part() {
  for ending in "" .xz .gz .zst; do
    [ -f "$data/$1$ending" ] && echo "$data/$1$ending" && return
  done
  echo "no $1 in $data" >&2
  return 1
}

results() {
  local name=$1 dev=$2 test=$3
  shift 3
  local here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  mkdir -p "$here/results"
  polyseme evaluate "$out/model" "$dev" --tokenized "$@" --json > "$out/dev.json"
  polyseme evaluate "$out/model" "$test" --tokenized "$@" --json > "$out/test.json"
  cp "$out/model/log.jsonl" "$here/results/$name.log.jsonl"
  cp "$out/model/curve.html" "$here/results/$name.html"
  python "$here/summary.py" "$name" "$out" > "$here/results/$name.json.new"
  mv "$here/results/$name.json.new" "$here/results/$name.json"
  cat "$here/results/$name.json"
}
