/* The causal family's program (families/causal/program.py) over one tile: the same integers, front by front, read when
 * encoding and written when decoding.
 *
 * The network's inputs stand in an order of their own, which on_native.py gives the weights: pixels by channel, then by row
 * upwards and column; errors by row and column, then window and channel; the rest as the program has it.
 */
#include "learning.h"
#include "solvers.h"

enum {
    COMPANDED = 4096,        /* entries of the tables that compand errors */
    DIFFERENCE_LIMIT = 2047,
    PLANES = WINDOWS * CHANNELS,
    ERRORS = 8,              /* where the predictors' own errors are looked at */
    SIDE_PLACES = 8,
    SIDE_REACH = 4,
    GRID = 20,
    GRID_UNIT = 128,
    PASSED = 4,
    EXTRAS = 4,              /* what heads see besides h: errors known by now, and the one expected; rounded up to pairs */
    OVER = 32                /* so many int16 may be written behind a run of inputs */
};

typedef struct {
    Layers first, middle, linear, heads, outs;   /* heads see h and EXTRAS, middle h and what PASSED pixels pass on */
    Layers back_outs, back_heads, back_middle;   /* from errors of outputs to those of inputs; heads as one layer */
    Tables tables;
    const int16_t *fine, *coarse;                /* [COMPANDED] */
    int64_t rows, left, reach, context, side, grid, components; /* as the network's config has them */
    int64_t inputs, width, hidden, rate, period; /* that learn, of first, of middle and heads, of outs; 2**-rate, each .. */
} Causal;

/* What a Side knows: a picture [height + 2 SIDE_REACH][width + 2 SIDE_REACH][CHANNELS], features [height][width][side]. */
typedef struct {
    const int16_t *picture, *features;
} Side;

typedef struct {
    const Causal *net;
    const Side *side;
    Solvers solvers;
    Mixtures mixtures;
    int64_t rows, input_stride, h_stride, error_stride, error_area;
    int16_t *inputs;                             /* [rows][input_stride] */
    int16_t *errors;                             /* companded: [UP + height][LEFT + width + RIGHT][PLANES] */
    int16_t *passed;                             /* by front, modulo 3: [depth][3][1 + height][context] */
    int16_t *hs, *added;                         /* [1 + depth][rows][h_stride], [depth][rows][width'] */
    int16_t *zs;                                 /* [channels][rows][hidden'] */
    int32_t *sums, *linear, *q;                  /* [rows][the most outputs], [rows][linear's], [rows][outs'] */
    int32_t *centre, *shift, *spread, *values, *scratch;
    Learner first, middle, heads, outs;          /* of networks that learn, and what errors need on their way back */
    Lesson lesson;
    int16_t *lessons;                            /* [channels][rows][outs'] */
    int16_t *below, *own, *hidden_errors;        /* [rows][width'], [rows][width'], [rows][CHANNELS hidden'] */
    int16_t *pairs, *error_pairs;
} Coder;

/* How many pixels of a channel are seen in the tile's row y - r, and the first one's column. */
INLINE int64_t run_of(const Causal *net, int64_t r) {
    int64_t right = 2 * r - 1 < net->reach ? 2 * r - 1 : net->reach;
    return r ? net->left + right + 1 : net->left;
}

INLINE int64_t seen_by(const Causal *net) {
    int64_t count = 0;
    for (int64_t r = 0; r <= net->rows; r++) count += run_of(net, r);
    return CHANNELS * count;
}

INLINE int64_t inputs_of(const Causal *net) {
    int64_t looks = net->side ? CHANNELS * SIDE_PLACES + net->side : 0;
    return seen_by(net) + ERRORS * PLANES + CHANNELS + looks + (net->grid ? GRID : 0);
}

INLINE int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }

