/* personalize/assignment.c - the Hungarian method with potentials, O(n^3): one row after the other is brought in along
 * the cheapest augmenting path. See assignment.h. */
#include "personalize/assignment.h"

#include <math.h>
#include <stdbool.h>

/* A square problem; what is missing on the smaller side costs nothing whoever gets it. Index 0 is the row or column
 * that is not there. */
typedef struct problem {
    const double *gain;
    int rows, columns, size;
    double row_price[LK_ASSIGN_MOST + 1], column_price[LK_ASSIGN_MOST + 1];
    int row_of[LK_ASSIGN_MOST + 1]; /* by column; 0: free */
} problem;

static double cost(const problem *p, int row, int column) {
    return row <= p->rows && column <= p->columns ? -p->gain[(row - 1) * p->columns + column - 1] : 0;
}

static void bring_in(problem *p, int row) {
    double least[LK_ASSIGN_MOST + 1];
    int before[LK_ASSIGN_MOST + 1] = {0}, at = 0;
    bool seen[LK_ASSIGN_MOST + 1] = {false};
    for (int j = 0; j <= p->size; j++)
        least[j] = INFINITY;
    p->row_of[0] = row;
    do {
        int i = p->row_of[at], next = 0;
        double step = INFINITY;
        seen[at] = true;
        for (int j = 1; j <= p->size; j++) {
            if (seen[j]) continue;
            double reduced = cost(p, i, j) - p->row_price[i] - p->column_price[j];
            if (reduced < least[j]) least[j] = reduced, before[j] = at;
            if (least[j] < step) step = least[j], next = j;
        }
        for (int j = 0; j <= p->size; j++)
            if (seen[j]) {
                p->row_price[p->row_of[j]] += step;
                p->column_price[j] -= step;
            } else {
                least[j] -= step;
            }
        at = next;
    } while (p->row_of[at] != 0);
    for (; at != 0; at = before[at])
        p->row_of[at] = p->row_of[before[at]];
}

void lk_assign(const double *gain, int rows, int columns, int *column) {
    problem p = {.gain = gain, .rows = rows, .columns = columns, .size = rows > columns ? rows : columns};
    for (int row = 1; row <= p.size; row++)
        bring_in(&p, row);
    for (int row = 0; row < rows; row++)
        column[row] = -1;
    for (int j = 1; j <= columns; j++)
        if (p.row_of[j] <= rows) column[p.row_of[j] - 1] = j - 1;
}
