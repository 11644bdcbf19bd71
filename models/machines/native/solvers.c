#include "solvers.h"

#define SQUARE 16.0  /* units of the states in a squared pixel */
#define UNIT 16384.0 /* of weights */
#define WEIGHT_LIMIT (4 * UNIT)
#define RIDGE 128.0

enum { COUPLED = 5 }; /* numbers of a coupling's state */

/* The last lane of `before`, and all but the last of v behind it. */
INLINE f64v shift_in(f64v before, f64v v) {
#if VECTOR == 64
    return (f64v)_mm512_alignr_epi64((__m512i)v, (__m512i)before, 7);
#elif VECTOR == 32
    return _mm256_shuffle_pd(_mm256_permute2f128_pd(before, v, 0x21), v, 5);
#else
    return (f64v){before[1], v[0]};
#endif
}

typedef struct {
    int taps;
    double decay;
} Window;

/* The neighbours that are weighed, from (dy, dx) on, and the windows: how many of them each weighs, and how fast it fades. */
static const int DY[TAPS] = {0, -1, -1, -1, 0, -2, -2, -2, -1, -2, 0, -3};
static const int DX[TAPS] = {-1, 0, -1, 1, -2, 0, 1, -1, -2, 2, -3, 0};
static const Window FEW = {6, 230.0 / 512}, MANY = {TAPS, 251.0 / 512};
static const double PULL[TAPS] = {0.75 * UNIT, 0.75 * UNIT, -0.5 * UNIT};
static const double COUPLING_DECAY = 246.0 / 512;
static const int16_t START[CHANNELS] = {128, 0, 0};

/* A window's state: the lower triangle of G, g, and the weights. */
INLINE int64_t products_of(int64_t taps) { return taps * (taps + 1) / 2; }
INLINE int64_t coefficients_of(int64_t taps) { return products_of(taps) + 2 * taps; }
INLINE int product_of(int i, int k) { return i >= k ? i * (i + 1) / 2 + k : k * (k + 1) / 2 + i; }

Front front_of(int64_t t, int64_t height, int64_t width) {
    int64_t low = t - width + 2 > 0 ? (t - width + 2) / 2 : 0, high = t / 2 + 1 < height ? t / 2 + 1 : height;
    return (Front){t, low, high > low ? high - low : 0};
}

/* Blocks of so many numbers for each row, and one before them that is read in vain. */
static double *take_blocks(Arena *arena, int64_t slots, int64_t numbers) {
    return TAKE(arena, double, (WIDE + slots) * numbers) + WIDE * numbers;
}

void solvers_lay_out(Solvers *s, Arena *arena, int64_t channels, int64_t height, int64_t width) {
    int64_t slots = (height + SLACK) / SLACK * SLACK, stride = LEFT + width + RIGHT;
    *s = (Solvers){.channels = channels, .height = height, .width = width, .slots = slots};
    s->stride = stride;
    s->area = (UP + height) * stride;
    s->planes = TAKE(arena, int16_t, CHANNELS * s->area);
    s->states[0] = take_blocks(arena, channels * slots, coefficients_of(FEW.taps));
    s->states[1] = take_blocks(arena, channels * slots, coefficients_of(MANY.taps));
    s->v = take_blocks(arena, channels * slots, TAPS);
    s->error = take_blocks(arena, channels * slots, 1);
    s->coupling = take_blocks(arena, slots, COUPLED);
    s->reference = TAKE(arena, double, channels * slots);
    s->parts = TAKE(arena, double, CHANNELS * slots);
    s->predictions = TAKE(arena, double, WINDOWS * CHANNELS * slots);
    s->expected = TAKE(arena, double, CHANNELS * slots);
    s->known = TAKE(arena, double, CHANNELS * slots);
}

