/* Context mixing of pixels (codec/contexts.py, which says what all this means): the same integers, one pixel after another. */
#include "arena.h"

enum {
    AROUND = 16,            /* neighbours, nearest first; an order sees so many of them: */
    ORDERS = 6,
    CANDIDATES = 3,
    KNOWN = ORDERS + 2,     /* inputs of the mixer of candidates */
    VIEWS = 13,             /* contexts of a bit */
    INPUTS = 32,            /* of the mixers of bits: two for each view, 256, and one for each order but the first */
    UP = 3, SIDE = 4,       /* margins */
    MOST_CHANNELS = 4,
    SHADES = 33,            /* places of a curve */
    STRETCHED = 4096,       /* of stretched probabilities, on either side */
    MOST_SEEN = 255,        /* of an adaptive probability */
    MOST_SURE = 15,         /* of a slot's count, where it says how sure its colour is */
    SURE = 64000,           /* probabilities from here on are worth a question */
    MOST_WEIGHT = 1 << 22
};

static const int ROW[AROUND] = {0, -1, -1, -1, 0, -2, -1, -2, -1, 0, -2, 0, -1, -2, -3, -1};
static const int COLUMN[AROUND] = {-1, 0, -1, 1, -2, 0, 2, 1, -2, -3, -1, -4, 3, 2, 0, -3};
static const int REACH[ORDERS] = {1, 2, 4, 6, 10, 16};

/* What codec/contexts.py computes. */
typedef struct {
    const int16_t *stretch;   /* [65536] */
    const uint16_t *squash;   /* [2 STRETCHED] */
    const int32_t *reciprocal; /* [MOST_SEEN + 1] */
    const uint8_t *next;      /* [2][256] */
    const uint32_t *agreeing, *differing, *counted; /* first probabilities: [64], [64], [256] */
    const int32_t *weights;   /* first ones of the mixers, one after the other: [sets][inputs] */
    int64_t is_sure;          /* whether only sure candidates are asked for (method 9) */
} ContextTables;

typedef struct {
    uint32_t colour;
    uint16_t check;
    uint8_t count, unused;
} Slot;

typedef struct {
    int32_t *weights, *row;   /* [sets][inputs], and the set in use */
    int32_t probability;
} Mixer;

typedef struct {
    uint32_t low, high, point;
    uint8_t *bytes;
    int64_t at, size;
    int encodes;
} Arithmetic;

typedef struct {
    const ContextTables *tables;
    Arithmetic code;
    int64_t slot_bits, group_bits, stride;
    uint32_t *pixels;         /* [UP + 1][SIDE + width + SIDE], the last rows */
    Slot *slots;              /* [ORDERS][2**slot_bits] */
    uint8_t *groups;          /* [VIEWS][2**group_bits][16] */
    uint32_t *trusts, *states, *echoes, *curve, *bit_curve; /* adaptive probabilities */
    Mixer candidates, by_bits, by_texture, by_echo;
} Mixing;

INLINE uint32_t mix(uint32_t a, uint32_t b) {
    uint32_t h = a * 0x9E3779B1u ^ b * 0x85EBCA6Bu;
    h ^= h >> 15;
    h *= 0xC2B2AE35u;
    return h ^ h >> 13;
}

INLINE int32_t within(int32_t value, int32_t low, int32_t high) { return value < low ? low : value > high ? high : value; }

static int64_t bits_of(int64_t area, int64_t low, int64_t high) {
    int64_t bits = low;
    while (bits < high && (int64_t)1 << bits < area) bits++;
    return bits;
}

enum {
    CANDIDATE_SETS = CANDIDATES * (ORDERS + 1) * 32,
    BIT_SETS = MOST_CHANNELS * 256,
    TEXTURE_SETS = MOST_CHANNELS * 64,
    ECHO_SETS = MOST_CHANNELS * 8 * ORDERS * (MOST_SURE + 1),
    ECHOES = ORDERS * (MOST_SURE + 1) * MOST_CHANNELS * 8 * 2,
    CURVES = CANDIDATES * (ORDERS + 1) * 16 * 8,
    BIT_CURVES = MOST_CHANNELS * 256
};

