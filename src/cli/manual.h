/* cli/manual.h - everything that is printed from the option table: help, man page, completion. */
#ifndef LK_CLI_MANUAL_H
#define LK_CLI_MANUAL_H

#include <stdio.h>

void cli_print_overview(FILE *out);
/* Of the command with this index in cli_command_table. */
void cli_print_help(int command);
/* The man page, for man or groff -man. */
void cli_print_man(void);
/* Commands, options and file names for bash. */
void cli_print_completion(void);

#endif
