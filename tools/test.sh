#!/bin/sh
# tools/test.sh - builds and runs every test.
#
#   sh tools/test.sh [--all] [-y]
#
#   --all   longer: parsers are fuzzed for 60 s each instead of 5, every n-th failure instead of a sample, failures on
#           SwiftShader too
#   -y      install missing packages without asking (without a terminal nothing is asked either)
#
# What runs: the release build with warnings as errors; every test program on lavapipe, with Vulkan's validation layer
# where it is installed; those that use a device once more on SwiftShader; those that need no device under the address
# and undefined-behaviour sanitizers; the source format; the syntax of the scripts; the size of the tree. CPU drivers
# come from tools/drivers.sh, beside the build. Ends with a line
#
#   N passed, N failed, N skipped
#
# and above it why something was skipped. Exit code 0 when nothing failed. Logs: build/test-logs.
set -u
cd "$(dirname "$0")/.." || exit 1
all=no
yes=
for argument in "$@"; do
    case $argument in
        --all) all=yes ;;
        -y | --yes) yes=-y ;;
        -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "test.sh: unknown option $argument" >&2; exit 2 ;;
    esac
done
logs=build/test-logs
rm -rf "$logs"
mkdir -p "$logs" || exit 1
jobs=$(nproc 2>/dev/null || echo 2)
passed=0 failed=0 skipped=0
: >"$logs/failed.txt"
: >"$logs/skipped.txt"
begin=$(date +%s)

title() { printf '\n== %s (%d s)\n' "$*" $(($(date +%s) - begin)); }
pass() { passed=$((passed + 1)); echo "ok: $*"; }
fail() { failed=$((failed + 1)); echo "FAILED: $*" | tee -a "$logs/failed.txt"; }
skip() { skipped=$((skipped + 1)); echo "skipped: $*" | tee -a "$logs/skipped.txt"; }
finish() {
    [ -s "$logs/skipped.txt" ] && printf '\nWhat was skipped:\n' && sed 's/^skipped: /  /' "$logs/skipped.txt"
    [ -s "$logs/failed.txt" ] && printf '\nWhat failed:\n' && sed 's/^FAILED: /  /' "$logs/failed.txt"
    printf '\n%d s\n%d passed, %d failed, %d skipped\n' $(($(date +%s) - begin)) "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
    exit
}
# A step without which nothing else makes sense.
must() { # WHAT COMMAND...
    what=$1
    shift
    if "$@"; then pass "$what"; else
        fail "$what"
        finish
    fi
}

