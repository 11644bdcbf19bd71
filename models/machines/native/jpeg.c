/* The entropy-coded data of one scan of a JPEG file, read and written: codec/jpeg/scans.py says what they mean.
 *
 * Nothing of a file is trusted: reading and writing end with an error at the first thing that does not fit. Coefficients
 * are int16 [rows][columns][64] in natural order, 8 v + u. Tables: 0 to 3 for DC, 4 to 7 for AC, as in DHT segments.
 */
#include <string.h>

#include "native.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef int16_t i16;
typedef int32_t i32;
typedef uint32_t u32;
typedef int64_t i64;
typedef uint64_t u64;

/* jpeg.py has the words */
enum {
    TOO_SHORT = -1, NO_CODE = -2, BAD_TABLE = -3, OUT_OF_RANGE = -4, BAD_RUN = -5, NO_RESTART = -6, BAD_CORRECTION = -7,
    NO_SYMBOL = -8, BAD_PAD = -9, BAD_FACTS = -10
};

enum { LARGEST = 2047, MOST_RUN = 0x7FFF, MOST_CORRECTIONS = 937, ALL_CORRECTIONS = 1 << 16 };

typedef struct {
    i16 *blocks; /* of the whole plane */
    i64 columns; /* blocks in a row of it */
    i64 across, down, dc, ac;
} Part;

typedef struct {
    Part parts[4];
    i64 count, rows, columns, progressive, first, last, high, low, interval;
    const u8 *tables[8]; /* 16 counts, symbols; NULL where there is none */
} Scan;

/* Beside coefficients. As read, their numbers are set; as written, they are what there is. */
typedef struct {
    u8 *pads;
    i64 *breaks, *zeros; /* zeros: pairs */
    i64 pad_count, break_count, zero_count;
    i64 pad; /* as written: 0 or 1 for bits all alike, -1 for those of pads */
} Facts;

static const u8 zigzag[64] = {
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};
static const u8 place[64] = {/* its inverse */
    0, 1, 5, 6, 14, 15, 27, 28, 2, 4, 7, 13, 16, 26, 29, 42, 3, 8, 12, 17, 25, 30, 41, 43, 9, 11, 18, 24, 31, 40, 44, 53,
    10, 19, 23, 32, 39, 45, 52, 54, 20, 22, 33, 38, 46, 51, 55, 60, 21, 34, 37, 47, 50, 56, 59, 61, 35, 36, 48, 49, 57, 58, 62, 63};

static inline int bits_of(u32 v) { return v ? 32 - __builtin_clz(v) : 0; }

/* The blocks of a scan, one after the other. */
typedef struct {
    const Part *part;
    int number, x, y; /* of the part, of the block in its MCU */
    i64 row, column, mcu, left;
} Place;

static void place_at(const Scan *scan, Place *at, i64 mcu) {
    *at = (Place){scan->parts, 0, 0, 0, mcu / scan->columns, mcu % scan->columns, mcu, 0};
}

static inline i16 *block_at(const Place *at) {
    const Part *part = at->part;
    return part->blocks + 64 * ((at->row * part->down + at->y) * part->columns + at->column * part->across + at->x);
}

/* Whether the next block begins an MCU. */
static inline int advance(const Scan *scan, Place *at) {
    if (++at->x < at->part->across) return 0;
    at->x = 0;
    if (++at->y < at->part->down) return 0;
    at->y = 0;
    if (++at->number < scan->count) { at->part++; return 0; }
    at->number = 0, at->part = scan->parts, at->mcu++;
    if (++at->column == scan->columns) at->column = 0, at->row++;
    return 1;
}

/* Bits of places in a scan for each half row of a block, by which of its four coefficients are not 0. */
typedef struct {
    u64 of[16][16];
} Places;

static void places_make(Places *places) {
    for (int half = 0; half < 16; half++)
        for (int set = 0; set < 16; set++) {
            u64 mask = 0;
            for (int i = 0; i < 4; i++) mask |= (u64)(set >> i & 1) << place[4 * half + i];
            places->of[half][set] = mask;
        }
}

