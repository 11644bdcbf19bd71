/* The coefficients family's program (families/coefficients/program.py) over the components of one band: the same integers,
 * front by front and then frequency by frequency, read when encoding and written when decoding.
 *
 * What all blocks of a phase see alike, such as steps, is not seen again by each: it is added to the bias. on_native.py gives
 * `first` those inputs apart, as `fixed`.
 */
#include "arena.h"
#include "stack.h"

enum {
    BLOCK = 48, /* rows whose layers are computed together */
    FREQUENCIES = 64,
    PAD = 2,
    LIMIT = 2047,
    HALF_SIZES = 2 * LIMIT,
    MAGNITUDES = 1 << 15,
    MOST_ROWS = 1 << 13, /* of blocks: JPEG has 65535 samples at most */
    MOST_PARTS = 4,
    MOST_PLACES = 128, /* that one head looks at */
    COUNT = 0,
    DC = 64,
    HEADS = 65,
    LINEAR = 2,
    PREDICTIONS = LINEAR + 2,
    PHASES = 4,
    BANDS = 9,
    BEFORE = 6,
    AROUND = 5,
    NEAR = 9,
    COMMON = 4,
    OWN = 2 * LINEAR, /* features of the linear predictions, which come first */
    SLOPE_LIMIT = 1023,
    SLOPE_START = 1024,
    DC_SLOPE_START = 4096,
    GATE_BITS = 8,
    COMPANION_BITS = 10,
    FACTORS = 3,
    QUOTIENT_BITS = 42
};

static const int64_t COUNT_SIZE = 64, DC_SIZE = 4096, DC_ORIGIN = -2048, AC_SIZE = 2064, AC_ORIGIN = -1032;

/* The layers of one head. linear: of all phases. first: of what differs from block to block, fixed: of what does not.
 * magnitudes, mates: [..][3], row, column, frequency.
 */
typedef struct {
    Layers linear, first, fixed, second, out;
    const int64_t *magnitudes, *mates;
    int64_t magnitude_count, mate_count;
} Head;

typedef struct {
    const Head *heads;                   /* [2][HEADS]: luma's, chroma's */
    const int16_t *compand;              /* [MAGNITUDES] */
    const int64_t *zigzag, *bands;       /* [64] */
    const int32_t *companions[FACTORS];  /* companion.matrix of 1, 2 and 4, transposed: [8 factor][8] */
    Tables tables;
    int64_t components;
} Net;

typedef struct {
    int64_t rows, columns, vertical, horizontal;
    const int64_t *steps, *energy; /* [64], [BANDS + 1] */
    int16_t *coefficients;         /* [rows][columns][64] */
    const int32_t *edges[FREQUENCIES]; /* Mixtures.edges of each frequency */
} Part;

/* program.Known: planes of cells with PAD cells of zeros around the blocks; `plane` from one frequency's to the next. */
typedef struct {
    const Part *part;
    int64_t stride, cells, plane;
    int32_t steps[FREQUENCIES];
    int16_t *values, *counts, *left;
} Known;

/* Another component as this one sees it. */
typedef struct {
    int16_t *values, *counts;
    int64_t plane;
} Beside;

/* Blocks of a phase that have anything left: their cells and their places among all blocks. */
typedef struct {
    int32_t *cells, *blocks;
    int64_t count;
} Active;

typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef double f64x4 __attribute__((vector_size(32)));

typedef struct {
    const Net *net;
    const Head *heads; /* of this component's kind */
    Known known[MOST_PARTS], *here;
    Beside others[2], zeros, *beside[2];
    int is_chroma, is_second;
    Active active[PHASES];
    int32_t *near;  /* [front][BEFORE] */
    i32x4 *sums;    /* [cells]: products with luma, its squares, and those of the first chroma component */
    int64_t log_steps[FREQUENCIES];
    int16_t left_sizes[FREQUENCIES], *sizes; /* companded counts; magnitudes of -HALF_SIZES .. HALF_SIZES in this head's steps */
    int64_t magnitudes[MOST_PLACES], mates[MOST_PLACES]; /* offsets from a block's own cell */
    int16_t *mate_rows, *seen, *hidden, *second;
    int64_t mate_stride, seen_stride;
    int32_t *linear, *product, *q, *predictions, *centre, *shift, *ends, *values, *scratch;
    Mixtures mixtures;
    Stack *stack; /* popped from, or NULL */
    uint32_t *starts, *frequencies;
    int64_t at, room; /* of these */
} Coder;

INLINE int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t clip(int64_t x, int64_t low, int64_t high) { return lesser(greater(x, low), high); }
INLINE int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }
INLINE int32_t limited(int32_t x) { return x < -LIMIT ? -LIMIT : x > LIMIT ? LIMIT : x; }
INLINE int16_t dequantised(int32_t x, int32_t step) { return (int16_t)limited(x * step); }
INLINE int64_t rounded(int64_t n) { return (n + COLUMNS - 1) / COLUMNS * COLUMNS; }
INLINE int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* floor(a / d) as quotient(a, inverse_of(d)), of |a| d < 2**QUOTIENT_BITS. */
INLINE int64_t inverse_of(int64_t d) { return ((int64_t)1 << QUOTIENT_BITS) / d + 1; }
INLINE int64_t quotient(int64_t a, int64_t inverse) {
    int64_t sign = a >> 63;
    return (((a ^ sign) * inverse) >> QUOTIENT_BITS) ^ sign;
}

