/* io/metadata.h - the settings that a picture carries, and the mark that it is synthetic.
 *
 * The infotext is AUTOMATIC1111's, so that other programs show it:
 *     prompt, any number of lines
 *     Negative prompt: ...            (only if there is one)
 *     Steps: 4, Sampler: Euler, CFG scale: 1, Seed: 7, Size: 128x128, ...
 * It is written for people and is not exact (programs strip blanks at the ends of lines): what must be replayed byte
 * for byte goes into a JSON text of its own. Never written: date, path, user, reference picture or anything made of it.
 */
#ifndef LK_IO_METADATA_H
#define LK_IO_METADATA_H

#include "base/error.h"
#include "base/text.h"
#include "io/image.h"

#include <stdbool.h>

#define LK_TEXT_KEY_INFOTEXT "parameters"
#define LK_TEXT_KEY_XMP "XML:com.adobe.xmp"

typedef struct lk_infotext {
    char *prompt, *negative; /* never NULL after a successful parse */
    lk_image_texts settings; /* key and value, in order */
} lk_infotext;

/* Appends the infotext; `negative` may be NULL or empty. At least three settings make it recognisable to others. */
void lk_infotext_write(lk_text *out, const char *prompt, const char *negative, const lk_image_texts *settings);
/* The last line counts as settings when at least three pairs are found in it. */
likeness_status lk_infotext_parse(lk_infotext *info, const char *text, lk_error *error);
const char *lk_infotext_find(const lk_infotext *info, const char *key); /* NULL when absent */
void lk_infotext_free(lk_infotext *info);

/* An XMP packet that says "made by a trained model" (IPTC DigitalSourceType trainedAlgorithmicMedia). */
const char *lk_xmp_synthetic(void);
bool lk_xmp_is_synthetic(const char *xmp);

#endif