static int64_t lay_out(Mixing *m, uintptr_t block, int64_t height, int64_t width, int is_sure) {
    Arena arena = {block};
    m->slot_bits = bits_of(2 * height * width, 10, is_sure ? 20 : 18), m->group_bits = bits_of(height * width, 8, is_sure ? 18 : 17);
    m->stride = width + 2 * SIDE;
    m->pixels = TAKE(&arena, uint32_t, (UP + 1) * m->stride);
    m->slots = TAKE(&arena, Slot, (int64_t)ORDERS << m->slot_bits);
    m->groups = TAKE(&arena, uint8_t, (int64_t)VIEWS * 16 << m->group_bits);
    m->trusts = TAKE(&arena, uint32_t, ORDERS * 64 * 2);
    m->states = TAKE(&arena, uint32_t, VIEWS * MOST_CHANNELS * 256);
    m->echoes = TAKE(&arena, uint32_t, ECHOES);
    m->curve = TAKE(&arena, uint32_t, CURVES * SHADES);
    m->bit_curve = TAKE(&arena, uint32_t, BIT_CURVES * SHADES);
    m->candidates.weights = TAKE(&arena, int32_t, CANDIDATE_SETS * KNOWN);
    m->by_bits.weights = TAKE(&arena, int32_t, BIT_SETS * INPUTS);
    m->by_texture.weights = TAKE(&arena, int32_t, TEXTURE_SETS * INPUTS);
    m->by_echo.weights = TAKE(&arena, int32_t, ECHO_SETS * INPUTS);
    return (int64_t)(arena.at - block) + ALIGNMENT;
}

static void begin(Mixing *m) {
    const ContextTables *tables = m->tables;
    for (int k = 0; k < ORDERS; k++)
        for (int n = 0; n < 64; n++) {
            m->trusts[(k * 64 + n) * 2] = tables->agreeing[n];
            m->trusts[(k * 64 + n) * 2 + 1] = tables->differing[n];
        }
    for (int i = 0; i < VIEWS * MOST_CHANNELS; i++) memcpy(m->states + i * 256, tables->counted, 256 * sizeof *m->states);
    for (int i = 0; i < ECHOES; i++) m->echoes[i] = tables->agreeing[i / (MOST_CHANNELS * 16) % (MOST_SURE + 1)];
    for (int i = 0; i < CURVES * SHADES; i++) m->curve[i] = (uint32_t)tables->squash[i % SHADES * 256 - (i % SHADES == 32)] << 16;
    for (int i = 0; i < BIT_CURVES * SHADES; i++) m->bit_curve[i] = m->curve[i % SHADES];
    const int32_t *weights = tables->weights;
    memcpy(m->candidates.weights, weights, CANDIDATE_SETS * KNOWN * sizeof *weights), weights += CANDIDATE_SETS * KNOWN;
    memcpy(m->by_bits.weights, weights, BIT_SETS * INPUTS * sizeof *weights), weights += BIT_SETS * INPUTS;
    memcpy(m->by_texture.weights, weights, TEXTURE_SETS * INPUTS * sizeof *weights), weights += TEXTURE_SETS * INPUTS;
    if (tables->is_sure) memcpy(m->by_echo.weights, weights, ECHO_SETS * INPUTS * sizeof *weights);
    Arithmetic *code = &m->code;
    code->low = 0, code->high = UINT32_MAX;
    if (!code->encodes)
        for (; code->at < 4; code->at++) code->point = code->point << 8 | (code->at < code->size ? code->bytes[code->at] : 0);
}

/* A bit that is 1 with `probability` in 2**-16. */
INLINE int code_bit(Arithmetic *code, int32_t probability, int bit) {
    uint32_t middle = code->low + (uint32_t)((uint64_t)(code->high - code->low) * (uint32_t)probability >> 16);
    if (!code->encodes) bit = code->point <= middle;
    if (bit) code->high = middle;
    else code->low = middle + 1;
    while (!((code->low ^ code->high) >> 24)) {
        if (code->encodes) {
            if (code->at < code->size) code->bytes[code->at] = (uint8_t)(code->high >> 24);
        } else {
            code->point = code->point << 8 | (code->at < code->size ? code->bytes[code->at] : 0);
        }
        code->at++, code->low <<= 8, code->high = code->high << 8 | 255;
    }
    return bit;
}