void solvers_begin(Solvers *s) {
    for (int64_t c = 0; c < s->channels; c++) {
        for (int64_t i = 0; i < s->area; i++) s->planes[c * s->area + i] = START[c];
        for (int w = 0; w < WINDOWS; w++) {
            int64_t taps = w ? MANY.taps : FEW.taps;
            double *states = s->states[w] + c * coefficients_of(taps) * s->slots;
            for (int64_t block = 0; block < s->slots / WIDE; block++)
                for (int64_t i = 0; i < 3 * WIDE; i++)
                    states[(block * coefficients_of(taps) + products_of(taps) + taps) * WIDE + i] = PULL[i / WIDE];
        }
    }
}

/* Blocks of a front are gone through from the last to the first, because a row reads the one above as it was. */
#define FOR_BLOCKS_DOWNWARD(front, block)                                                                              \
    for (int64_t block = ((front)->low + (front)->n) / WIDE; (front)->n && block >= ((front)->low + 1) / WIDE; block--)

/* -1 in the lanes of a block whose rows are the front's; the others keep their states. */
INLINE i64v lanes_of(const Front *front, int64_t block) {
    i64v slot;
    UNROLL for (int i = 0; i < WIDE; i++) slot[i] = block * WIDE + i;
    return (slot > front->low) & (slot <= front->low + front->n);
}

INLINE f64v load(const double *block, int i) { return load_f64v(block + i * WIDE); }

/* The rows above those of a block, which has `own`; before: the block before it. */
INLINE f64v above_of(const double *before, int i, f64v own) {
    return shift_in(load(before, i), own);
}

INLINE void keep(double *block, int i, i64v lanes, f64v v, f64v old) {
    store_f64v(block + i * WIDE, select_f64(lanes, v, old));
}

/* What the last front taught a block: neighbours, and the error of their local mean. */
typedef struct {
    const double *v, *error;
} Taught;

/* Solver.predict's first half: what a block inherits of its own state and of the one before it. What was taught is added
 * here, and not before, which saves a pass over the states.
 */
INLINE void inherit(double *state, Taught taught, const double *before, Taught above_it, i64v lanes, const Window window) {
    const int taps = window.taps, moment = taps * (taps + 1) / 2, weight = moment + taps;
    const double *v = taught.v, *v_before = above_it.v;
    f64v own[TAPS], above[TAPS], old, new, e = load_f64v(taught.error), e_above = above_of(above_it.error, 0, e);
    UNROLL for (int i = 0; i < taps; i++) own[i] = load(v, i), above[i] = above_of(v_before, i, own[i]);
    UNROLL for (int i = 0; i < taps; i++) {
        f64v scaled = own[i] * SQUARE, scaled_above = above[i] * SQUARE;
        UNROLL for (int k = 0; k < TAPS; k++) {
            if (k > i) continue;
            old = load(state, product_of(i, k));
            new = multiply_add(scaled, own[k], old + above_of(before, product_of(i, k), old));
            new = floor_f64(multiply_add(scaled_above, above[k], new) * window.decay);
            keep(state, product_of(i, k), lanes, new, old);
        }
        old = load(state, moment + i);
        new = multiply_add(scaled, e, old + above_of(before, moment + i, old));
        keep(state, moment + i, lanes, floor_f64(multiply_add(scaled_above, e_above, new) * window.decay), old);
        old = load(state, weight + i);
        keep(state, weight + i, lanes, floor_f64((old + above_of(before, weight + i, old)) * 0.5), old);
    }
}

