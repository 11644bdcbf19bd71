/* Layers that learn while they decode: the integers of learning.py, for one tile. A layer's inputs and its outputs' errors
 * are laid out in pairs of pixels, so that the gradient is one more product of int16.
 */
#ifndef LGCODEC_LEARNING_H
#define LGCODEC_LEARNING_H

#include "arena.h"

/* What one tile learns of layers: `now` is a copy of theirs whose weights move, of the first `own` inputs. */
typedef struct {
    Layers now;
    int64_t own, outputs, room; /* outputs: how many of now's are real; room: own, rounded up to COLUMNS */
    int16_t *weight;            /* now's */
    int32_t *master;            /* [layers][room][now.outputs] */
    double *rows, *columns;     /* moments: [layers][now.outputs], [layers][room] */
} Learner;

/* What lessons need on their way, shared by learners of up to so many inputs and outputs. */
typedef struct {
    int32_t *gradient;          /* [inputs][outputs] */
    double *row, *column;       /* factors: [outputs], [inputs] */
} Lesson;

void learner_lay_out(Learner *learner, Arena *arena, const Layers *trained, int64_t own, int64_t outputs);
void learner_begin(Learner *learner, const Layers *trained);
void lesson_lay_out(Lesson *lesson, Arena *arena, int64_t inputs, int64_t outputs);

/* The first n rows of a [n][stride], `columns` of them, two by two: out [(n + 1) / 2][2 columns], 0 where there is no row. */
void pair(const int16_t *a, int64_t stride, int64_t n, int64_t columns, int16_t *out);

/* Learner._step of one layer. inputs [pairs][2 room], errors [pairs][2 now.outputs]: of n pixels, paired. */
void learn(Learner *learner, int64_t layer, int64_t rate, const int16_t *inputs, const int16_t *errors, int64_t n,
           const Lesson *lesson);

/* Errors of n rows of inputs from sums [n][columns] of outputs' errors and weights, added to `below` [n][columns], or not
 * where that is NULL; and those of them where outputs [n][outputs_stride] are positive: masked [n][masked_stride].
 */
EXPORT void lgcodec_errors_back(const int32_t *sums, int64_t columns, int64_t n, int16_t *below, const int16_t *outputs,
                                int64_t outputs_stride, int16_t *masked, int64_t masked_stride);

/* learning.mixture_errors: errors [n][outputs]. values: less the origin, spread: Q3, both [n + SLACK]; q [n][outputs]: what
 * the head said.
 */
EXPORT void lgcodec_mixture_errors(const Mixtures *mixtures, const int32_t *values, const int32_t *spread, const int32_t *q,
                                   int64_t outputs, int64_t n, int16_t *errors);

#endif
