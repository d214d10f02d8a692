/* cli/run.c - words to a subcommand. */
#include "cli/commands.h"

int cli_run(int argc, char **argv) {
    cli_options options;
    int code = cli_parse(argc, argv, &options);
    if (code >= 0) return code;
    switch (options.command) {
    case CLI_GENERATE:
        return cli_generate(&options);
    case CLI_PERSONALIZE:
        return cli_personalize(&options);
    case CLI_DEVICES:
        return cli_devices(&options);
    case CLI_DOCTOR:
        return cli_doctor(&options);
    case CLI_INSPECT:
        return cli_inspect(&options);
    case CLI_COMPARE:
        return cli_compare(&options);
    }
    return 2;
}
