/* What the files of the library know of each other. Names that begin with lgcodec_ are called from Python.
 *
 * Arrays are C-contiguous; `stride` counts the elements from one row to the next. Rows of outputs are multiples of COLUMNS;
 * what is added there is 0 in weights and ends, so that it gives 0. Memory comes from Python: nothing is allocated here, and
 * no thread begins here.
 */
#ifndef LGCODEC_NATIVE_H
#define LGCODEC_NATIVE_H

#include "vectors.h"

#define EXPORT __attribute__((visibility("default")))

/* What exported functions return; library.py makes exceptions of it. */
enum { FINE = 0, WRONG_SIZES = 1, NOT_ITS_TILE = 2, BEYOND_16_BITS = 3, NOT_AS_COUNTED = 4 };

/* products.c: layers of int16 (layers/integer.py), all of one shape, as products.packed lays them out. */
typedef struct {
    const int16_t *weight;  /* [layers][pairs][2 outputs], pairs of inputs side by side */
    const int32_t *ends;    /* [layers][4][outputs]: bias, shift, low, high */
    int64_t layers, pairs, outputs;
} Layers;

/* sums[:n] = a[:n] @ layer's weights; a: rows of at least 2 pairs; sums: rows of `outputs`, modulo 2**32. */
void multiply(const int16_t *a, int64_t stride, const Layers *layers, int64_t layer, int32_t *sums, int64_t n);

/* The same with a transposed, as weights lie: a [pairs][2 n or more], `stride` of them in a row. */
void multiply_across(const int16_t *a, int64_t stride, const Layers *layers, int64_t layer, int32_t *sums, int64_t n);

/* The same of one layer whose inputs come in equal parts, each rounded up to pairs, that lie `part` apart. */
void multiply_windows(const int16_t *a, int64_t stride, int64_t parts, int64_t part, const Layers *layer, int32_t *sums, int64_t n);

/* out[:n] = clip((sums + bias) >> shift, low, high); the same as int32; and clip(out + that, low, high). */
void activate(const int32_t *sums, const Layers *layers, int64_t layer, int16_t *out, int64_t stride, int64_t n);
void activate_wide(const int32_t *sums, const Layers *layers, int64_t layer, int32_t *out, int64_t stride, int64_t n);
void activate_onto(const int32_t *sums, const Layers *layers, int64_t layer, int16_t *out, int64_t stride, int64_t n);

/* stack.h, stack.c: an ANS stack, of which `left` words have not been popped and `room` fit. */
typedef struct {
    uint64_t state;
    uint32_t *words;
    int64_t left, room;
} Stack;

void stack_open(Stack *stack); /* of `left` words */
/* Pushes n symbols so that they pop in the order given. WRONG_SIZES where n + 2 more words have no room. */
int stack_push(Stack *stack, const uint32_t *starts, const uint32_t *frequencies, int64_t n);

enum { MOST_COMPONENTS = 32 };

/* mixtures.c: n mixtures of logistics (entropy/mixture.py), one a column. */
typedef struct {
    const int32_t *sigmoid, *exponential, *inverses; /* [2049], [384], [161] */
} Tables;

typedef struct {
    int32_t *mean, *inverse, *weight; /* [components][stride], stride at least n + SLACK */
    int64_t components, stride;
    int64_t size, origin;
    const Tables *tables;
    const int32_t *edges; /* [size + 1], as Mixture.edges, or NULL */
} Mixtures;

/* Mixture.of: mixtures 0 .. n - 1 from rows of q, K logits, K means and K log scales each. centre [n + SLACK]: added to all
 * means; shift [n + SLACK], or NULL: added to those but the first. Reads rows up to n, rounded up to LANES, of q.
 */
void mixtures_of(const int32_t *q, int64_t stride, const int32_t *centre, const int32_t *shift, int64_t n, Mixtures *m);

/* The shares of values less the origin, [n + SLACK]: of n high symbols, and `apart` behind them of n low ones. */
void mixtures_shares(const Mixtures *m, const int32_t *values, int64_t n, int64_t apart, uint32_t *starts, uint32_t *frequencies);

/* Pops n values less the origin. values, scratch: [n + SLACK], [6 (n + SLACK)]. */
void mixtures_pop(const Mixtures *m, Stack *stack, int64_t n, int32_t *values, int32_t *scratch);

#endif
