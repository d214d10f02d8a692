/* tests/cli/test_manual.c - man page and bash completion say what the help says, and other programs can read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "cli/option_table.h"

static char text[65536];

/* Runs a shell line in which %s is the program; its output goes to text. */
static int run(const char *format, const char *tail) {
    char command[4096];
    snprintf(command, sizeof command, format, LIKENESS_BINARY, tail);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    text[fread(text, 1, sizeof text - 1, pipe)] = 0;
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The man page without groff's escapes, so that words can be looked for. */
static void without_escapes(void) {
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (in[0] != '\\')
            *out++ = *in;
        else if (in[1] == 'f' && in[2])
            in += 2;
    }
    *out = 0;
}

static void man_page_has_everything(void **state) {
    (void)state;
    assert_int_equal(run("'%s' --man", ""), 0);
    assert_memory_equal(text, ".TH LIKENESS 1", 14);
    without_escapes();
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        char section[128];
        snprintf(section, sizeof section, ".SS \"likeness %s ", cli_command_table[i].name);
        const char *begin = strstr(text, section);
        assert_non_null(begin);
        const char *end = strstr(begin + 1, "\n.S");
        assert_non_null(end);
        for (int o = 0; o < CLI_OPTION_COUNT; o++) {
            const cli_option_row *row = &cli_option_table[o];
            char option[64];
            snprintf(option, sizeof option, "--%s%s%s\n", row->name, row->argument ? " " : "",
                     row->argument ? row->argument : "");
            const char *at = strstr(begin, option);
            bool there = at && at < end;
            if (there != ((row->commands & (int)cli_command_table[i].command) != 0))
                fail_msg("%s: --%s", cli_command_table[i].name, row->name);
        }
    }
    assert_non_null(strstr(text, ".SH EXIT STATUS"));
    /* Nothing that groff would take for a request but the few that are used. */
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line == '.')
            assert_true(!strncmp(line, ".TH", 3) || !strncmp(line, ".SH", 3) || !strncmp(line, ".SS", 3) ||
                        !strncmp(line, ".TP", 3) || !strncmp(line, ".PP", 3) || !strncmp(line, ".nf", 3) ||
                        !strncmp(line, ".fi", 3));
    }
}

static void completion_completes(void **state) {
    (void)state;
    if (system("bash -c true") != 0) {
        print_message("skipped: no bash here\n");
        skip();
    }
    static const struct {
        const char *words, *reply;
    } cases[] = {
        {"likeness pers", "personalize\n"},
        {"likeness --ver", "--version\n"},
        {"likeness personalize --ref", "--reference\n--reference-box\n"},
        {"likeness personalize --until 0.5 --prev", "--preview\n--preview-interval\n"},
        {"likeness devices --ref", ""}, /* not an option of devices */
        {"likeness inspect por", ""},   /* file names are left to bash */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char tail[512];
        snprintf(tail, sizeof tail,
                 "COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _likeness; "
                 "for word in \"${COMPREPLY[@]}\"; do echo \"$word\"; done",
                 cases[i].words);
        assert_int_equal(run("bash -c 'source <(\"%s\" --completion) || exit 1; %s'", tail), 0);
        assert_string_equal(text, cases[i].reply);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(man_page_has_everything),
        cmocka_unit_test(completion_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
