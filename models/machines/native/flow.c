/* The flow: a tile's phases one after another, strip by strip in the cache. The numbers of families/flow/program.py; samples and
 * activations are int16, sums, means and inverse scales int32: layers/integer.py and FORMAT.md prove that they fit.
 */
#include "arena.h"
#include "stack.h"

enum {
    BLOCK = 48,    /* positions whose layers are computed together */
    STRIP = 4096,  /* positions whose channels are coded in turn */
    RUN = 16,      /* samples side by side that a network sees; fewer are real */
    NEAREST = 4,
    CHANNELS = 3,
    SAMPLE_LIMIT = 4095,
    DIFFERENCE_LIMIT = 1023,
    PLACE_LIMIT = 1023,
    ERROR_LIMIT = 256 * 64,
    SLOPE_BITS = 8,
    COMPAND_SIZE = 4096,
    NO_EXCESS = TOTAL - 4, /* the share of the length 0; all others have 1 */
    LARGEST = 32767        /* sample */
};

static const int32_t SIZES[CHANNELS] = {256, 512, 512}, ORIGINS[CHANNELS] = {0, -256, -256};

/* Samples side by side: RUN of them, or half of that where vectors are shorter. */
enum { SHORTS = VECTOR > 16 ? RUN : RUN / 2 };
typedef int16_t shortv __attribute__((vector_size(2 * SHORTS)));

/* One phase's network of one set. `first`: the layer first and, behind its outputs, linear. A run's samples lie in `plane`, `row`
 * and `column` from the position's own, and become inputs from `input` on.
 */
typedef struct {
    int64_t plane, row, column, input;
} Run;

typedef struct {
    Layers first, middle, heads, outs;
    const Run *runs, *nearest; /* [count], [NEAREST] */
    int64_t count, inputs;     /* inputs that are samples */
} Phase;

typedef struct {
    const Phase *phases;   /* [sets][3] */
    const int32_t *coarse; /* [COMPAND_SIZE] */
    const int32_t *last;   /* [channels][3][components] */
    Tables tables;
    int64_t channels, sets, margin, width, components, absolute;
} Flow;

/* A tile in work, x [images][height][width][channels], and room for a strip. */
typedef struct {
    const Flow *net;
    int16_t *x;
    int64_t images, height, width, channels;
    int16_t *planes, *seen, *hidden, *z;
    int32_t *sums, *q, *four, *middle, *samples, *values, *scratch, *centre[CHANNELS], *error[CHANNELS];
    int64_t stride_seen, stride_hidden;
    Mixtures mixtures;
    Stack *stack; /* popped from, or NULL */
    uint32_t *starts, *frequencies;
    int64_t at, room; /* of these */
} Work;

/* Where the samples of a level's phase are: `rows` and `cols` of them, the first at `top`, `left` of x, `step` apart; a plane of
 * them has h rows and w columns without its margin.
 */
typedef struct {
    int64_t rows, cols, h, w, top, left, step;
} Place;

static int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t clip(int64_t x, int64_t low, int64_t high) { return lesser(greater(x, low), high); }
static int64_t rounded(int64_t n) { return (n + COLUMNS - 1) / COLUMNS * COLUMNS; }

static Place place_of(const Work *t, int64_t level, int64_t py, int64_t px) {
    int64_t rows = ((t->height - 1) >> level) + 1, cols = ((t->width - 1) >> level) + 1;
    return (Place){(rows + 1 - py) / 2, (cols + 1 - px) / 2, (rows + 1) / 2, (cols + 1) / 2, py << level, px << level, 2 << level};
}

/* A walk over a phase's positions, image by image and row by row. */
typedef struct {
    int64_t image, row, column;
} Walk;

static Walk walk_from(const Place *p, int64_t i) { return (Walk){i / (p->cols * p->rows), i / p->cols % p->rows, i % p->cols}; }

static void step(Walk *w, const Place *p) {
    if (++w->column < p->cols) return;
    w->column = 0;
    if (++w->row < p->rows) return;
    w->row = 0, w->image++;
}

static int16_t *sample_at(const Work *t, const Place *p, const Walk *w) {
    int64_t y = p->top + w->row * p->step, x = p->left + w->column * p->step;
    return t->x + ((w->image * t->height + y) * t->width + x) * t->channels;
}

static int64_t plane_size(const Work *t, const Place *p) {
    return t->images * (p->h + 2 * t->net->margin) * (p->w + 2 * t->net->margin) * t->net->channels;
}

