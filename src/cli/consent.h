/* cli/consent.h - whose picture is it? Asked once for a reference, or a picture to begin from, that looks like a
 * photograph.
 *
 * --consent answers for one run. Without it the answer is looked up, else asked for where a person can answer (standard
 * input and error are a terminal), and remembered: a line "SHA-256-of-the-pixels self|granted" in the file `consent` of
 * the configuration folder. No picture, no name, no path, no date. */
#ifndef LK_CLI_CONSENT_H
#define LK_CLI_CONSENT_H

#include "cli/options.h"

/* stated: by --consent. 0 and the consent (that of an earlier call counts on), or the exit code after a message (9 when
 * there is none). */
int cli_consent(likeness_consent stated, const char *const *names, const likeness_image *images, int count,
                likeness_consent *consent);

#endif
