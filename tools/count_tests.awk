# tools/count_tests.awk - adds up one run of ctest for tools/test.sh.
#
#   awk -v suite=NAME -f count_tests.awk WHAT-CTEST-PRINTED Testing/Temporary/LastTest.log
#
# The first file has a verdict for every program, the second (which calls skipped programs passed) what each printed. A
# program with cmocka's summary counts as its tests, any other as one; one that failed without a failed test (crash,
# time limit, not built) counts as one failure. Prints
#
#   counts PASSED FAILED SKIPPED
#   failed: SUITE: PROGRAM[: TEST]
#   skipped: SUITE: PROGRAM: REASON        the program's own lines that begin with "skipped"

# ---- verdicts: "3/8 Test #6: io/test_image ....***Failed    0.00 sec" ----

FNR == NR {
    if ($0 ~ /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: /) {
        line = $0
        sub(/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: /, "", line)
        split(line, words, " ")
        if (line ~ /\*\*\*Skipped/) verdict[words[1]] = "skipped"
        else if (line ~ / Passed +[0-9.]+ sec/) verdict[words[1]] = "passed"
        else verdict[words[1]] = "failed"
        order[++programs] = words[1]
    }
    next
}

# ---- what the programs printed ----

/^[0-9]+\/[0-9]+ Testing: / {
    program = $3
    listing = 0
    next
}
/^<end of output>/ { program = "" }
program == "" { next }
/^\[  PASSED  \] [0-9]+ test\(s\)/ {
    ok[program] += $4
    summary[program] = 1
}
/^\[  SKIPPED \] .*[0-9]+ test\(s\)/ { # newer versions name the group first
    match($0, /[0-9]+ test\(s\)/)
    left[program] += substr($0, RSTART) + 0
    summary[program] = 1
}
/^\[  FAILED  \] .*[0-9]+ test\(s\)/ {
    match($0, /[0-9]+ test\(s\)/)
    bad[program] += substr($0, RSTART) + 0
    listing = 1
    next
}
listing && /^\[  FAILED  \] / { names[program] = names[program] sprintf("failed: %s: %s: %s\n", suite, program, $4) }
/^skipped/ && !((program, $0) in seen) {
    seen[program, $0] = 1
    reason = $0
    sub(/^skipped:? */, "", reason)
    reasons[program] = reasons[program] sprintf("skipped: %s: %s: %s\n", suite, program, reason)
}

END {
    for (i = 1; i <= programs; i++) {
        p = order[i]
        if (verdict[p] == "passed" && !summary[p]) ok[p] = 1
        if (verdict[p] == "skipped" && !left[p]) left[p] = 1
        if (verdict[p] == "failed" && !bad[p]) {
            bad[p] = 1
            names[p] = sprintf("failed: %s: %s\n", suite, p)
        }
        printf "%s%s", names[p], reasons[p]
        if (left[p] && reasons[p] == "") printf "skipped: %s: %s: it does not say why\n", suite, p
        passed += ok[p]
        failed += bad[p]
        skipped += left[p]
    }
    printf "counts %d %d %d\n", passed, failed, skipped
}
