# tools/count_tests.awk - adds up a ctest log (Testing/Temporary/LastTest.log) for tools/test.sh.
#
# A program with cmocka's summary counts as its tests, any other as one. A program that failed without a failed test
# (crash, time limit) counts as one failure. Prints
#
#   counts PASSED FAILED SKIPPED
#   failed: SUITE: PROGRAM[: TEST]
#   skipped: SUITE: PROGRAM: REASON        the program's own lines that begin with "skipped"

function begin_program() {
    ok = bad = left = 0
    summary = 0
    reasons = names = ""
}

function end_program(result) {
    if (program == "") return
    if (!summary) {
        if (result == "skipped") left = 1
        else if (result == "passed") ok = 1
    }
    if (result == "failed" && bad == 0) {
        bad = 1
        printf "failed: %s: %s\n", suite, program
    }
    printf "%s", names
    printf "%s", reasons
    if (left > 0 && reasons == "") printf "skipped: %s: %s: it does not say why\n", suite, program
    passed += ok
    failed += bad
    skipped += left
    program = ""
}

/^[0-9]+\/[0-9]+ Testing: / {
    program = $3
    begin_program()
    next
}
/^\[  PASSED  \] [0-9]+ test\(s\)/ { ok += $4; summary = 1 }
/^\[  SKIPPED \] [0-9]+ test\(s\)/ { left += $4; summary = 1; listing = 1 }
/^\[  FAILED  \] .*: [0-9]+ test\(s\), listed below/ {
    match($0, /[0-9]+ test\(s\), listed below/)
    bad += substr($0, RSTART) + 0
    summary = 1
    in_failures = 1
    next
}
in_failures && /^\[  FAILED  \] / { names = names sprintf("failed: %s: %s: %s\n", suite, program, $4) }
/^<end of output>/ { in_failures = 0 }
/^skipped/ && !(program SUBSEP $0 in seen) {
    seen[program, $0] = 1
    reason = $0
    sub(/^skipped:? */, "", reason)
    reasons = reasons sprintf("skipped: %s: %s: %s\n", suite, program, reason)
}
/^Test Passed\.$/ { end_program("passed") }
/^Test Skipped\.$/ { end_program("skipped") }
/^Test (Failed|Timeout|Not Run|.*Exception)/ { end_program("failed") }
END { printf "counts %d %d %d\n", passed, failed, skipped }
