/* io/json.c - see json.h. */
#include "io/json.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* ---- memory ---- */

/* cJSON's hooks have no context and it does not tell a failed allocation from a syntax error: remember it per thread.
 */
static _Thread_local bool starved;

static void *cjson_alloc(size_t size) {
    void *memory = lk_alloc(size, 1);
    if (!memory) starved = true;
    return memory;
}

static void cjson_free(void *memory) { lk_free(memory); }

static void install_hooks(void) {
    cJSON_Hooks hooks = {cjson_alloc, cjson_free};
    cJSON_InitHooks(&hooks);
}

void lk_json_use_library_memory(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install_hooks);
}

/* ---- the set of used nodes: open addressing on the node's address ---- */

typedef struct lk_json_used {
    const cJSON **slots;
    size_t capacity, count; /* capacity is a power of two larger than the number of nodes: it never fills */
} used_set;

static size_t slot_of(const used_set *set, const cJSON *node) {
    size_t at = (size_t)(((uintptr_t)node >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (set->capacity - 1);
    while (set->slots[at] && set->slots[at] != node)
        at = (at + 1) & (set->capacity - 1);
    return at;
}

static void mark_used(lk_json *json, const cJSON *node) { json->used->slots[slot_of(json->used, node)] = node; }
static bool is_used(const lk_json *json, const cJSON *node) {
    return json->used->slots[slot_of(json->used, node)] == node;
}

/* ---- parsing ---- */

/* Counts nesting before cJSON (whose own limit is 1000 stack frames) sees the text. Strings are skipped. */
static bool too_deep(const char *text, size_t size) {
    int depth = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"') {
            for (i++; i < size && text[i] != '"'; i++)
                if (text[i] == '\\') i++;
        } else if (text[i] == '[' || text[i] == '{') {
            if (++depth > 64) return true;
        } else if (text[i] == ']' || text[i] == '}') {
            depth--;
        }
    }
    return false;
}

static size_t count_nodes(const cJSON *node) {
    size_t count = 0;
    for (; node; node = node->next)
        count += 1 + count_nodes(node->child);
    return count;
}