/* program._extend: a phase's plane, its ends repeated beyond the edges. */
static void extend(const Work *t, const Place *p, int16_t *plane) {
    const int64_t m = t->net->margin, channels = t->net->channels;
    Walk at;
    for (at.image = 0; at.image < t->images; at.image++)
        for (int64_t y = -m; y < p->h + m; y++)
            for (int64_t v = -m; v < p->w + m; v++) {
                at.row = clip(y, 0, p->rows - 1), at.column = clip(v, 0, p->cols - 1);
                const int16_t *from = sample_at(t, p, &at);
                for (int64_t c = 0; c < channels; c++)
                    *plane++ = c < t->channels ? (int16_t)clip(from[c], -SAMPLE_LIMIT, SAMPLE_LIMIT) : 0;
            }
}

/* Where a run's cell is, from a position's own in its plane. */
static int64_t away(const Work *t, const Place *p, const Run *run) {
    int64_t stride = (p->w + 2 * t->net->margin) * t->net->channels;
    return run->plane * plane_size(t, p) + run->row * stride + run->column * t->net->channels;
}

/* What a network sees around a position: 4 x less the sum of the nearest four, of its own channel; `four` gets these sums. */
static void look(const Work *t, const Phase *net, const int64_t *runs, const int64_t *nearest, const int16_t *here,
                 int16_t *restrict seen, int32_t *four) {
    const int64_t channels = t->net->channels;
    int16_t sums[RUN] = {0};
    for (int64_t c = 0; c < channels && !t->net->absolute; c++)
        for (int i = 0; i < NEAREST; i++) sums[c] = (int16_t)(sums[c] + here[nearest[i] + c]);
    for (int64_t c = 0; c < channels; c++) four[c] = sums[c];
    for (int64_t i = channels; i < RUN; i++) sums[i] = sums[i - channels];
    const shortv limit = DIFFERENCE_LIMIT - (shortv){0};
    shortv anchor[RUN / SHORTS];
    memcpy(anchor, sums, sizeof sums);
    for (int64_t r = 0; r < net->count; r++)
        UNROLL for (int i = 0; i < RUN / SHORTS; i++) {
            shortv v;
            memcpy(&v, here + runs[r] + i * SHORTS, sizeof v);
            v = v * 4 - anchor[i];
            shortv above = v > limit, below = v < -limit;
            v = (v & ~(above | below)) | (limit & above) | (-limit & below);
            memcpy(seen + net->runs[r].input + i * SHORTS, &v, sizeof v);
        }
}

/* What the channels of n positions from `start` on share: hidden activations, and centres. */
static void share(Work *t, const Place *p, const Phase *net, const int64_t *runs, const int64_t *nearest, int64_t start, int64_t n) {
    const Flow *flow = t->net;
    const int64_t m = flow->margin, stride = p->w + 2 * m, outputs = net->first.outputs;
    Walk at = walk_from(p, start);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t count = lesser(BLOCK, n - begin);
        for (int64_t j = 0; j < count; j++, step(&at, p)) {
            int64_t here = ((at.image * (p->h + 2 * m) + at.row + m) * stride + at.column + m) * flow->channels;
            int16_t *seen = t->seen + j * t->stride_seen;
            look(t, net, runs, nearest, t->planes + here, seen, t->four + j * CHANNELS);
            if (flow->absolute) {
                seen[net->inputs] = (int16_t)lesser(p->top + at.row * p->step, PLACE_LIMIT);
                seen[net->inputs + 1] = (int16_t)lesser(p->left + at.column * p->step, PLACE_LIMIT);
            }
        }
        int16_t *hidden = t->hidden + begin * t->stride_hidden;
        multiply(t->seen, t->stride_seen, &net->first, 0, t->sums, count);
        activate(t->sums, &net->first, 0, hidden, t->stride_hidden, count);
        for (int64_t j = 0; j < count; j++)
            for (int64_t c = 0; c < flow->channels; c++) {
                const int32_t *ends = net->first.ends + flow->width + c;
                int64_t sum = t->sums[j * outputs + flow->width + c];
                int64_t linear = clip((sum + ends[0]) >> ends[outputs], ends[2 * outputs], ends[3 * outputs]);
                t->centre[c][begin + j] = (int32_t)(16 * t->four[j * CHANNELS + c] + linear);
            }
        for (int64_t i = 0; i < net->middle.layers; i++) {
            multiply(hidden, t->stride_hidden, &net->middle, i, t->sums, count);
            activate_onto(t->sums, &net->middle, i, hidden, t->stride_hidden, count);
        }
    }
}

