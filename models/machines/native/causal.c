/* The causal family's program (families/causal/program.py) over one tile: the same integers, front by front, read when
 * encoding and written when decoding. The rows of a front are shared by a crew, since none of its pixels waits for another:
 * all but popping goes by rows, or by layers where a front teaches. A worker writes its own rows, reads what others wrote
 * before the crew met last, and has copies of the states above its first row (`Edge`), which their worker moves meanwhile.
 *
 * The network's inputs stand in an order of their own, which on_native.py gives the weights: pixels by channel, then by row
 * upwards and column; errors by row and column, then window and channel; the rest as the program has it.
 */
#include "crew.h"
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
    RECENT = 4,              /* fronts whose features are kept: three are read while the next one's are written */
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

/* A worker's rows of a front, and what is made of them; arrays have room for `rows` of them. */
typedef struct {
    Front front;
    int64_t rows;
    Edge edge;
    Mixtures mixtures;
    int16_t *inputs;                             /* [rows][input_stride] */
    int16_t *hs, *added;                         /* [1 + depth][rows][h_stride], [depth][rows][width'] */
    int16_t *zs;                                 /* [channels][rows][hidden'] */
    int32_t *sums, *linear, *q;                  /* [rows][the most outputs], [rows][linear's], [rows][outs'] */
    int32_t *centre, *shift, *spread, *values;
    int16_t *lessons;                            /* [channels][rows][outs'] */
    int16_t *below, *own, *hidden_errors;        /* [rows][width'], [1 + depth][rows][width'], [rows][CHANNELS hidden'] */
    Lesson lesson;                               /* of the layers that this worker moves */
    int16_t *pairs, *error_pairs;
} Part;