INLINE int16_t companded(const Coder *c, int64_t sixteenths) { return c->net->compand[lesser(sixteenths, MAGNITUDES - 1)]; }

static int64_t phase_size(const Part *part) { return ((part->rows + 1) / 2) * ((part->columns + 1) / 2); }

static int32_t step_of(const Coder *c, int64_t k) { return c->here->steps[k]; }

/* program.Looking.sizes of all that may be asked for, by steps of a head. */
static void tell_sizes(Coder *c, int32_t step) {
    const int32_t inverse = (1 << 16) / step;
    int16_t *middle = c->sizes + HALF_SIZES;
    for (int32_t v = 0; v <= HALF_SIZES; v++) middle[v] = middle[-v] = companded(c, v * inverse >> 12);
}

/* A head's network over n rows, of which mates, the features behind OWN and predictions behind LINEAR are known: mixtures from
 * `begin` on. first: with what is fixed. is_based: whether means are relative to the first linear prediction.
 */
static void mix(Coder *c, const Head *head, const Layers *first, int64_t phase, int64_t step, int is_based, int64_t begin,
                int64_t n) {
    const int64_t K = c->net->components, inverse = inverse_of(step), outputs = head->out.outputs;
    multiply(c->mate_rows, c->mate_stride, &head->linear, 0, c->product, n);
    activate_wide(c->product, &head->linear, 0, c->linear, head->linear.outputs, n);
    for (int64_t j = 0; j < n; j++) {
        int16_t *seen = c->seen + j * c->seen_stride;
        for (int64_t i = 0; i < LINEAR; i++) {
            int64_t x = quotient(4 * (int64_t)c->linear[j * head->linear.outputs + LINEAR * phase + i], inverse);
            int16_t size = companded(c, magnitude(x) >> 2);
            seen[i] = (int16_t)(x < 0 ? -size : x > 0 ? size : 0), seen[LINEAR + i] = size;
            c->predictions[j * PREDICTIONS + i] = (int32_t)x;
        }
    }
    multiply(c->seen, c->seen_stride, first, 0, c->product, n);
    activate(c->product, first, 0, c->hidden, first->outputs, n);
    multiply(c->hidden, first->outputs, &head->second, 0, c->product, n);
    activate(c->product, &head->second, 0, c->second, head->second.outputs, n);
    multiply(c->second, head->second.outputs, &head->out, 0, c->product, n);
    activate_wide(c->product, &head->out, 0, c->q, outputs, n);
    for (int64_t j = 0; j < n; j++) {
        const int32_t *gates = c->q + j * outputs + 3 * K, *predictions = c->predictions + j * PREDICTIONS;
        const int32_t base = is_based ? predictions[0] : 0;
        int64_t moved[2] = {0};
        for (int64_t i = 0; i < PREDICTIONS; i++)
            for (int k = 0; k < 2; k++) moved[k] += (int64_t)gates[k * PREDICTIONS + i] * (predictions[i] - base);
        c->centre[j] = base + (int32_t)(moved[0] >> GATE_BITS);
        c->shift[j] = (int32_t)((moved[1] >> GATE_BITS) - (moved[0] >> GATE_BITS));
    }
    Mixtures m = c->mixtures;
    m.mean += begin, m.inverse += begin, m.weight += begin;
    mixtures_of(c->q, outputs, c->centre, c->shift, n, &m);
}

/* The layer `first` of a head with inputs [count] that all rows have alike. */
static Layers fix(Coder *c, const Head *head, const int64_t *inputs, int64_t count) {
    Layers first = head->first;
    int16_t row[2 * COLUMNS] = {0};
    for (int64_t i = 0; i < count; i++) row[i] = (int16_t)inputs[i];
    memcpy(c->ends, first.ends, (size_t)(4 * first.outputs) * sizeof(int32_t));
    multiply(row, 0, &head->fixed, 0, c->product, 1);
    for (int64_t i = 0; i < first.outputs; i++) c->ends[i] += c->product[i];
    first.ends = c->ends;
    return first;
}

/* program.Looking.common */
static void tell_common(const Coder *c, int64_t z, int64_t *inputs) {
    const Net *net = c->net;
    const int64_t *energy = c->here->part->energy;
    inputs[0] = 2 * energy[net->bands[z % 64]];
    inputs[1] = c->log_steps[net->zigzag[z % 64]];
    inputs[2] = c->log_steps[net->zigzag[greater(0, z % 64 - 1)]];
    inputs[3] = 2 * energy[BANDS];
}