static Mixtures mixtures_from(const Work *t, int64_t begin) {
    Mixtures m = t->mixtures;
    m.mean += begin, m.inverse += begin, m.weight += begin;
    return m;
}

/* Channel c's mixtures. */
static void prior(Work *t, const Phase *net, int64_t c, int64_t n) {
    const int64_t K = t->net->components, hidden = net->heads.outputs, outputs = net->outs.outputs;
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t count = lesser(BLOCK, n - begin);
        multiply(t->hidden + begin * t->stride_hidden, t->stride_hidden, &net->heads, c, t->sums, count);
        activate(t->sums, &net->heads, c, t->z, hidden, count);
        multiply(t->z, hidden, &net->outs, c, t->sums, count);
        activate_wide(t->sums, &net->outs, c, t->q, outputs, count);
        for (int64_t j = 0; j < count; j++) {
            t->middle[j] = t->centre[c][begin + j];
            for (int64_t i = 0; i < c; i++)
                t->middle[j] += t->q[j * outputs + 3 * K + i] * t->error[i][begin + j] >> SLOPE_BITS;
        }
        Mixtures m = mixtures_from(t, begin);
        mixtures_of(t->q, outputs, t->middle, NULL, count, &m);
    }
}

/* The mixtures of the one sample of each image that is left. */
static void last_prior(Work *t, int64_t c) {
    const int64_t outputs = 3 * t->net->components;
    for (int64_t j = 0; j < BLOCK; j++) memcpy(t->q + j * outputs, t->net->last + c * outputs, (size_t)outputs * sizeof(int32_t));
    memset(t->middle, 0, BLOCK * sizeof(int32_t));
    for (int64_t begin = 0; begin < t->images; begin += BLOCK) {
        Mixtures m = mixtures_from(t, begin);
        mixtures_of(t->q, outputs, t->middle, NULL, lesser(BLOCK, t->images - begin), &m);
    }
}

static void add_share(Work *t, uint32_t start, uint32_t frequency) {
    t->starts[t->at] = start;
    t->frequencies[t->at++] = frequency;
}

/* Writes the shares of n samples: high symbols, low ones, then how many bytes those have that lie beyond the ends of their
 * window, and these bytes, the lowest ones first.
 */
static int code(Work *t, int64_t c, int64_t n) {
    const int32_t low = ORIGINS[c], high = low + SIZES[c] - 1;
    int64_t ends = 0, most = 0;
    for (int64_t j = 0; j < n; j++) {
        t->values[j] = (int32_t)clip(t->samples[j], low, high) - low;
        t->scratch[ends] = (int32_t)greater(low - t->samples[j], t->samples[j] - high); /* how far beyond: 0 at an end */
        ends += t->samples[j] <= low || t->samples[j] >= high;
    }
    if (t->room - t->at < 2 * n + 3 * ends) return WRONG_SIZES;
    mixtures_shares(&t->mixtures, t->values, n, n, t->starts + t->at, t->frequencies + t->at);
    t->at += 2 * n;
    for (int64_t i = 0; i < ends; i++) {
        int32_t excess = t->scratch[i];
        int length = (excess > 0) + (excess > 255) + (excess > 65535);
        most = greater(most, length);
        add_share(t, length ? NO_EXCESS + (uint32_t)length - 1 : 0, length ? 1 : NO_EXCESS);
    }
    for (int64_t k = 0; k < most; k++)
        for (int64_t i = 0; i < ends; i++)
            if (t->scratch[i] >> 8 * k > 0) add_share(t, (uint32_t)(t->scratch[i] >> 8 * k & 255) << 16, 1 << 16);
    return FINE;
}

