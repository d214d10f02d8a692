#!/bin/sh
# tools/eval.sh - measures a model through the engine; tables on stdout (docs/results.md).
#
#   sh tools/eval.sh psnr|judge|t2i|diversity|personalize|table2|all [-m FOLDER] [--limit N] [--data FOLDER] ...
#
# Builds the program when needed. Results are appended, a line a picture, to build/eval/*.jsonl: a run that was stopped
# goes on where it ended, and one that is complete only prints its table. File names hold a hash of the weights.
# `likeness_eval --help` lists all options.
set -eu
cd "$(dirname "$0")/.."
[ -f build/release/CMakeCache.txt ] || cmake --preset release >&2
cmake --build --preset release --target likeness_eval >&2
exec build/release/tools/eval/likeness_eval "$@"