/* The places in a scan at which coefficients are not 0. */
static inline u64 places_of(const Places *places, const i16 *block) {
    const u64 low = 0x7FFF7FFF7FFF7FFF;
    u64 mask = 0;
    for (int half = 0; half < 16; half++) {
        u64 four;
        memcpy(&four, block + 4 * half, 8);
        u64 set = ((((four & low) + low) | four) & ~low) >> 15;      /* a bit for each of the four, 16 apart */
        mask |= places->of[half][set * 0x0001000200040008 >> 48 & 15]; /* side by side */
    }
    return mask;
}

/* The places from first to last. */
static inline u64 within(u64 places, int first, int last) { return places >> first << first << (63 - last) >> (63 - last); }

/* ---- reading ---- */

enum { LOOK = 10 };

typedef struct {
    u16 look[1 << LOOK]; /* length << 8 | symbol by the next bits, 0 where the code is longer */
    i32 end[18];         /* of the codes of each length, aligned to 16 bits; of 17, beyond all */
    i32 offset[17];      /* symbol's place less its code */
    const u8 *symbols;
    u32 *counts;
} Decoder;

static int decoder_of(const u8 *table, u32 *counts, Decoder *of) {
    memset(of, 0, sizeof *of);
    of->symbols = table + 16, of->counts = counts;
    i32 code = 0, at = 0;
    for (int length = 1; length <= 16; length++) {
        of->offset[length] = at - code;
        for (int i = 0; i < table[length - 1]; i++, code++, at++) {
            if (code >= 1 << length || at > 255) return BAD_TABLE;
            if (length > LOOK) continue;
            for (int j = 0; j < 1 << (LOOK - length); j++)
                of->look[(code << (LOOK - length)) + j] = (u16)(length << 8 | of->symbols[at]);
        }
        of->end[length] = code << (16 - length);
        code <<= 1;
    }
    of->end[17] = 1 << 30;
    return 0;
}

typedef struct {
    const u8 *data;
    i64 start, at, size;
    u64 bits; /* the next ones are the highest; behind `have` come those of the next bytes, or 0 */
    int have;
} Source;

/* Whether one of the bytes is FF. */
static inline int has_ff(u64 v) { return (v & ~(v + 0x0101010101010101u) & 0x8080808080808080u) != 0; }

/* At least 48 bits, or all that there are before a marker. */
static inline void fill(Source *s) {
    if (s->at + 8 <= s->size) {
        u64 word;
        memcpy(&word, s->data + s->at, 8);
        if (!has_ff(word)) { /* bits beyond `have` are those that the next call puts there again */
            int bytes = (63 - s->have) >> 3;
            s->bits |= __builtin_bswap64(word) >> s->have;
            s->at += bytes, s->have += 8 * bytes;
            return;
        }
    }
    while (s->have <= 56 && s->at < s->size) {
        u8 byte = s->data[s->at];
        if (byte == 0xFF) {
            if (s->at + 1 >= s->size || s->data[s->at + 1]) return;
            s->at++;
        }
        s->at++;
        s->bits |= (u64)byte << (56 - s->have);
        s->have += 8;
    }
}

static inline void skip(Source *s, int n) { s->bits <<= n, s->have -= n; }

/* n from 0 to 16; `have` is negative where there were not so many. */
static inline u32 take(Source *s, int n) {
    u32 v = (u32)(s->bits >> 32 >> (32 - n));
    skip(s, n);
    return v;
}

static inline i32 take_signed(Source *s, int n) {
    i32 v = (i32)take(s, n);
    return n && !(v >> (n - 1)) ? v - (1 << n) + 1 : v;
}