/* Codes n symbols whose mixtures are known: `values` are read when encoding, and written. */
static int code(Coder *c, int64_t n, int64_t size, int64_t origin, const int32_t *edges) {
    Mixtures *m = &c->mixtures;
    m->size = size, m->origin = origin, m->edges = edges;
    if (c->stack) {
        mixtures_pop(m, c->stack, n, c->values, c->scratch);
        for (int64_t j = 0; j < n; j++) c->values[j] += (int32_t)origin;
        return FINE;
    }
    if (c->room - c->at < 2 * n) return WRONG_SIZES;
    for (int64_t j = 0; j < n; j++) c->scratch[j] = c->values[j] - (int32_t)origin;
    mixtures_shares(m, c->scratch, n, n, c->starts + c->at, c->frequencies + c->at);
    c->at += 2 * n;
    return FINE;
}

/* The offset of a cell, or of the one W, N, E or S of it: network.AROUND. */
static int64_t around_of(const Known *known, int64_t i) {
    const int64_t offsets[AROUND] = {0, -1, -known->stride, 1, known->stride};
    return offsets[i];
}

static void look_at_counts(Coder *c, const int32_t *cells, const int32_t *near, int64_t n) {
    const Known *here = c->here;
    for (int64_t j = 0; j < n; j++) {
        int16_t *mates = c->mate_rows + j * c->mate_stride, *seen = c->seen + j * c->seen_stride + OWN, *mate = mates;
        for (int64_t i = 0; i < BEFORE; i++) *mate++ = (int16_t)(16 * here->counts[near[j * BEFORE + i]]);
        for (int64_t o = 0; o < 2 && c->is_chroma; o++)
            for (int64_t i = 0; i < AROUND; i++) *mate++ = c->beside[o]->counts[cells[j] + around_of(here, i)];
        for (int64_t i = 0; i < mate - mates; i++) seen[i] = c->net->compand[mates[i]];
        memset(c->predictions + j * PREDICTIONS, 0, PREDICTIONS * sizeof(int32_t));
    }
}

/* The DC coefficient that another component suggests, in 1/64 of a step: its own, by the slope between the two so far. */
static int64_t expected_dc(const Coder *c, const int16_t *theirs, int64_t cell, const int32_t *near) {
    int64_t our_sum = 0, their_sum = 0, product = 0, square = DC_SLOPE_START;
    for (int64_t i = 0; i < 4; i++) our_sum += c->here->values[near[i]], their_sum += theirs[near[i]];
    for (int64_t i = 0; i < 4; i++) {
        int64_t our = 4 * c->here->values[near[i]] - our_sum, their = 4 * theirs[near[i]] - their_sum;
        product += our * their, square += their * their;
    }
    int64_t slope = clip(floor_divide(product * 256, square), -SLOPE_LIMIT, SLOPE_LIMIT);
    return floor_divide(4 * (1024 * our_sum + 4 * slope * (4 * theirs[cell] - their_sum)), 256 * step_of(c, 0));
}

static void look_at_dc(Coder *c, const int32_t *cells, const int32_t *near, int64_t n) {
    enum { W, N, NW, NE, WW, NN };
    const Known *here = c->here;
    const int16_t *sizes = c->sizes + HALF_SIZES;
    for (int64_t j = 0; j < n; j++, near += BEFORE) {
        int16_t *mate = c->mate_rows + j * c->mate_stride, *seen = c->seen + j * c->seen_stride + OWN;
        int32_t *predictions = c->predictions + j * PREDICTIONS, v[BEFORE];
        const int64_t cell = cells[j];
        for (int64_t i = 0; i < BEFORE; i++) *mate++ = here->values[near[i]], v[i] = here->values[near[i]];
        const int32_t differences[6] = {v[W] - v[NW], v[N] - v[NW], v[N] - v[NE], v[W] - v[N], v[WW] - v[W], v[NN] - v[N]};
        for (int64_t i = 0; i < 6; i++) *seen++ = sizes[differences[i]];
        predictions[LINEAR] = predictions[LINEAR + 1] = 0;
        for (int64_t o = 0; o < 2 && c->is_chroma; o++) {
            const int16_t *theirs = c->beside[o]->values;
            for (int64_t i = 0; i < AROUND; i++) *mate++ = theirs[cell + around_of(here, i)];
            for (int64_t i = 1; i < 3; i++) *seen++ = sizes[theirs[cell] - theirs[cell + around_of(here, i)]];
            predictions[LINEAR + o] = (int32_t)expected_dc(c, theirs, cell, near);
        }
        const int64_t counted[4] = {cell, near[W], near[N], near[NE]};
        for (int64_t i = 0; i < 4; i++) *seen++ = c->left_sizes[here->counts[counted[i]]];
        for (int64_t o = 0; o < 2 && c->is_chroma; o++) *seen++ = c->net->compand[c->beside[o]->counts[cell]];
    }
}

/* program.Looking.fronts: a front's cells from row `first` on, and those before them. */
static void find_front(const Known *known, int64_t t, int64_t first, int64_t n, Active *front, int32_t *near) {
    static const int64_t PLACES[BEFORE][2] = {{0, -1}, {-1, 0}, {-1, -1}, {-1, 1}, {0, -2}, {-2, 0}};
    const int64_t columns = known->part->columns;
    for (int64_t j = 0; j < n; j++) {
        const int64_t row = first + j, column = t - 2 * row;
        front->cells[j] = (int32_t)((row + PAD) * known->stride + column + PAD);
        front->blocks[j] = (int32_t)(row * columns + column);
        for (int64_t i = 0; i < BEFORE; i++) {
            int64_t y = row + PLACES[i][0], x = lesser(column + PLACES[i][1], columns - 1);
            if (x < 0) y = row - 1, x = column;
            if (y < 0 && row == 0) x = column - 1;
            y = greater(y, 0);
            near[j * BEFORE + i] = x < 0 ? 0 : (int32_t)((y + PAD) * known->stride + x + PAD);
        }
    }
}

