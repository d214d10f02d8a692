#!/bin/sh
# tools/device_check.sh - is everything right on this machine's device? One compact report, in about two minutes.
#
#   sh tools/device_check.sh [--bundle FILE.tar.gz | --build FOLDER] [--seconds N] [--logs FOLDER] [--jobs N]
#
#   --bundle   programs made by tools/bundle.sh on another machine; else those of a build folder (build/release)
#   --seconds  stop starting things after N seconds (default 150)
#   --logs     everything that ran in full, and the pictures (default: a temporary folder)
#   --jobs     test programs at a time (default: half of the processors, 8 at most)
#
# Runs in the root of a checkout: devices; doctor twice (the second time with the pipeline cache of the first); the
# model that ships, if it is there; every test program that uses a device; speed. The default device is checked, or the
# one that LIKENESS_DEVICE names. The report stays below 12,000 characters. Exit code 0 when nothing failed.
set -u
cd "$(dirname "$0")/.." || exit 2
bundle='' build=build/release seconds=150 logs='' jobs=''
while [ $# -gt 0 ]; do
    case $1 in
        --bundle) bundle=$2; shift ;;
        --build) build=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --logs) logs=$2; shift ;;
        --jobs) jobs=$2; shift ;;
        -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "device_check.sh: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
[ -n "$logs" ] || logs=$work/logs
mkdir -p "$logs" || exit 2
cores=$(nproc 2>/dev/null || echo 2)
[ -n "$jobs" ] || jobs=$((cores / 2 > 8 ? 8 : cores / 2))
[ "$jobs" -gt 0 ] || jobs=1
begin=$(date +%s)
left() { echo $((begin + seconds - $(date +%s))); }

# ---- programs, libraries, driver ---------------------------------------------------------------------------------------