/* A symbol, or an error. Then 32 more bits are there, if the data have them. */
static inline int symbol_of(Source *s, const Decoder *of) {
    if (!of->symbols) return BAD_TABLE;
    if (s->have < 48) fill(s);
    int entry = of->look[s->bits >> (64 - LOOK)], symbol;
    if (entry) {
        skip(s, entry >> 8);
        symbol = entry & 255;
    } else {
        i32 code = (i32)(s->bits >> 48);
        int length = LOOK + 1;
        while (code >= of->end[length]) length++;
        if (length > 16) return NO_CODE;
        symbol = of->symbols[(code >> (16 - length)) + of->offset[length]];
        skip(s, length);
    }
    of->counts[symbol]++;
    return symbol;
}

typedef struct {
    Source s;
    Decoder decoders[8];
    Facts *facts;
    Places places;
    i64 block, run, pending, corrections;
    i32 before[4];
} Reading;

static int align(Reading *r, const Scan *scan) {
    Source *s = &r->s;
    if (r->run) return BAD_RUN;
    if (s->have < 0) return TOO_SHORT;
    int n = s->have & 7;
    r->facts->pads[r->facts->pad_count++] = (u8)(1 << n | take(s, n));
    for (; s->have; s->have -= 8) s->at -= s->data[s->at - 1] == 0 && s->at - 2 >= s->start && s->data[s->at - 2] == 0xFF ? 2 : 1;
    s->bits = 0;
    r->pending = r->corrections = 0;
    for (int i = 0; i < scan->count; i++) r->before[i] = 0;
    return 0;
}

static int restart(Reading *r, const Scan *scan, i64 mcu) {
    int error = align(r, scan);
    if (error) return error;
    Source *s = &r->s;
    if (s->size - s->at < 2 || s->data[s->at] != 0xFF || s->data[s->at + 1] != 0xD0 + (mcu / scan->interval - 1) % 8)
        return NO_RESTART;
    s->at += 2;
    return 0;
}

static int read_dc(Reading *r, const Scan *scan, const Place *at, i16 *block) {
    if (scan->high) {
        if (r->s.have < 1) fill(&r->s);
        block[0] |= (i16)(take(&r->s, 1) << scan->low);
        return 0;
    }
    int size = symbol_of(&r->s, &r->decoders[at->part->dc]);
    if (size < 0) return size;
    if (size > 15) return OUT_OF_RANGE;
    i32 value = r->before[at->number] + take_signed(&r->s, size);
    r->before[at->number] = value;
    if (value > LARGEST >> scan->low || value < -(LARGEST >> scan->low)) return OUT_OF_RANGE;
    block[0] = (i16)(value * (1 << scan->low));
    return 0;
}

/* A block that ends, by a new run or in one, with so many bits of corrections after its last symbol. */
static int ends(Reading *r, const Scan *scan, int fresh, i64 corrections) {
    if (r->pending) {
        int full = r->corrections > ALL_CORRECTIONS;
        if (full && !fresh) return BAD_RUN;
        if (!full && fresh != (r->corrections > MOST_CORRECTIONS)) r->facts->breaks[r->facts->break_count++] = r->block;
        if (fresh) r->pending = r->corrections = 0;
    }
    r->pending++, r->corrections += corrections;
    if (r->pending == (scan->progressive ? MOST_RUN : 1)) r->pending = r->corrections = 0;
    return 0;
}

/* A bit more of each of the coefficients at n or fewer of the first places, which are taken away; or an error. */
static int correct(Reading *r, i16 *block, u64 *places, int n, i32 one) {
    Source *s = &r->s;
    for (; n > 0 && *places; n--, *places &= *places - 1) {
        if (s->have < 1) fill(s);
        i16 *value = block + zigzag[__builtin_ctzll(*places)];
        i32 changed = *value + (take(s, 1) ? *value > 0 ? one : -one : 0);
        if (changed > LARGEST || changed < -LARGEST) return OUT_OF_RANGE;
        *value = (i16)changed;
    }
    return 0;
}