/* Its second half: one Gauss-Seidel sweep, and the prediction. `rest` is what all weights together leave of g. */
INLINE f64v solve(double *state, const double *v, f64v reference, i64v lanes, const Window window) {
    const int taps = window.taps, moment = taps * (taps + 1) / 2, weight = moment + taps;
    const f64v limit = spread_f64(WEIGHT_LIMIT);
    f64v w[TAPS], rest[TAPS], prediction = reference * UNIT;
    UNROLL for (int i = 0; i < taps; i++) w[i] = load(state, weight + i);
    UNROLL for (int i = 0; i < taps; i++) {
        rest[i] = load(state, moment + i) * UNIT + (PULL[i] - w[i]) * RIDGE;
        UNROLL for (int k = 0; k < taps; k++) rest[i] = multiply_add(load(state, product_of(i, k)), -w[k], rest[i]);
    }
    UNROLL for (int i = 0; i < taps; i++) {
        f64v moved = w[i] + floor_f64(rest[i] / (load(state, product_of(i, i)) + RIDGE));
        moved = clip_f64(moved, -limit, limit);
        UNROLL for (int k = 0; k < TAPS; k++)
            if (k > i && k < taps) rest[k] = multiply_add(load(state, product_of(k, i)), w[i] - moved, rest[k]);
        keep(state, weight + i, lanes, moved, w[i]);
        prediction = multiply_add(moved, load(v, i), prediction);
    }
    return floor_f64(prediction * (8 / UNIT));
}

/* The neighbours of a front's rows in a block, less their local mean. */
INLINE void look(Solvers *s, const Front *front, int64_t block, int64_t c, const int64_t *places) {
    int64_t begin = front->low + 1 > block * WIDE ? front->low + 1 : block * WIDE;
    int64_t end = front->low + front->n < block * WIDE + WIDE ? front->low + front->n + 1 : block * WIDE + WIDE;
    double *v = s->v + (c * s->slots + block * WIDE) * TAPS - block * WIDE, *reference = s->reference + c * s->slots;
    const int16_t *at = s->planes + c * s->area + (begin - 1 + UP) * s->stride + front->t - 2 * (begin - 1) + LEFT;
    for (int64_t slot = begin; slot < end; slot++, at += s->stride - 2) {
        const int16_t *north = at - s->stride;
        int mean = (3 * at[-1] + 3 * north[0] + north[-1] + north[1]) >> 3;
        reference[slot] = mean;
        UNROLL for (int i = 0; i < TAPS; i++) v[i * WIDE + slot] = at[places[i]] - mean;
    }
}

void edge_lay_out(Edge *edge, Arena *arena) {
    edge->states[0] = TAKE(arena, double, CHANNELS * coefficients_of(FEW.taps) * WIDE);
    edge->states[1] = TAKE(arena, double, CHANNELS * coefficients_of(MANY.taps) * WIDE);
    edge->v = TAKE(arena, double, CHANNELS * TAPS * WIDE);
    edge->error = TAKE(arena, double, CHANNELS * WIDE);
    edge->coupling = TAKE(arena, double, COUPLED * WIDE);
}

INLINE void copy_block(double *to, const double *from, int64_t numbers) {
    memcpy(to, from, (size_t)(numbers * WIDE) * sizeof *to);
}

void copy_edge(const Solvers *s, const Front *part, const Edge *edge) {
    int64_t block = (part->low + 1) / WIDE - 1, few = coefficients_of(FEW.taps), many = coefficients_of(MANY.taps);
    if (!part->n) return;
    for (int64_t c = 0; c < s->channels; c++) {
        int64_t at = c * s->slots + block * WIDE;
        copy_block(edge->states[0] + c * few * WIDE, s->states[0] + at * few, few);
        copy_block(edge->states[1] + c * many * WIDE, s->states[1] + at * many, many);
        copy_block(edge->v + c * TAPS * WIDE, s->v + at * TAPS, TAPS);
        copy_block(edge->error + c * WIDE, s->error + at, 1);
    }
    copy_block(edge->coupling, s->coupling + block * WIDE * COUPLED, COUPLED);
}

