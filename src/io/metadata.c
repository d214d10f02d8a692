/* io/metadata.c - see metadata.h. */
#include "io/metadata.h"

#include "base/memory.h"
#include "io/json.h"

#include <cjson/cJSON.h>
#include <string.h>

#define SOURCE_TYPE "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

const char *lk_xmp_synthetic(void) {
    return "<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"
           "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n"
           " <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n"
           "  <rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\"\n"
           "   Iptc4xmpExt:DigitalSourceType=\"" SOURCE_TYPE "\"/>\n"
           " </rdf:RDF>\n"
           "</x:xmpmeta>\n"
           "<?xpacket end=\"r\"?>";
}

bool lk_xmp_is_synthetic(const char *xmp) { return strstr(xmp, SOURCE_TYPE) != NULL; }

/* ---- writing ---- */

static bool needs_quotes(const char *value) {
    size_t length = strlen(value);
    return length && (strpbrk(value, ",:\n\r") || value[0] == '"' || value[0] == ' ' || value[length - 1] == ' ');
}

void lk_infotext_write(lk_text *out, const char *prompt, const char *negative, const lk_image_texts *settings) {
    lk_text_add(out, prompt);
    if (negative && negative[0]) {
        lk_text_add(out, "\nNegative prompt: ");
        lk_text_add(out, negative);
    }
    for (size_t i = 0; i < settings->count; i++) {
        const char *value = settings->items[i].value;
        lk_text_addf(out, "%s%s: ", i ? ", " : "\n", settings->items[i].key);
        if (needs_quotes(value))
            lk_text_add_json(out, value);
        else
            lk_text_add(out, value);
    }
}

/* ---- reading ---- */

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

/* One "Key: value" at *at; moves *at behind the comma. False where no pair begins. Lengths are of the raw spelling. */
static bool next_pair(const char **at, const char *end, const char **key, size_t *key_length, const char **value,
                      size_t *value_length) {
    const char *p = *at;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    const char *start = p;
    while (p < end && (is_word(*p) || (p > start && strchr(" -/", *p))))
        p++;
    if (p - start < 2 || p == end || *p != ':') return false;
    *key = start;
    *key_length = (size_t)(p - start);
    p++;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    *value = p;
    if (p < end && *p == '"') {
        const char *q = p + 1;
        while (q < end && *q != '"')
            q += *q == '\\' && q + 1 < end ? 2 : 1;
        const char *after = q < end ? q + 1 : end;
        while (after < end && *after == ' ')
            after++;
        if (q < end && (after == end || *after == ',')) {
            *value_length = (size_t)(q + 1 - p);
            *at = after < end ? after + 1 : end;
            return true;
        }
    }
    while (p < end && *p != ',')
        p++;
    *at = p < end ? p + 1 : end;
    while (p > *value && p[-1] == ' ')
        p--;
    *value_length = (size_t)(p - *value);
    return true;
}

static likeness_status out_of_memory(lk_error *error) {
    return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory for the picture's settings");
}

static likeness_status add_pair(lk_image_texts *settings, const char *key, size_t key_length, const char *value,
                                size_t value_length, lk_error *error) {
    lk_text key_text = LK_TEXT_INIT, value_text = LK_TEXT_INIT;
    lk_text_append(&key_text, key, key_length);
    lk_json quoted = {0};
    lk_error ignored = LK_ERROR_INIT;
    if (value_length && value[0] == '"') lk_json_parse(&quoted, "setting", value, value_length, &ignored);
    if (ignored.status == LIKENESS_OUT_OF_MEMORY)
        out_of_memory(error);
    else if (lk_json_is_text(quoted.root))
        lk_text_add(&value_text, cJSON_GetStringValue(quoted.root));
    else
        lk_text_append(&value_text, value, value_length);
    lk_json_free(&quoted);
    if (key_text.failed || value_text.failed)
        out_of_memory(error);
    else if (error->status == LIKENESS_OK)
        lk_image_texts_add(settings, lk_text_get(&key_text), lk_text_get(&value_text), error);
    lk_text_free(&key_text);
    lk_text_free(&value_text);
    return error->status;
}

static likeness_status parse_settings(lk_infotext *info, const char *line, const char *end, bool *found,
                                      lk_error *error) {
    const char *at = line, *key, *value;
    size_t key_length, value_length, pairs = 0;
    while (next_pair(&at, end, &key, &key_length, &value, &value_length))
        pairs++;
    *found = pairs >= 3;
    for (at = line; *found && next_pair(&at, end, &key, &key_length, &value, &value_length);)
        LK_TRY(add_pair(&info->settings, key, key_length, value, value_length, error));
    return LIKENESS_OK;
}

static char *copy(const char *from, const char *to) {
    size_t length = to > from ? (size_t)(to - from) : 0;
    char *text = lk_alloc(length + 1, 1);
    if (text && length) memcpy(text, from, length);
    return text;
}

likeness_status lk_infotext_parse(lk_infotext *info, const char *text, lk_error *error) {
    static const char mark[] = "Negative prompt:";
    memset(info, 0, sizeof *info);
    const char *end = text + strlen(text);
    while (end > text && (end[-1] == '\n' || end[-1] == ' '))
        end--;
    const char *last = end;
    while (last > text && last[-1] != '\n')
        last--;
    bool found;
    if (parse_settings(info, last, end, &found, error) == LIKENESS_OK) {
        if (found) end = last > text ? last - 1 : text;
        const char *negative = end, *prompt_end = end;
        for (const char *line = text; line < end; line++)
            if ((line == text || line[-1] == '\n') && (size_t)(end - line) >= sizeof mark - 1 &&
                memcmp(line, mark, sizeof mark - 1) == 0) {
                prompt_end = line > text ? line - 1 : text;
                negative = line + sizeof mark - 1;
                while (negative < end && *negative == ' ')
                    negative++;
                break;
            }
        info->prompt = copy(text, prompt_end);
        info->negative = copy(negative, end);
        if (!info->prompt || !info->negative) out_of_memory(error);
    }
    if (error->status != LIKENESS_OK) lk_infotext_free(info);
    return error->status;
}

const char *lk_infotext_find(const lk_infotext *info, const char *key) {
    return lk_image_texts_find(&info->settings, key);
}

void lk_infotext_free(lk_infotext *info) {
    lk_free(info->prompt);
    lk_free(info->negative);
    lk_image_texts_free(&info->settings);
    memset(info, 0, sizeof *info);
}