static int read_ac(Reading *r, const Scan *scan, const Place *at, i16 *block) {
    Source *s = &r->s;
    const Decoder *decoder = &r->decoders[at->part->ac];
    int k = scan->first ? (int)scan->first : 1, last = (int)scan->last, fresh = !r->run, error;
    i32 one = 1 << scan->low;
    i64 zeros = 0;
    u64 old = scan->high ? within(places_of(&r->places, block), k, last) : 0; /* where corrections are due */
    while (!r->run && k <= last) {
        int symbol = symbol_of(s, decoder);
        if (symbol < 0) return symbol;
        int run = symbol >> 4, size = symbol & 15;
        if (!size && run < 15) {
            if (run && !scan->progressive) return BAD_RUN;
            r->run = (1 << run) + (i64)take(s, run);
            break;
        }
        r->pending = r->corrections = 0;
        zeros = size ? 0 : zeros + 1;
        i32 value = 0;
        if (scan->high) {
            if (size > 1) return BAD_CORRECTION;
            if (size) value = take(s, 1) ? one : -one;
            int passed = 0; /* k goes to the zero after `run` others, past what is not zero */
            for (u64 next = old; next; next &= next - 1, passed++) {
                int zero = __builtin_ctzll(next) - k - passed;
                if (zero > run) break;
            }
            k += run + passed;
            if ((error = correct(r, block, &old, passed, one))) return error;
        } else {
            k += run;
            value = take_signed(s, size) * one;
        }
        if (k > last) return BAD_RUN;
        if (value > LARGEST || value < -LARGEST) return OUT_OF_RANGE;
        if (size) block[zigzag[k]] = (i16)value;
        k++;
    }
    if (zeros) {
        i64 *pair = r->facts->zeros + 2 * r->facts->zero_count++;
        pair[0] = r->block, pair[1] = zeros;
    }
    if (!r->run) return 0;
    r->run--;
    int corrections = __builtin_popcountll(old);
    if ((error = correct(r, block, &old, 64, one))) return error;
    return ends(r, scan, fresh, corrections);
}

/* Reads a scan's data from `start` on; returns where they end, or an error. counts [8][256]: of symbols, added to.
 * facts has room for one pad an alignment, one break and one pair of zeros a block. */
EXPORT i64 lgcodec_jpeg_read(const Scan *scan, const u8 *data, i64 start, i64 size, u32 *counts, Facts *facts) {
    Reading r;
    memset(&r, 0, sizeof r);
    places_make(&r.places);
    r.s = (Source){data, start, start, size, 0, 0}, r.facts = facts;
    for (int i = 0; i < 8; i++) {
        if (!scan->tables[i]) continue;
        int error = decoder_of(scan->tables[i], counts + 256 * i, &r.decoders[i]);
        if (error) return error;
    }
    Place at;
    place_at(scan, &at, 0);
    for (i64 mcus = scan->rows * scan->columns, begins = 0; at.mcu < mcus; r.block++) {
        int error = begins && scan->interval && at.mcu % scan->interval == 0 ? restart(&r, scan, at.mcu) : 0;
        i16 *block = block_at(&at);
        if (!error && scan->first == 0) error = read_dc(&r, scan, &at, block);
        if (!error && scan->last) error = read_ac(&r, scan, &at, block);
        if (error) return error;
        if (r.s.have < 0) return TOO_SHORT;
        begins = advance(scan, &at);
    }
    int error = align(&r, scan);
    return error ? error : r.s.at;
}

/* ---- writing ---- */

typedef struct {
    u32 code[256]; /* length << 16 | code, 0 where there is none */
} Encoder;

/* What is kept from one call to the next, zero at first. */
typedef struct {
    Encoder encoders[8];
    i64 mcu, block, pending, corrections, table;
    i64 pads, breaks, zeros; /* of facts, so many are used */
    u64 bits;                /* the last `have` are still to be written */
    i32 have, error, before[4];
    u8 held[ALL_CORRECTIONS + 64];
} Writing;

typedef struct {
    u8 *out;
    i64 size;
    u64 bits;
    int have;
    u32 *counts; /* or NULL: then symbols are counted, not written */
    Writing *kept;
    const Places *places;
} Sink;