static int64_t count_of(const int16_t *block) {
    int64_t count = 0;
    for (int64_t k = 1; k < FREQUENCIES; k++) count += block[k] != 0;
    return count;
}

/* How many AC coefficients of each block are not zero, and the DC coefficients. */
static int code_fronts(Coder *c) {
    const Known *here = c->here;
    const Part *part = here->part;
    const Head *counting = c->heads + COUNT, *dc = c->heads + DC;
    const int32_t step = step_of(c, 0);
    int64_t fixed[COMMON + BANDS];
    Active *front = &c->active[0];
    int32_t *own = c->ends;
    tell_common(c, 1, fixed);
    for (int64_t b = 0; b < BANDS; b++) fixed[COMMON + b] = 2 * part->energy[b];
    const Layers first_of_counts = fix(c, counting, fixed, COMMON + BANDS);
    c->ends += 4 * first_of_counts.outputs;
    tell_common(c, DC, fixed);
    fixed[COMMON] = 64 * c->is_second;
    const Layers first_of_dc = fix(c, dc, fixed, COMMON + c->is_chroma);
    c->ends = own;
    tell_sizes(c, step);
    for (int64_t t = 0; t < part->columns + 2 * (part->rows - 1); t++) {
        const int64_t first = greater(0, (t - part->columns + 2) / 2), n = lesser(part->rows, t / 2 + 1) - first;
        if (n <= 0) continue;
        find_front(here, t, first, n, front, c->near);
        for (int64_t begin = 0; begin < n; begin += BLOCK) {
            const int64_t count = lesser(BLOCK, n - begin);
            look_at_counts(c, front->cells + begin, c->near + begin * BEFORE, count);
            mix(c, counting, &first_of_counts, 0, 16, 1, begin, count);
        }
        for (int64_t j = 0; j < n && !c->stack; j++)
            c->values[j] = (int32_t)count_of(part->coefficients + (int64_t)front->blocks[j] * FREQUENCIES);
        int failed = code(c, n, COUNT_SIZE, 0, NULL);
        if (failed) return failed;
        for (int64_t j = 0; j < n; j++) here->counts[front->cells[j]] = here->left[front->cells[j]] = (int16_t)c->values[j];
        for (int64_t begin = 0; begin < n; begin += BLOCK) {
            const int64_t count = lesser(BLOCK, n - begin);
            look_at_dc(c, front->cells + begin, c->near + begin * BEFORE, count);
            mix(c, dc, &first_of_dc, 0, step, 1, begin, count);
        }
        for (int64_t j = 0; j < n && !c->stack; j++) c->values[j] = part->coefficients[(int64_t)front->blocks[j] * FREQUENCIES];
        failed = code(c, n, DC_SIZE, DC_ORIGIN, part->edges[0]);
        if (failed) return failed;
        for (int64_t j = 0; j < n; j++) {
            here->values[front->cells[j]] = dequantised(c->values[j], step);
            if (c->stack) part->coefficients[(int64_t)front->blocks[j] * FREQUENCIES] = (int16_t)c->values[j];
        }
    }
    return FINE;
}

/* The slope of this component against another around a cell, 1/256; of sums from `sums`, 2 o on. */
static void slopes_of(const Coder *c, int64_t cell, int64_t slopes[2]) {
    const i32x4 *middle = c->sums + cell;
    f64x4 total = {0};
    for (int64_t y = -1; y < 2; y++)
        for (int64_t x = -1; x < 2; x++) total += __builtin_convertvector(middle[y * c->here->stride + x], f64x4);
    for (int o = 0; o < 2; o++) {
        double slope = floor(total[2 * o] * 256 / (total[2 * o + 1] + SLOPE_START));
        slopes[o] = slope > SLOPE_LIMIT ? SLOPE_LIMIT : slope < -SLOPE_LIMIT ? -SLOPE_LIMIT : (int64_t)slope;
    }
}

/* program.Looking.prepare, less the slopes: frequency k is known. */
static void add_products(Coder *c, int64_t k) {
    const int16_t *ours = c->here->values + k * c->here->plane, *theirs[2];
    for (int o = 0; o < 2; o++) theirs[o] = c->beside[o]->values + k * c->beside[o]->plane;
    for (int64_t i = 0; i < c->here->cells; i++) {
        const int32_t our = ours[i], a = theirs[0][i], b = theirs[1][i];
        c->sums[i] += (i32x4){our, a, our, b} * (i32x4){a, a, b, b};
    }
}

