# What the recipes for the shipped models share; sourced, not run.
#   files LANG           arrays `texts` and `held_out`: what OPEN.txt of PRETRAIN names for a language; TEXTS=all: all there is
#   card TEXT LICENCE    array `card`: what text and licence the model's card names, for TEXTS=all: not to be passed on
#   packed NAME          OUT/model as OUT/NAME, weights of eight bits, no path of this machine in its card; both sizes

files() {
  texts=() held_out=()
  local name list
  if [ "${TEXTS:-open}" = all ]; then list=$(cd "$pretrain" && ls "$1"/*); else list=$(cat "$pretrain/OPEN.txt"); fi
  while read -r name; do
    case $name in
      "$1"/*.heldout.*) held_out+=(--heldout-text "$pretrain/$name") ;;
      "$1"/*) texts+=("$pretrain/$name") ;;
    esac
  done <<< "$list"
  [ "${#texts[@]}" -gt 0 ] || { echo "$pretrain/OPEN.txt names no text under $1/" >&2; return 1; }
}

card() {
  if [ "${TEXTS:-open}" = all ]; then set -- "all text of PRETRAIN" "not to be passed on"; fi
  card=(--data "$1" --licence "$2")
}

packed() {
  polyseme convert "$out/model" "$out/$1" --weights int8 --overwrite
  sed -i -e "s#$out/#OUT/#g" -e "s/\"name\": \"model\"/\"name\": \"$1\"/" "$out/$1/config.json"
  polyseme verify "$out/$1"
  du -sh "$out/model/model.safetensors" "$out/$1"
}