/* Whether the layers' sizes are what the code here takes them to be. */
static int is_sound(const Causal *net, int64_t channels, int64_t height, int64_t width) {
    int64_t h = net->first.outputs, z = net->heads.outputs, K = net->components;
    const Layers *all[] = {&net->first, &net->middle, &net->linear, &net->heads, &net->outs,
                           &net->back_outs, &net->back_heads, &net->back_middle};
    for (int i = 0; i < 8; i++)
        if (all[i]->outputs % COLUMNS) return 0;
    return (channels == 1 || channels == CHANNELS) && height > 0 && width > 0 && net->rows <= UP && net->left <= LEFT &&
           net->reach <= RIGHT && K > 0 && K <= MOST_COMPONENTS && 3 * K < net->outs.outputs && net->context <= h &&
           2 * net->first.pairs >= inputs_of(net) && 2 * net->first.pairs <= inputs_of(net) + 1 &&
           2 * net->linear.pairs <= 2 * net->first.pairs && net->linear.outputs >= CHANNELS &&
           net->middle.outputs == h && 2 * net->middle.pairs == h + PASSED * net->context &&
           net->heads.layers == CHANNELS && 2 * net->heads.pairs == h + EXTRAS && net->outs.layers == CHANNELS &&
           2 * net->outs.pairs == z && net->inputs <= 2 * net->first.pairs && net->width <= h && net->hidden <= z &&
           net->back_outs.layers == CHANNELS && 2 * net->back_outs.pairs == net->outs.outputs &&
           net->back_outs.outputs == z && 2 * net->back_heads.pairs == CHANNELS * z && net->back_heads.outputs == h &&
           net->back_middle.layers == net->middle.layers && 2 * net->back_middle.pairs == h &&
           net->back_middle.outputs == h && net->period > 0;
}

/* Everything in one block, which holds zeros; returns its size. */
static int64_t lay_out(Coder *coder, const Causal *net, uintptr_t block, int64_t channels, int64_t height, int64_t width) {
    Arena arena = {block};
    int64_t rows = height < (width + 1) / 2 ? height : (width + 1) / 2, depth = net->middle.layers;
    int64_t h = net->first.outputs, z = net->heads.outputs, outs = net->outs.outputs;
    coder->net = net;
    solvers_lay_out(&coder->solvers, &arena, channels, height, width);
    coder->rows = rows;
    coder->input_stride = (2 * net->first.pairs + COLUMNS - 1) / COLUMNS * COLUMNS;
    coder->h_stride = h + greater(PASSED * net->context, EXTRAS);
    coder->error_stride = coder->solvers.stride * PLANES;
    coder->inputs = TAKE(&arena, int16_t, rows * coder->input_stride + OVER);
    coder->errors = TAKE(&arena, int16_t, (UP + height) * coder->error_stride);
    coder->passed = TAKE(&arena, int16_t, depth * 3 * (1 + height) * net->context);
    coder->hs = TAKE(&arena, int16_t, (net->rate ? 1 + depth : 1) * rows * coder->h_stride);
    coder->zs = TAKE(&arena, int16_t, channels * rows * z);
    coder->sums = TAKE(&arena, int32_t, rows * greater(h, greater(z, outs)));
    coder->linear = TAKE(&arena, int32_t, rows * net->linear.outputs);
    coder->q = TAKE(&arena, int32_t, (rows + SLACK) * outs);
    coder->centre = TAKE(&arena, int32_t, rows + SLACK);
    coder->shift = TAKE(&arena, int32_t, rows + SLACK);
    coder->spread = TAKE(&arena, int32_t, rows + SLACK);
    coder->values = TAKE(&arena, int32_t, rows + SLACK);
    coder->scratch = TAKE(&arena, int32_t, 6 * (rows + SLACK));
    Mixtures *m = &coder->mixtures;
    m->components = net->components, m->stride = rows + SLACK, m->tables = &net->tables;
    m->mean = TAKE(&arena, int32_t, m->components * m->stride);
    m->inverse = TAKE(&arena, int32_t, m->components * m->stride);
    m->weight = TAKE(&arena, int32_t, m->components * m->stride);
    if (net->rate) {
        learner_lay_out(&coder->first, &arena, &net->first, net->inputs, net->width);
        learner_lay_out(&coder->middle, &arena, &net->middle, net->width, net->width);
        learner_lay_out(&coder->heads, &arena, &net->heads, net->width, net->hidden);
        learner_lay_out(&coder->outs, &arena, &net->outs, net->hidden, 3 * net->components + 1);
        int64_t inputs = greater(coder->first.room, greater(h, z)), outputs = greater(h, greater(z, outs));
        lesson_lay_out(&coder->lesson, &arena, inputs, outputs);
        coder->added = TAKE(&arena, int16_t, depth * rows * h);
        coder->lessons = TAKE(&arena, int16_t, channels * rows * outs);
        coder->below = TAKE(&arena, int16_t, rows * h);
        coder->own = TAKE(&arena, int16_t, rows * h);
        coder->hidden_errors = TAKE(&arena, int16_t, rows * CHANNELS * z);
        coder->pairs = TAKE(&arena, int16_t, (rows + 1) * inputs);
        coder->error_pairs = TAKE(&arena, int16_t, (rows + 1) * outputs);
    } else {
        coder->first.now = net->first, coder->middle.now = net->middle;
        coder->heads.now = net->heads, coder->outs.now = net->outs;
    }
    return (int64_t)(arena.at - block) + ALIGNMENT;
}