/* What n blocks see of frequency k, the z-th: program.Looking.frequency. */
static void look_at_frequency(Coder *c, const Head *head, int64_t z, int64_t k, const int32_t *cells, int64_t n) {
    const Known *here = c->here;
    const int64_t s = here->stride, places[NEAR] = {0, -1, 1, -s, s, -s - 1, -s + 1, s - 1, s + 1};
    const int64_t rest = inverse_of(FREQUENCIES - z), inverse = inverse_of(4 * step_of(c, k));
    const int16_t *sizes = c->sizes + HALF_SIZES;
    for (int64_t j = 0; j < n; j++) {
        const int64_t cell = cells[j];
        const int16_t *value = here->values + cell, *left = here->left + cell;
        int16_t *restrict mates = c->mate_rows + j * c->mate_stride, *restrict seen = c->seen + j * c->seen_stride + OWN;
        for (int64_t i = 0; i < head->mate_count; i++) mates[i] = value[c->mates[i]];
        for (int64_t i = 0; i < head->magnitude_count; i++) seen[i] = sizes[value[c->magnitudes[i]]];
        seen += head->magnitude_count;
        for (int64_t i = 0; i < NEAR; i++) *seen++ = c->left_sizes[left[places[i]]];
        *seen++ = c->net->compand[quotient(1024 * left[0], rest)];
        *seen++ = sizes[value[-1] - value[1]];
        *seen++ = sizes[value[-s] - value[s]];
        int32_t *predictions = c->predictions + j * PREDICTIONS + LINEAR;
        predictions[0] = predictions[1] = 0;
        if (!c->is_chroma) continue;
        int64_t slopes[2];
        slopes_of(c, cell, slopes);
        for (int o = 0; o < 2; o++) {
            const int16_t *theirs = c->beside[o]->values + k * c->beside[o]->plane + cell;
            int64_t four = magnitude(theirs[-1]) + magnitude(theirs[1]) + magnitude(theirs[-s]) + magnitude(theirs[s]);
            int64_t prediction = quotient(slopes[o] * theirs[0], inverse);
            predictions[o] = (int32_t)prediction;
            *seen++ = sizes[theirs[0]];
            *seen++ = sizes[four >> 2];
            *seen++ = c->net->compand[c->beside[o]->counts[cell]];
            *seen++ = companded(c, magnitude(prediction) >> 2);
        }
    }
}

/* Offsets of places from a block's own cell. */
static void find_places(const Known *known, const int64_t *places, int64_t count, int64_t *offsets) {
    for (int64_t i = 0; i < count; i++, places += 3) offsets[i] = places[2] * known->plane + places[0] * known->stride + places[1];
}

static int code_phase(Coder *c, int64_t z, int64_t phase) {
    const Known *here = c->here;
    const Part *part = here->part;
    const Head *head = c->heads + z;
    const int64_t k = c->net->zigzag[z], n = c->active[phase].count;
    const int32_t step = step_of(c, k);
    const int32_t *cells = c->active[phase].cells, *blocks = c->active[phase].blocks;
    int64_t fixed[COMMON + PHASES + 2];
    tell_common(c, z, fixed);
    for (int64_t p = 0; p < PHASES; p++) fixed[COMMON + p] = 64 * (p == phase);
    fixed[COMMON + PHASES] = 64 * c->is_second, fixed[COMMON + PHASES + 1] = 64 * (part->vertical == 1);
    const Layers first = fix(c, head, fixed, COMMON + PHASES + 2 * c->is_chroma);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t count = lesser(BLOCK, n - begin);
        look_at_frequency(c, head, z, k, cells + begin, count);
        mix(c, head, &first, phase, step, 0, begin, count);
    }
    for (int64_t j = 0; j < n && !c->stack; j++) c->values[j] = part->coefficients[(int64_t)blocks[j] * FREQUENCIES + k];
    int failed = code(c, n, AC_SIZE, AC_ORIGIN, part->edges[k]);
    if (failed) return failed;
    int64_t kept = 0;
    int16_t *plane = here->values + k * here->plane;
    for (int64_t j = 0; j < n; j++) {
        const int32_t cell = cells[j], block = blocks[j], x = c->values[j];
        if (c->stack) part->coefficients[(int64_t)block * FREQUENCIES + k] = (int16_t)x;
        plane[cell] = dequantised(x, step);
        const int left = here->left[cell] - (x != 0);
        here->left[cell] = (int16_t)left;
        if (left > FREQUENCIES - 1 - z) return NOT_AS_COUNTED;
        c->active[phase].cells[kept] = cell, c->active[phase].blocks[kept] = block;
        kept += left > 0;
    }
    c->active[phase].count = kept;
    return FINE;
}