typedef struct {
    const Causal *net;
    const Side *side;
    Crew *crew;
    Part parts[MOST_WORKERS], *part;             /* of all workers, and of this one */
    Solvers solvers;
    int64_t channels, input_stride, h_stride, error_stride;
    int16_t *errors;                             /* companded: [UP + height][LEFT + width + RIGHT][PLANES] */
    int16_t *passed;                             /* by front, modulo RECENT: [depth][RECENT][1 + height][context] */
    Learner first, middle, heads, outs;          /* of networks that learn */
    Mixtures mixtures;                           /* of a front, where more than one worker makes them and one pops */
    int32_t *values, *scratch;                   /* that are popped */
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

static void mixtures_lay_out(Mixtures *m, Arena *arena, const Causal *net, int64_t rows) {
    m->components = net->components, m->stride = rows + SLACK, m->tables = &net->tables;
    m->mean = TAKE(arena, int32_t, m->components * m->stride);
    m->inverse = TAKE(arena, int32_t, m->components * m->stride);
    m->weight = TAKE(arena, int32_t, m->components * m->stride);
}

/* of: the rows that all parts of a front have together. */
static void part_lay_out(Part *part, Arena *arena, const Coder *coder, int64_t rows, int64_t of) {
    const Causal *net = coder->net;
    int64_t depth = net->middle.layers, channels = coder->channels;
    int64_t h = net->first.outputs, z = net->heads.outputs, outs = net->outs.outputs;
    part->rows = rows;
    edge_lay_out(&part->edge, arena);
    mixtures_lay_out(&part->mixtures, arena, net, rows);
    part->inputs = TAKE(arena, int16_t, rows * coder->input_stride + OVER);
    part->hs = TAKE(arena, int16_t, (net->rate ? 1 + depth : 1) * rows * coder->h_stride);
    part->zs = TAKE(arena, int16_t, channels * rows * z);
    part->sums = TAKE(arena, int32_t, rows * greater(h, greater(z, outs)));
    part->linear = TAKE(arena, int32_t, rows * net->linear.outputs);
    part->q = TAKE(arena, int32_t, (rows + SLACK) * outs);
    part->centre = TAKE(arena, int32_t, rows + SLACK);
    part->shift = TAKE(arena, int32_t, rows + SLACK);
    part->spread = TAKE(arena, int32_t, rows + SLACK);
    part->values = TAKE(arena, int32_t, rows + SLACK);
    if (net->rate) {
        int64_t inputs = greater(coder->first.room, greater(h, z)), outputs = greater(h, greater(z, outs));
        part->added = TAKE(arena, int16_t, depth * rows * h);
        part->lessons = TAKE(arena, int16_t, channels * rows * outs);
        part->below = TAKE(arena, int16_t, rows * h);
        part->own = TAKE(arena, int16_t, (1 + depth) * rows * h);
        part->hidden_errors = TAKE(arena, int16_t, rows * CHANNELS * z);
        lesson_lay_out(&part->lesson, arena, inputs, outputs);
        part->pairs = TAKE(arena, int16_t, (of + coder->crew->workers) * inputs);
        part->error_pairs = TAKE(arena, int16_t, (of + coder->crew->workers) * outputs);
    }
}

/* Everything in one block, which holds zeros; returns its size. All workers lay out the same block alike. */
static int64_t lay_out(Coder *coder, const Causal *net, uintptr_t block, int64_t channels, int64_t height, int64_t width) {
    Arena arena = {block};
    int64_t rows = height < (width + 1) / 2 ? height : (width + 1) / 2, depth = net->middle.layers;
    int64_t workers = coder->crew->workers, blocks = rows / WIDE + 2; /* that rows lie in at most */
    coder->net = net, coder->channels = channels;
    solvers_lay_out(&coder->solvers, &arena, channels, height, width);
    coder->input_stride = (2 * net->first.pairs + COLUMNS - 1) / COLUMNS * COLUMNS;
    coder->h_stride = net->first.outputs + greater(PASSED * net->context, EXTRAS);
    coder->error_stride = coder->solvers.stride * PLANES;
    coder->errors = TAKE(&arena, int16_t, (UP + height) * coder->error_stride);
    coder->passed = TAKE(&arena, int16_t, depth * RECENT * (1 + height) * net->context);
    mixtures_lay_out(&coder->mixtures, &arena, net, rows);
    coder->values = TAKE(&arena, int32_t, rows + SLACK);
    coder->scratch = TAKE(&arena, int32_t, 6 * (rows + SLACK));
    if (net->rate) {
        learner_lay_out(&coder->first, &arena, &net->first, net->inputs, net->width);
        learner_lay_out(&coder->middle, &arena, &net->middle, net->width, net->width);
        learner_lay_out(&coder->heads, &arena, &net->heads, net->width, net->hidden);
        learner_lay_out(&coder->outs, &arena, &net->outs, net->hidden, 3 * net->components + 1);
    } else {
        coder->first.now = net->first, coder->middle.now = net->middle;
        coder->heads.now = net->heads, coder->outs.now = net->outs;
    }
    for (int64_t i = 0; i < workers; i++)
        part_lay_out(&coder->parts[i], &arena, coder, (blocks + workers - 1) / workers * WIDE, rows);
    return (int64_t)(arena.at - block) + ALIGNMENT;
}

/* Gives each worker as many blocks of a front's rows, as solvers have them. */
static void divide(Coder *coder, const Front *front) {
    int64_t workers = coder->crew->workers, first = (front->low + 1) / WIDE, last = (front->low + front->n) / WIDE;
    int64_t end = front->low + front->n + 1, from = front->low + 1; /* slots */
    for (int64_t i = 0; i < workers; i++) {
        int64_t to = i + 1 < workers ? (first + (last - first + 1) * (i + 1) / workers) * WIDE : end;
        to = to > from ? to : from; /* the first block's rows begin behind its start */
        coder->parts[i].front = (Front){front->t, from - 1, to - from};
        from = to;
    }
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

/* What the network sees of each pixel of a part. */
static void see(const Coder *coder, const Part *part) {
    const Front *front = &part->front;
    const Causal *net = coder->net;
    const Solvers *s = &coder->solvers;
    const i16v limit = DIFFERENCE_LIMIT - (i16v){0};
    for (int64_t j = 0; j < front->n; j++) {
        int64_t y = front->low + j, x = front->t - 2 * y;
        int16_t *to = part->inputs + j * coder->input_stride;
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
static void pass(const Coder *coder, const Front *front, int64_t layer, int16_t *h) {
    int64_t context = coder->net->context, span = (1 + coder->solvers.height) * context, t = front->t;
    int16_t *fronts = coder->passed + layer * RECENT * span + front->low * context; /* row y at 1 + y */
    int16_t *now = fronts + t % RECENT * span + context;
    const int16_t *around[PASSED] = {fronts + (t + 3) % RECENT * span + context, fronts + (t + 1) % RECENT * span,
                                     fronts + (t + 2) % RECENT * span, fronts + (t + 3) % RECENT * span};
    size_t bytes = (size_t)context * sizeof *h;
    for (int64_t j = 0; j < front->n; j++) {
        int16_t *to = h + j * coder->h_stride + coder->net->first.outputs;
        for (int place = 0; place < PASSED; place++) memcpy(to + place * context, around[place] + j * context, bytes);
        if (t - 2 * (front->low + j) + 1 == coder->solvers.width) /* what is there came from another column */
            memset(to + (PASSED - 1) * context, 0, bytes);
    }
    for (int64_t j = 0; j < front->n; j++) memcpy(now + j * context, h + j * coder->h_stride, bytes);
}

/* h of a part, before the heads; where it teaches, what each layer saw and gave is kept. */
static int16_t *trunk(const Coder *coder, const Part *part, int teaches) {
    const Causal *net = coder->net;
    int64_t n = part->front.n, width = net->first.outputs, limit = net->middle.ends[3 * width];
    int16_t *h = part->hs;
    multiply(part->inputs, coder->input_stride, &net->linear, 0, part->linear, n);
    activate_wide(part->linear, &net->linear, 0, part->linear, net->linear.outputs, n);
    multiply(part->inputs, coder->input_stride, &coder->first.now, 0, part->sums, n);
    activate(part->sums, &net->first, 0, h, coder->h_stride, n);
    for (int64_t i = 0; i < net->middle.layers; i++) {
        if (net->context) pass(coder, &part->front, i, h);
        multiply(h, coder->h_stride, &coder->middle.now, i, part->sums, n);
        if (!teaches) {
            activate_onto(part->sums, &net->middle, i, h, coder->h_stride, n);
            continue;
        }
        int16_t *added = part->added + i * part->rows * width, *next = h + part->rows * coder->h_stride;
        activate(part->sums, &net->middle, i, added, width, n);
        for (int64_t j = 0; j < n; j++)
            for (int64_t o = 0; o < width; o++) {
                int32_t both = h[j * coder->h_stride + o] + added[j * width + o];
                next[j * coder->h_stride + o] = (int16_t)(both < limit ? both : limit);
            }
        h = next;
    }
    return h;
}

/* The mixtures of channel c of a part. */
static void mix(const Coder *coder, Part *part, int64_t c, int16_t *h) {
    const Front *front = &part->front;
    const Causal *net = coder->net;
    const Solvers *s = &coder->solvers;
    int64_t n = front->n, K = net->components, outs = net->outs.outputs;
    int16_t *z = part->zs + c * part->rows * net->heads.outputs;
    for (int64_t j = 0; j < n; j++) {
        int64_t place = rows_at(s, front, 0) + j;
        int16_t *extras = h + j * coder->h_stride + net->first.outputs;
        int32_t expected = c ? (int32_t)s->expected[c * s->slots + place] : 0;
        extras[0] = compand(net->coarse, (int32_t)s->known[place]);
        extras[1] = compand(net->coarse, (int32_t)s->known[s->slots + place]);
        extras[2] = extras[3] = 0;
        if (c) extras[c] = compand(net->fine, expected);
        part->shift[j] = 8 * expected;
    }
    multiply(h, coder->h_stride, &coder->heads.now, c, part->sums, n);
    activate(part->sums, &net->heads, c, z, net->heads.outputs, n);
    multiply(z, net->heads.outputs, &coder->outs.now, c, part->q, n);
    activate_wide(part->q, &net->outs, c, part->q, outs, n);
    for (int64_t j = 0; j < n; j++) {
        int64_t place = rows_at(s, front, c) + j;
        part->spread[j] = spread_of(s, place);
        int32_t gate = (part->q[j * outs + 3 * K] * part->spread[j]) >> 5;
        part->centre[j] = 8 * anchor_of(s, place) + part->linear[j * net->linear.outputs + c] + gate;
    }
    part->mixtures.size = c ? 512 : 256, part->mixtures.origin = c ? -256 : 0;
    mixtures_of(part->q, outs, part->centre, part->shift, n, &part->mixtures);
}

/* Writes values to the tile, and all that is known by them. */
static void place(Coder *coder, const Part *part, int64_t c, int16_t *tile) {
    const Front *front = &part->front;
    Solvers *s = &coder->solvers;
    int16_t *errors = coder->errors + LEFT * PLANES + c;
    for (int64_t j = 0; j < front->n; j++) {
        int64_t y = front->low + j, x = front->t - 2 * y, row = rows_at(s, front, c) + j;
        int32_t value = part->values[j] + (int32_t)part->mixtures.origin;
        tile[(c * s->height + y) * s->width + x] = (int16_t)value;
        for (int w = 0; w < WINDOWS; w++)
            errors[(y + UP) * coder->error_stride + x * PLANES + w * CHANNELS] =
                compand(coder->net->fine, 8 * value - prediction_of(s, w, row));
    }
    solvers_learn(s, front, c, tile);
}

/* Program._learn, by rows: the errors of all layers' outputs. */
static void propagate(const Coder *coder, const Part *part) {
    const Causal *net = coder->net;
    int64_t n = part->front.n, depth = net->middle.layers, rows = part->rows;
    int64_t h = net->first.outputs, z = net->heads.outputs, outs = net->outs.outputs, all = CHANNELS * z;
    for (int64_t c = 0; c < coder->channels; c++) {
        multiply(part->lessons + c * rows * outs, outs, &net->back_outs, c, part->sums, n);
        lgcodec_errors_back(part->sums, z, n, NULL, part->zs + c * rows * z, z, part->hidden_errors + c * z, all);
    }
    memset(part->below, 0, (size_t)(n * h) * sizeof *part->below);
    multiply(part->hidden_errors, all, &net->back_heads, 0, part->sums, n);
    for (int64_t i = depth - 1; i >= 0; i--) {
        int16_t *own = part->own + (1 + i) * rows * h;
        lgcodec_errors_back(part->sums, h, n, part->below, part->added + i * rows * h, h, own, h);
        multiply(own, h, &net->back_middle, i, part->sums, n);
    }
    lgcodec_errors_back(part->sums, h, n, part->below, part->hs, coder->h_stride, part->own, h);
}

enum { FIRST, MIDDLE, HEADS, OUTS, KINDS };

/* Pairs what a layer saw and its outputs' errors, part by part; returns for how many pixels, with those of zeros that fill
 * pairs up.
 */
static int64_t gather_lessons(const Coder *coder, int kind, int64_t layer, int64_t columns, int64_t outputs) {
    const Causal *net = coder->net;
    int64_t h = net->first.outputs, z = net->heads.outputs, outs = net->outs.outputs, stride = coder->h_stride, at = 0;
    for (int64_t i = 0; i < coder->crew->workers; i++) {
        const Part *part = &coder->parts[i];
        int64_t n = part->front.n, rows = part->rows;
        int16_t *pairs = coder->part->pairs + at * columns, *error_pairs = coder->part->error_pairs + at * outputs;
        switch (kind) {
        case FIRST:
            pair(part->inputs, coder->input_stride, n, columns, pairs);
            pair(part->own, h, n, h, error_pairs);
            break;
        case MIDDLE:
            pair(part->hs + layer * rows * stride, stride, n, columns, pairs);
            pair(part->own + (1 + layer) * rows * h, h, n, h, error_pairs);
            break;
        case HEADS:
            pair(part->hs + net->middle.layers * rows * stride, stride, n, columns, pairs);
            pair(part->hidden_errors + layer * z, CHANNELS * z, n, z, error_pairs);
            break;
        default:
            pair(part->zs + layer * rows * z, z, n, columns, pairs);
            pair(part->lessons + layer * rows * outs, outs, n, outs, error_pairs);
        }
        at += (n + 1) / 2 * 2;
    }
    return at;
}

/* Program._learn, by layers: each goes to the worker that has least to do so far, and is moved by it. */
static void move(Coder *coder) {
    Learner *all[KINDS] = {&coder->first, &coder->middle, &coder->heads, &coder->outs};
    int64_t load[MOST_WORKERS] = {0};
    for (int kind = 0; kind < KINDS; kind++) {
        Learner *learner = all[kind];
        int64_t outputs = learner->now.outputs, layers = kind < HEADS ? learner->now.layers : coder->channels;
        for (int64_t layer = 0; layer < layers; layer++) {
            int64_t idlest = 0;
            for (int64_t i = 1; i < coder->crew->workers; i++) idlest = load[i] < load[idlest] ? i : idlest;
            load[idlest] += learner->own * outputs;
            if (&coder->parts[idlest] != coder->part) continue;
            int64_t n = gather_lessons(coder, kind, layer, learner->room, outputs);
            learn(learner, layer, coder->net->rate, coder->part->pairs, coder->part->error_pairs, n, &coder->part->lesson);
        }
    }
}

/* The values of channel c of a front, from the stack: one worker pops what all have made the mixtures of. */
static void pop(Coder *coder, const Front *front, Stack *stack) {
    Part *part = coder->part;
    Mixtures *own = &part->mixtures, *all = coder->crew->workers > 1 ? &coder->mixtures : own;
    int64_t at = part->front.low - front->low, bytes = part->front.n * (int64_t)sizeof(int32_t);
    for (int64_t k = 0; all != own && k < own->components; k++) {
        memcpy(all->mean + k * all->stride + at, own->mean + k * own->stride, (size_t)bytes);
        memcpy(all->inverse + k * all->stride + at, own->inverse + k * own->stride, (size_t)bytes);
        memcpy(all->weight + k * all->stride + at, own->weight + k * own->stride, (size_t)bytes);
    }
    crew_meet(coder->crew);
    if (part == coder->parts) {
        all->size = own->size, all->origin = own->origin;
        mixtures_pop(all, stack, front->n, coder->values, coder->scratch);
    }
    crew_meet(coder->crew);
    memcpy(part->values, coder->values + at, (size_t)bytes);
}

/* Whether a tile's values are those of its channels. */
static int holds(const int16_t *tile, int64_t channels, int64_t area) {
    for (int64_t i = 0; i < channels * area; i++) {
        int origin = i < area ? 0 : -256;
        if (tile[i] < origin || tile[i] > 255) return 0;
    }
    return 1;
}

/* Bytes that lgcodec_causal needs for a tile, -1 where it would return WRONG_SIZES. */
EXPORT int64_t lgcodec_causal_room(const Causal *net, int64_t channels, int64_t height, int64_t width, int64_t workers) {
    Crew crew = {.workers = workers};
    Coder coder = {.crew = &crew};
    int fits = workers > 0 && workers <= MOST_WORKERS && is_sound(net, channels, height, width);
    return fits ? lay_out(&coder, net, 0, channels, height, width) : -1;
}

/* Codes a tile [channels][height][width]. side: where the network wants one. starts, frequencies: the shares of its symbols
 * in order, [2 channels height width], of a tile that is there; NULL where it is to be popped from the stack, which
 * holds it and nothing else, or NOT_ITS_TILE is returned. block: so many zeros as lgcodec_causal_room says. Every worker
 * of the crew calls this with the same, but for which one it is, and they return together.
 */
EXPORT int lgcodec_causal(const Causal *net, int64_t channels, int64_t height, int64_t width, int16_t *tile, const Side *side,
                          uint32_t *starts, uint32_t *frequencies, Stack *stack, void *block, Crew *crew, int64_t worker) {
    Coder coder = {.side = side, .crew = crew};
    if (!is_sound(net, channels, height, width) || (net->side && !side)) return WRONG_SIZES;
    if (crew->workers > MOST_WORKERS || worker < 0 || worker >= crew->workers) return WRONG_SIZES;
    if (starts && !holds(tile, channels, height * width)) return WRONG_SIZES;
    lay_out(&coder, net, (uintptr_t)block, channels, height, width);
    Solvers *s = &coder.solvers;
    Part *part = coder.part = &coder.parts[worker];
    if (worker == 0) {
        solvers_begin(s);
        if (net->rate) {
            learner_begin(&coder.first, &net->first);
            learner_begin(&coder.middle, &net->middle);
            learner_begin(&coder.heads, &net->heads);
            learner_begin(&coder.outs, &net->outs);
        }
    }
    for (int64_t t = 0; t < width + 2 * (height - 1); t++) {
        const Front whole = front_of(t, height, width), *front = &part->front;
        const int teaches = net->rate && t % net->period == 0;
        if (!whole.n) continue; /* of tiles one pixel wide */
        divide(&coder, &whole);
        crew_meet(crew); /* what the front before this one taught is known */
        const Edge *edge = NULL;
        if (crew->workers > 1) {
            edge = &part->edge;
            copy_edge(s, front, edge);
            crew_meet(crew);
        }
        for (int64_t c = 0; c < channels; c++) solvers_predict(s, front, c, edge);
        see(&coder, part);
        int16_t *h = trunk(&coder, part, teaches);
        if (channels == CHANNELS) coupling_merge(s, front, edge);
        for (int64_t c = 0; c < channels; c++) {
            if (c) coupling_expect(s, front, c);
            mix(&coder, part, c, h);
            if (starts) {
                const int16_t *from = tile + (c * height + front->low) * width + t - 2 * front->low;
                int64_t at = front->low - whole.low;
                for (int64_t j = 0; j < front->n; j++, from += width - 2)
                    part->values[j] = *from - (int32_t)part->mixtures.origin;
                mixtures_shares(&part->mixtures, part->values, front->n, whole.n, starts + at, frequencies + at);
                starts += 2 * whole.n, frequencies += 2 * whole.n;
            } else {
                pop(&coder, &whole, stack);
            }
            if (teaches) {
                int64_t outs = net->outs.outputs;
                int16_t *errors = part->lessons + c * part->rows * outs;
                lgcodec_mixture_errors(&part->mixtures, part->values, part->spread, part->q, outs, front->n, errors);
            }
            place(&coder, part, c, tile);
        }
        if (channels == CHANNELS) coupling_learn(s, front);
        if (teaches) {
            propagate(&coder, part);
            crew_meet(crew);
            move(&coder);
        }
    }
    return starts || worker || (stack->state == 0 && stack->left == 0) ? FINE : NOT_ITS_TILE;
}
