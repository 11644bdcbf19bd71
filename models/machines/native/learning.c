#include "learning.h"

enum {
    FRACTION = 10,  /* bits of weights below 1 */
    MASTER = 12,    /* bits that a weight has below its int16 while it learns */
    ERROR = 12,     /* bits of an error */
    ERROR_LIMIT = 32767,
    LESS = 8,       /* bits that gradients lose before they are squared; their limit then */
    MOST = 1 << 16,
    STEP = 1 << 12, /* the largest step, in units of the masters */
    ROW = 8,        /* bits of rows' and of columns' factors, and their limit */
    COLUMN = 24,
    FACTOR = 1 << 16,
    SMALL = 64,     /* added to roots of moments */
    FIRST = 1 << 12, /* a gradient's square, before there was any */
    ABREAST = 4      /* rows of a gradient that are gone through at once */
};
#define FADING (1.0 / 64) /* moments forget this share of themselves a front */

INLINE int64_t rounded_up(int64_t n) { return (n + COLUMNS - 1) / COLUMNS * COLUMNS; }

void learner_lay_out(Learner *learner, Arena *arena, const Layers *trained, int64_t own, int64_t outputs) {
    int64_t room = rounded_up(own), layers = trained->layers;
    *learner = (Learner){.now = *trained, .own = own, .outputs = outputs, .room = room};
    learner->now.weight = learner->weight = TAKE(arena, int16_t, layers * trained->pairs * 2 * trained->outputs);
    learner->master = TAKE(arena, int32_t, layers * room * trained->outputs);
    learner->rows = TAKE(arena, double, layers * trained->outputs);
    learner->columns = TAKE(arena, double, layers * room);
}

void learner_begin(Learner *learner, const Layers *trained) {
    int64_t width = trained->outputs, size = trained->pairs * 2 * width;
    memcpy(learner->weight, trained->weight, (size_t)(trained->layers * size) * sizeof *learner->weight);
    for (int64_t layer = 0; layer < trained->layers; layer++) {
        for (int64_t i = 0; i < learner->own; i++)
            for (int64_t o = 0; o < width; o++)
                learner->master[(layer * learner->room + i) * width + o] =
                    learner->weight[layer * size + i / 2 * 2 * width + 2 * o + i % 2] * (1 << MASTER);
        for (int64_t o = 0; o < learner->outputs; o++) learner->rows[layer * width + o] = (double)(learner->own * FIRST);
        for (int64_t i = 0; i < learner->own; i++)
            learner->columns[layer * learner->room + i] = (double)(learner->outputs * FIRST);
    }
}

void lesson_lay_out(Lesson *lesson, Arena *arena, int64_t inputs, int64_t outputs) {
    lesson->gradient = TAKE(arena, int32_t, rounded_up(inputs) * outputs);
    lesson->row = TAKE(arena, double, outputs);
    lesson->column = TAKE(arena, double, rounded_up(inputs));
}

void pair(const int16_t *a, int64_t stride, int64_t n, int64_t columns, int16_t *out) {
    for (int64_t j = 0; j < n; j += 2, a += 2 * stride, out += 2 * columns)
        for (int64_t column = 0; column < columns; column += LANES) {
            i32v second = j + 1 < n ? load_widened(a + stride + column) : (i32v){0};
            store_i16v(out + 2 * column, beside(load_widened(a + column), second));
        }
}

/* Half of LANES gradients as they are squared. */
INLINE i32v small_of(const int32_t *gradient) {
    return clip_i32(load_i32v(gradient) >> LESS, spread_i32(-MOST), spread_i32(MOST));
}

INLINE double sum_of(f64v v) {
    double lanes[WIDE];
    store_f64v(lanes, v);
    UNROLL for (int half = WIDE / 2; half; half /= 2) UNROLL for (int i = 0; i < half; i++) lanes[i] += lanes[half + i];
    return lanes[0];
}

/* row [width] and column [room]: the sums of squares of the gradient [room][width], of which only `own` rows, rounded up to
 * ABREAST, are not 0.
 */
static void add_squares(const Lesson *lesson, int64_t own, int64_t width) {
    for (int64_t o = 0; o < width; o++) lesson->row[o] = 0;
    for (int64_t i = 0; i < own; i += ABREAST) {
        f64v across[ABREAST] = {0};
        for (int64_t o = 0; o < width; o += LANES) {
            i32v small[ABREAST];
            UNROLL for (int r = 0; r < ABREAST; r++) small[r] = small_of(lesson->gradient + (i + r) * width + o);
            UNROLL for (int upper = 0; upper < 2; upper++) {
                double *row = lesson->row + o + upper * WIDE;
                f64v sum = load_f64v(row);
                UNROLL for (int r = 0; r < ABREAST; r++) {
                    f64v half = f64_half(small[r], upper);
                    across[r] = multiply_add(half, half, across[r]);
                    sum = multiply_add(half, half, sum);
                }
                store_f64v(row, sum);
            }
        }
        UNROLL for (int r = 0; r < ABREAST; r++) lesson->column[i + r] = sum_of(across[r]);
    }
}