static int code_frequencies(Coder *c) {
    static const int64_t PLACES[PHASES][2] = {{0, 0}, {1, 1}, {0, 1}, {1, 0}};
    const Known *here = c->here;
    const Part *part = here->part;
    for (int64_t p = 0; p < PHASES; p++) {
        Active *active = &c->active[p];
        active->count = 0;
        for (int64_t y = PLACES[p][0]; y < part->rows; y += 2)
            for (int64_t x = PLACES[p][1]; x < part->columns; x += 2) {
                const int64_t cell = (y + PAD) * here->stride + x + PAD;
                active->cells[active->count] = (int32_t)cell;
                active->blocks[active->count] = (int32_t)(y * part->columns + x);
                active->count += here->left[cell] > 0;
            }
    }
    if (c->is_chroma) memset(c->sums, 0, (size_t)here->cells * sizeof *c->sums);
    for (int64_t z = 1; z < FREQUENCIES; z++) {
        if (c->active[0].count + c->active[1].count + c->active[2].count + c->active[3].count == 0) break;
        const Head *head = c->heads + z;
        tell_sizes(c, step_of(c, c->net->zigzag[z]));
        find_places(here, head->magnitudes, head->magnitude_count, c->magnitudes);
        find_places(here, head->mates, head->mate_count, c->mates);
        if (c->is_chroma && z > 1) add_products(c, c->net->zigzag[z - 1]);
        for (int64_t phase = 0; phase < PHASES; phase++) {
            int failed = c->active[phase].count ? code_phase(c, z, phase) : FINE;
            if (failed) return failed;
        }
    }
    return FINE;
}

/* Which of FACTORS a larger sampling factor is of a smaller one; -1: of none. */
static int factor_of(int64_t larger, int64_t smaller) {
    for (int i = 0; i < FACTORS; i++)
        if (larger == smaller << i) return i;
    return -1;
}

/* As `reduce`, of DC coefficients alone, which nothing else goes into. */
static void reduce_dc(const Coder *c, const Known *other, int v, int h, int64_t row, int64_t column, const Beside *to,
                      int64_t cell) {
    const Part *part = other->part;
    const int32_t half = 1 << (COMPANION_BITS - 1), down = c->net->companions[v][0], across = c->net->companions[h][0];
    int32_t counts = 0, sum = half;
    for (int b = 0; b < 1 << h; b++) {
        int32_t column_sum = half;
        for (int a = 0; a < 1 << v; a++) {
            const int64_t y = lesser((row << v) + a, part->rows - 1), x = lesser((column << h) + b, part->columns - 1);
            const int64_t at = (y + PAD) * other->stride + x + PAD;
            counts += other->counts[at], column_sum += down * other->values[at];
        }
        sum += (column_sum >> COMPANION_BITS) * across;
    }
    to->values[cell] = (int16_t)limited(sum >> COMPANION_BITS);
    to->counts[cell] = (int16_t)(16 * counts >> (v + h));
}

/* companion.reduced and meant of the blocks that the block at `row`, `column` stands for. */
static void reduce(const Coder *c, const Known *other, int v, int h, int64_t row, int64_t column, const Beside *to,
                   int64_t cell) {
    const Part *part = other->part;
    const int height = 1 << v, width = 1 << h;
    const int32_t(*vertical)[8] = (const int32_t(*)[8])c->net->companions[v];
    const i32x8 half = (1 << (COMPANION_BITS - 1)) - (i32x8){0};
    i32x8 down[8][4] = {{{0}}};
    int32_t counts = 0;
    for (int a = 0; a < height; a++, vertical += 8)
        for (int b = 0; b < width; b++) {
            const int64_t y = lesser(row * height + a, part->rows - 1), x = lesser(column * width + b, part->columns - 1);
            const int16_t *block = part->coefficients + (y * part->columns + x) * FREQUENCIES;
            int32_t values[FREQUENCIES];
            i32x8 rows[8];
            counts += other->counts[(y + PAD) * other->stride + x + PAD];
            for (int k = 0; k < FREQUENCIES; k++) values[k] = dequantised(block[k], other->steps[k]);
            memcpy(rows, values, sizeof rows);
            UNROLL for (int o = 0; o < 8; o++) UNROLL for (int i = 0; i < 8; i++) down[o][b] += vertical[i][o] * rows[i];
        }
    for (int o = 0; o < 8; o++) {
        i32x8 sum = half;
        for (int b = 0; b < width; b++) {
            const i32x8 values = (down[o][b] + half) >> COMPANION_BITS;
            UNROLL for (int i = 0; i < 8; i++) {
                i32x8 weights;
                memcpy(&weights, c->net->companions[h] + 8 * (8 * b + i), sizeof weights);
                sum += values[i] * weights;
            }
        }
        sum >>= COMPANION_BITS;
        UNROLL for (int u = 0; u < 8; u++) to->values[(8 * o + u) * to->plane + cell] = (int16_t)limited(sum[u]);
    }
    to->counts[cell] = (int16_t)(16 * counts >> (v + h));
}

/* program.beside; is_dc: of DC coefficients alone. */
static void set_beside(Coder *c, const Known *other, int o, int is_dc) {
    const Known *here = c->here;
    Beside *to = &c->others[o];
    const Part *part = here->part;
    c->beside[o] = &c->zeros;
    if (!other) return;
    const int v = factor_of(other->part->vertical, part->vertical), h = factor_of(other->part->horizontal, part->horizontal);
    if (v < 0 || h < 0) return;
    c->beside[o] = to;
    to->plane = here->plane;
    if (v + h == 0 && other->part->rows == part->rows && other->part->columns == part->columns) {
        memcpy(to->values, other->values, (size_t)((is_dc ? 1 : FREQUENCIES) * here->plane) * sizeof(int16_t));
        for (int64_t i = 0; i < here->cells; i++) to->counts[i] = (int16_t)(16 * other->counts[i]);
        return;
    }
    memset(to->values, 0, (size_t)(FREQUENCIES * here->plane) * sizeof(int16_t));
    memset(to->counts, 0, (size_t)here->cells * sizeof(int16_t));
    for (int64_t y = 0; y < part->rows; y++)
        for (int64_t x = 0; x < part->columns; x++)
            (is_dc ? reduce_dc : reduce)(c, other, v, h, y, x, to, (y + PAD) * here->stride + x + PAD);
}

