/* Mixtures of logistics: the numbers of entropy/mixture.py, as many at a time as a vector has lanes. Lanes are mixtures where
 * all of them ask the same (shares, high symbols), and edges of one mixture where a decoder looks for its low symbol.
 */
#include "stack.h"

enum {
    MEAN_BITS = 6,
    WEIGHT_BITS = 16,
    SIGMOID_BITS = 22,
    FRACTION_BITS = 14,
    MIDDLE = 1 << 24, /* of t, which is in 2**-20 from -16 on */
    LOW = 16,         /* low symbols */
    EXPONENTIALS = 384,
    INVERSES = 161,
    EDGES = 4,                      /* between high symbols, that are looked at first */
    VECTORS = LOW / LANES,          /* of a table of low symbols */
    ABREAST = VECTOR == 64 ? 1 : 2, /* tables that are made at once; measured */
};

/* One component of the mixtures in the lanes. reach: beyond so much, d * inverse is clipped whatever d is. */
typedef struct {
    i32v mean, inverse, reach;
    f64v weight[2];
} Component;

typedef struct {
    f64v half[2];
} Sums;

/* Adds the component's share of what is below edges, 1/64: weight * sigmoid, below 2**38. */
INLINE void add_component(Sums *sums, i32v edges, Component c, const int32_t *sigmoid) {
    i32v d = clip_i32(edges - c.mean, -c.reach, c.reach);
    i32v t = clip_i32(d * c.inverse + MIDDLE, spread_i32(0), spread_i32(2 * MIDDLE - 1));
    i32v below, above;
    gather_pairs(sigmoid, t >> FRACTION_BITS, &below, &above);
    i32v s = below + (((above - below) * (t & ((1 << FRACTION_BITS) - 1))) >> FRACTION_BITS);
    UNROLL for (int h = 0; h < 2; h++) sums->half[h] = multiply_add(c.weight[h], f64_half(s, h), sums->half[h]);
}

/* Mixture.cumulative of inner symbols: v + (sum * (TOTAL - size) >> 38), as sum / 2**14 - sum * size / 2**38, whose parts are
 * exact: below 2**53 in their units.
 */
INLINE i32v cumulative(Sums sums, i32v v, double size) {
    f64v c[2];
    UNROLL for (int h = 0; h < 2; h++) {
        f64v share = sums.half[h] * 0x1p-14, high = floor_f64(share);
        c[h] = high + floor_f64(share - high - sums.half[h] * (size * 0x1p-38));
    }
    return v + i32_of(c[0], c[1]);
}

INLINE i32v edge_of(const Mixtures *m, i32v v) {
    if (m->edges) return gather_i32(m->edges, clip_i32(v, spread_i32(0), spread_i32((int32_t)m->size)));
    return (v << MEAN_BITS) + (int32_t)(m->origin * (1 << MEAN_BITS) - (1 << (MEAN_BITS - 1)));
}

/* Component k of mixtures j, j + 1 .. in the lanes, or of mixture j in all of them. The reach is the power of two 2**(25 - e),
 * where e is the exponent of the inverse: times the inverse it is below 2**26.
 */
INLINE Component of_many(const Mixtures *m, int64_t k, int64_t j) {
    int64_t at = k * m->stride + j;
    i32v weight = load_i32v(m->weight + at), inverse = load_i32v(m->inverse + at);
    i32v exponent = (i32v)f32_of(inverse) & 0x7f800000;
    f32v reach = (f32v)((int32_t)((2 * 127 + 25u) << 23) - exponent);
    return (Component){load_i32v(m->mean + at), inverse, i32_of_f32(reach), {f64_half(weight, 0), f64_half(weight, 1)}};
}

INLINE Component of_one(const Mixtures *m, int64_t k, int64_t j) {
    int64_t at = k * m->stride + j;
    f64v weight = spread_f64(m->weight[at]);
    int32_t inverse = m->inverse[at], reach = 1 << (__builtin_clz((uint32_t)inverse | 1) - 6);
    return (Component){spread_i32(m->mean[at]), spread_i32(inverse), spread_i32(reach), {weight, weight}};
}

/* floor((c - base) scale), where scale is (TOTAL - LOW) / span, rounded. Exact: what it should be is below 2**24, and an integer
 * or further than 2**-24 from one; what it is differs by less than 2**-27.
 */
INLINE i32v within(i32v c, i32v base, const f64v scale[2]) {
    f64v q[2];
    UNROLL for (int h = 0; h < 2; h++) q[h] = f64_half(c - base, h) * scale[h] + 0x1p-26;
    return i32_of(q[0], q[1]);
}