/* Moments [n], rounded up to COLUMNS, forget a share of themselves for what squares were just met; returns their sum. */
static double fade(double *moments, const double *squares, int64_t n) {
    f64v total = {0};
    for (int64_t i = 0; i < rounded_up(n); i += WIDE) {
        f64v old = load_f64v(moments + i), new = old + floor_f64((load_f64v(squares + i) - old) * FADING);
        store_f64v(moments + i, new);
        total += new;
    }
    return sum_of(total);
}

/* What the gradients of a row or a column are multiplied with: whole / root of its moment, [n] rounded up to COLUMNS. */
static void set_factors(const double *restrict moments, int64_t n, double whole, double unit, double *restrict factors) {
    for (int64_t i = 0; i < rounded_up(n); i++) factors[i] = sqrt(moments[i]);
    for (int64_t i = 0; i < rounded_up(n); i += WIDE) {
        f64v factor = floor_f64(whole / (floor_f64(load_f64v(factors + i)) + SMALL));
        store_f64v(factors + i, min_f64(factor, spread_f64(FACTOR)) * unit);
    }
}

/* LANES steps, which are below 2**53 before they are rounded. */
INLINE i32v step_of(const int32_t *gradient, const double *rows, double column) {
    i32v small = small_of(gradient);
    f64v half[2];
    UNROLL for (int upper = 0; upper < 2; upper++) {
        f64v step = floor_f64(f64_half(small, upper) * load_f64v(rows + upper * WIDE) * column);
        half[upper] = clip_f64(step, spread_f64(-STEP), spread_f64(STEP));
    }
    return i32_of(half[0], half[1]);
}

INLINE i32v moved(int32_t *master, i32v step) {
    const i32v end = spread_i32(32767 * (1 << MASTER));
    i32v now = clip_i32(load_i32v(master) - step, -end, end);
    store_i32v(master, now);
    return (now + (1 << (MASTER - 1))) >> MASTER;
}

void learn(Learner *learner, int64_t layer, int64_t rate, const int16_t *inputs, const int16_t *errors, int64_t n,
           const Lesson *lesson) {
    int64_t own = learner->own, width = learner->now.outputs;
    Layers layers = {.weight = errors, .layers = 1, .pairs = (n + 1) / 2, .outputs = width};
    multiply_across(inputs, 2 * learner->room, &layers, 0, lesson->gradient, own);
    memset(lesson->gradient + own * width, 0, (size_t)((ABREAST - own % ABREAST) % ABREAST * width) * sizeof(int32_t));
    add_squares(lesson, own, width);
    double *rows = learner->rows + layer * width, *columns = learner->columns + layer * learner->room;
    double total = fade(rows, lesson->row, width);
    fade(columns, lesson->column, own);
    set_factors(rows, width, floor(sqrt(total)) * (1 << ROW), 1, lesson->row);
    set_factors(columns, own, 1 << COLUMN, ldexp(1, FRACTION + MASTER - ROW - COLUMN - (int)rate), lesson->column);
    int32_t *master = learner->master + layer * learner->room * width;
    int16_t *weight = learner->weight + layer * learner->now.pairs * 2 * width;
    for (int64_t i = 0; i < own; i += 2)
        for (int64_t o = 0; o < width; o += LANES) {
            const int32_t *gradient = lesson->gradient + i * width + o;
            int32_t *at = master + i * width + o;
            i32v first = moved(at, step_of(gradient, lesson->row + o, lesson->column[i]));
            i32v second = moved(at + width, step_of(gradient + width, lesson->row + o, lesson->column[i + 1]));
            store_i16v(weight + i * width + 2 * o, beside(first, second));
        }
}

EXPORT void lgcodec_errors_back(const int32_t *sums, int64_t columns, int64_t n, int16_t *below, const int16_t *outputs,
                                int64_t outputs_stride, int16_t *masked, int64_t masked_stride) {
    const i32v limit = spread_i32(ERROR_LIMIT), zero = {0};
    for (int64_t j = 0; j < n; j++)
        for (int64_t column = 0; column < columns; column += LANES) {
            i32v error = (load_i32v(sums + j * columns + column) + (1 << (FRACTION - 1))) >> FRACTION;
            if (below) error += load_widened(below + j * columns + column);
            error = clip_i32(error, -limit, limit);
            if (below) store_narrowed(below + j * columns + column, error);
            i32v positive = load_widened(outputs + j * outputs_stride + column) > zero;
            store_narrowed(masked + j * masked_stride + column, error & positive);
        }
}

/* sigmoid(t) in 2**-22, t in 2**-20 from -16 on, and its slope there; both as where an alphabet ends, if it does. */
typedef struct {
    f64v t, value, slope;
} Sigmoid;

enum { SIGMOID_BITS = 22, WHOLE = 1 << SIGMOID_BITS, FINE_BITS = 20, MIDDLE = 16 << FINE_BITS, STEP_BITS = 14 };
#define UNITS(bits) (1.0 / ((int64_t)1 << (bits)))