static int are_alike(const Part *a, const Part *b) {
    return a->rows == b->rows && a->columns == b->columns && a->vertical == b->vertical && a->horizontal == b->horizontal;
}

/* is_dc: counts and DC coefficients, or all others. */
static int code_part(Coder *c, const Part *parts, int64_t i, int is_dc) {
    Known *here = c->here = &c->known[i];
    c->is_chroma = i > 0, c->is_second = i == 2;
    c->heads = c->net->heads + c->is_chroma * HEADS;
    for (int64_t k = 0; k < FREQUENCIES; k++) {
        const uint32_t step = (uint32_t)here->steps[k], length = 32 - (uint32_t)__builtin_clz(step);
        c->log_steps[k] = 8 * length + ((step << 8 >> length) >> 4);
    }
    if (i) {
        if (i < 2 || !are_alike(parts + i, parts + i - 1)) set_beside(c, &c->known[0], 0, is_dc);
        set_beside(c, i == 2 ? &c->known[1] : NULL, 1, is_dc);
    }
    return is_dc ? code_fronts(c) : code_frequencies(c);
}

static int is_head(const Head *head, int64_t inputs, int64_t seen, int64_t fixed, int64_t components) {
    const Layers *all[] = {&head->linear, &head->first, &head->fixed, &head->second, &head->out};
    for (int i = 0; i < 5; i++)
        if (all[i]->outputs % COLUMNS || all[i]->layers != 1) return 0;
    return head->magnitude_count <= MOST_PLACES && head->mate_count <= MOST_PLACES && 2 * head->linear.pairs >= inputs &&
           2 * head->linear.pairs <= inputs + 1 && head->linear.outputs >= LINEAR * PHASES && 2 * head->first.pairs >= seen &&
           2 * head->first.pairs <= seen + 1 && 2 * head->fixed.pairs >= fixed && 2 * head->fixed.pairs <= 2 * COLUMNS &&
           head->fixed.outputs == head->first.outputs && 2 * head->second.pairs <= head->first.outputs &&
           2 * head->out.pairs <= head->second.outputs && head->out.outputs >= 3 * components + 2 * PREDICTIONS;
}

/* Whether layers have the inputs that are made here, and numbers of a file are within their bounds. */
static int is_sound(const Net *net, const Part *parts, int64_t count) {
    if (count < 1 || count > MOST_PARTS || net->components < 1 || net->components > MOST_COMPONENTS) return 0;
    for (int64_t i = 0; i < count; i++) {
        const Part *part = parts + i;
        int fine = part->rows > 0 && part->rows <= MOST_ROWS && part->columns > 0 && part->columns <= MOST_ROWS &&
                   part->vertical > 0 && part->vertical <= 4 && part->horizontal > 0 && part->horizontal <= 4;
        for (int k = 0; k < FREQUENCIES; k++) fine &= part->steps[k] > 0 && part->steps[k] < 65536;
        for (int b = 0; b <= BANDS; b++) fine &= part->energy[b] >= 0 && part->energy[b] < 128;
        if (!fine) return 0;
    }
    for (int64_t i = 0; i < 2 * HEADS; i++) {
        const Head *head = net->heads + i;
        const int64_t chroma = i / HEADS, h = i % HEADS, known = BEFORE + 2 * chroma * AROUND, M = head->magnitude_count;
        const int64_t inputs = h == COUNT || h == DC ? known : head->mate_count;
        const int64_t seen = h == COUNT ? known : h == DC ? 6 + 4 + 6 * chroma : M + NEAR + 3 + 8 * chroma;
        const int64_t fixed = COMMON + (h == COUNT ? BANDS : h == DC ? chroma : PHASES + 2 * chroma);
        if (!is_head(head, inputs, OWN + seen, fixed, net->components)) return 0;
    }
    return 1;
}