static int encoder_of(const u8 *table, Encoder *of) {
    u32 code = 0;
    int at = 0;
    memset(of, 0, sizeof *of);
    for (u32 length = 1; length <= 16; length++, code <<= 1)
        for (int i = 0; i < table[length - 1]; i++, code++, at++) {
            if (code >= 1u << length || at > 255) return BAD_TABLE;
            of->code[table[16 + at]] = length << 16 | code;
        }
    return 0;
}

static inline void put_byte(Sink *k, u8 byte) {
    k->out[k->size++] = byte;
    if (byte == 0xFF) k->out[k->size++] = 0;
}

/* n from 0 to 31 bits; at least that many fit. */
static inline void put(Sink *k, u32 v, int n) {
    k->bits = k->bits << n | v;
    k->have += n;
    if (k->have < 32) return;
    u32 word = (u32)(k->bits >> (k->have -= 32));
    if (has_ff(word)) {
        for (int shift = 24; shift >= 0; shift -= 8) put_byte(k, (u8)(word >> shift));
    } else {
        word = __builtin_bswap32(word);
        memcpy(k->out + k->size, &word, 4);
        k->size += 4;
    }
}

/* A symbol, then n bits of v, n at most 15. */
static inline void put_symbol(Sink *k, i64 table, u32 symbol, u32 v, int n) {
    if (k->counts) {
        k->counts[256 * table + symbol]++;
        return;
    }
    u32 code = k->kept->encoders[table].code[symbol];
    if (!code) k->kept->error = NO_SYMBOL;
    put(k, (code & 0xFFFF) << n | v, (int)(code >> 16) + n);
}

static inline void put_bits(Sink *k, const u8 *bits, i64 n) {
    if (k->counts) return;
    for (i64 i = 0; i < n; i++) put(k, bits[i], 1);
}

static void end_run(Sink *k) {
    Writing *w = k->kept;
    if (!w->pending) return;
    int size = bits_of((u32)w->pending) - 1;
    put_symbol(k, w->table, (u32)size << 4, (u32)w->pending - (1u << size), size);
    put_bits(k, w->held, w->corrections);
    w->pending = w->corrections = 0;
}

static void put_align(Sink *k, const Scan *scan, const Facts *facts) {
    Writing *w = k->kept;
    end_run(k);
    for (int i = 0; i < scan->count; i++) w->before[i] = 0;
    if (k->counts) return;
    int n = -k->have & 7;
    u32 pad = facts->pad ? (1u << n) - 1 : 0;
    if (facts->pad < 0) {
        pad = (w->pads < facts->pad_count ? facts->pads[w->pads++] : 0u) - (1u << n);
        if (pad >= 1u << n) { w->error = BAD_PAD; return; }
    }
    put(k, pad, n);
    for (; k->have > 0; k->have -= 8) put_byte(k, (u8)(k->bits >> (k->have - 8)));
}

static void write_dc(Sink *k, const Scan *scan, const Place *at, const i16 *block) {
    Writing *w = k->kept;
    i32 value = block[0] >> scan->low;
    if (scan->high) {
        if (!k->counts) put(k, (u32)value & 1, 1);
        return;
    }
    i32 difference = value - w->before[at->number];
    w->before[at->number] = value;
    int size = bits_of((u32)(difference < 0 ? -difference : difference));
    if (size > 15) { w->error = OUT_OF_RANGE; return; }
    put_symbol(k, at->part->dc, (u32)size, (u32)(difference - (difference < 0)) & ((1u << size) - 1), size);
}