void solvers_predict(Solvers *s, const Front *front, int64_t c, const Edge *edge) {
    const f64v low = spread_f64(c ? -2040 : 0), high = spread_f64(2040);
    int64_t places[TAPS];
    for (int i = 0; i < TAPS; i++) places[i] = DY[i] * s->stride + DX[i];
    FOR_BLOCKS_DOWNWARD(front, block) {
        i64v lanes = lanes_of(front, block);
        int64_t slot = c * s->slots + block * WIDE;
        int64_t sizes[WINDOWS] = {coefficients_of(FEW.taps), coefficients_of(MANY.taps)};
        double *few = s->states[0] + sizes[0] * slot, *many = s->states[1] + sizes[1] * slot, *v = s->v + TAPS * slot;
        const double *few_above = few - sizes[0] * WIDE, *many_above = many - sizes[1] * WIDE;
        Taught taught = {v, s->error + slot}, above = {v - TAPS * WIDE, s->error + slot - WIDE};
        if (edge && block == (front->low + 1) / WIDE) {
            few_above = edge->states[0] + c * sizes[0] * WIDE, many_above = edge->states[1] + c * sizes[1] * WIDE;
            above = (Taught){edge->v + c * TAPS * WIDE, edge->error + c * WIDE};
        }
        inherit(few, taught, few_above, above, lanes, FEW);
        inherit(many, taught, many_above, above, lanes, MANY);
        look(s, front, block, c, places);
        f64v reference = load_f64v(s->reference + slot);
        double *p = s->predictions + slot;
        store_f64v(p, clip_f64(solve(few, v, reference, lanes, FEW), low, high));
        p += CHANNELS * s->slots;
        store_f64v(p, clip_f64(solve(many, v, reference, lanes, MANY), low, high));
    }
}

/* The cells outside of the tile that repeat the pixel at (y, x), which was just placed (online.pad). */
static void place_around(const Solvers *s, int16_t *plane, int64_t y, int64_t x) {
    int16_t *row = plane + (y + UP) * s->stride, value = row[x + LEFT];
    if (x == 0 && y + 1 < s->height)
        for (int i = 0; i < LEFT; i++) row[s->stride + i] = value;
    if (x == s->width - 1)
        for (int i = 0; i < RIGHT; i++) row[LEFT + s->width + i] = value;
    if (y > 0) return;
    for (int r = 1; r <= UP; r++)
        for (int64_t at = x + LEFT + 2 * r; at < s->stride; at++) {
            row[at - r * s->stride] = value;
            if (x < s->width - 1) break;
        }
}

void solvers_learn(Solvers *s, const Front *front, int64_t c, const int16_t *tile) {
    int64_t first = rows_at(s, front, c), x = front->t - 2 * front->low;
    const int16_t *from = tile + (c * s->height + front->low) * s->width + x;
    int16_t *plane = s->planes + c * s->area, *to = plane + (front->low + UP) * s->stride + x + LEFT;
    for (int64_t j = 0; j < front->n; j++, from += s->width - 2, to += s->stride - 2) {
        *to = *from;
        s->known[first + j] = 8 * *from - anchor_of(s, first + j);
        s->error[first + j] = *from - s->reference[first + j];
    }
    if (front->n) { /* only the first and the last pixel of a front can be at the tile's edges */
        int64_t last = front->n - 1;
        place_around(s, plane, front->low, x);
        if (last) place_around(s, plane, front->low + last, x - 2 * last);
    }
}

void coupling_merge(Solvers *s, const Front *front, const Edge *edge) {
    FOR_BLOCKS_DOWNWARD(front, block) {
        i64v lanes = lanes_of(front, block);
        double *state = s->coupling + COUPLED * WIDE * block;
        const double *before = edge && block == (front->low + 1) / WIDE ? edge->coupling : state - COUPLED * WIDE;
        for (int i = 0; i < COUPLED; i++) {
            f64v old = load(state, i), above = above_of(before, i, old);
            keep(state, i, lanes, floor_f64((old + above) * COUPLING_DECAY), old);
        }
    }
}