void mixtures_shares(const Mixtures *m, const int32_t *values, int64_t n, int64_t apart, uint32_t *starts, uint32_t *frequencies) {
    const i32v size = spread_i32((int32_t)m->size);
    for (int64_t j = 0; j < n; j += LANES) {
        i32v v = load_i32v(values + j), first = v & ~(LOW - 1), c[4];
        i32v edges[4] = {first, first + LOW, v, v + 1};
        Sums sums[4] = {0};
        for (int64_t k = 0; k < m->components; k++) {
            Component one = of_many(m, k, j);
            UNROLL for (int i = 0; i < 4; i++) add_component(&sums[i], edge_of(m, edges[i]), one, m->tables->sigmoid);
        }
        UNROLL for (int i = 0; i < 4; i++) {
            i32v inner = cumulative(sums[i], edges[i], (double)m->size);
            c[i] = select_i32(edges[i] == size, spread_i32(TOTAL), inner & (edges[i] != 0));
        }
        i32v span = c[1] - c[0], within_high = v - first;
        f64v scale[2] = {(double)(TOTAL - LOW) / f64_half(span, 0), (double)(TOTAL - LOW) / f64_half(span, 1)};
        i32v start = within(c[2], c[0], scale) + within_high, end = within(c[3], c[0], scale) + within_high + 1;
        i32v parts[4] = {c[0], span, start, end - start};
        uint32_t *targets[4] = {starts + j, frequencies + j, starts + apart + j, frequencies + apart + j};
        int64_t left = n - j < LANES ? n - j : LANES;
        UNROLL for (int i = 0; i < 4; i++) memcpy(targets[i], &parts[i], (size_t)left * sizeof(int32_t));
    }
}

/* The high symbol whose share holds the point, of any: all edges are looked at. */
static int64_t search_high(const Mixtures *m, int64_t j, int64_t point, int64_t *start, int64_t *end) {
    i32v lanes;
    UNROLL for (int i = 0; i < LANES; i++) lanes[i] = i;
    *start = 0, *end = TOTAL;
    int64_t bins = m->size / LOW;
    for (int64_t first = 1; first < bins; first += LANES) {
        i32v v = (lanes + (int32_t)first) * LOW;
        Sums sums = {0};
        for (int64_t k = 0; k < m->components; k++) add_component(&sums, edge_of(m, v), of_one(m, k, j), m->tables->sigmoid);
        i32v c = cumulative(sums, v, (double)m->size);
        for (int64_t i = 0; i < LANES && first + i < bins; i++) {
            if (c[i] > point) {
                *end = c[i];
                return first + i - 1;
            }
            *start = c[i];
        }
    }
    return bins - 1;
}

/* Where each mixture's mean is, 1/64 less the origin, and the first of EDGES edges around it, in bins. Any inner ones do. */
INLINE i32v middle_of(const Mixtures *m, int64_t j) {
    f32v average = {0};
    for (int64_t k = 0; k < m->components; k++) {
        int64_t at = k * m->stride + j;
        average += f32_of(load_i32v(m->weight + at)) * f32_of(load_i32v(m->mean + at));
    }
    return i32_of_f32(average * 0x1p-16f) - (int32_t)(m->origin * 64) + 32;
}

INLINE i32v guess(const Mixtures *m, int64_t j) {
    i32v bin = middle_of(m, j) >> 10;
    return clip_i32(bin - EDGES / 2 + 1, spread_i32(1), spread_i32((int32_t)(m->size / LOW - EDGES)));
}

static void pop_high(const Mixtures *m, Stack *stack, int64_t n, int32_t *values, int32_t *bases, int32_t *spans) {
    const int64_t bins = m->size / LOW;
    const int is_small = bins <= EDGES;
    for (int64_t group = 0; group < n; group += LANES) {
        int32_t firsts[LANES], c[EDGES + 2][LANES];
        if (!is_small) {
            i32v first = guess(m, group);
            Sums sums[EDGES] = {0};
            for (int64_t k = 0; k < m->components; k++) {
                Component one = of_many(m, k, group);
                UNROLL for (int i = 0; i < EDGES; i++)
                    add_component(&sums[i], edge_of(m, (first + i) * LOW), one, m->tables->sigmoid);
            }
            UNROLL for (int i = 0; i < EDGES; i++)
                store_i32v(c[i + 1], cumulative(sums[i], (first + i) * LOW, (double)m->size));
            store_i32v(firsts, first);
        }
        store_i32v(c[0], spread_i32(0));
        store_i32v(c[EDGES + 1], spread_i32(TOTAL));
        for (int64_t i = 0; i < LANES && group + i < n; i++) {
            int64_t point = stack_point(stack), bin, start, end;
            int count = 0;
            UNROLL for (int e = 1; e <= EDGES; e++) count += c[e][i] <= point;
            if (is_small || (count == 0 && firsts[i] > 1) || (count == EDGES && firsts[i] + EDGES < bins)) {
                bin = search_high(m, group + i, point, &start, &end);
            } else {
                bin = firsts[i] + count - 1, start = c[count][i], end = c[count + 1][i];
            }
            stack_pop(stack, start, end);
            values[group + i] = (int32_t)bin * LOW;
            bases[group + i] = (int32_t)start, spans[group + i] = (int32_t)(end - start);
        }
    }
}