/* Pops n samples. */
static int decode(Work *t, int64_t c, int64_t n) {
    const int32_t low = ORIGINS[c], high = low + SIZES[c] - 1;
    mixtures_pop(&t->mixtures, t->stack, n, t->values, t->scratch);
    int64_t ends = 0, most = 0;
    for (int64_t j = 0; j < n; j++) {
        t->samples[j] = t->values[j] + low;
        ends += t->samples[j] == low || t->samples[j] == high;
    }
    int32_t *lengths = t->scratch, *excess = t->scratch + ends;
    for (int64_t i = 0; i < ends; i++) {
        int64_t point = stack_point(t->stack), is_long = point >= NO_EXCESS;
        lengths[i] = is_long ? (int32_t)(point - NO_EXCESS + 1) : 0, excess[i] = 0;
        most = greater(most, lengths[i]);
        stack_pop(t->stack, is_long ? point : 0, is_long ? point + 1 : NO_EXCESS);
    }
    for (int64_t k = 0; k < most; k++)
        for (int64_t i = 0; i < ends; i++)
            if (lengths[i] > k) {
                uint32_t byte = (uint32_t)(stack_point(t->stack) >> 16);
                stack_pop(t->stack, byte << 16, (byte + 1) << 16);
                excess[i] = (int32_t)((uint32_t)excess[i] + (byte << 8 * k));
                if (k > 2 || excess[i] > 2 * LARGEST) return BEYOND_16_BITS;
            }
    for (int64_t j = 0, i = 0; j < n; j++)
        if (t->samples[j] == low || t->samples[j] == high) {
            t->samples[j] += t->samples[j] == low ? -excess[i] : excess[i];
            i++;
            if (t->samples[j] > LARGEST || t->samples[j] < -LARGEST) return BEYOND_16_BITS;
        }
    return FINE;
}

/* The errors of channel c, which the heads of the channels after it see. */
static void learn(Work *t, int64_t c, int64_t n) {
    for (int64_t j = 0; j < n; j++) {
        int32_t e = (int32_t)clip(64 * t->samples[j] - t->centre[c][j], -ERROR_LIMIT, ERROR_LIMIT);
        t->error[c][j] = e;
        e >>= 3;
        int32_t value = t->net->coarse[lesser(e < 0 ? -e : e, COMPAND_SIZE - 1)];
        t->hidden[j * t->stride_hidden + t->net->width + c] = (int16_t)(e < 0 ? -value : value);
    }
}

/* Codes channel c of n positions from `start` on, whose mixtures are known. */
static int channel(Work *t, const Place *p, int64_t start, int64_t n, int64_t c) {
    Walk at = walk_from(p, start);
    if (t->stack == NULL) {
        for (int64_t j = 0; j < n; j++, step(&at, p)) t->samples[j] = sample_at(t, p, &at)[c];
        return code(t, c, n);
    }
    int failed = decode(t, c, n);
    for (int64_t j = 0; j < n && !failed; j++, step(&at, p)) sample_at(t, p, &at)[c] = (int16_t)t->samples[j];
    return failed;
}

static void set_window(Work *t, int64_t c) { t->mixtures.size = SIZES[c], t->mixtures.origin = ORIGINS[c]; }

static int phase(Work *t, const Place *p, const Phase *net, int64_t *places) {
    int64_t *runs = places, *nearest = places + net->count;
    for (int64_t r = 0; r < net->count; r++) runs[r] = away(t, p, net->runs + r);
    for (int64_t i = 0; i < NEAREST; i++) nearest[i] = away(t, p, net->nearest + i);
    const int64_t positions = t->images * p->rows * p->cols;
    for (int64_t start = 0; start < positions; start += STRIP) {
        int64_t n = lesser(STRIP, positions - start);
        share(t, p, net, runs, nearest, start, n);
        for (int64_t c = 0; c < t->channels; c++) {
            prior(t, net, c, n);
            set_window(t, c);
            int failed = channel(t, p, start, n, c);
            if (failed) return failed;
            learn(t, c, n);
        }
    }
    return FINE;
}

static int levels(Work *t, int64_t *places) {
    static const int PHASES[3][2] = {{1, 1}, {0, 1}, {1, 0}}; /* in decode order: parity of row and column */
    const Place one = {1, 1, 1, 1, 0, 0, 1};
    for (int64_t c = 0; c < t->channels; c++) {
        last_prior(t, c);
        set_window(t, c);
        int failed = channel(t, &one, 0, t->images, c);
        if (failed) return failed;
    }
    int64_t depth = 0;
    while ((greater(t->height, t->width) - 1) >> depth) depth++;
    for (int64_t level = depth - 1; level >= 0; level--) {
        Place p = place_of(t, level, 0, 0);
        const int64_t size = plane_size(t, &p);
        extend(t, &p, t->planes);
        for (int i = 0; i < 3; i++) {
            int py = PHASES[i][0], px = PHASES[i][1];
            int16_t *plane = t->planes + (2 * py + px) * size;
            p = place_of(t, level, py, px);
            if (p.rows == 0 || p.cols == 0) {
                memcpy(plane, t->planes, (size_t)size * sizeof *plane);
                continue;
            }
            int failed = phase(t, &p, t->net->phases + 3 * lesser(level, t->net->sets - 1) + i, places);
            if (failed) return failed;
            extend(t, &p, plane);
        }
    }
    return FINE;
}

