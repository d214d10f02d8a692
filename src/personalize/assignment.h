/* personalize/assignment.h - who is who: references and faces paired so that the sum of their likenesses is largest. */
#ifndef LK_PERSONALIZE_ASSIGNMENT_H
#define LK_PERSONALIZE_ASSIGNMENT_H

#define LK_ASSIGN_MOST 16

/* gain: [rows][columns], finite, at most LK_ASSIGN_MOST each. column[r] becomes the column of row r, or -1: as many
 * pairs as the smaller side has, no row and no column twice, with the largest sum of gains there is. */
void lk_assign(const double *gain, int rows, int columns, int *column);

#endif