/* Mixture.low_table of mixtures j .. j + ABREAST - 1: entries 0 .. LOW of each. */
INLINE void low_tables(const Mixtures *m, int64_t j, const int32_t *values, const int32_t *bases, const int32_t *spans,
                       int32_t (*tables)[1 + LOW]) {
    static const int32_t ENTRIES[LOW] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    i32v lanes[VECTORS], v[ABREAST][VECTORS];
    Sums sums[ABREAST][VECTORS] = {0};
    UNROLL for (int i = 0; i < VECTORS; i++) lanes[i] = load_i32v(ENTRIES + i * LANES);
    UNROLL for (int p = 0; p < ABREAST; p++) UNROLL for (int i = 0; i < VECTORS; i++) v[p][i] = lanes[i] + values[j + p];
    for (int64_t k = 0; k < m->components; k++) {
        UNROLL for (int p = 0; p < ABREAST; p++) {
            Component one = of_one(m, k, j + p);
            UNROLL for (int i = 0; i < VECTORS; i++) add_component(&sums[p][i], edge_of(m, v[p][i]), one, m->tables->sigmoid);
        }
    }
    UNROLL for (int p = 0; p < ABREAST; p++) {
        f64v one = spread_f64((double)(TOTAL - LOW) / spans[j + p]), scale[2] = {one, one};
        UNROLL for (int i = 0; i < VECTORS; i++) {
            i32v c = cumulative(sums[p][i], v[p][i], (double)m->size);
            store_i32v(tables[p] + 1 + i * LANES, within(c, spread_i32(bases[j + p]), scale) + lanes[i]);
        }
        tables[p][0] = 0, tables[p][LOW] = TOTAL; /* which is also the next high symbol's first */
    }
}

/* Where the point is in a table of low symbols. */
INLINE int find_low(const int32_t *table, int64_t point) {
    int count = 0;
    UNROLL for (int v = 0; v < LOW; v += LANES) count += count_at_most(load_i32v(table + 1 + v), spread_i32((int32_t)point));
    return count;
}

/* Pops low symbols by EDGES edges around the mean, which is enough where mixtures are narrow; returns how many, as it stops where
 * it often is not.
 */
static int64_t pop_narrow(const Mixtures *m, Stack *stack, int64_t n, int32_t *values, const int32_t *bases,
                          const int32_t *spans) {
    int64_t missed = 0, group = 0;
    for (; group < n && 2 * missed <= group; group += LANES) {
        int32_t firsts[LANES], c[EDGES][LANES], tables[ABREAST][1 + LOW];
        i32v v = load_i32v(values + group), base = load_i32v(bases + group), span = load_i32v(spans + group);
        i32v first = clip_i32((middle_of(m, group) >> 6) - v - 1, spread_i32(1), spread_i32(LOW - EDGES));
        Sums sums[EDGES] = {0};
        for (int64_t k = 0; k < m->components; k++) {
            Component one = of_many(m, k, group);
            UNROLL for (int i = 0; i < EDGES; i++) add_component(&sums[i], edge_of(m, v + first + i), one, m->tables->sigmoid);
        }
        f64v scale[2] = {(double)(TOTAL - LOW) / f64_half(span, 0), (double)(TOTAL - LOW) / f64_half(span, 1)};
        UNROLL for (int i = 0; i < EDGES; i++) {
            i32v inner = cumulative(sums[i], v + first + i, (double)m->size);
            store_i32v(c[i], within(inner, base, scale) + first + i);
        }
        store_i32v(firsts, first);
        for (int64_t i = 0; i < LANES && group + i < n; i++) {
            int64_t point = stack_point(stack), start, end;
            int low, count = 0;
            UNROLL for (int e = 0; e < EDGES; e++) count += c[e][i] <= point;
            if ((count == 0 && firsts[i] > 1) || (count == EDGES && firsts[i] < LOW - EDGES)) {
                low_tables(m, group + i / ABREAST * ABREAST, values, bases, spans, tables);  /* none beyond the group */
                const int32_t *table = tables[i % ABREAST];
                low = find_low(table, point), start = table[low], end = table[low + 1];
                missed++;
            } else {
                low = firsts[i] + count - 1;
                start = count ? c[count - 1][i] : 0, end = count < EDGES ? c[count][i] : TOTAL;
            }
            stack_pop(stack, start, end);
            values[group + i] += low;
        }
    }
    return group < n ? group : n;
}

