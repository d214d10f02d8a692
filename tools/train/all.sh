#!/bin/sh
# all.sh: trains what is left of Cameo and exports it.
#
#   all.sh [--budget HOURS] [--data DIR] [--work DIR] [--out DIR] [--init-from CAMEO] [--smoke] [--python PROGRAM]
#
#   tokenizer -> autoencoder -> classifier -> encoder, judge -> teacher -> student -> export -> evaluation
#
# Every stage keeps its state in the work folder and counts the time it has used, so that a second call goes on where
# the first was stopped, at any moment, and a call after all is done only exports and measures.  --init-from takes
# committed weights as the starting point of a stage whose state was lost.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
budget=2.2 data=../shared/data work=build/train out=build/cameo init='' smoke='' python=python3
while [ $# -gt 0 ]; do
    case $1 in
        --budget) budget=$2; shift 2 ;;
        --data) data=$2; shift 2 ;;
        --work) work=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        --init-from) init="--init-from $2"; shift 2 ;;
        --python) python=$2; shift 2 ;;
        --smoke) smoke=--smoke; shift ;;
        *) echo "all.sh: unknown argument $1" >&2; exit 2 ;;
    esac
done
share() { awk -v b="$budget" -v s="$1" 'BEGIN { printf "%.2f", 60 * b * s }'; }
stage() {                                     # script, share of the budget, further arguments
    script=$1 part=$2
    shift 2
    echo "== $script $*"
    nice -n 10 "$python" "$here/$script" --data "$data" --work "$work" --minutes "$(share "$part")" $smoke "$@"
}
mkdir -p "$work"
stage tokenizer.py 0
stage autoencoder.py 0.30 $init
stage autoencoder.py 0.08 --decoder-only
stage classifier.py 0.03
stage encoders.py 0.05 --which encoder
stage encoders.py 0.04 --which judge
stage flow.py 0.38 $init
stage distill.py 0.06 --paths-minutes "$(share 0.06)"
stage export.py 0 --out "$out"
stage eval_torch.py 0 --model "$out" --psnr --classifier "$work/attributes.onnx" --sheet "$work/sheet.png"