INLINE int16_t compand(const int16_t *table, int32_t e) {
    int32_t most = e < 0 ? -e : e;
    int16_t value = table[most < COMPANDED ? most : COMPANDED - 1];
    return e < 0 ? (int16_t)-value : value;
}

INLINE int16_t relative(int32_t value, int32_t anchor) {
    int32_t d = value - anchor;
    return (int16_t)(d < -DIFFERENCE_LIMIT ? -DIFFERENCE_LIMIT : d > DIFFERENCE_LIMIT ? DIFFERENCE_LIMIT : d);
}

/* What the network sees of each pixel of a front. */
static void see(Coder *coder, const Front *front) {
    const Causal *net = coder->net;
    const Solvers *s = &coder->solvers;
    const i16v limit = DIFFERENCE_LIMIT - (i16v){0};
    for (int64_t j = 0; j < front->n; j++) {
        int64_t y = front->low + j, x = front->t - 2 * y;
        int16_t *to = coder->inputs + j * coder->input_stride;
        int32_t anchors[CHANNELS], spreads[CHANNELS];
        for (int64_t c = 0; c < CHANNELS; c++) {
            int64_t place = rows_at(s, front, c) + j;
            anchors[c] = anchor_of(s, place), spreads[c] = spread_of(s, place);
            const i16v anchor = (int16_t)anchors[c] - (i16v){0};
            const int16_t *from = s->planes + c * s->area + (y + UP) * s->stride + x + LEFT - net->left;
            for (int64_t r = 0; r <= net->rows; r++, from -= s->stride) {
                int64_t run = run_of(net, r);
                for (int64_t i = 0; i < run; i += 2 * LANES)
                    store_i16v(to + i, clip_i16((load_i16v(from + i) << 3) - anchor, -limit, limit));
                to += run;
            }
        }
        const int16_t *from = coder->errors + (y + UP) * coder->error_stride + (x + LEFT) * PLANES;
        memcpy(to, from - 2 * PLANES, 2 * PLANES * sizeof *to);
        memcpy(to + 2 * PLANES, from - coder->error_stride - PLANES, 3 * PLANES * sizeof *to);
        memcpy(to + 5 * PLANES, from - 2 * coder->error_stride - PLANES, 3 * PLANES * sizeof *to);
        to += ERRORS * PLANES;
        for (int c = 0; c < CHANNELS; c++) *to++ = compand(net->fine, spreads[c]);
        if (net->side) {
            static const int DY[SIDE_PLACES] = {0, 0, 4, 0, -4, 4, 4, -4}, DX[SIDE_PLACES] = {0, 4, 0, -4, 0, 4, -4, 4};
            for (int i = 0; i < SIDE_PLACES; i++) {
                int64_t place = (y + SIDE_REACH + DY[i]) * (s->width + 2 * SIDE_REACH) + x + SIDE_REACH + DX[i];
                for (int c = 0; c < CHANNELS; c++) *to++ = relative(coder->side->picture[place * CHANNELS + c], anchors[c]);
            }
            memcpy(to, coder->side->features + (y * s->width + x) * net->side, (size_t)net->side * sizeof *to);
            to += net->side;
        }
        if (net->grid) {
            memset(to, 0, GRID * sizeof *to);
            to[2 * (y % 2) + x % 2] = to[4 + x % 8] = to[12 + y % 8] = GRID_UNIT;
        }
    }
}

