/* graph/ranges.c - see ranges.h. */
#include "graph/ranges.h"

#include "base/memory.h"

struct lk_range_node {
    int32_t left, right, block;
    uint32_t priority; /* a heap by this, larger ones above */
    uint64_t offset, bytes, largest;
};

static uint64_t largest_of(const lk_ranges *r, int32_t at) { return at ? r->nodes[at].largest : 0; }

static void update(lk_ranges *r, int32_t at) {
    lk_range_node *node = &r->nodes[at];
    uint64_t left = largest_of(r, node->left), right = largest_of(r, node->right);
    node->largest = node->bytes > left ? node->bytes : left;
    if (right > node->largest) node->largest = right;
}

static bool before(const lk_range_node *node, int32_t block, uint64_t offset) {
    return node->block < block || (node->block == block && node->offset < offset);
}

/* Everything in `left` lies before everything in `right`. */
static int32_t merge(lk_ranges *r, int32_t left, int32_t right) {
    if (!left || !right) return left ? left : right;
    int32_t top;
    if (r->nodes[left].priority >= r->nodes[right].priority) {
        r->nodes[left].right = merge(r, r->nodes[left].right, right);
        top = left;
    } else {
        r->nodes[right].left = merge(r, left, r->nodes[right].left);
        top = right;
    }
    update(r, top);
    return top;
}

/* Into what lies before the position and what does not. */
static void split(lk_ranges *r, int32_t at, int32_t block, uint64_t offset, int32_t *left, int32_t *right) {
    if (!at) {
        *left = *right = 0;
        return;
    }
    int32_t inner;
    if (before(&r->nodes[at], block, offset)) {
        split(r, r->nodes[at].right, block, offset, &inner, right);
        r->nodes[at].right = inner;
        *left = at;
    } else {
        split(r, r->nodes[at].left, block, offset, left, &inner);
        r->nodes[at].left = inner;
        *right = at;
    }
    update(r, at);
}

static void discard(lk_ranges *r, int32_t at) {
    r->nodes[at].left = r->unused;
    r->unused = at;
}

/* Takes the first (or last) node out of a tree. */
static int32_t take_end(lk_ranges *r, int32_t at, bool first, int32_t *taken) {
    int32_t *child = first ? &r->nodes[at].left : &r->nodes[at].right;
    if (!*child) {
        *taken = at;
        return first ? r->nodes[at].right : r->nodes[at].left;
    }
    int32_t rest = take_end(r, *child, first, taken);
    *child = rest;
    update(r, at);
    return at;
}

static int32_t new_node(lk_ranges *r) {
    if (r->unused) {
        int32_t at = r->unused;
        r->unused = r->nodes[at].left;
        return at;
    }
    if (r->count + 1 >= r->capacity) {
        int32_t capacity = r->capacity ? r->capacity * 2 : 64;
        lk_range_node *nodes = lk_realloc(r->nodes, (size_t)capacity, sizeof *nodes);
        if (!nodes) return 0;
        r->nodes = nodes;
        r->capacity = capacity;
    }
    int32_t at = ++r->count;
    uint32_t mix = (uint32_t)at * 0x9e3779b1u;
    r->nodes[at].priority = (mix ^ (mix >> 15)) * 0x85ebca77u;
    return at;
}

bool lk_ranges_give(lk_ranges *r, int32_t block, uint64_t offset, uint64_t bytes) {
    int32_t left, right, middle = new_node(r), end;
    if (!middle) return false;
    split(r, r->root, block, offset, &left, &right);
    for (end = left; end && r->nodes[end].right;)
        end = r->nodes[end].right;
    if (end && r->nodes[end].block == block && r->nodes[end].offset + r->nodes[end].bytes == offset) {
        offset = r->nodes[end].offset;
        bytes += r->nodes[end].bytes;
        left = take_end(r, left, false, &end);
        discard(r, end);
    }
    for (end = right; end && r->nodes[end].left;)
        end = r->nodes[end].left;
    if (end && r->nodes[end].block == block && offset + bytes == r->nodes[end].offset) {
        bytes += r->nodes[end].bytes;
        right = take_end(r, right, true, &end);
        discard(r, end);
    }
    lk_range_node *node = &r->nodes[middle];
    node->left = node->right = 0;
    node->block = block;
    node->offset = offset;
    node->bytes = node->largest = bytes;
    r->root = merge(r, merge(r, left, middle), right);
    return true;
}

static int32_t take_first(lk_ranges *r, int32_t at, uint64_t bytes, int32_t *block, uint64_t *offset) {
    lk_range_node *node = &r->nodes[at];
    if (largest_of(r, node->left) >= bytes) {
        node->left = take_first(r, node->left, bytes, block, offset);
    } else if (node->bytes >= bytes) {
        *block = node->block;
        *offset = node->offset;
        node->offset += bytes;
        node->bytes -= bytes;
        if (node->bytes == 0) {
            int32_t rest = merge(r, node->left, node->right);
            discard(r, at);
            return rest;
        }
    } else {
        node->right = take_first(r, node->right, bytes, block, offset);
    }
    update(r, at);
    return at;
}

bool lk_ranges_take(lk_ranges *r, uint64_t bytes, int32_t *block, uint64_t *offset) {
    if (largest_of(r, r->root) < bytes) return false;
    r->root = take_first(r, r->root, bytes, block, offset);
    return true;
}

void lk_ranges_free(lk_ranges *r) {
    lk_free(r->nodes);
    *r = (lk_ranges){0};
}