/* Hands out a tile's room; returns where the runs' places are kept. */
static int64_t *lay_out(Work *t, Arena *arena) {
    const Flow *flow = t->net;
    int64_t first = 0, widest = 0, seen = 0, head = 0, out = 0, runs = 0;
    for (int64_t i = 0; i < 3 * flow->sets; i++) {
        const Phase *net = flow->phases + i;
        first = greater(first, net->first.outputs), head = greater(head, net->heads.outputs), out = greater(out, net->outs.outputs);
        widest = greater(widest, greater(greater(net->first.outputs, net->middle.outputs), greater(head, out)));
        seen = greater(seen, 2 * net->first.pairs), runs = greater(runs, net->count);
    }
    t->stride_seen = rounded(seen) + RUN, t->stride_hidden = rounded(greater(first, flow->width + CHANNELS));
    const int64_t n = greater(t->images, lesser(STRIP, t->images * t->height * t->width)) + BLOCK;
    const int64_t half = ((t->height + 1) / 2 + 2 * flow->margin) * ((t->width + 1) / 2 + 2 * flow->margin);
    t->planes = TAKE(arena, int16_t, 4 * t->images * half * flow->channels + RUN);
    t->seen = TAKE(arena, int16_t, BLOCK * t->stride_seen);
    t->hidden = TAKE(arena, int16_t, n * t->stride_hidden);
    t->z = TAKE(arena, int16_t, BLOCK * head);
    t->sums = TAKE(arena, int32_t, BLOCK * widest);
    t->q = TAKE(arena, int32_t, BLOCK * greater(out, 3 * flow->components));
    t->four = TAKE(arena, int32_t, BLOCK * CHANNELS);
    t->middle = TAKE(arena, int32_t, BLOCK);
    t->samples = TAKE(arena, int32_t, n);
    t->values = TAKE(arena, int32_t, n);
    t->scratch = TAKE(arena, int32_t, 6 * n);
    for (int c = 0; c < CHANNELS; c++) t->centre[c] = TAKE(arena, int32_t, n), t->error[c] = TAKE(arena, int32_t, n);
    t->mixtures = (Mixtures){.components = flow->components, .stride = n, .tables = &flow->tables};
    t->mixtures.mean = TAKE(arena, int32_t, flow->components * n);
    t->mixtures.inverse = TAKE(arena, int32_t, flow->components * n);
    t->mixtures.weight = TAKE(arena, int32_t, flow->components * n);
    return TAKE(arena, int64_t, runs + NEAREST);
}

static int fits(const Work *t) {
    const Flow *flow = t->net;
    int fine = t->images > 0 && t->height > 0 && t->width > 0 && t->channels > 0 && t->channels <= flow->channels;
    return fine && flow->channels <= CHANNELS && flow->components <= MOST_COMPONENTS && flow->sets > 0;
}

/* How much room a tile needs; shape: images, height, width, channels. */
EXPORT int64_t lgcodec_flow_room(const Flow *net, const int64_t *shape) {
    Work t = {.net = net, .images = shape[0], .height = shape[1], .width = shape[2], .channels = shape[3]};
    Arena arena = {0};
    if (!fits(&t)) return 0;
    lay_out(&t, &arena);
    return (int64_t)arena.at + 64;
}

/* Encodes x, its symbols' shares to starts and frequencies, which have room for `room`: returns their number, or less than 0. Or
 * decodes x from a stack.
 */
EXPORT int64_t lgcodec_flow(const Flow *net, const int64_t *shape, int16_t *x, void *block, uint32_t *starts,
                            uint32_t *frequencies, int64_t room, Stack *stack) {
    Work t = {.net = net, .images = shape[0], .height = shape[1], .width = shape[2], .channels = shape[3]};
    t.x = x, t.stack = stack, t.starts = starts, t.frequencies = frequencies, t.room = room;
    Arena arena = {(uintptr_t)block};
    if (!fits(&t)) return -WRONG_SIZES;
    int64_t *places = lay_out(&t, &arena);
    int failed = levels(&t, places);
    return failed ? -failed : t.at;
}