system_has() { (ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null) | grep -q "^[[:space:]]*$1 "; }
if [ -n "$bundle" ]; then
    tar -C "$work" -xzf "$bundle" || exit 2
    bin=$work/likeness-bundle/bin tests=$work/likeness-bundle/bin
    for library in "$work"/likeness-bundle/spare/*; do
        system_has "$(basename "$library")" || cp "$library" "$work/likeness-bundle/lib/"
    done
    LD_LIBRARY_PATH=$work/likeness-bundle/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
else
    bin=$build tests=$build/tests
fi
likeness=$bin/likeness
[ -x "$likeness" ] || { echo "device_check.sh: $likeness is missing: build first, or name a bundle" >&2; exit 2; }
# Nothing of the user's is read or written, and nothing is known beforehand.
XDG_CACHE_HOME=$work/cache XDG_CONFIG_HOME=$work/config
export XDG_CACHE_HOME XDG_CONFIG_HOME
mkdir -p "$XDG_CACHE_HOME"
# A driver outside the loader's usual folders (containers), where nothing but a CPU driver is found in them.
if [ -z "${VK_DRIVER_FILES:-}" ] && ! "$likeness" devices 2>/dev/null | grep -q 'GPU$'; then
    for found in /usr/local/*/share/vulkan/icd.d/*.json /opt/*/share/vulkan/icd.d/*.json; do
        [ -f "$found" ] && export VK_DRIVER_FILES="$found" VK_ICD_FILENAMES="$found"
    done
fi

passed=0 failed=0 skipped=0
now() { date +%s%N 2>/dev/null | cut -c 1-13; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.1f", (b - a) / 1000}'; }

# Runs a step under the time that is left; says ok, skipped, FAILED or out of time, with the last lines of a failure.
step() { # NAME MOST-SECONDS COMMAND...
    name=$1 most=$2
    shift 2
    remaining=$(left)
    if [ "$remaining" -lt 3 ]; then
        skipped=$((skipped + 1))
        echo "skipped: $name: no time left"
        return 1
    fi
    [ "$most" -lt "$remaining" ] || most=$remaining
    start=$(now)
    timeout -k 5 "$most" "$@" >"$logs/$name.log" 2>&1
    code=$?
    case $code in
        0) passed=$((passed + 1)); echo "ok       $name ($(since "$start") s)" ;;
        77) skipped=$((skipped + 1)); echo "skipped  $name: $(grep -m 1 skipped "$logs/$name.log" | cut -c 1-160)" ;;
        124 | 137) failed=$((failed + 1)); echo "FAILED   $name: out of time after $most s" ;;
        *) failed=$((failed + 1)); echo "FAILED   $name (code $code, $(since "$start") s)"; tail -n 6 "$logs/$name.log" | cut -c 1-200 ;;
    esac
    return $code
}
show() { cut -c 1-160 "$1" | head -n "$2"; } # FILE LINES

# ---- the device --------------------------------------------------------------------------------------------------------

report() {
echo "== device ($(uname -m), $cores processors)"
step devices 60 "$likeness" devices
show "$logs/devices.log" 24
echo "== doctor"
for run in cold warm; do
    step doctor-$run $((seconds / 3)) "$likeness" doctor || [ $run = warm ] || break
    [ $run = cold ] || break
    awk '/ (replaced|FAILED)$/' "$logs/doctor-cold.log" | head -n 12
    echo "largest errors, slowest cases:"
    grep -E ' ms  ' "$logs/doctor-cold.log" | awk '{print $(NF-3), $0}' | sort -g -r | head -n 3 | cut -d ' ' -f 2-
    grep -E ' ms  ' "$logs/doctor-cold.log" | awk '{print $(NF-2), $0}' | sort -g -r | head -n 3 | cut -d ' ' -f 2-
done
grep -h -E '^(doctor:|checked:)' "$logs"/doctor-*.log | cut -c 1-400 | sort -u
echo "pipeline cache: $(find "$XDG_CACHE_HOME"/likeness -name 'pipelines-*' -exec wc -c {} + 2>/dev/null | awk '{print $1; exit}') bytes"

# ---- the model -----------------------------------------------------------------------------------------------------------

echo "== model"
if [ -d assets/cameo/unet ]; then
    words="micah portrait of a person, smile expression, red background"
    reference=assets/samples/micah.png
    step generate 40 "$likeness" generate --prompt "$words" --seed 7 -o "$logs/generate.png" --report "$logs/generate.json"
    step personalize 60 "$likeness" personalize --reference $reference --prompt "$words" --seed 7 \
        -o "$logs/portrait.png" --report "$logs/personalize.json"
    tail -n 4 "$logs/personalize.log" | cut -c 1-200
    start=$(now)
    if step again 60 "$likeness" personalize --reference $reference --prompt "$words" --seed 7 -o "$logs/again.png"; then
        if cmp -s "$logs/portrait.png" "$logs/again.png"; then
            echo "same seed, same bytes"
        else
            failed=$((failed + 1))
            echo "FAILED   the same seed made other bytes"
        fi
    fi
else
    skipped=$((skipped + 1))
    echo "skipped: assets/cameo has no model yet"
fi

# ---- speed ---------------------------------------------------------------------------------------------------------------

echo "== speed"
step perf 25 "$tests/op_test_ops" perf && show "$logs/perf.log" 30
# ---- the test programs -----------------------------------------------------------------------------------------------------

echo "== tests, $jobs at a time"
one_test() { # PROGRAM [ARGUMENT]
    remaining=$(left)
    [ "$remaining" -gt 3 ] || { echo "late"; return; }
    timeout -k 5 "$remaining" "$tests/$1" ${2:+"$2"} >"$logs/$1${2:+-$2}.log" 2>&1
    echo $?
}
# The long and telling ones first; failing every single call (*_faults) opens the device hundreds of times: not here.
list="op_test_ops models_test_networks api_test_doctor api_test_pictures op_test_heavy op_test_math"
for path in "$tests"/gpu_test_* "$tests"/graph_test_* "$tests"/models_test_* "$tests"/api_test_* "$tests"/personalize_test_*; do
    name=$(basename "$path")
    case " $list $name " in *_faults\ * | *null_device\ * | *" $name "*" $name "*) continue ;; esac
    [ -x "$path" ] && [ -f "$path" ] && list="$list $name"
done
started=0
for entry in $list; do
    while [ $((started - $(find "$work" -name 'result-*' | wc -l))) -ge "$jobs" ]; do sleep 0.2; done
    (
        start=$(now)
        code=$(one_test "${entry%%:*}" "$(printf '%s' "$entry" | sed -n 's/^[^:]*://p')")
        echo "$entry $code $(since "$start")" >"$work/part-$entry" && mv "$work/part-$entry" "$work/result-$entry"
    ) &
    started=$((started + 1))
done
wait
for entry in $list; do
    log=$logs/$(echo "$entry" | tr : -).log
    read -r name code time <"$work/result-$entry" || continue
    case $code in
        0) passed=$((passed + 1)); good="${good:-} $name($time)" ;;
        77) skipped=$((skipped + 1)); echo "skipped  $name: $(grep -m 1 -i skipped "$log" | cut -c 1-120)" ;;
        late) skipped=$((skipped + 1)); echo "skipped  $name: no time left" ;;
        124 | 137) skipped=$((skipped + 1)); echo "cut off  $name: no time left after $time s: $(tail -n 1 "$log" | cut -c 1-160)" ;;
        *)
            failed=$((failed + 1))
            echo "FAILED   $name (code $code, $time s)"
            grep -E '^(FAILED|output |\[  ERROR|\[   LINE|ERROR|validation|likeness:)|leaked' "$log" | head -n 8 | cut -c 1-220
            ;;
    esac
done
echo "ok      ${good:- none}" | fold -s -w 160
grep -h -E "^check" "$logs"/op_test_ops*.log | cut -c 1-160

if [ -n "$bundle" ] && [ -f "$work/likeness-bundle/layer/VkLayer_khronos_validation.json" ]; then
    echo "== with the validation layer"
    export LIKENESS_VALIDATION=1 VK_LAYER_PATH="$work/likeness-bundle/layer"
    step validated-stream 30 "$tests/gpu_test_stream"
    step validated-doctor 40 "$tests/api_test_doctor"
    grep -h -E '^validation' "$logs"/validated-*.log 2>/dev/null | sort -u | head -n 4 | cut -c 1-400
fi
echo "$passed passed, $failed failed, $skipped skipped, $(($(date +%s) - begin)) s"
echo "$failed" >"$work/failed"
}

# At most 11,500 characters, and the last line whatever came before.
report 2>&1 | tee "$logs/report.txt" |
    {
        used=0
        while IFS= read -r line; do
            used=$((used + ${#line} + 1))
            [ $used -ge 11500 ] || printf '%s\n' "$line"
            last=$line
        done
        [ $used -lt 11500 ] || printf '... (all in report.txt)\n%s\n' "$last"
    }
[ "$(cat "$work/failed" 2>/dev/null)" = 0 ]