/* Program._pass: behind h what the pixels W, NW, N, NE pass on; and h's first features are passed on. */
static void pass(Coder *coder, const Front *front, int64_t layer, int16_t *h) {
    int64_t context = coder->net->context, span = (1 + coder->solvers.height) * context, t = front->t;
    int16_t *fronts = coder->passed + layer * 3 * span + front->low * context; /* row y at 1 + y */
    int16_t *now = fronts + t % 3 * span + context;
    const int16_t *around[PASSED] = {fronts + (t + 2) % 3 * span + context, fronts + t % 3 * span,
                                     fronts + (t + 1) % 3 * span, fronts + (t + 2) % 3 * span};
    size_t bytes = (size_t)context * sizeof *h;
    for (int64_t j = 0; j < front->n; j++) {
        int16_t *to = h + j * coder->h_stride + coder->net->first.outputs;
        for (int place = 0; place < PASSED; place++) memcpy(to + place * context, around[place] + j * context, bytes);
        if (t - 2 * (front->low + j) + 1 == coder->solvers.width) /* what is there came from another column */
            memset(to + (PASSED - 1) * context, 0, bytes);
    }
    for (int64_t j = 0; j < front->n; j++) memcpy(now + j * context, h + j * coder->h_stride, bytes);
}

/* h of a front, before the heads; where it teaches, what each layer saw and gave is kept. */
static int16_t *trunk(Coder *coder, const Front *front, int teaches) {
    const Causal *net = coder->net;
    int64_t n = front->n, width = net->first.outputs, limit = net->middle.ends[3 * width];
    int16_t *h = coder->hs;
    multiply(coder->inputs, coder->input_stride, &net->linear, 0, coder->linear, n);
    activate_wide(coder->linear, &net->linear, 0, coder->linear, net->linear.outputs, n);
    multiply(coder->inputs, coder->input_stride, &coder->first.now, 0, coder->sums, n);
    activate(coder->sums, &net->first, 0, h, coder->h_stride, n);
    for (int64_t i = 0; i < net->middle.layers; i++) {
        if (net->context) pass(coder, front, i, h);
        multiply(h, coder->h_stride, &coder->middle.now, i, coder->sums, n);
        if (!teaches) {
            activate_onto(coder->sums, &net->middle, i, h, coder->h_stride, n);
            continue;
        }
        int16_t *added = coder->added + i * coder->rows * width, *next = h + coder->rows * coder->h_stride;
        activate(coder->sums, &net->middle, i, added, width, n);
        for (int64_t j = 0; j < n; j++)
            for (int64_t o = 0; o < width; o++) {
                int32_t both = h[j * coder->h_stride + o] + added[j * width + o];
                next[j * coder->h_stride + o] = (int16_t)(both < limit ? both : limit);
            }
        h = next;
    }
    return h;
}