# Runs ctest in a build folder and adds up what its programs say: cmocka's own counts where a program has them, else one
# for the program.
suite() { # NAME BUILD-FOLDER CTEST-OPTIONS...
    name=$1 folder=$2
    shift 2
    rm -f "$folder/Testing/Temporary/LastTest.log"
    ctest --test-dir "$folder" --output-on-failure -j "$jobs" "$@" 2>&1 | tee "$logs/$name.verdicts"
    if ! cp "$folder/Testing/Temporary/LastTest.log" "$logs/$name.log"; then
        fail "$name: ctest ran nothing"
        return
    fi
    awk -v suite="$name" -f tools/count_tests.awk "$logs/$name.verdicts" "$logs/$name.log" >"$logs/$name.counts"
    sed -n 's/^failed: /FAILED: /p' "$logs/$name.counts" >>"$logs/failed.txt"
    sed -n 's/^skipped: /skipped: /p' "$logs/$name.counts" >>"$logs/skipped.txt"
    read -r p f s <<COUNTS
$(sed -n 's/^counts //p' "$logs/$name.counts")
COUNTS
    [ "$((p + f + s))" -gt 0 ] || fail "$name: ctest ran nothing"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# ---- packages, build, drivers ----------------------------------------------------------------------------------------

title "packages"
must "packages" sh tools/install.sh --tests $yes
title "release build"
must "configure, release" cmake --preset release -DLIKENESS_TESTS=ON
must "build, release, warnings are errors" cmake --build --preset release -j "$jobs"
title "CPU drivers"
must "CPU drivers" sh tools/drivers.sh --swiftshader
. build/drivers/env.sh

# Nothing of the user's is read or written: pipeline caches, what doctor remembers, the driver's shader cache.
XDG_CACHE_HOME=$PWD/build/test-logs/cache XDG_CONFIG_HOME=$PWD/build/test-logs/config
export XDG_CACHE_HOME XDG_CONFIG_HOME
LIKENESS_FUZZ_SECONDS=5
if [ "$all" = yes ]; then
    LIKENESS_FUZZ_SECONDS=60
    export LIKENESS_TEST_ALL=1
fi
export LIKENESS_FUZZ_SECONDS

# ---- test programs ---------------------------------------------------------------------------------------------------

title "every test on lavapipe"
export VK_DRIVER_FILES="$LIKENESS_LAVAPIPE_ICD" VK_ICD_FILENAMES="$LIKENESS_LAVAPIPE_ICD"
export LIKENESS_VALIDATION=1 LIKENESS_VALIDATION_SHOW=1
suite lavapipe build/release
if grep -q '^device: .*, validated' "$logs/lavapipe.log"; then
    if grep -n '^validation: ' "$logs/lavapipe.log" | sort -u -k 2 | head -n 5 | grep .; then
        fail "validation layer: messages (above; all in $logs/lavapipe.log)"
    else
        pass "validation layer: no message"
    fi
else
    skip "validation layer: not installed or not usable with this loader"
fi
unset LIKENESS_VALIDATION LIKENESS_VALIDATION_SHOW

title "tests that use a device on SwiftShader"
if [ -n "${LIKENESS_SWIFTSHADER_ICD:-}" ]; then
    export VK_DRIVER_FILES="$LIKENESS_SWIFTSHADER_ICD" VK_ICD_FILENAMES="$LIKENESS_SWIFTSHADER_ICD"
    # The op tests ran there already (tests/CMakeLists.txt). What happens when calls fail does not depend on the driver.
    besides='^op/test_ops$'
    [ "$all" = yes ] || besides="$besides|/test_faults$|^cli/test_input$"
    suite swiftshader build/release -L device -E "$besides"
else
    skip "SwiftShader: not to be had on this system (Debian's chromium-common has it)"
fi

title "tests without a device under the sanitizers"
# Drivers leak by themselves and are slow under the sanitizers: none is offered.
export VK_DRIVER_FILES=/dev/null VK_ICD_FILENAMES=/dev/null
if cmake --preset sanitize -DLIKENESS_TESTS=ON && cmake --build --preset sanitize -j "$jobs" --target tests_cpu; then
    pass "build, sanitizers"
    suite sanitize build/sanitize -L cpu
else
    fail "build, sanitizers"
fi

# ---- the tree --------------------------------------------------------------------------------------------------------

title "format, scripts, sizes"
# Other owners' checkouts are fine for looking.
tree() { git -c safe.directory='*' "$@"; }
if ! tree rev-parse HEAD >/dev/null 2>&1; then
    skip "format, scripts, sizes: not a git checkout, so which files are tracked is not known"
    finish
fi

formatter=
for candidate in clang-format-14 clang-format; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" --version | grep -q 'version 14\.'; then
        formatter=$candidate
        break
    fi
done
if [ -z "$formatter" ]; then
    skip "format: clang-format 14 is not installed, and other versions format differently"
elif tree ls-files -z '*.c' '*.h' ':!shaders' | xargs -0 "$formatter" --dry-run -Werror; then
    pass "format"
else
    fail "format: run $formatter -i on the files above"
fi

for script in $(tree ls-files '*.sh' .ci/run); do
    if head -n 1 "$script" | grep -q bash; then interpreter=bash; else interpreter=sh; fi
    if "$interpreter" -n "$script"; then pass "syntax of $script"; else fail "syntax of $script"; fi
done

bytes() { tree ls-tree -r -l HEAD "$@" | awk '{sum += $4} END {printf "%.0f", sum}'; }
if [ "$(bytes)" -le $((48 * 1024 * 1024)) ]; then
    pass "tracked tree: $(bytes) bytes, at most 48 MiB"
else
    fail "tracked tree: $(bytes) bytes, more than 48 MiB"
fi
if [ "$(bytes assets)" -le 40000000 ]; then
    pass "assets: $(bytes assets) bytes, at most 40 MB"
else
    fail "assets: $(bytes assets) bytes, more than 40 MB"
fi
finish