/* Everything in one block, which holds zeros; returns its size. */
static int64_t lay_out(Coder *c, const Net *net, const Part *parts, int64_t count, uintptr_t block) {
    Arena arena = {block};
    int64_t cells = 0, plane = 0, most = 0, first = 0, second = 0, outs = 0, widest = 0, inputs = 0, seen = 0;
    for (int64_t i = 0; i < 2 * HEADS; i++) {
        const Head *head = net->heads + i;
        first = greater(first, head->first.outputs), second = greater(second, head->second.outputs);
        outs = greater(outs, head->out.outputs), widest = greater(widest, head->linear.outputs);
        inputs = greater(inputs, 2 * head->linear.pairs), seen = greater(seen, 2 * head->first.pairs);
    }
    widest = greater(widest, greater(first, greater(second, outs)));
    c->net = net;
    for (int64_t i = 0; i < count; i++) {
        Known *known = &c->known[i];
        known->part = parts + i;
        for (int k = 0; k < FREQUENCIES; k++) known->steps[k] = (int32_t)parts[i].steps[k];
        known->stride = parts[i].columns + 2 * PAD;
        known->cells = (parts[i].rows + 2 * PAD) * known->stride;
        /* an odd number of cache lines, so that planes do not all meet in the same few of a cache */
        known->plane = (known->cells / 32 | 1) * 32 + 64;
        known->values = TAKE(&arena, int16_t, FREQUENCIES * known->plane);
        known->counts = TAKE(&arena, int16_t, known->cells);
        known->left = TAKE(&arena, int16_t, known->cells);
        most = greater(most, phase_size(parts + i));
        if (i) cells = greater(cells, known->cells), plane = greater(plane, known->plane);
    }
    for (int o = 0; o < 2; o++) {
        c->others[o].values = TAKE(&arena, int16_t, (o < count - 1) * FREQUENCIES * plane);
        c->others[o].counts = TAKE(&arena, int16_t, cells);
    }
    c->zeros.values = c->zeros.counts = TAKE(&arena, int16_t, cells);
    c->sums = TAKE(&arena, i32x4, cells);
    for (int p = 0; p < PHASES; p++) {
        c->active[p].cells = TAKE(&arena, int32_t, most);
        c->active[p].blocks = TAKE(&arena, int32_t, most);
    }
    c->near = TAKE(&arena, int32_t, BEFORE * most);
    c->sizes = TAKE(&arena, int16_t, 2 * HALF_SIZES + 1);
    c->mate_stride = rounded(inputs), c->seen_stride = rounded(seen);
    c->mate_rows = TAKE(&arena, int16_t, BLOCK * c->mate_stride);
    c->seen = TAKE(&arena, int16_t, BLOCK * c->seen_stride);
    c->hidden = TAKE(&arena, int16_t, BLOCK * first);
    c->second = TAKE(&arena, int16_t, BLOCK * second);
    c->linear = TAKE(&arena, int32_t, BLOCK * widest);
    c->product = TAKE(&arena, int32_t, BLOCK * widest);
    c->q = TAKE(&arena, int32_t, BLOCK * outs);
    c->predictions = TAKE(&arena, int32_t, BLOCK * PREDICTIONS);
    c->centre = TAKE(&arena, int32_t, BLOCK);
    c->shift = TAKE(&arena, int32_t, BLOCK);
    c->ends = TAKE(&arena, int32_t, 2 * 4 * first);
    c->values = TAKE(&arena, int32_t, most);
    c->scratch = TAKE(&arena, int32_t, 6 * (most + SLACK));
    c->mixtures = (Mixtures){.components = net->components, .stride = most + 2 * SLACK, .tables = &net->tables};
    c->mixtures.mean = TAKE(&arena, int32_t, net->components * c->mixtures.stride);
    c->mixtures.inverse = TAKE(&arena, int32_t, net->components * c->mixtures.stride);
    c->mixtures.weight = TAKE(&arena, int32_t, net->components * c->mixtures.stride);
    return (int64_t)arena.at;
}

/* How many bytes the components of a band need, 0 where they are none. */
EXPORT int64_t lgcodec_coefficients_room(const Net *net, const Part *parts, int64_t count) {
    Coder coder;
    return is_sound(net, parts, count) ? lay_out(&coder, net, parts, count, 0) + ALIGNMENT : 0;
}

/* How many symbols their coefficients are. */
EXPORT int64_t lgcodec_coefficients_symbols(const Net *net, const Part *parts, int64_t count) {
    int64_t symbols = 0;
    for (int64_t i = 0; i < count; i++) {
        const int16_t *block = parts[i].coefficients;
        for (int64_t b = 0; b < parts[i].rows * parts[i].columns; b++, block += FREQUENCIES) {
            int64_t last = FREQUENCIES - 1;
            while (last && block[net->zigzag[last]] == 0) last--;
            symbols += 2 * (2 + last);
        }
    }
    return symbols;
}

/* Encodes the components of a band, their symbols' shares to starts and frequencies, which have room for `room`; or decodes them
 * from a stack, all or DC coefficients alone, which must come first. block: zeros.
 */
EXPORT int lgcodec_coefficients(const Net *net, const Part *parts, int64_t count, uint32_t *starts, uint32_t *frequencies,
                                int64_t room, Stack *stack, int is_dc_first, int is_dc, void *block) {
    Coder coder = {.stack = stack, .starts = starts, .frequencies = frequencies, .room = room};
    if (!is_sound(net, parts, count)) return WRONG_SIZES;
    lay_out(&coder, net, parts, count, (uintptr_t)block);
    for (int64_t n = 0; n < FREQUENCIES; n++) coder.left_sizes[n] = net->compand[16 * n];
    for (int64_t i = 0; i < (is_dc ? count : 2 * count); i++) {
        int failed = is_dc_first ? code_part(&coder, parts, i % count, i < count)
                                 : code_part(&coder, parts, i / 2, i % 2 == 0);
        if (failed) return failed;
    }
    if (is_dc) return FINE;
    if (stack) return stack->state || stack->left ? NOT_ITS_TILE : FINE;
    return coder.at == room ? FINE : WRONG_SIZES;
}