INLINE Sigmoid sigmoid_of(f64v t, const int32_t *table, i64v is_end, double end) {
    t = clip_f64(t, spread_f64(0), spread_f64(2 * MIDDLE - 1));
    f64v place = floor_f64(t * UNITS(STEP_BITS)), low, step;
    UNROLL for (int lane = 0; lane < WIDE; lane++) {
        const int32_t *at = table + (int)place[lane];
        low[lane] = at[0], step[lane] = at[1] - at[0];
    }
    f64v value = low + floor_f64(step * (t - place * (1 << STEP_BITS)) * UNITS(STEP_BITS));
    f64v slope = floor_f64(value * (WHOLE - value) * UNITS(SIGMOID_BITS));
    return (Sigmoid){t, select_f64(is_end, spread_f64(end), value), select_f64(is_end, spread_f64(0), slope)};
}

EXPORT void lgcodec_mixture_errors(const Mixtures *mixtures, const int32_t *values, const int32_t *spread, const int32_t *q,
                                   int64_t outputs, int64_t n, int16_t *errors) {
    const int K = (int)mixtures->components;
    const f64v limit = spread_f64(ERROR_LIMIT);
    const double origin = (double)mixtures->origin, last = (double)(mixtures->size - 1);
    for (int64_t first = 0; first < n; first += WIDE) {
        f64v share[MOST_COMPONENTS], slope[MOST_COMPONENTS], turn[MOST_COMPONENTS], inverses[MOST_COMPONENTS];
        f64v weights[MOST_COMPONENTS], v, apart, total = spread_f64(1 << 14), means = {0}; /* the least probability */
        double turned[3 * MOST_COMPONENTS + 1][WIDE];
        UNROLL for (int lane = 0; lane < WIDE; lane++) v[lane] = values[first + lane], apart[lane] = spread[first + lane];
        for (int k = 0; k < K; k++) {
            int64_t at = k * mixtures->stride + first;
            f64v mean, inverse, weight;
            UNROLL for (int lane = 0; lane < WIDE; lane++) {
                mean[lane] = mixtures->mean[at + lane];
                inverse[lane] = mixtures->inverse[at + lane];
                weight[lane] = mixtures->weight[at + lane];
            }
            f64v below = (v + origin) * 64 - 32 - mean;
            Sigmoid low = sigmoid_of(below * inverse + MIDDLE, mixtures->tables->sigmoid, v == 0, 0);
            Sigmoid high = sigmoid_of((below + 64) * inverse + MIDDLE, mixtures->tables->sigmoid, v == last, WHOLE);
            f64v turn_low = floor_f64((low.t - MIDDLE) * low.slope * UNITS(FINE_BITS));
            f64v turn_high = floor_f64((high.t - MIDDLE) * high.slope * UNITS(FINE_BITS));
            share[k] = weight * (high.value - low.value);
            slope[k] = weight * (high.slope - low.slope);
            turn[k] = weight * (turn_high - turn_low);
            inverses[k] = inverse, weights[k] = weight;
            total += share[k];
        }
        for (int k = 0; k < K; k++) {
            f64v logit = floor_f64(weights[k] * UNITS(16 - ERROR)) - floor_f64(share[k] * (1 << ERROR) / total);
            f64v mean = floor_f64(floor_f64(slope[k] * (1 << 14) / total) * inverses[k] * UNITS(13));
            f64v scale = floor_f64(turn[k] * (1 << ERROR) / total);
            mean = clip_f64(mean, -limit, limit);
            means += mean;
            store_f64v(turned[k], clip_f64(logit, -limit, limit));
            store_f64v(turned[K + k], mean);
            store_f64v(turned[2 * K + k], clip_f64(scale, -limit, limit));
        }
        store_f64v(turned[3 * K], clip_f64(floor_f64(means * apart * UNITS(6)), -limit, limit));
        for (int64_t j = first; j < n && j < first + WIDE; j++)
            for (int64_t o = 0; o <= 3 * K; o++) {
                int16_t error = (int16_t)turned[o][j - first];
                int32_t said = q[j * outputs + o];
                int stays = o / K == 2 && ((said == 0 && error > 0) || (said == 160 && error < 0)); /* at a scale's end */
                errors[j * outputs + o] = stays ? 0 : error;
            }
    }
}

/* For tests: `learn` by itself. block: zeros, room for a gradient, its factors and n pixels in pairs. */
EXPORT void lgcodec_learn(Learner *learner, const Layers *trained, int begins, int64_t rate, const int16_t *inputs,
                          const int16_t *errors, int64_t n, void *block) {
    Arena arena = {(uintptr_t)block};
    Lesson lesson;
    int64_t width = trained->outputs;
    lesson_lay_out(&lesson, &arena, learner->room, width);
    int16_t *pairs = TAKE(&arena, int16_t, (n + 1) * learner->room), *error_pairs = TAKE(&arena, int16_t, (n + 1) * width);
    if (begins) learner_begin(learner, trained);
    pair(inputs, learner->room, n, learner->room, pairs);
    pair(errors, width, n, width, error_pairs);
    learn(learner, 0, rate, pairs, error_pairs, n, &lesson);
}