/* The mixtures of channel c of a front. */
static void mix(Coder *coder, const Front *front, int64_t c, int16_t *h) {
    const Causal *net = coder->net;
    const Solvers *s = &coder->solvers;
    int64_t n = front->n, K = net->components, outs = net->outs.outputs;
    int16_t *z = coder->zs + c * coder->rows * net->heads.outputs;
    for (int64_t j = 0; j < n; j++) {
        int64_t place = rows_at(s, front, 0) + j;
        int16_t *extras = h + j * coder->h_stride + net->first.outputs;
        int32_t expected = c ? (int32_t)s->expected[c * s->slots + place] : 0;
        extras[0] = compand(net->coarse, (int32_t)s->known[place]);
        extras[1] = compand(net->coarse, (int32_t)s->known[s->slots + place]);
        extras[2] = extras[3] = 0;
        if (c) extras[c] = compand(net->fine, expected);
        coder->shift[j] = 8 * expected;
    }
    multiply(h, coder->h_stride, &coder->heads.now, c, coder->sums, n);
    activate(coder->sums, &net->heads, c, z, net->heads.outputs, n);
    multiply(z, net->heads.outputs, &coder->outs.now, c, coder->q, n);
    activate_wide(coder->q, &net->outs, c, coder->q, outs, n);
    for (int64_t j = 0; j < n; j++) {
        int64_t place = rows_at(s, front, c) + j;
        coder->spread[j] = spread_of(s, place);
        int32_t gate = (coder->q[j * outs + 3 * K] * coder->spread[j]) >> 5;
        coder->centre[j] = 8 * anchor_of(s, place) + coder->linear[j * net->linear.outputs + c] + gate;
    }
    coder->mixtures.size = c ? 512 : 256, coder->mixtures.origin = c ? -256 : 0;
    mixtures_of(coder->q, outs, coder->centre, coder->shift, n, &coder->mixtures);
}

/* Writes values to the tile, and all that is known by them. */
static void place(Coder *coder, const Front *front, int64_t c, int16_t *tile) {
    Solvers *s = &coder->solvers;
    int16_t *errors = coder->errors + LEFT * PLANES + c;
    for (int64_t j = 0; j < front->n; j++) {
        int64_t y = front->low + j, x = front->t - 2 * y, row = rows_at(s, front, c) + j;
        int32_t value = coder->values[j] + (int32_t)coder->mixtures.origin;
        tile[(c * s->height + y) * s->width + x] = (int16_t)value;
        for (int w = 0; w < WINDOWS; w++)
            errors[(y + UP) * coder->error_stride + x * PLANES + w * CHANNELS] =
                compand(coder->net->fine, 8 * value - prediction_of(s, w, row));
    }
    solvers_learn(s, front, c, tile);
}

/* Program._learn: backpropagation of a front's errors. */
static void teach(Coder *coder, const Front *front, int64_t channels) {
    const Causal *net = coder->net;
    int64_t n = front->n, rate = net->rate, depth = net->middle.layers, rows = coder->rows;
    int64_t h = net->first.outputs, z = net->heads.outputs, outs = net->outs.outputs, all = CHANNELS * z;
    const int16_t *last = coder->hs + depth * rows * coder->h_stride;
    int16_t *pairs = coder->pairs, *error_pairs = coder->error_pairs;
    for (int64_t c = 0; c < channels; c++) {
        const int16_t *errors = coder->lessons + c * rows * outs, *zs = coder->zs + c * rows * z;
        int16_t *hidden_errors = coder->hidden_errors + c * z;
        multiply(errors, outs, &net->back_outs, c, coder->sums, n);
        lgcodec_errors_back(coder->sums, z, n, NULL, zs, z, hidden_errors, all);
        pair(zs, z, n, coder->outs.room, pairs);
        pair(errors, outs, n, outs, error_pairs);
        learn(&coder->outs, c, rate, pairs, error_pairs, n, &coder->lesson);
        pair(last, coder->h_stride, n, coder->heads.room, pairs);
        pair(hidden_errors, all, n, z, error_pairs);
        learn(&coder->heads, c, rate, pairs, error_pairs, n, &coder->lesson);
    }
    memset(coder->below, 0, (size_t)(n * h) * sizeof *coder->below);
    multiply(coder->hidden_errors, all, &net->back_heads, 0, coder->sums, n);
    for (int64_t i = depth - 1; i >= 0; i--) {
        lgcodec_errors_back(coder->sums, h, n, coder->below, coder->added + i * rows * h, h, coder->own, h);
        multiply(coder->own, h, &net->back_middle, i, coder->sums, n);
        pair(coder->hs + i * rows * coder->h_stride, coder->h_stride, n, coder->middle.room, pairs);
        pair(coder->own, h, n, h, error_pairs);
        learn(&coder->middle, i, rate, pairs, error_pairs, n, &coder->lesson);
    }
    lgcodec_errors_back(coder->sums, h, n, coder->below, coder->hs, coder->h_stride, coder->own, h);
    pair(coder->inputs, coder->input_stride, n, coder->first.room, pairs);
    pair(coder->own, h, n, h, error_pairs);
    learn(&coder->first, 0, rate, pairs, error_pairs, n, &coder->lesson);
}