static int line_of(const char *text, const char *at) {
    int line = 1;
    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

/* A hash of each key, sorted: equal neighbours are compared as text. O(n log n) keeps a million tensors possible. */
typedef struct key_row {
    uint64_t hash;
    const char *key;
} key_row;

static int compare_rows(const void *a, const void *b) {
    const key_row *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static likeness_status check_duplicates(const lk_json *json, const cJSON *node, lk_error *error) {
    for (; node; node = node->next) {
        if (!node->child) continue;
        LK_TRY(check_duplicates(json, node->child, error));
        if (!cJSON_IsObject(node)) continue;
        size_t count = 0;
        for (const cJSON *child = node->child; child; child = child->next)
            count++;
        key_row *rows = lk_alloc(count, sizeof *rows);
        if (!rows) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to check '%s'", json->name);
        size_t i = 0;
        for (const cJSON *child = node->child; child; child = child->next, i++) {
            rows[i].key = child->string;
            rows[i].hash = UINT64_C(0xcbf29ce484222325);
            for (const char *c = child->string; *c; c++)
                rows[i].hash = (rows[i].hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
        }
        qsort(rows, count, sizeof *rows, compare_rows);
        for (i = 1; i < count; i++)
            if (rows[i].hash == rows[i - 1].hash && strcmp(rows[i].key, rows[i - 1].key) == 0) {
                lk_fail(error, LIKENESS_BAD_FILE, "%s: the key '%.100s' stands twice in one object", json->name,
                        rows[i].key);
                break;
            }
        lk_free(rows);
        if (error->status != LIKENESS_OK) return error->status;
    }
    return LIKENESS_OK;
}

likeness_status lk_json_parse(lk_json *json, const char *name, const char *text, size_t size, lk_error *error) {
    lk_json_use_library_memory();
    memset(json, 0, sizeof *json);
    size_t bad;
    if (size == 0) return lk_fail(error, LIKENESS_BAD_FILE, "%s: empty, expected JSON", name);
    if (!lk_utf8_valid(text, size, &bad))
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: not UTF-8 at byte %llu", name, (unsigned long long)bad);
    if (too_deep(text, size)) return lk_fail(error, LIKENESS_BAD_FILE, "%s: nested more than 64 levels deep", name);
    json->name = lk_strdup(name);
    const char *end = NULL;
    starved = false;
    if (json->name) json->root = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    if (!json->root) {
        bool out_of_memory = starved || !json->name;
        lk_json_free(json);
        if (out_of_memory) return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read '%s'", name);
        return lk_fail(error, LIKENESS_BAD_FILE, "%s: not valid JSON near line %d", name, line_of(text, end));
    }
    for (; end < text + size; end++)
        if (!strchr(" \t\r\n", *end)) {
            lk_json_free(json);
            return lk_fail(error, LIKENESS_BAD_FILE, "%s: text after the end of the JSON document, line %d", name,
                           line_of(text, end));
        }
    size_t capacity = 16, nodes = count_nodes(json->root);
    while (capacity < 2 * nodes)
        capacity *= 2;
    json->used = lk_alloc(1, sizeof *json->used);
    if (json->used) json->used->slots = lk_alloc(capacity, sizeof *json->used->slots);
    if (!json->used || !json->used->slots) {
        lk_json_free(json);
        return lk_fail(error, LIKENESS_OUT_OF_MEMORY, "no memory to read '%s'", name);
    }
    json->used->capacity = capacity;
    if (check_duplicates(json, json->root, error) != LIKENESS_OK) lk_json_free(json);
    return error->status;
}

/* Python writes "no lower bound" as -Infinity, which JSON does not know (diffusers: lambda_min_clipped): null here. */
static void spell_no_bound(char *text, size_t size) {
    static const char word[] = "-Infinity", null[] = "null     ";
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"') quoted = !quoted;
        if (quoted && text[i] == '\\') i++;
        if (!quoted && size - i >= sizeof word - 1 && memcmp(text + i, word, sizeof word - 1) == 0)
            memcpy(text + i, null, sizeof null - 1);
    }
}

likeness_status lk_json_read(lk_json *json, const char *path, size_t limit, lk_error *error) {
    uint8_t *data;
    size_t size;
    memset(json, 0, sizeof *json);
    LK_TRY(lk_file_read(path, limit, &data, &size, error));
    spell_no_bound((char *)data, size);
    lk_json_parse(json, path, (const char *)data, size, error);
    lk_free(data);
    return error->status;
}

void lk_json_free(lk_json *json) {
    if (json->root) cJSON_Delete(json->root);
    if (json->used) lk_free(json->used->slots);
    lk_free(json->used);
    lk_free(json->name);
    memset(json, 0, sizeof *json);
}

/* ---- finding, and messages with paths ---- */

bool lk_json_is_list(const lk_json_value *value) { return cJSON_IsArray(value); }
bool lk_json_is_object(const lk_json_value *value) { return cJSON_IsObject(value); }
bool lk_json_is_text(const lk_json_value *value) { return cJSON_IsString(value); }
bool lk_json_is_number(const lk_json_value *value) { return cJSON_IsNumber(value); }

const char *lk_json_kind(const lk_json_value *value) {
    if (!value) return "missing";
    if (cJSON_IsObject(value)) return "an object";
    if (cJSON_IsArray(value)) return "a list";
    if (cJSON_IsString(value)) return "a string";
    if (cJSON_IsNumber(value)) return "a number";
    if (cJSON_IsBool(value)) return "true or false";
    return "null";
}

/* Builds "a.b[2].c" for a node by walking down from the root; false when the node is not below `from`. */
static bool write_path(const cJSON *from, const cJSON *wanted, lk_text *path) {
    size_t index = 0, start = path->length;
    for (const cJSON *child = from->child; child; child = child->next, index++) {
        if (cJSON_IsArray(from))
            lk_text_addf(path, "[%zu]", index);
        else
            lk_text_addf(path, "%s%.100s", start ? "." : "", child->string);
        if (child == wanted || (child->child && write_path(child, wanted, path))) return true;
        if (path->data) path->data[path->length = start] = 0;
    }
    return false;
}

/* Fails for the value at object/key with "FILE: 'path.key' REASON". */
static likeness_status fail_at(lk_json *json, const cJSON *object, const char *key, const char *reason,
                               lk_error *error) {
    lk_text path = LK_TEXT_INIT;
    if (object && object != json->root) write_path(json->root, object, &path);
    lk_fail(error, LIKENESS_BAD_FILE, "%s: '%.200s%s%s' %s", json->name, lk_text_get(&path), path.length ? "." : "",
            key, reason);
    lk_text_free(&path);
    return error->status;
}

static likeness_status wrong_kind(lk_json *json, const cJSON *object, const char *key, const cJSON *found,
                                  const char *expected, lk_error *error) {
    char reason[160];
    snprintf(reason, sizeof reason, "is %s, expected %s", lk_json_kind(found), expected);
    return fail_at(json, object, key, reason, error);
}

static cJSON *find(lk_json *json, cJSON *object, const char *key) {
    if (!object) object = json->root;
    cJSON *node = cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
    if (node) mark_used(json, node);
    return node && !cJSON_IsNull(node) ? node : NULL;
}

lk_json_value *lk_json_find(lk_json *json, lk_json_value *object, const char *key) { return find(json, object, key); }
bool lk_json_has(lk_json *json, lk_json_value *object, const char *key) { return find(json, object, key) != NULL; }
void lk_json_ignore(lk_json *json, lk_json_value *object, const char *key) { (void)find(json, object, key); }
bool lk_json_present(lk_json *json, lk_json_value *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object ? object : json->root, key) != NULL;
}

lk_json_value *lk_json_get(lk_json *json, lk_json_value *object, const char *key, lk_error *error) {
    cJSON *node = find(json, object, key);
    if (!node) fail_at(json, object, key, "is missing", error);
    return node;
}

/* ---- scalars ---- */

static bool node_int(const cJSON *node, int64_t *value) {
    if (!cJSON_IsNumber(node) || node->valuedouble != floor(node->valuedouble) || fabs(node->valuedouble) > 0x1p53)
        return false;
    *value = (int64_t)node->valuedouble;
    return true;
}

static likeness_status range_error(lk_json *json, cJSON *object, const char *key, int64_t value, int64_t low,
                                   int64_t high, lk_error *error) {
    char reason[160];
    snprintf(reason, sizeof reason, "is %lld, expected %lld to %lld", (long long)value, (long long)low,
             (long long)high);
    return fail_at(json, object, key, reason, error);
}

likeness_status lk_json_int(lk_json *json, lk_json_value *object, const char *key, int64_t low, int64_t high,
                            int64_t *value, lk_error *error) {
    cJSON *node = lk_json_get(json, object, key, error);
    if (!node) return error->status;
    if (!node_int(node, value)) return wrong_kind(json, object, key, node, "a whole number", error);
    if (*value < low || *value > high) return range_error(json, object, key, *value, low, high, error);
    return LIKENESS_OK;
}

likeness_status lk_json_double(lk_json *json, lk_json_value *object, const char *key, double *value, lk_error *error) {
    cJSON *node = lk_json_get(json, object, key, error);
    if (!node) return error->status;
    if (!cJSON_IsNumber(node) || !isfinite(node->valuedouble))
        return wrong_kind(json, object, key, node, "a finite number", error);
    *value = node->valuedouble;
    return LIKENESS_OK;
}

likeness_status lk_json_bool(lk_json *json, lk_json_value *object, const char *key, bool *value, lk_error *error) {
    cJSON *node = lk_json_get(json, object, key, error);
    if (!node) return error->status;
    if (!cJSON_IsBool(node)) return wrong_kind(json, object, key, node, "true or false", error);
    *value = cJSON_IsTrue(node);
    return LIKENESS_OK;
}

likeness_status lk_json_text(lk_json *json, lk_json_value *object, const char *key, const char **value,
                             lk_error *error) {
    cJSON *node = lk_json_get(json, object, key, error);
    if (!node) return error->status;
    if (!cJSON_IsString(node)) return wrong_kind(json, object, key, node, "a string", error);
    *value = node->valuestring;
    return LIKENESS_OK;
}

likeness_status lk_json_int_or(lk_json *json, lk_json_value *object, const char *key, int64_t low, int64_t high,
                               int64_t otherwise, int64_t *value, lk_error *error) {
    *value = otherwise;
    return lk_json_has(json, object, key) ? lk_json_int(json, object, key, low, high, value, error) : LIKENESS_OK;
}

likeness_status lk_json_double_or(lk_json *json, lk_json_value *object, const char *key, double otherwise,
                                  double *value, lk_error *error) {
    *value = otherwise;
    return lk_json_has(json, object, key) ? lk_json_double(json, object, key, value, error) : LIKENESS_OK;
}

likeness_status lk_json_bool_or(lk_json *json, lk_json_value *object, const char *key, bool otherwise, bool *value,
                                lk_error *error) {
    *value = otherwise;
    return lk_json_has(json, object, key) ? lk_json_bool(json, object, key, value, error) : LIKENESS_OK;
}

likeness_status lk_json_text_or(lk_json *json, lk_json_value *object, const char *key, const char *otherwise,
                                const char **value, lk_error *error) {
    *value = otherwise;
    return lk_json_has(json, object, key) ? lk_json_text(json, object, key, value, error) : LIKENESS_OK;
}

/* ---- lists ---- */

static likeness_status open_list(lk_json *json, cJSON *object, const char *key, size_t capacity, cJSON **list,
                                 size_t *count, lk_error *error) {
    *count = 0;
    *list = lk_json_get(json, object, key, error);
    if (!*list) return error->status;
    if (!cJSON_IsArray(*list)) return wrong_kind(json, object, key, *list, "a list", error);
    size_t length = 0;
    for (cJSON *node = (*list)->child; node; node = node->next)
        length++;
    if (length > capacity) {
        char reason[96];
        snprintf(reason, sizeof reason, "has %zu elements, at most %zu are supported", length, capacity);
        return fail_at(json, object, key, reason, error);
    }
    *count = length;
    return LIKENESS_OK;
}

static likeness_status element_error(lk_json *json, cJSON *object, const char *key, size_t index, const cJSON *node,
                                     const char *expected, lk_error *error) {
    char element[160];
    snprintf(element, sizeof element, "%.120s[%zu]", key, index);
    return wrong_kind(json, object, element, node, expected, error);
}

likeness_status lk_json_ints(lk_json *json, lk_json_value *object, const char *key, int64_t low, int64_t high,
                             int64_t *values, size_t capacity, size_t *count, lk_error *error) {
    cJSON *list;
    LK_TRY(open_list(json, object, key, capacity, &list, count, error));
    size_t i = 0;
    for (cJSON *node = list->child; node; node = node->next, i++) {
        if (!node_int(node, &values[i])) return element_error(json, object, key, i, node, "a whole number", error);
        if (values[i] < low || values[i] > high) return range_error(json, object, key, values[i], low, high, error);
    }
    return LIKENESS_OK;
}

likeness_status lk_json_bools(lk_json *json, lk_json_value *object, const char *key, bool *values, size_t capacity,
                              size_t *count, lk_error *error) {
    cJSON *list;
    LK_TRY(open_list(json, object, key, capacity, &list, count, error));
    size_t i = 0;
    for (cJSON *node = list->child; node; node = node->next, i++) {
        if (!cJSON_IsBool(node)) return element_error(json, object, key, i, node, "true or false", error);
        values[i] = cJSON_IsTrue(node);
    }
    return LIKENESS_OK;
}

likeness_status lk_json_texts(lk_json *json, lk_json_value *object, const char *key, const char **values,
                              size_t capacity, size_t *count, lk_error *error) {
    cJSON *list;
    LK_TRY(open_list(json, object, key, capacity, &list, count, error));
    size_t i = 0;
    for (cJSON *node = list->child; node; node = node->next, i++) {
        if (!cJSON_IsString(node)) return element_error(json, object, key, i, node, "a string", error);
        values[i] = node->valuestring;
    }
    return LIKENESS_OK;
}

/* ---- keys with one supported value ---- */

static likeness_status unsupported(lk_json *json, cJSON *object, const char *key, const cJSON *node, const char *only,
                                   lk_error *error) {
    char *found = cJSON_PrintUnformatted(node);
    char reason[256];
    snprintf(reason, sizeof reason, "is %.100s, only %.100s is supported", found ? found : lk_json_kind(node), only);
    cJSON_free(found);
    fail_at(json, object, key, reason, error);
    error->status = LIKENESS_UNSUPPORTED;
    return error->status;
}

likeness_status lk_json_expect_int(lk_json *json, lk_json_value *object, const char *key, int64_t only,
                                   lk_error *error) {
    return lk_json_expect_double(json, object, key, (double)only, error);
}

likeness_status lk_json_expect_double(lk_json *json, lk_json_value *object, const char *key, double only,
                                      lk_error *error) {
    cJSON *node = find(json, object, key);
    if (!node || (cJSON_IsNumber(node) && node->valuedouble == only)) return LIKENESS_OK;
    char text[48];
    snprintf(text, sizeof text, "%.17g", only);
    return unsupported(json, object, key, node, text, error);
}

likeness_status lk_json_expect_bool(lk_json *json, lk_json_value *object, const char *key, bool only, lk_error *error) {
    cJSON *node = find(json, object, key);
    if (!node || (cJSON_IsBool(node) && cJSON_IsTrue(node) == only)) return LIKENESS_OK;
    return unsupported(json, object, key, node, only ? "true" : "false", error);
}

likeness_status lk_json_expect_text(lk_json *json, lk_json_value *object, const char *key, const char *only,
                                    lk_error *error) {
    cJSON *node = find(json, object, key);
    if (!node || (cJSON_IsString(node) && strcmp(node->valuestring, only) == 0)) return LIKENESS_OK;
    char text[112];
    snprintf(text, sizeof text, "\"%.100s\"", only);
    return unsupported(json, object, key, node, text, error);
}

likeness_status lk_json_expect_null(lk_json *json, lk_json_value *object, const char *key, lk_error *error) {
    cJSON *node = find(json, object, key);
    return node ? unsupported(json, object, key, node, "null", error) : LIKENESS_OK;
}

likeness_status lk_json_unused(lk_json *json, lk_json_value *object, lk_error *error) {
    if (!object) object = json->root;
    for (cJSON *node = object->child; node; node = node->next) {
        if (!node->string || is_used(json, node)) continue;
        fail_at(json, object, node->string, "is not known to this program, so the model cannot be run faithfully",
                error);
        error->status = LIKENESS_UNSUPPORTED;
        return error->status;
    }
    return LIKENESS_OK;
}