static void write_ac(Sink *k, const Scan *scan, const Place *at, const Facts *facts, const i16 *block) {
    Writing *w = k->kept;
    i64 table = at->part->ac, extra = 0;
    int first = scan->first ? (int)scan->first : 1, end = (int)scan->last + 1, low = (int)scan->low;
    if (w->zeros < facts->zero_count && facts->zeros[2 * w->zeros] == w->block) extra = facts->zeros[2 * w->zeros++ + 1];
    u64 left = within(places_of(k->places, block), first, end - 1);
    int newest = -1; /* the last one that a symbol tells of */
    if (scan->high || low) {
        u64 seen = 0, fresh = 0;
        for (u64 rest = left; rest; rest &= rest - 1) {
            int i = __builtin_ctzll(rest);
            i32 value = block[zigzag[i]], size = (value < 0 ? -value : value) >> low;
            seen |= (u64)(size != 0) << i, fresh |= (u64)(scan->high ? size == 1 : size != 0) << i;
        }
        left = seen;
        if (fresh) newest = 63 - __builtin_clzll(fresh);
    } else if (left) newest = 63 - __builtin_clzll(left);
    int next = first, run = 0, count = 0; /* run: zeros since the last symbol; count: corrections since */
    u8 corrections[64];
    for (;; left &= left - 1) {
        int i = left ? __builtin_ctzll(left) : end;
        run += i - next, next = i + 1;
        while (run > 15 && ((left && i <= newest) || extra > 0)) {
            if (!left || i > newest) extra--;
            end_run(k);
            put_symbol(k, table, 0xF0, 0, 0);
            put_bits(k, corrections, count);
            count = 0, run -= 16;
        }
        if (!left) break;
        i32 value = block[zigzag[i]], size = (value < 0 ? -value : value) >> low;
        if (scan->high && size > 1) {
            corrections[count++] = size & 1;
            continue;
        }
        end_run(k);
        int n = bits_of((u32)size);
        if (n > 15) { w->error = OUT_OF_RANGE; return; }
        put_symbol(k, table, (u32)(run << 4 | n), (u32)(value < 0 ? ~size : size) & ((1u << n) - 1), n);
        put_bits(k, corrections, count);
        count = 0, run = 0;
    }
    if (extra) w->error = BAD_FACTS;
    if (!run && !count) return;
    if (w->pending) {
        int other = w->breaks < facts->break_count && facts->breaks[w->breaks] == w->block;
        w->breaks += other;
        if (w->corrections > ALL_CORRECTIONS || (w->corrections > MOST_CORRECTIONS) != other) end_run(k);
    }
    w->pending++, w->table = table;
    memcpy(w->held + w->corrections, corrections, (size_t)count);
    w->corrections += count;
    if (w->pending == (scan->progressive ? MOST_RUN : 1)) end_run(k);
}

/* Writes MCUs as far as there is room, SPARE bytes of which stay free: call again until kept->mcu is all of them. Returns
 * the bytes written, or an error. counts [8][256]: if it is not NULL, symbols are counted instead, and all MCUs. */
enum { SPARE = 1 << 16 };

EXPORT i64 lgcodec_jpeg_write(const Scan *scan, const Facts *facts, Writing *kept, u8 *out, i64 room, u32 *counts) {
    Places places;
    places_make(&places);
    Sink k = {out, 0, kept->bits, kept->have, counts, kept, &places};
    if (kept->mcu == 0)
        for (int i = 0; i < 8 && !counts; i++)
            if (scan->tables[i] && encoder_of(scan->tables[i], &kept->encoders[i])) return BAD_TABLE;
    Place at;
    place_at(scan, &at, kept->mcu);
    i64 mcus = scan->rows * scan->columns;
    for (int begins = 1; at.mcu < mcus; kept->block++) {
        if (begins) {
            if (k.size + SPARE > room) break;
            if (at.mcu && scan->interval && at.mcu % scan->interval == 0) {
                put_align(&k, scan, facts);
                if (!counts) out[k.size++] = 0xFF, out[k.size++] = (u8)(0xD0 + (at.mcu / scan->interval - 1) % 8);
            }
        }
        const i16 *block = block_at(&at);
        if (scan->first == 0) write_dc(&k, scan, &at, block);
        if (scan->last) write_ac(&k, scan, &at, facts, block);
        if (kept->error) return kept->error;
        begins = advance(scan, &at);
    }
    kept->mcu = at.mcu;
    if (at.mcu == mcus) {
        put_align(&k, scan, facts);
        if (kept->breaks != facts->break_count || kept->zeros != facts->zero_count) return BAD_FACTS;
    }
    kept->bits = k.bits, kept->have = k.have;
    return kept->error ? kept->error : k.size;
}