/* The fewest bytes that tell a number of low .. high, zeros behind them; returns how many, and where they are wanted,
 * writes them.
 */
static int64_t finish(Arithmetic *code) {
    for (int64_t count = 0;; count++) {
        uint64_t unit = (uint64_t)1 << (32 - 8 * count), least = (code->low + unit - 1) / unit * unit;
        if (least > code->high && count < 4) continue;
        if (code->encodes)
            for (int64_t i = 0; i < count; i++)
                if (code->at + i < code->size) code->bytes[code->at + i] = (uint8_t)(least >> (24 - 8 * i));
        return count;
    }
}

INLINE int32_t probability_of(uint32_t adaptive) {
    int32_t p = (int32_t)(adaptive >> 16);
    return p ? p : 1;
}

INLINE void adapt(const ContextTables *tables, uint32_t *adaptive, int bit) {
    int64_t seen = *adaptive & 1023, p = *adaptive >> 10;
    p += ((((int64_t)bit << 22) - p) * tables->reciprocal[seen]) >> 16;
    *adaptive = (uint32_t)(p << 10) | (uint32_t)(seen < MOST_SEEN ? seen + 1 : seen);
}

INLINE int32_t squash(const ContextTables *tables, int32_t x) { return tables->squash[x + STRETCHED]; }

/* The stretched probability that a set of weights gives; n: its inputs. */
INLINE int32_t mixed(Mixer *mixer, const ContextTables *tables, const int32_t *inputs, int n, int64_t set) {
    int64_t sum = 0;
    mixer->row = mixer->weights + set * n;
    for (int i = 0; i < n; i++) sum += (int64_t)mixer->row[i] * inputs[i];
    sum >>= 16;
    int32_t x = (int32_t)(sum < 1 - STRETCHED ? 1 - STRETCHED : sum > STRETCHED - 1 ? STRETCHED - 1 : sum);
    mixer->probability = squash(tables, x);
    return x;
}

INLINE void teach(Mixer *mixer, const int32_t *inputs, int n, int bit, int32_t rate) {
    const int32_t error = ((bit << 16) - mixer->probability) * rate;
    const int64_t up = (int64_t)1 << 40; /* no product is below -up: vectors shift 64 bits as unsigned numbers alone */
    for (int i = 0; i < n; i++) {
        uint64_t moved = (uint64_t)((int64_t)inputs[i] * error + up) >> 18;
        mixer->row[i] = within(mixer->row[i] + ((int32_t)moved - (int32_t)(up >> 18)), -MOST_WEIGHT, MOST_WEIGHT);
    }
}

/* What a curve makes of a stretched probability; *nearest: the place of it that is to learn. */
INLINE int32_t refined(uint32_t *curve, int32_t x, uint32_t **nearest) {
    int32_t place = (x + STRETCHED) >> 8, part = (x + STRETCHED) & 255;
    *nearest = curve + place + (part >= 128);
    return (int32_t)((curve[place] >> 16) * (uint32_t)(256 - part) + (curve[place + 1] >> 16) * (uint32_t)part) >> 8;
}

INLINE int32_t channel(uint32_t colour, int c) { return c < 0 ? 0 : (int32_t)(colour >> 8 * c & 255); }

INLINE int32_t distance(int32_t a, int32_t b) { return a < b ? b - a : a - b; }

INLINE int sure_of(const Slot *slot) { return slot->count < MOST_SURE ? slot->count : MOST_SURE; }

/* What the slots of all orders say of a bit, and how that is mixed. */
typedef struct {
    uint32_t *used[ORDERS];   /* NULL where a slot's colour does not begin as what is known */
    int expected[ORDERS];
    int order, sure;          /* the highest one that says something, from 1 on */
} Echo;

/* The inputs [ORDERS - 1] of bit 8 c + `bit` of a colour of which the channels before c, and in `node` the higher bits, are known.
 * refused: what is known not to be the colour; slots that have it are another matter. */
