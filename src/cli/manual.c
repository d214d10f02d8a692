/* cli/manual.c - help, man page and completion, all from the option table. */
#include "cli/manual.h"

#include "cli/option_table.h"

#include <string.h>

static bool belongs(const cli_option_row *row, int command) {
    return (row->commands & (int)cli_command_table[command].command) != 0;
}

/* ---- help ---------------------------------------------------------------------------------------------------------
 */

void cli_print_overview(FILE *out) {
    fprintf(
        out,
        "likeness %s - new pictures of the same person, on any Vulkan device\n\nUsage: likeness COMMAND [OPTIONS]\n\n",
        likeness_version());
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        fprintf(out, "  %-12s %s\n", cli_command_table[i].name, cli_command_table[i].help);
    fprintf(out, "\nlikeness COMMAND --help lists a command's options. likeness --version, --man\n"
                 "(man page), --completion (for bash)\n\n"
                 "Exit codes: 0 done, 2 wrong usage, 3 bad or unsupported model or picture file,\n"
                 "4 no suitable device, 5 not enough memory, 6 device lost, 7 non-finite values,\n"
                 "8 no face found or not clear which, 9 consent is missing,\n"
                 "10 reading or writing failed, 130 interrupted.\n");
}

void cli_print_help(int index) {
    printf("likeness %s%s - %s\n\nUsage: likeness %s [OPTIONS]%s\n\n", cli_command_table[index].name,
           cli_command_table[index].positional, cli_command_table[index].help, cli_command_table[index].name,
           cli_command_table[index].positional);
    for (int i = 0; i < CLI_OPTION_COUNT; i++) {
        const cli_option_row *row = &cli_option_table[i];
        if (!belongs(row, index)) continue;
        char left[64];
        if (row->id < OPT_FIRST)
            snprintf(left, sizeof left, "-%c, --%s %s", row->id, row->name, row->argument ? row->argument : "");
        else
            snprintf(left, sizeof left, "    --%s %s", row->name, row->argument ? row->argument : "");
        if (strlen(left) > 27)
            printf("  %s\n%31s%s\n", left, "", row->help);
        else
            printf("  %-28s %s\n", left, row->help);
    }
    printf("\nExample:\n  %s\n", cli_command_table[index].example);
}

/* ---- man page -------------------------------------------------------------------------------------------------------
 */

/* Text with what groff would take for its own escaped: hyphens, backslashes, a point or quote that begins a line. */
static void man_text(const char *text) {
    for (bool line_start = true; *text; text++) {
        if (line_start && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
        line_start = *text == '\n';
        if (*text == '-')
            fputs("\\-", stdout);
        else if (*text == '\\')
            fputs("\\e", stdout);
        else
            putchar(*text);
    }
}

static void man_line(const char *text) {
    man_text(text);
    putchar('\n');
}

static void man_option(const cli_option_row *row) {
    printf(".TP\n\\fB");
    if (row->id < OPT_FIRST) printf("\\-%c\\fR, \\fB", row->id);
    printf("\\-\\-");
    man_text(row->name);
    printf("\\fR");
    if (row->argument) printf(" \\fI%s\\fR", row->argument);
    printf("\n");
    man_line(row->help);
}

void cli_print_man(void) {
    static const char *const exit_codes[][2] = {
        {"0", "done"},
        {"2", "wrong usage"},
        {"3", "bad or unsupported model or picture file"},
        {"4", "no suitable device"},
        {"5", "not enough memory"},
        {"6", "device lost"},
        {"7", "non-finite values"},
        {"8", "no face was found where one is needed, or it is not clear which; of a run in "
              "which ten iterations in a row showed none, the best picture so far was kept"},
        {"9", "the reference looks like a photograph and nobody's consent was stated"},
        {"10", "reading or writing failed"},
        {"130", "interrupted; the best picture so far was kept"}};
    static const char *const environment[][2] = {
        {"LIKENESS_MODEL", "the model folder, where --model is not given"},
        {"LIKENESS_DEVICE", "the device, where --device is not given"},
        {"LIKENESS_VALIDATION", "1 switches Vulkan's validation layer on where it is installed"},
        {"XDG_CACHE_HOME", "where pipeline caches and what doctor remembers are kept, in a folder named likeness"}};
    printf(".TH LIKENESS 1 \"\" \"likeness %s\"\n", likeness_version());
    printf(".SH NAME\nlikeness \\- new pictures of the same person, on any Vulkan device\n");
    printf(".SH SYNOPSIS\n\\fBlikeness\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n");
    printf(
        ".SH DESCRIPTION\nLikeness makes pictures of the person in a reference picture, from words, with a model that "
        "ships with it.\nPictures carry their settings and the mark that they are synthetic.\n");
    printf(".SH COMMANDS\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        const cli_command_row *command = &cli_command_table[i];
        printf(".SS \"likeness %s [OPTIONS]%s\"\n", command->name, command->positional);
        man_line(command->help);
        for (int o = 0; o < CLI_OPTION_COUNT; o++)
            if (belongs(&cli_option_table[o], i)) man_option(&cli_option_table[o]);
        printf(".PP\nExample:\n.PP\n.nf\n");
        man_line(command->example);
        printf(".fi\n");
    }
    printf(".SH ENVIRONMENT\n");
    for (size_t i = 0; i < sizeof environment / sizeof environment[0]; i++) {
        printf(".TP\n\\fB%s\\fR\n", environment[i][0]);
        man_line(environment[i][1]);
    }
    printf(".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++) {
        printf(".TP\n\\fB%s\\fR\n", exit_codes[i][0]);
        man_line(exit_codes[i][1]);
    }
}

/* ---- completion -----------------------------------------------------------------------------------------------------
 */

void cli_print_completion(void) {
    printf("# bash completion for likeness: source <(likeness --completion)\n"
           "_likeness() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} words\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        words='");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        printf("%s ", cli_command_table[i].name);
    printf("--help --version --man --completion'\n"
           "    else\n"
           "        case ${COMP_WORDS[1]} in\n");
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        printf("            %s) words='", cli_command_table[i].name);
        const char *gap = "";
        for (int o = 0; o < CLI_OPTION_COUNT; o++)
            if (belongs(&cli_option_table[o], i)) {
                printf("%s--%s", gap, cli_option_table[o].name);
                gap = " ";
            }
        printf("' ;;\n");
    }
    printf("        esac\n"
           "    fi\n"
           "    COMPREPLY=()\n"
           "    case $word in\n"
           "        -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
           "        *) [ \"$COMP_CWORD\" -eq 1 ] && COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
           "    esac\n"
           "}\n"
           "complete -o default -F _likeness likeness\n");
}