/* What a regression makes of an error. */
INLINE f64v regressed(f64v product, f64v square, f64v error) {
    f64v slope = floor_f64(product * 4096.0 / (square + 256.0));
    return floor_f64(clip_f64(slope, spread_f64(-16384), spread_f64(16384)) * error * (1 / 4096.0));
}

void coupling_expect(Solvers *s, const Front *front, int64_t c) {
    FOR_BLOCKS_DOWNWARD(front, block) {
        int64_t slot = block * WIDE;
        const double *state = s->coupling + COUPLED * slot;
        f64v y = load_f64v(s->known + slot), expected = regressed(load(state, c == 1 ? 1 : 3), load(state, 0), y);
        store_f64v(s->parts + (c - 1) * s->slots + slot, expected);
        if (c == 2) {
            f64v rest = load_f64v(s->known + s->slots + slot) - load_f64v(s->parts + slot);
            store_f64v(s->parts + 2 * s->slots + slot, rest);
            expected += regressed(load(state, 4), load(state, 2), rest);
        }
        store_f64v(s->expected + c * s->slots + slot, expected);
    }
}

void coupling_learn(Solvers *s, const Front *front) {
    FOR_BLOCKS_DOWNWARD(front, block) {
        i64v lanes = lanes_of(front, block);
        const double *known = s->known + block * WIDE, *parts = s->parts + block * WIDE;
        f64v y = load_f64v(known), co = load_f64v(known + s->slots), cg = load_f64v(known + 2 * s->slots);
        f64v rest = load_f64v(parts + 2 * s->slots), cg_rest = cg - load_f64v(parts + s->slots);
        f64v lessons[COUPLED] = {y * y, y * co, rest * rest, y * cg, rest * cg_rest};
        double *state = s->coupling + COUPLED * WIDE * block;
        for (int i = 0; i < COUPLED; i++) {
            f64v old = load(state, i);
            keep(state, i, lanes, old + lessons[i], old);
        }
    }
}

static int64_t features_lay_out(Solvers *s, uintptr_t block, int64_t channels, int64_t height, int64_t width) {
    Arena arena = {block};
    solvers_lay_out(s, &arena, channels, height, width);
    return (int64_t)(arena.at - block) + ALIGNMENT;
}

/* Bytes that lgcodec_features needs. */
EXPORT int64_t lgcodec_features_room(int64_t channels, int64_t height, int64_t width) {
    Solvers s;
    return features_lay_out(&s, 0, channels, height, width);
}

/* What the predictors say of a known tile [channels][height][width]: predictions [WINDOWS][channels][height][width], and
 * errors as expected [channels][height][width], cut off at int16. block: zeros, as many bytes as lgcodec_features_room says.
 */
EXPORT void lgcodec_features(const int16_t *tile, int64_t channels, int64_t height, int64_t width, void *block,
                             int16_t *predictions, int16_t *coupled) {
    Solvers s;
    features_lay_out(&s, (uintptr_t)block, channels, height, width);
    solvers_begin(&s);
    for (int64_t t = 0; t < width + 2 * (height - 1); t++) {
        Front front = front_of(t, height, width);
        for (int64_t c = 0; c < channels; c++) {
            solvers_predict(&s, &front, c, NULL);
            if (c == 0 && channels == CHANNELS) coupling_merge(&s, &front, NULL);
            if (c) coupling_expect(&s, &front, c);
            solvers_learn(&s, &front, c, tile);
            int64_t first = rows_at(&s, &front, c);
            for (int64_t j = 0; j < front.n; j++) {
                int64_t to = (c * height + front.low + j) * width + t - 2 * (front.low + j);
                double e = s.expected[first + j];
                for (int w = 0; w < WINDOWS; w++)
                    predictions[w * channels * height * width + to] =
                        (int16_t)prediction_of(&s, w, first + j);
                coupled[to] = (int16_t)(e < -32768 ? -32768 : e > 32767 ? 32767 : e);
            }
        }
        if (channels == CHANNELS) coupling_learn(&s, &front);
    }
}