static Echo echo_of(Mixing *m, Slot *const *slots, uint32_t known, int c, int bit, int32_t node, const uint32_t *refused, int32_t *inputs) {
    Echo echo = {0};
    for (int k = 1; k < ORDERS; k++) {
        const uint32_t says = slots[k]->colour, before = ((uint32_t)1 << 8 * c) - 1;
        const int32_t own = channel(says, c) | 256;
        inputs[k - 1] = 0;
        if (!slots[k]->count || ((says ^ known) & before) || own >> (bit + 1) != node) continue;
        echo.order = k, echo.sure = sure_of(slots[k]), echo.expected[k] = own >> bit & 1;
        echo.used[k] = m->echoes + ((k * (MOST_SURE + 1) + echo.sure) * MOST_CHANNELS * 8 + 8 * c + bit) * 2 + (refused && says == *refused);
        const int32_t x = m->tables->stretch[probability_of(*echo.used[k])];
        inputs[k - 1] = echo.expected[k] ? x : -x;
    }
    return echo;
}

/* A colour, bit by bit. refused: the candidate that it is not, NULL if none was asked for. */
static uint32_t colour_of(Mixing *m, const uint32_t *near, uint32_t order, const uint32_t *candidates, Slot *const *slots,
                          const uint32_t *refused, int channels, uint32_t colour) {
    const ContextTables *tables = m->tables;
    const int is_sure = (int)tables->is_sure, rate = is_sure ? 3 : 6;
    const uint32_t W = near[0], N = near[1], NW = near[2], NE = near[3], WW = near[4], NN = near[5];
    int32_t inputs[INPUTS] = {0};
    uint32_t known = 0;
    for (int c = 0; c < channels; c++) {
        const int32_t w = channel(W, c), n = channel(N, c), ne = channel(NE, c), before = channel(known, c - 1);
        const int32_t sum = within(w + n - channel(NW, c), 0, 255);
        const int32_t sum_before = within(channel(W, c - 1) + channel(N, c - 1) - channel(NW, c - 1), 0, 255);
        const int32_t rest = c ? before - sum_before : 0, likely = within(sum + rest, 0, 255);
        const uint32_t both = mix((uint32_t)before, (uint32_t)channel(known, c - 2));
        const uint32_t hashes[VIEWS] = {
            (uint32_t)within(w + before - channel(W, c - 1), 0, 255),
            (uint32_t)within(n + before - channel(N, c - 1), 0, 255),
            is_sure ? mix(mix(W, WW), both) : mix((uint32_t)sum, (uint32_t)rest),
            mix((uint32_t)((w + ne) / 2), (uint32_t)(rest >> 1)),
            both,
            mix((uint32_t)(within(2 * n - channel(NN, c), 0, 255) << 8 | within(2 * w - channel(WW, c), 0, 255)), (uint32_t)before),
            mix((uint32_t)likely, (uint32_t)((distance(w, channel(NW, c)) + distance(n, channel(NW, c))) >> 3)),
            is_sure ? mix(mix((uint32_t)(w >> 2 << 8 | n >> 2), (uint32_t)(ne >> 2 << 8 | channel(NW, c) >> 2)), (uint32_t)before)
                    : mix((uint32_t)(channel(candidates[0], c) << 8 | channel(candidates[1], c)), (uint32_t)before),
            mix(W, both),
            mix(N, both),
            mix(mix(W, N), both),
            mix(mix(N, NN), both),
            mix(is_sure ? NE : order, both),
        };
        const int texture = (distance(w, n) < 4 ? 0 : distance(w, n) < 32 ? 1 : 2) + (distance(n, ne) < 4 ? 0 : 3);
        const int32_t value = channel(colour, c);
        uint8_t *groups[VIEWS];
        int32_t node = 1; /* a 1, and the bits so far */
        for (int bit = 7; bit >= 0; bit--) {
            uint32_t *used[VIEWS], *nearest;
            if (bit % 4 == 3) {
                uint8_t checks[VIEWS];
                for (int k = 0; k < VIEWS; k++) {
                    uint32_t hash = mix(mix(hashes[k], (uint32_t)(4 * k + c)), (uint32_t)node);
                    groups[k] = m->groups + ((k * ((int64_t)1 << m->group_bits) + (hash >> (32 - m->group_bits))) << 4);
                    checks[k] = (uint8_t)hash;
                    __builtin_prefetch(groups[k], 1); /* all of them on their way before the first one is waited for */
                }
                for (int k = 0; k < VIEWS; k++)
                    if (groups[k][0] != checks[k]) memset(groups[k], 0, 16), groups[k][0] = checks[k];
            }
            const int32_t inner = bit > 3 ? node : (node & ((1 << (3 - bit)) - 1)) | 1 << (3 - bit);
            for (int k = 0; k < VIEWS; k++) {
                uint8_t state = groups[k][inner];
                used[k] = m->states + (k * MOST_CHANNELS + c) * 256 + state;
                int32_t p = probability_of(*used[k]);
                inputs[2 * k] = state ? tables->stretch[p] : 0;
                inputs[2 * k + 1] = state ? (p - 32768) >> 5 : 0;
            }
            inputs[2 * VIEWS] = 256;
            Echo echo = {0};
            if (is_sure) echo = echo_of(m, slots, known, c, bit, node, refused, inputs + 2 * VIEWS + 1);
            int32_t x = mixed(&m->by_bits, tables, inputs, INPUTS, c * 256 + node);
            x += mixed(&m->by_texture, tables, inputs, INPUTS, c * 64 + bit * 8 + texture);
            if (is_sure) {
                x += mixed(&m->by_echo, tables, inputs, INPUTS, ((8 * c + bit) * ORDERS + echo.order) * (MOST_SURE + 1) + echo.sure);
                x = (x + 3 * STRETCHED) / 3 - STRETCHED; /* rounds down */
            } else {
                x >>= 1;
            }
            int32_t p = (3 * squash(tables, x) + refined(m->bit_curve + (c * 256 + node) * SHADES, x, &nearest) + 2) >> 2;
            int is = code_bit(&m->code, within(p, 1, 65535), value >> bit & 1);
            teach(&m->by_bits, inputs, INPUTS, is, rate);
            teach(&m->by_texture, inputs, INPUTS, is, rate);
            if (is_sure) teach(&m->by_echo, inputs, INPUTS, is, rate);
            adapt(tables, nearest, is);
            for (int k = 1; k < ORDERS; k++)
                if (echo.used[k]) adapt(tables, echo.used[k], is == echo.expected[k]);
            for (int k = 0; k < VIEWS; k++) {
                adapt(tables, used[k], is);
                groups[k][inner] = tables->next[is * 256 + groups[k][inner]];
            }
            node = 2 * node + is;
        }
        known |= (uint32_t)(node & 255) << 8 * c;
    }
    return known;
}

