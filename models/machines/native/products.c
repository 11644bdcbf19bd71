/* Layers of int16: sums of products, and what becomes of them. A layer's sums stay below 2**24 (layers/integer.py), those of
 * layers that learn wrap around.
 */
#include "native.h"

/* Vectors of sums that registers hold beside weights and inputs, 24 of 32 or 12 of 16, and at most so many of them in a row. */
enum { SUMS = VECTOR == 64 ? 24 : 12, VECTORS = VECTOR == 64 ? 4 : 2 };

/* Where inputs are: row r's pair p of part q at `first` + r row + p pair + q part. */
typedef struct {
    const int16_t *first;
    int64_t row, pair, parts, part;
} Inputs;

/* sums[:rows, :LANES vectors] of one block: rows and vectors are constants where this is inlined. */
INLINE void block(const int16_t *a, Inputs in, const int16_t *weight, int64_t pairs, int64_t outputs, int32_t *sums,
                  const int rows, const int vectors) {
    i32v total[SUMS][VECTORS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < vectors; v++) total[r][v] = (i32v){0};
    for (int64_t part = 0; part < in.parts; part++, a += in.part) {
        for (int64_t p = 0; p < pairs; p++, weight += 2 * outputs) {
            i16v w[VECTORS];
            UNROLL for (int v = 0; v < vectors; v++) w[v] = load_i16v(weight + 2 * LANES * v);
            UNROLL for (int r = 0; r < rows; r++) {
                int32_t pair;
                memcpy(&pair, a + r * in.row + p * in.pair, sizeof pair);
                i16v inputs = (i16v)spread_i32(pair);
                UNROLL for (int v = 0; v < vectors; v++) total[r][v] = dot(total[r][v], inputs, w[v]);
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) store_i32v(sums + r * outputs + LANES * v, total[r][v]);
}

INLINE void columns(Inputs in, const int16_t *weight, int64_t pairs, int64_t outputs, int32_t *sums, int64_t n,
                    const int vectors) {
    int64_t row = 0;
#define ROWS(count)                                                                                                    \
    for (; row + (count) <= n; row += (count))                                                                         \
        block(in.first + row * in.row, in, weight, pairs, outputs, sums + row * outputs, count, vectors);
    ROWS(SUMS / vectors) ROWS(4) ROWS(1)
}

INLINE void product(Inputs in, const Layers *layers, int64_t layer, int32_t *sums, int64_t n) {
    int64_t pairs = layers->pairs / in.parts, outputs = layers->outputs, column = 0;
    const int16_t *weight = layers->weight + layer * layers->pairs * 2 * outputs;
    for (; column + VECTORS * LANES <= outputs; column += VECTORS * LANES)
        columns(in, weight + 2 * column, pairs, outputs, sums + column, n, VECTORS);
    for (; VECTORS == 4 && column + 2 * LANES <= outputs; column += 2 * LANES)
        columns(in, weight + 2 * column, pairs, outputs, sums + column, n, 2);
    for (; column < outputs; column += LANES) columns(in, weight + 2 * column, pairs, outputs, sums + column, n, 1);
}

void multiply(const int16_t *a, int64_t stride, const Layers *layers, int64_t layer, int32_t *sums, int64_t n) {
    product((Inputs){a, stride, 2, 1, 0}, layers, layer, sums, n);
}

/* What is rarer shares one body, whose strides are no constants. */
static void product_of(Inputs in, const Layers *layers, int64_t layer, int32_t *sums, int64_t n) {
    product(in, layers, layer, sums, n);
}

void multiply_across(const int16_t *a, int64_t stride, const Layers *layers, int64_t layer, int32_t *sums, int64_t n) {
    product_of((Inputs){a, 2, stride, 1, 0}, layers, layer, sums, n);
}

void multiply_windows(const int16_t *a, int64_t stride, int64_t parts, int64_t part, const Layers *layer, int32_t *sums, int64_t n) {
    product_of((Inputs){a, stride, 2, parts, part}, layer, 0, sums, n);
}

/* The layer's ends of LANES outputs from `column` on. */
typedef struct {
    i32v bias, shift, low, high;
} Ends;

INLINE Ends ends_of(const Layers *layers, int64_t layer, int64_t column) {
    const int32_t *ends = layers->ends + layer * 4 * layers->outputs + column;
    int64_t row = layers->outputs;
    return (Ends){load_i32v(ends), load_i32v(ends + row), load_i32v(ends + 2 * row), load_i32v(ends + 3 * row)};
}

INLINE i32v activated(i32v sums, Ends e) { return clip_i32((sums + e.bias) >> e.shift, e.low, e.high); }

#define FOR_EACH                                                                                                       \
    for (int64_t column = 0; column < layers->outputs; column += LANES) {                                              \
        Ends e = ends_of(layers, layer, column);                                                                       \
        for (int64_t j = 0; j < n; j++) {                                                                              \
            i32v value = activated(load_i32v(sums + j * layers->outputs + column), e);

void activate(const int32_t *sums, const Layers *layers, int64_t layer, int16_t *out, int64_t stride, int64_t n) {
    FOR_EACH
            store_narrowed(out + j * stride + column, value);
        }
    }
}

void activate_wide(const int32_t *sums, const Layers *layers, int64_t layer, int32_t *out, int64_t stride, int64_t n) {
    FOR_EACH
            store_i32v(out + j * stride + column, value);
        }
    }
}

void activate_onto(const int32_t *sums, const Layers *layers, int64_t layer, int16_t *out, int64_t stride, int64_t n) {
    FOR_EACH
            int16_t *target = out + j * stride + column;
            store_narrowed(target, clip_i32(load_widened(target) + value, e.low, e.high));
        }
    }
}

EXPORT const char *lgcodec_sources(void) { return LGCODEC_SOURCES; }
