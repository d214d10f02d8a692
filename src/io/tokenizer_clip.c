/* io/tokenizer_clip.c - CLIP's tokenizer from its merges alone, which are built into the program. See tokenizer.h.
 *
 *   id      0 ..   255   a byte's letter: printable bytes of Latin-1 in order, then the others in order
 *         256 ..   511   the same with "</w>"
 *         512 .. 49405   one a merge, its two parts joined
 *       49406, 49407     <|startoftext|>, <|endoftext|> */
#include "io/tokenizer.h"

#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

extern const unsigned char lk_clip_merges[];
extern const size_t lk_clip_merges_size;

enum { MERGES_BYTES = 524619 }; /* of the text; third_party/README.md has its hash */

static likeness_status unpack(char **text, lk_error *error) {
    *text = lk_alloc(MERGES_BYTES + 1, 1);
    if (!*text) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for CLIP's tokenizer");
    z_stream stream = {.next_in = lk_clip_merges,
                       .avail_in = (uInt)lk_clip_merges_size,
                       .next_out = (Bytef *)*text,
                       .avail_out = MERGES_BYTES};
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for CLIP's tokenizer");
    int result = inflate(&stream, Z_FINISH);
    bool whole = result == Z_STREAM_END && stream.avail_out == 0;
    inflateEnd(&stream);
    return whole ? LIKENESS_OK : lk_fail(error, LIKENESS_INTERNAL, "the built-in merges of CLIP cannot be unpacked");
}

static void add_entry(lk_text *json, const char *token, int *id) {
    lk_text_add(json, *id ? "," : "{");
    lk_text_add_json(json, token);
    lk_text_addf(json, ":%d", (*id)++);
}

/* All bytes' letters; ending: "" or "</w>". */
static void add_bytes(lk_text *json, const char *ending, int *id) {
    for (int printable = 1; printable >= 0; printable--) {
        int32_t other = 256;
        for (int b = 0; b < 256; b++) {
            char token[16];
            bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            if (itself != (bool)printable) continue;
            size_t length = lk_utf8_encode(itself ? b : other++, token);
            snprintf(token + length, sizeof token - length, "%s", ending);
            add_entry(json, token, id);
        }
    }
}

/* What vocab.json of this tokenizer says. */
static void write_vocabulary(lk_text *json, const char *merges) {
    int id = 0;
    add_bytes(json, "", &id);
    add_bytes(json, "</w>", &id);
    for (const char *line = strchr(merges, '\n') + 1; *line; line = strchr(line, '\n') + 1) {
        char token[256];
        size_t at = 0;
        for (const char *c = line; *c != '\n' && at + 1 < sizeof token; c++)
            if (*c != ' ') token[at++] = *c;
        token[at] = 0;
        add_entry(json, token, &id);
    }
    add_entry(json, "<|startoftext|>", &id);
    add_entry(json, "<|endoftext|>", &id);
    lk_text_add(json, "}");
}

likeness_status lk_tokenizer_open_clip(lk_tokenizer *tokenizer, bool pad_with_zero, lk_error *error) {
    static const char name[] = "CLIP's built-in tokenizer";
    lk_text json = LK_TEXT_INIT;
    char *merges = NULL;
    memset(tokenizer, 0, sizeof *tokenizer);
    likeness_status status = unpack(&merges, error);
    if (status == LIKENESS_OK) write_vocabulary(&json, merges);
    if (status == LIKENESS_OK && json.failed)
        status = lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for CLIP's tokenizer");
    if (status == LIKENESS_OK)
        status = lk_tokenizer_parse(tokenizer, name, lk_text_get(&json), json.length, merges, MERGES_BYTES, error);
    if (status == LIKENESS_OK && pad_with_zero)
        tokenizer->pad = (lk_token_special){tokenizer->texts[0], strlen(tokenizer->texts[0]), 0, false};
    lk_text_free(&json);
    lk_free(merges);
    return status;
}