/* The pixel at `at`, whose colour is known when encoding. */
static uint32_t pixel(Mixing *m, const uint32_t *at, int channels, uint32_t colour) {
    const ContextTables *tables = m->tables;
    uint32_t near[AROUND], hashes[ORDERS], candidates[CANDIDATES] = {0};
    Slot *slots[ORDERS];
    for (int i = 0; i < AROUND; i++) near[i] = at[ROW[i] * m->stride + COLUMN[i]];
    uint32_t hash = near[0];
    int top = 0, found = 0; /* the highest order that knows of a colour, from 1 on */
    for (int k = 0, i = 1; k < ORDERS; k++) {
        for (; i < REACH[k]; i++) hash = mix(hash, near[i]);
        hashes[k] = hash;
        uint32_t place = mix(hash, (uint32_t)k);
        slots[k] = m->slots + ((int64_t)k << m->slot_bits) + (place >> (32 - m->slot_bits));
        if (slots[k]->check != (place & 0xffff)) *slots[k] = (Slot){.check = (uint16_t)place};
        if (slots[k]->count) top = k + 1;
    }
    for (int k = ORDERS + 2; k >= 0 && found < CANDIDATES; k--) {
        int order = k - 3; /* then W, N and NE */
        if (order >= 0 && !slots[order]->count) continue;
        uint32_t likely = order >= 0 ? slots[order]->colour : near[k == 2 ? 0 : k == 1 ? 1 : 3];
        int is_new = 1;
        for (int i = 0; i < found; i++) is_new &= candidates[i] != likely;
        if (is_new) candidates[found++] = likely;
    }
    const uint32_t W = near[0], N = near[1];
    const int equal = (W == N) | (N == near[3]) << 1 | (W == near[2]) << 2 | (W == near[4]) << 3 | (N == near[5]) << 4;
    const int sure = top ? sure_of(slots[top - 1]) : 0, is_sure = (int)tables->is_sure;
    int32_t inputs[KNOWN];
    int is = 0, is_known = 0;
    for (int i = 0; i < (is_sure ? 1 : found) && !is; i++) {
        uint32_t *used[ORDERS], *nearest;
        for (int k = 0; k < ORDERS; k++) {
            int says = slots[k]->count > 0;
            for (int j = 0; j < i; j++) says &= slots[k]->colour != candidates[j];
            int count = slots[k]->count < 63 ? slots[k]->count : 63;
            used[k] = says ? m->trusts + (k * 64 + count) * 2 + (slots[k]->colour != candidates[i]) : NULL;
            inputs[k] = says ? tables->stretch[probability_of(*used[k])] : 0;
        }
        inputs[ORDERS] = 256;
        inputs[ORDERS + 1] = (candidates[i] == W ? 128 : -128) + (candidates[i] == N ? 128 : -128);
        int32_t x = mixed(&m->candidates, tables, inputs, KNOWN, (i * (ORDERS + 1) + top) * 32 + equal);
        uint32_t *curve = m->curve + (((i * (ORDERS + 1) + top) * 16 + sure) * 8 + (equal & 7)) * SHADES;
        int32_t p = (squash(tables, x) + 3 * refined(curve, x, &nearest) + 2) >> 2;
        if (is_sure && p < SURE) {
            colour = colour_of(m, near, hashes[4], candidates, slots, NULL, channels, colour), is_known = 1;
            is = colour == candidates[0];
        } else {
            is = code_bit(&m->code, within(p, 1, 65535), colour == candidates[i]);
        }
        teach(&m->candidates, inputs, KNOWN, is, is_sure ? 5 : 8 + 4 * i);
        adapt(tables, nearest, is);
        for (int k = 0; k < ORDERS; k++)
            if (used[k]) adapt(tables, used[k], is);
        if (is) colour = candidates[i];
    }
    if (!is && !is_known) colour = colour_of(m, near, hashes[4], candidates, slots, candidates, channels, colour);
    for (int k = 0; k < ORDERS; k++) {
        Slot *slot = slots[k];
        if (slot->count && slot->colour == colour) slot->count += slot->count < 255;
        else if (slot->count > 3) slot->count = slot->count > 24 ? 8 : slot->count / 3;
        else slot->colour = colour, slot->count = 1;
    }
    return colour;
}