/* Bytes that lgcodec_causal needs for a tile, -1 where it would return WRONG_SIZES. */
EXPORT int64_t lgcodec_causal_room(const Causal *net, int64_t channels, int64_t height, int64_t width) {
    Coder coder = {0};
    return is_sound(net, channels, height, width) ? lay_out(&coder, net, 0, channels, height, width) : -1;
}

/* Codes a tile [channels][height][width]. side: where the network wants one. starts, frequencies: the shares of its symbols
 * in order, [2 channels height width], of a tile that is there; NULL where it is to be popped from the stack, which
 * holds it and nothing else, or NOT_ITS_TILE is returned. block: so many zeros as lgcodec_causal_room says.
 */
EXPORT int lgcodec_causal(const Causal *net, int64_t channels, int64_t height, int64_t width, int16_t *tile, const Side *side,
                          uint32_t *starts, uint32_t *frequencies, Stack *stack, void *block) {
    Coder coder = {.side = side};
    if (!is_sound(net, channels, height, width) || (net->side && !side)) return WRONG_SIZES;
    lay_out(&coder, net, (uintptr_t)block, channels, height, width);
    Solvers *s = &coder.solvers;
    solvers_begin(s);
    if (net->rate) {
        learner_begin(&coder.first, &net->first);
        learner_begin(&coder.middle, &net->middle);
        learner_begin(&coder.heads, &net->heads);
        learner_begin(&coder.outs, &net->outs);
    }
    for (int64_t t = 0; t < width + 2 * (height - 1); t++) {
        const Front front = front_of(t, height, width);
        const int teaches = net->rate && t % net->period == 0 && front.n;
        if (!front.n) continue; /* of tiles one pixel wide */
        for (int64_t c = 0; c < channels; c++) solvers_predict(s, &front, c);
        see(&coder, &front);
        int16_t *h = trunk(&coder, &front, teaches);
        if (channels == CHANNELS) coupling_merge(s, &front);
        for (int64_t c = 0; c < channels; c++) {
            if (c) coupling_expect(s, &front, c);
            mix(&coder, &front, c, h);
            if (starts) {
                const int16_t *from = tile + (c * height + front.low) * width + t - 2 * front.low;
                for (int64_t j = 0; j < front.n; j++, from += width - 2) {
                    coder.values[j] = *from - (int32_t)coder.mixtures.origin;
                    if (coder.values[j] < 0 || coder.values[j] >= coder.mixtures.size) return WRONG_SIZES;
                }
                mixtures_shares(&coder.mixtures, coder.values, front.n, starts, frequencies);
                starts += 2 * front.n, frequencies += 2 * front.n;
            } else {
                mixtures_pop(&coder.mixtures, stack, front.n, coder.values, coder.scratch);
            }
            if (teaches) {
                int64_t outs = net->outs.outputs;
                int16_t *errors = coder.lessons + c * coder.rows * outs;
                lgcodec_mixture_errors(&coder.mixtures, coder.values, coder.spread, coder.q, outs, front.n, errors);
            }
            place(&coder, &front, c, tile);
        }
        if (teaches) teach(&coder, &front, channels);
        if (channels == CHANNELS) coupling_learn(s, &front);
    }
    return starts || (stack->state == 0 && stack->left == 0) ? FINE : NOT_ITS_TILE;
}
