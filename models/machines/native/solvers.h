/* Predictors that learn while they decode (online.py): least squares for each channel, and what the channels' errors have to
 * do with each other. Every number is an integer in a double below 2**53, so any order of operations gives the same one.
 *
 * A front is the pixels x + 2 y = t of n rows from `low` on. Arrays of rows have `slots` places; row y stands at y + 1, the row
 * above it before it, and the place before the first row stays as it began. States lie in blocks of WIDE rows.
 */
#ifndef LGCODEC_SOLVERS_H
#define LGCODEC_SOLVERS_H

#include "arena.h"

enum { UP = 3, LEFT = 4, RIGHT = 4, CHANNELS = 3, WINDOWS = 2, TAPS = 12 };

typedef struct {
    int64_t t, low, n;
} Front;

typedef struct {
    int64_t channels, height, width, slots;
    int64_t stride, area;    /* of the planes: elements from row to row, and from channel to channel */
    int16_t *planes;         /* [CHANNELS][UP + height][LEFT + width + RIGHT]: the tile, and what stands around it */
    double *states[WINDOWS]; /* [channels][blocks][coefficients][WIDE] */
    double *v, *error;       /* [channels][blocks][TAPS][WIDE], [channels][slots]: what the last front taught */
    double *reference;       /* [channels][slots] */
    double *coupling;        /* [5][slots]: YY, Y.Co, Co'Co', Y.Cg, Co'.Cg' */
    double *parts;           /* [CHANNELS][slots]: what Y explains of Co, and of Cg, and Co less that */
    double *predictions;     /* [WINDOWS][CHANNELS][slots], Q3 */
    double *expected;        /* [CHANNELS][slots]: a channel's error by those of the channels before it, Q3 */
    double *known;           /* [CHANNELS][slots]: these errors */
} Solvers;

/* What stands above the first row of a part of a front, as the front before left it: copies of the block before the part's
 * first one, which others move at the same time.
 */
typedef struct {
    double *states[WINDOWS], *v, *error, *coupling; /* as those of Solvers, [channels] blocks, or one */
} Edge;

/* The front of t; n may be 0. */
Front front_of(int64_t t, int64_t height, int64_t width);

/* Lays out what a tile [channels][height][width] needs, to be zeroed; solvers_begin fills it. */
void solvers_lay_out(Solvers *solvers, Arena *arena, int64_t channels, int64_t height, int64_t width);
void solvers_begin(Solvers *solvers);

void edge_lay_out(Edge *edge, Arena *arena);
void copy_edge(const Solvers *solvers, const Front *part, const Edge *edge);

/* Predicts channel c of a front, or of a part of it that is given with its edge and begins with a block of rows. */
void solvers_predict(Solvers *solvers, const Front *front, int64_t c, const Edge *edge);

/* Takes the values of channel c from a tile [channels][height][width]. */
void solvers_learn(Solvers *solvers, const Front *front, int64_t c, const int16_t *tile);

/* coupling_merge begins a front, coupling_expect tells channel c = 1 or 2, coupling_learn ends the front. */
void coupling_merge(Solvers *solvers, const Front *front, const Edge *edge);
void coupling_expect(Solvers *solvers, const Front *front, int64_t c);
void coupling_learn(Solvers *solvers, const Front *front);

/* Where the rows of channel c begin in an array [..][slots]. */
INLINE int64_t rows_at(const Solvers *solvers, const Front *front, int64_t c) {
    return c * solvers->slots + front->low + 1;
}

/* A prediction; the mean of both, and half their difference: Q3. */
INLINE int32_t prediction_of(const Solvers *solvers, int window, int64_t place) {
    return (int32_t)solvers->predictions[window * CHANNELS * solvers->slots + place];
}
INLINE int32_t anchor_of(const Solvers *solvers, int64_t place) {
    return (prediction_of(solvers, 0, place) + prediction_of(solvers, 1, place)) >> 1;
}
INLINE int32_t spread_of(const Solvers *solvers, int64_t place) {
    return (prediction_of(solvers, 0, place) - prediction_of(solvers, 1, place)) >> 1;
}

#endif