/* Tables are made ahead of the search, which must wait for each symbol before the next: so both go on at once. */
static void pop_wide(const Mixtures *m, Stack *stack, int64_t from, int64_t n, int32_t *values, const int32_t *bases,
                     const int32_t *spans) {
    int32_t tables[2][ABREAST][1 + LOW];
    for (int64_t j = from; j < n + ABREAST; j += ABREAST) {
        if (j < n) low_tables(m, j, values, bases, spans, tables[j / ABREAST % 2]);
        for (int64_t i = j == from ? j : j - ABREAST; i < j && i < n; i++) {
            const int32_t *table = tables[i / ABREAST % 2][i % ABREAST];
            int count = find_low(table, stack_point(stack));
            stack_pop(stack, table[count], table[count + 1]);
            values[i] += count;
        }
    }
}

void mixtures_pop(const Mixtures *m, Stack *stack, int64_t n, int32_t *values, int32_t *scratch) {
    pop_high(m, stack, n, values, scratch, scratch + n);
    int64_t done = pop_narrow(m, stack, n, values, scratch, scratch + n);
    pop_wide(m, stack, done, n, values, scratch, scratch + n);
}

/* Rows of q as columns: turned[o] holds output o of LANES rows. */
INLINE void turn(const int32_t *q, int64_t stride, int64_t outputs, int32_t (*turned)[LANES]) {
    for (int64_t i = 0; i < LANES; i++)
        for (int64_t o = 0; o < outputs; o++) turned[o][i] = q[i * stride + o];
}

void mixtures_of(const int32_t *q, int64_t stride, const int32_t *centre, const int32_t *shift, int64_t n, Mixtures *m) {
    const int64_t K = m->components;
    int32_t turned[3 * MOST_COMPONENTS][LANES];
    for (int64_t j = 0; j < n; j += LANES) {
        turn(q + j * stride, stride, 3 * K, turned);
        i32v top = load_i32v(turned[0]), total = {0}, rest = spread_i32(1 << WEIGHT_BITS);
        for (int64_t k = 1; k < K; k++) top = max_i32(top, load_i32v(turned[k]));
        for (int64_t k = 0; k < K; k++) {
            i32v below = clip_i32(top - load_i32v(turned[k]), spread_i32(0), spread_i32(EXPONENTIALS - 1));
            i32v share = gather_i32(m->tables->exponential, below);
            store_i32v(turned[k], share);
            total += share;
        }
        i32v middle = load_i32v(centre + j), others = shift ? middle + load_i32v(shift + j) : middle;
        for (int64_t k = 0; k < K; k++) {
            /* Exact: a quotient of integers below 2**34 is further than 2**-18 from an integer that it is not. */
            i32v share = load_i32v(turned[k]);
            f64v part[2];
            UNROLL for (int h = 0; h < 2; h++) part[h] = f64_half(share, h) * 65536.0 / f64_half(total, h);
            share = i32_of(part[0], part[1]);
            rest -= share;
            int64_t at = k * m->stride + j;
            store_i32v(m->weight + at, share);
            store_i32v(m->mean + at, load_i32v(turned[K + k]) + (k ? others : middle));
            i32v log_scale = clip_i32(load_i32v(turned[2 * K + k]), spread_i32(0), spread_i32(INVERSES - 1));
            store_i32v(m->inverse + at, gather_i32(m->tables->inverses, log_scale));
        }
        store_i32v(m->weight + j, load_i32v(m->weight + j) + rest);
    }
}

EXPORT void lgcodec_shares(const Mixtures *m, const int32_t *values, int64_t n, uint32_t *starts, uint32_t *frequencies) {
    mixtures_shares(m, values, n, n, starts, frequencies);
}

EXPORT void lgcodec_pop_mixtures(const Mixtures *m, Stack *stack, int64_t n, int32_t *values, int32_t *scratch) {
    mixtures_pop(m, stack, n, values, scratch);
}