EXPORT int64_t lgcodec_contexts_room(int64_t height, int64_t width, int is_sure) {
    Mixing m = {0};
    return lay_out(&m, 0, height, width, is_sure);
}

/* Codes samples [height][width][channels], which are written where `encodes` is 0. Returns how many bytes the code has, which
 * may be more than `size`: then it does not fit, or is not whole. block: so many zeros as lgcodec_contexts_room says.
 */
EXPORT int64_t lgcodec_contexts(const ContextTables *tables, uint8_t *samples, int64_t height, int64_t width, int64_t channels,
                                uint8_t *bytes, int64_t size, int encodes, void *block) {
    Mixing m = {.tables = tables, .code = {.bytes = bytes, .size = size, .encodes = encodes}};
    lay_out(&m, (uintptr_t)block, height, width, (int)tables->is_sure);
    begin(&m);
    for (int64_t y = 0; y < height; y++) {
        uint32_t *row = m.pixels + UP * m.stride + SIDE;
        memmove(m.pixels, m.pixels + m.stride, (size_t)(UP * m.stride) * sizeof *m.pixels);
        for (int i = 1; i <= SIDE; i++) {
            row[-i] = y ? row[-m.stride] : 0;
            row[i - 1 + width - m.stride] = y ? row[width - 1 - m.stride] : 0;
        }
        for (int64_t x = 0; x < width; x++) {
            uint8_t *sample = samples + (y * width + x) * channels;
            uint32_t colour = 0;
            for (int64_t c = 0; encodes && c < channels; c++) colour |= (uint32_t)sample[c] << 8 * c;
            colour = row[x] = pixel(&m, row + x, (int)channels, colour);
            for (int64_t c = 0; !encodes && c < channels; c++) sample[c] = (uint8_t)(colour >> 8 * c);
        }
    }
    int64_t tail = finish(&m.code);
    return m.code.at + tail - (encodes ? 0 : 4);
}
