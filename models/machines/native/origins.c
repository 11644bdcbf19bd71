/* Un-rendering of pictures: the encoder's searches of codec/origins, and the decoder's colour and enlarging loops.
 *
 * Nothing here decides bits: what the searches find is rendered and compared before it is written, and the two loops
 * of the decoder (lgcodec_origin_render, lgcodec_origin_enlarge) are those of codec/origins/form.py in integers.
 *
 * A conversion is seven tables of 256: channel k of a pixel is clip((light[Y] + first[k][C1] + second[k][C2]) >> shift).
 */
#include <stdlib.h>

#include "native.h"

typedef uint8_t u8;
typedef int32_t i32;
typedef int64_t i64;
typedef uint64_t u64;

typedef struct {
    i32 light[256], first[3][256], second[3][256];
    i32 shift;
} Conversion;

static inline int clip8(i32 v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

/* The smallest Y with light[Y] >= least; 256 where there is none. light ascends. */
static inline int luma_from(const Conversion *t, float unit, i32 least) {
    float guess = (float)(least - t->light[0]) * unit;
    int y = guess < 0 ? 0 : guess > 255 ? 255 : (int)guess;
    while (y < 256 && t->light[y] < least) y++;
    while (y > 0 && t->light[y - 1] >= least) y--;
    return y;
}

/* low..high of the Y that render to p with this chroma; empty where low > high. */
static inline void luma_interval(const Conversion *t, float unit, const u8 *p, int c1, int c2, int *low, int *high) {
    i32 least = INT32_MIN, most = INT32_MAX;
    for (int k = 0; k < 3; k++) {
        i32 term = t->first[k][c1] + t->second[k][c2], v = p[k];
        i32 from = (v << t->shift) - term, to = ((v + 1) << t->shift) - term;
        if (v > 0 && from > least) least = from;
        if (v < 255 && to < most) most = to;
    }
    *low = least == INT32_MIN ? 0 : luma_from(t, unit, least);
    *high = most == INT32_MAX ? 255 : luma_from(t, unit, most) - 1;
}

static inline float luma_unit(const Conversion *t) { return 255.0f / (float)(t->light[255] - t->light[0]); }

/* The planes y, c1, c2 of n pixels, and what is known of each: 1 its only preimage, 0 none at all, 2 clipped.
 * inverse [3][4]: planes as affine functions of R, G, B; the true one is near. */
EXPORT i64 lgcodec_origin_colours(const Conversion *t, const float *inverse, const u8 *rgb, i64 n, u8 *y, u8 *c1, u8 *c2,
                       u8 *known) {
    static const signed char near[25][2] = {{0, 0}, {0, 1}, {1, 0}, {0, -1}, {-1, 0}, {1, 1}, {1, -1}, {-1, 1},
        {-1, -1}, {0, 2}, {2, 0}, {0, -2}, {-2, 0}, {1, 2}, {2, 1}, {-1, 2}, {2, -1}, {1, -2}, {-2, 1}, {-1, -2},
        {-2, -1}, {2, 2}, {2, -2}, {-2, 2}, {-2, -2}};
    float unit = luma_unit(t);
    for (i64 i = 0; i < n; i++) {
        const u8 *p = rgb + 3 * i;
        float guess[3];
        for (int k = 0; k < 3; k++) {
            const float *m = inverse + 4 * k;
            guess[k] = m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3];
        }
        int g1 = (int)(guess[1] + 1024.5f) - 1024, g2 = (int)(guess[2] + 1024.5f) - 1024;
        int clipped = 0;
        for (int k = 0; k < 3; k++) clipped |= p[k] == 0 || p[k] == 255;
        known[i] = clipped ? 2 : 0;
        y[i] = clip8((int)guess[0]), c1[i] = clip8(g1), c2[i] = clip8(g2);
        if (clipped) continue;
        for (int j = 0; j < 9; j++) {
            int a = g1 + near[j][0], b = g2 + near[j][1], low, high;
            if ((a | b) & ~255) continue;
            luma_interval(t, unit, p, a, b, &low, &high);
            if (low > high) continue;
            y[i] = low, c1[i] = a, c2[i] = b, known[i] = 1;
            break;
        }
    }
    return 0;
}

/* Whether some Y renders p with `own` for one chroma plane, and `other` for the other. */
static inline int renders(const Conversion *t, float unit, const u8 *p, int own, int other, int which) {
    int low, high;
    if (which) luma_interval(t, unit, p, other, own, &low, &high);
    else luma_interval(t, unit, p, own, other, &low, &high);
    return low <= high;
}

enum { REACH = 12 };

/* lo..hi of one chroma plane at n pixels, for the solver. known as above; own, other: the planes' present values at full
 * size; which: 0 if own is the first. Clipped pixels get the run of values near the present one that some Y renders, with
 * the other plane's value or, if slack, with any that is so near to it. */
EXPORT i64 lgcodec_origin_intervals(const Conversion *t, const u8 *rgb, i64 n, const u8 *known, const u8 *exact, const u8 *own,
                         const u8 *other, int which, int slack, u8 *lo, u8 *hi) {
    float unit = luma_unit(t);
    for (i64 i = 0; i < n; i++) {
        if (known[i] == 1) { lo[i] = hi[i] = exact[i]; continue; }
        lo[i] = 0, hi[i] = 255;
        if (known[i] == 0) continue;
        const u8 *p = rgb + 3 * i;
        int a = 256, b = -1;
        for (int s = -slack; s <= slack; s += slack ? slack : 1) {
            int with = clip8(other[i] + s), at = -1, low, high;
            for (int d = 0; d <= REACH && at < 0; d++) {
                if (own[i] + d < 256 && renders(t, unit, p, own[i] + d, with, which)) at = own[i] + d;
                else if (own[i] >= d && renders(t, unit, p, own[i] - d, with, which)) at = own[i] - d;
            }
            if (at < 0) continue;
            for (low = at; low > 0 && renders(t, unit, p, low - 1, with, which); low--)
                if (at - low > 2 * REACH) { low = 0; break; }
            for (high = at; high < 255 && renders(t, unit, p, high + 1, with, which); high++)
                if (high - at > 2 * REACH) { high = 255; break; }
            if (low < a) a = low;
            if (high > b) b = high;
        }
        if (a <= b) lo[i] = a, hi[i] = b;
    }
    return 0;
}

/* Y of a picture [h][w] from its chroma at full size: what renders each pixel, nearest to the median edge detector's
 * guess where clipping leaves a choice; wrong[i] = 1 where none renders it, and Y is the guess or y's own value. */
EXPORT i64 lgcodec_origin_luma(const Conversion *t, const u8 *rgb, i64 h, i64 w, const u8 *c1, const u8 *c2, u8 *y, u8 *wrong) {
    float unit = luma_unit(t);
    i64 count = 0;
    for (i64 r = 0; r < h; r++)
        for (i64 c = 0; c < w; c++) {
            i64 i = r * w + c;
            int low, high;
            luma_interval(t, unit, rgb + 3 * i, c1[i], c2[i], &low, &high);
            wrong[i] = low > high;
            count += wrong[i];
            if (low == high) { y[i] = low; continue; }
            int left = c ? y[i - 1] : r ? y[i - w] : 128, above = r ? y[i - w] : left;
            int corner = r && c ? y[i - w - 1] : above;
            int least = left < above ? left : above, most = left < above ? above : left;
            int guess = left + above - corner;
            guess = guess < least ? least : guess > most ? most : guess;
            if (low > high) { low = 0, high = 255; guess = y[i]; }
            y[i] = guess < low ? low : guess > high ? high : guess;
        }
    return count;
}

/* The least and the most Y of n pixels that renders them with their chroma at full size; 1, 0 where none does. */
EXPORT i64 lgcodec_origin_lumas(const Conversion *t, const u8 *rgb, i64 n, const u8 *c1, const u8 *c2, u8 *low, u8 *high) {
    float unit = luma_unit(t);
    for (i64 i = 0; i < n; i++) {
        int least, most;
        luma_interval(t, unit, rgb + 3 * i, c1[i], c2[i], &least, &most);
        int none = least > most;
        low[i] = none ? 1 : least, high[i] = none ? 0 : most;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------------ enlarging */

/* An axis enlarges by `by` (1 or 2): even outputs are (unit - even) x[i] + even x[i - 1], odd ones (unit - odd) x[i] +
 * odd x[i + 1]; edges repeat. The sums of both axes and bias[row parity][column parity] are shifted right. */
typedef struct { i32 by, unit, even, odd; } Axis;
typedef struct { Axis rows, columns; i32 bias[2][2], shift; } Enlargement;

/* Whether samples lie between pixels, so that none is told by a single one. */
static inline int is_between(const Enlargement *e) {
    return (e->rows.even && e->rows.odd) || (e->columns.even && e->columns.odd);
}

/* out [h][w]: rows top.. and columns left.. of the enlarged x [sh][sw]; -1 without memory, or beyond its end. */
EXPORT i64 lgcodec_origin_enlarge(const Enlargement *e, const u8 *x, i64 sh, i64 sw, i64 top, i64 left, i64 h, i64 w, u8 *out) {
    const Axis *R = &e->rows, *C = &e->columns;
    if (top < 0 || left < 0 || h > sh * R->by - top || w > sw * C->by - left) return -1;
    i32 *sums = malloc(sizeof(i32) * (size_t)sw), *line = malloc(sizeof(i32) * (size_t)(sw * C->by));
    if (!sums || !line) { free(sums); free(line); return -1; }
    for (i64 r = 0; r < h; r++) {
        i64 full = top + r, i = full / R->by;
        int odd = R->by == 2 && (full & 1);
        i64 k = R->by == 1 ? i : odd ? (i + 1 < sh ? i + 1 : i) : (i ? i - 1 : i);
        i32 q = R->by == 1 ? 0 : odd ? R->odd : R->even, p = R->unit - q;
        const u8 *a = x + i * sw, *b = x + k * sw;
        for (i64 j = 0; j < sw; j++) sums[j] = p * a[j] + q * b[j];
        const i32 *bias = e->bias[full & 1];
        if (C->by == 1)
            for (i64 j = 0; j < sw; j++) line[j] = (C->unit * sums[j] + bias[j & 1]) >> e->shift;
        else {
            for (i64 j = 0; j < sw; j++) {
                i32 before = sums[j ? j - 1 : 0], after = sums[j + 1 < sw ? j + 1 : j];
                line[2 * j] = ((C->unit - C->even) * sums[j] + C->even * before + bias[0]) >> e->shift;
                line[2 * j + 1] = ((C->unit - C->odd) * sums[j] + C->odd * after + bias[1]) >> e->shift;
            }
        }
        for (i64 c = 0; c < w; c++) out[r * w + c] = (u8)line[left + c];
    }
    free(sums);
    free(line);
    return 0;
}

/* rgb [n][3] of the planes at full size. */
EXPORT i64 lgcodec_origin_render(const Conversion *t, const u8 *y, const u8 *c1, const u8 *c2, i64 n, u8 *rgb) {
    for (i64 i = 0; i < n; i++) {
        i32 light = t->light[y[i]];
        for (int k = 0; k < 3; k++)
            rgb[3 * i + k] = (u8)clip8((light + t->first[k][c1[i]] + t->second[k][c2[i]]) >> t->shift);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------------ the solver
 *
 * Finds the small plane x [sh][sw] whose enlargement lies within lo..hi [sh * rows.by][sw * columns.by] at as many
 * pixels as possible. A strip of `depth` rows of x, between rows that are held, is a chain of states (the strip's samples
 * in one column): each pixel depends on two neighbouring states alone, and bounds the newest sample by an interval, so
 * that few values remain and a beam of states loses next to nothing. Going down, the first row of each strip is kept,
 * which the others have looked ahead for; then strips around wrong pixels are searched again, between held rows.
 */
enum { BEAM = 48, WRONG = 1024, DEPTH = 4, POOL = 4096, SHELVES = 256, SHELF = 2 * WRONG / SHELVES };

typedef struct {
    u8 v[DEPTH], back;
    i32 cost;
} State;

/* The states that a column may be in, each once with its least cost; found by hashing. many: of them by cost, on shelves
 * from `least` on; those on the first `full` shelves are `sum`, more than BEAM if a shelf less did not hold so many.
 * limit: what a state may cost at most, less one, to be taken in the end, as far as is known. */
typedef struct {
    State states[POOL];
    uint32_t slots[2 * POOL], stamp;
    int count, full, sum, many[2 * SHELVES];
    i32 best, least, limit;
} Pool;

/* least: what all states cost at least. */
static void pool_open(Pool *pool, i32 least) {
    pool->count = pool->sum = 0;
    pool->full = 2 * SHELVES;
    pool->best = pool->limit = INT32_MAX;
    pool->least = least;
    memset(pool->many, 0, sizeof pool->many);
    if (++pool->stamp == 1u << 19) memset(pool->slots, 0, sizeof pool->slots), pool->stamp = 1;
}

/* Counts a state that costs so much now, and before, if it was there, more. */
static inline void pool_count(Pool *pool, i32 cost, i32 before) {
    int to = (cost - pool->least) / SHELF, from = (before - pool->least) / SHELF;
    if (cost < pool->best) {
        pool->best = cost;
        if (cost + SHELVES * SHELF < pool->limit) pool->limit = cost + SHELVES * SHELF;
    }
    if (to >= pool->full || to == from) return;
    pool->many[to]++;
    if (from < pool->full) { pool->many[from]--; return; }
    pool->sum++;
    while (pool->sum - pool->many[pool->full - 1] > BEAM) pool->sum -= pool->many[--pool->full];
    i32 limit = pool->least + (pool->full + 1) * SHELF;             /* a shelf more: those of pool_take begin elsewhere */
    if (pool->sum > BEAM && limit < pool->limit) pool->limit = limit;
}

static inline void pool_offer(Pool *pool, const State *state) {
    if (state->cost >= pool->limit) return;
    uint32_t key;
    memcpy(&key, state->v, DEPTH);
    uint32_t at = (key * 2654435761u) >> 19;                        /* 13 bits: 2 * POOL slots */
    while (pool->slots[at] >> 13 == pool->stamp) {
        State *had = pool->states + (pool->slots[at] & 8191);
        if (!memcmp(had->v, state->v, DEPTH)) {
            if (state->cost < had->cost) {
                pool_count(pool, state->cost, had->cost);
                *had = *state;
            }
            return;
        }
        at = (at + 1) & (2 * POOL - 1);
    }
    if (pool->count == POOL) return;
    pool->slots[at] = pool->stamp << 13 | (uint32_t)pool->count;
    pool->states[pool->count++] = *state;
    pool_count(pool, state->cost, INT32_MAX);
}

/* The cheapest states, at most BEAM of them and none by two wrong pixels worse than the best; returns how many. */
static int pool_take(const Pool *pool, State *to) {
    int next[SHELVES + 1] = {0}, count = 0;
    for (int i = 0; i < pool->count; i++) {
        i32 shelf = (pool->states[i].cost - pool->best) / SHELF;
        if (shelf < SHELVES) next[shelf + 1]++, count++;
    }
    for (int k = 1; k <= SHELVES; k++) next[k] += next[k - 1];
    for (int i = 0; i < pool->count; i++) {
        i32 shelf = (pool->states[i].cost - pool->best) / SHELF;
        if (shelf < SHELVES && next[shelf] < BEAM) to[next[shelf]++] = pool->states[i];
    }
    return count < BEAM ? count : BEAM;
}

typedef struct { i32 above, own[DEPTH], below; i64 row; int top, parity; } Line; /* an output row's weights; top: its last own */

/* least <= the sum of what is new <= most, of one pixel. l, r: weights of the left and the right column. sure: the pixel is
 * known, and its newest sample alone gives it. */
typedef struct { const Line *line; i32 l, r, least, most; float inverse; int sure; } Pixel;

typedef struct {
    const Enlargement *e;
    i64 sh, sw;
    const u8 *lo, *hi, *guess;
    u8 *x;
    State *states;                                                  /* [sw][BEAM] */
    u8 *alive;                                                      /* [sw] */
    /* of one column in work */
    int depth, start, forced;                                /* start: nothing to the left; forced: held */
    i64 at[DEPTH];                                                  /* where guesses are */
    Pixel pixels[DEPTH][8];                                         /* by the last row that they bound */
    int number[DEPTH];
    Pool *pool;
} Solver;

static inline i32 floor_times(i32 a, float inverse) { return (i32)(((float)a + .5f) * inverse + 8192.f) - 8192; }

static int lines_of(const Solver *s, i64 i, int depth, int has_below, Line *out) {
    const Axis *R = &s->e->rows;
    int n = 0;
    i64 last = s->sh - 1;
    if (R->by == 1) {
        for (int d = 0; d < depth; d++) {
            out[n] = (Line){.row = i + d, .top = d, .parity = (int)((i + d) & 1)};
            out[n++].own[d] = R->unit;
        }
        return n;
    }
    for (int d = -1; d < depth; d++) {                              /* outputs between rows i + d and i + d + 1 */
        i64 k = i + d;
        Line odd = {.row = 2 * k + 1, .top = d + 1 < depth ? d + 1 : d, .parity = 1};
        Line even = {.row = 2 * k + 2, .top = d + 1 < depth ? d + 1 : d, .parity = 0};
        if (k < 0) { even.own[0] = R->unit, out[n++] = even; continue; }
        if (d >= 0 && k == last) { odd.own[d] = R->unit, out[n++] = odd; continue; }
        *(d < 0 ? &odd.above : &odd.own[d]) = R->unit - R->odd;
        *(d < 0 ? &even.above : &even.own[d]) = R->even;
        *(d + 1 < depth ? &odd.own[d + 1] : &odd.below) = R->odd;
        *(d + 1 < depth ? &even.own[d + 1] : &even.below) = R->unit - R->even;
        for (int d_ = 0; d_ < depth; d_++) {                            /* the last row that has a part in it */
            if (d_ == 0 || odd.own[d_]) odd.top = d_;
            if (d_ == 0 || even.own[d_]) even.top = d_;
        }
        int open = d + 1 == depth && !has_below;                        /* on a row that is not known yet */
        if (R->odd ? !open : d >= 0) out[n++] = odd;
        if (!open && (R->even || d + 1 < depth)) out[n++] = even;
    }
    return n;
}

static i32 least_of(const State *states, int count) {
    i32 least = states->cost;
    for (int k = 1; k < count; k++) if (states[k].cost < least) least = states[k].cost;
    return least;
}

/* Tries all values of the strip's row d after those before it: all that break no bound (those near the guess, if they are
 * many), else those that break the fewest of what is not sure. */
static void extend(Solver *s, const State *from, State *state, int d) {
    if (d >= s->depth || d >= DEPTH) { pool_offer(s->pool, state); return; }
    i32 least[8], most[8], low = 0, high = 255, from_sure = 0, to_sure = 255, cost = state->cost;
    int n = 0, span = s->start ? 5 : 2, near = s->guess[s->at[d]], lost = 0;
    u8 value[24];
    for (int k = 0; k < s->number[d]; k++) {
        const Pixel *p = &s->pixels[d][k];
        i32 had = 0;
        for (int r = 0; r <= d; r++) had += p->l * p->line->own[r] * from->v[r];
        for (int r = 0; r < d; r++) had += p->r * p->line->own[r] * state->v[r];
        i32 w = p->r * p->line->own[d], a = p->least - had, b = p->most - had;
        if (!w) { lost += a > 0 || b < 0; continue; }
        least[n] = -floor_times(-a, p->inverse), most[n] = floor_times(b, p->inverse);
        if (least[n] > low) low = least[n];
        if (most[n] < high) high = most[n];
        if (p->sure && least[n] > from_sure) from_sure = least[n];
        if (p->sure && most[n] < to_sure) to_sure = most[n];
        n++;
    }
    if (from_sure > to_sure) from_sure = 0, to_sure = 255;
    int count = 0;
    if (s->forced) {
        i32 v = s->x[s->at[d]];
        for (int k = 0; k < n; k++) lost += v < least[k] || v > most[k];
        value[count++] = (u8)v;
    } else if (low <= high) {
        if (high - low > 2 * span) {
            i32 middle = near < low ? low : near > high ? high : near;
            if (middle - span > low) low = middle - span;
            if (middle + span < high) high = middle + span;
        }
        while (low <= high) value[count++] = (u8)low++;
    } else {
        int best = n + 1;
        for (int i = 0; i <= 2 * n; i++) {
            i32 v = i == 2 * n ? near : i & 1 ? most[i / 2] : least[i / 2];
            v = v < from_sure ? from_sure : v > to_sure ? to_sure : v;
            int bad = 0, seen = 0;
            for (int k = 0; k < n; k++) bad += v < least[k] || v > most[k];
            if (bad > best) continue;
            if (bad < best) best = bad, count = 0;
            for (int k = 0; k < count; k++) seen |= value[k] == v;
            if (!seen) value[count++] = (u8)v;
        }
        lost += best;
    }
    for (int i = 0; i < count; i++) {
        int far = abs(value[i] - near);
        state->v[d] = value[i];
        state->cost = cost + WRONG * lost + (far > 15 ? 15 : far);
        if (state->cost < s->pool->limit) extend(s, from, state, d + 1);
    }
    state->v[d] = 0, state->cost = cost;
}

/* An output column of samples j - 1 and j, or of j alone: their weights. */
typedef struct { i32 l, r; i64 at; int parity; } Column;

static int columns_of(const Axis *C, i64 j, i64 sw, Column *out) {
    int m = 0;
    if (C->by == 1) {
        if (j < sw) out[m++] = (Column){0, C->unit, j, (int)(j & 1)};
        return m;
    }
    if (j > 0 && C->odd) out[m++] = (Column){j < sw ? C->unit - C->odd : C->unit, j < sw ? C->odd : 0, 2 * j - 1, 1};
    if (j < sw) out[m++] = (Column){j > 0 ? C->even : 0, j > 0 ? C->unit - C->even : C->unit, 2 * j, 0};
    if (j < sw && !C->odd) out[m++] = (Column){0, C->unit, 2 * j + 1, 1};
    return m;
}

/* Whether two states are the same in the rows that are telling: 255 there. */
static inline int is_like(const State *a, const State *b, const u8 *telling) {
    uint32_t x, y, mask;
    memcpy(&x, a->v, DEPTH), memcpy(&y, b->v, DEPTH), memcpy(&mask, telling, DEPTH);
    return !((x ^ y) & mask);
}

/* Searches rows i .. i + depth - 1, columns from .. to - 1, with the row above, the columns beside them and, if has_below,
 * the row below held; writes `keep` rows. */
static void solve_rows(Solver *s, i64 i, int depth, int has_below, int keep, i64 from_column, i64 to_column) {
    const Enlargement *e = s->e;
    const Axis *C = &e->columns;
    i64 sw = s->sw, fw = sw * C->by;
    if (depth > s->sh - i) depth = (int)(s->sh - i);
    if (e->rows.by == 1) depth = 1;
    if (keep > depth) keep = depth;
    Line lines[2 * DEPTH + 2];
    int n = lines_of(s, i, depth, has_below, lines), before = 1;
    const u8 *P = s->x + (i ? i - 1 : 0) * sw, *N = s->x + (i + depth < s->sh ? i + depth : s->sh - 1) * sw;
    State start = {{0}, 0, 0};
    if (from_column) for (int d = 0; d < depth; d++) start.v[d] = s->x[(i + d) * sw + from_column - 1];
    s->depth = depth;
    for (i64 j = from_column; j <= to_column; j++) {
        Column columns[2];
        int m = columns_of(C, j, sw, columns);
        for (int d = 0; d < depth; d++) s->number[d] = 0;
        for (int q = 0; q < n; q++)
            for (int c = 0; c < m; c++) {
                const Line *line = lines + q;
                i64 at = line->row * fw + columns[c].at;
                if (s->lo[at] == 0 && s->hi[at] == 255) continue;
                i32 held = e->bias[line->parity][columns[c].parity];
                if (j > 0) held += columns[c].l * (line->above * P[j - 1] + line->below * N[j - 1]);
                if (j < sw) held += columns[c].r * (line->above * P[j] + line->below * N[j]);
                i32 l = columns[c].l, r = columns[c].r, w = r * line->own[line->top];
                s->pixels[line->top][s->number[line->top]++] = (Pixel){line, l, r, (s->lo[at] << e->shift) - held,
                    ((s->hi[at] + 1) << e->shift) - 1 - held, w ? 1.f / (float)w : 0.f,
                    w == 1 << e->shift && s->lo[at] == s->hi[at]};
            }
        if (j == sw) {                                              /* the last column repeats: nothing is new */
            for (int k = 0; k < before; k++)
                for (int d = 0; d < depth; d++)
                    for (int q = 0; q < s->number[d]; q++) {
                        const Pixel *p = &s->pixels[d][q];
                        State *f = s->states + (sw - 1) * BEAM + k;
                        i32 v = 0;
                        for (int r = 0; r <= d; r++) v += p->l * p->line->own[r] * f->v[r];
                        if (v < p->least || v > p->most) f->cost += WRONG;
                    }
            break;
        }
        const State *first = j > from_column ? s->states + (j - 1) * BEAM : &start;
        pool_open(s->pool, least_of(first, before));
        s->start = j == 0;
        s->forced = j == to_column;
        for (int d = 0; d < depth; d++) s->at[d] = (i + d) * sw + j;
        u8 telling[DEPTH] = {0};                                    /* rows of the left column that pixels depend on */
        for (int d = 0; d < depth; d++)
            for (int q = 0; q < s->number[d]; q++)
                for (int r = 0; r <= d; r++) if (s->pixels[d][q].l && s->pixels[d][q].line->own[r]) telling[r] = 255;
        for (int k = 0; k < before; k++) {
            int worse = 0;                                          /* than another that leaves the same to what follows */
            for (int g = 0; g < before && !worse; g++) {
                i32 more = first[k].cost - first[g].cost;
                worse = (more > 0 || (more == 0 && g < k)) && is_like(first + g, first + k, telling);
            }
            if (worse) continue;
            State state = {{0}, (u8)k, first[k].cost};
            extend(s, first + k, &state, 0);
        }
        before = pool_take(s->pool, s->states + j * BEAM);
        s->alive[j] = (u8)before;
    }
    i64 stop = to_column < sw ? to_column : sw - 1;
    State *end = s->states + stop * BEAM;
    int k = 0;
    for (int g = 1; g < s->alive[stop]; g++) if (end[g].cost < end[k].cost) k = g;
    for (i64 j = stop; j >= from_column; j--) {
        const State *f = s->states + j * BEAM + k;
        for (int d = 0; d < keep; d++) s->x[(i + d) * sw + j] = f->v[d];
        k = f->back;
    }
}

/* Which pixels of the output are wrong, and how to search samples near them again: for one plane, or for both at once. */
typedef struct {
    i64 sh, sw, by, bx;
    i64 *bad;                                                       /* [fh] how many pixels of a row are */
    u8 *which, *near, *lines;                                       /* [fh][fw] which; [sw] samples near them; [2][fw] */
    void *of;                                                       /* a Solver or a Joint */
    i64 (*count)(const void *of, i64 r, u8 *lines, u8 *which);
    void (*search)(void *of, i64 i, int depth, i64 from_column, i64 to_column);
} Wrong;

static int wrong_open(Wrong *w, i64 sh, i64 sw, const Enlargement *e) {
    i64 fh = sh * e->rows.by, fw = sw * e->columns.by;
    w->sh = sh, w->sw = sw, w->by = e->rows.by, w->bx = e->columns.by;
    w->bad = calloc(1, sizeof(i64) * (size_t)fh + (size_t)(fh * fw + sw + 2 * fw));
    if (!w->bad) return 0;
    w->which = (u8 *)(w->bad + fh), w->near = w->which + fh * fw, w->lines = w->near + sw;
    return 1;
}

/* Counts rows from..to - 1 anew and returns how many of their pixels are wrong. */
static i64 wrong_in(Wrong *w, i64 from, i64 to) {
    i64 sum = 0;
    for (i64 r = from; r < to; r++) sum += w->bad[r] = w->count(w->of, r, w->lines, w->which + r * w->sw * w->bx);
    return sum;
}

/* Searches all rows of samples again, depth of them at a time, where they are at most margin from wrong pixels, every other
 * round from below; returns how many pixels are wrong then. */
static i64 search_again(Wrong *w, i64 round, int depth, i64 margin) {
    i64 fh = w->sh * w->by, fw = w->sw * w->bx, wrong = 0;
    for (i64 k = 0; k < w->sh; k++) {
        i64 i = round & 1 ? w->sh - 1 - k : k, any = 0;
        i64 from = w->by == 1 ? i : w->by * (i - 1), to = w->by == 1 ? i + 1 : w->by * (i + depth + 1);
        if (from < 0) from = 0;
        if (to > fh) to = fh;
        for (i64 r = from; r < to; r++) any += w->bad[r];
        if (!any) continue;
        memset(w->near, 0, (size_t)w->sw);
        for (i64 r = from; r < to; r++)
            for (i64 c = 0; c < fw && w->bad[r]; c++)
                if (w->which[r * fw + c]) {
                    i64 a = c / w->bx - margin, b = c / w->bx + margin;
                    for (i64 j = a < 0 ? 0 : a; j <= b && j < w->sw; j++) w->near[j] = 1;
                }
        for (i64 a = 0; a < w->sw; a++)
            if (w->near[a]) {
                i64 b = a;
                while (b < w->sw && w->near[b]) b++;
                w->search(w->of, i, depth, a, b);
                a = b;
            }
        wrong_in(w, from, to);
    }
    for (i64 r = 0; r < fh; r++) wrong += w->bad[r];
    return wrong;
}

static i64 count_one(const void *of, i64 r, u8 *line, u8 *wrong) {
    const Solver *s = of;
    i64 fw = s->sw * s->e->columns.by, count = 0;
    lgcodec_origin_enlarge(s->e, s->x, s->sh, s->sw, r, 0, 1, fw, line);
    for (i64 c = 0; c < fw; c++) count += wrong[c] = line[c] < s->lo[r * fw + c] || line[c] > s->hi[r * fw + c];
    return count;
}

static void search_one(void *of, i64 i, int depth, i64 from_column, i64 to_column) {
    solve_rows(of, i, depth, 1, depth, from_column, to_column);
}

/* Fills x and returns the number of pixels outside lo..hi, or -1 without memory. guess [sh][sw]: what to prefer where
 * pixels leave a choice. rounds: how often places with wrong pixels are searched again. limit: gives up, and returns
 * what it has counted, once more pixels are wrong. start: x holds a solution to be improved. */
EXPORT i64 lgcodec_origin_solve(const Enlargement *e, i64 sh, i64 sw, const u8 *lo, const u8 *hi, const u8 *guess, u8 *x,
                    i64 rounds, i64 limit, i64 start) {
    i64 by = e->rows.by, wrong = 0;
    Solver s = {.e = e, .sh = sh, .sw = sw, .lo = lo, .hi = hi, .guess = guess, .x = x,
                .states = malloc(sizeof(State) * BEAM * (size_t)sw), .alive = malloc((size_t)sw),
                .pool = calloc(1, sizeof(Pool))};
    Wrong w = {.of = &s, .count = count_one, .search = search_one};
    if (!wrong_open(&w, sh, sw, e) || !s.states || !s.alive || !s.pool) { wrong = -1; goto done; }
    if (!start)
        for (i64 i = 0; i < sh; i++) {
            int last = i + 2 >= sh && by == 2;
            solve_rows(&s, i, 2, 0, last ? 2 : 1, 0, sw);
            if (i) wrong += wrong_in(&w, by * i - by, by * i);
            if (wrong > limit) goto done;
            if (last) break;
        }
    wrong = wrong_in(&w, 0, sh * by);
    for (i64 round = 0; wrong && round < rounds && wrong <= limit; round++) {
        i64 last = wrong;
        wrong = search_again(&w, round, by == 1 ? 1 : round < 2 || !is_between(e) ? 2 : 3, 4 << (round < 2 ? round : 2));
        if (wrong >= last && round > 2) break;
    }
done:
    free(s.states);
    free(s.alive);
    free(s.pool);
    free(w.bad);
    return wrong;
}

/* ----------------------------------------------------------------------------------- both chroma planes at clipped pixels
 *
 * A clipped pixel binds both planes together, and allows values far apart with none between them. One row of both is a chain
 * of states (the two samples of a column) beside held rows; each pixel gives, for its value of the second plane, the set of
 * those of the first.
 */
typedef struct { u64 bits[4]; } Set;                                /* of values of the first plane */
typedef struct { uint32_t key; i32 count; Set set; } Run;

/* What the bounds of a column say of the first plane, given the second plane's two samples: sets of the n bounds `which`;
 * none of the others can be right. */
typedef struct { u8 is_known, n, which[8]; Set set[8]; } Seen;

/* A pixel, of samples in the left and the right column with weights l and r, and of held ones. alone: the new sample's. */
typedef struct {
    i32 l, r, held[2], exact[2];
    float inverse;
    const u8 *rgb;
    int known, alone;
} Bound;

enum { RUNS = 1 << 16, SECONDS = 24, BROAD = 64, FIRSTS = 5 };

typedef struct {
    const Conversion *t;
    const Enlargement *e;
    i64 sh, sw, top, left, h, w;
    const u8 *rgb, *known, *exact[2];
    u8 *x[2];
    float unit;
    Run *runs;                                                      /* [RUNS] what was found out already */
    Set one[256];                                                   /* of a single value each */
    State *states;
    u8 *alive;
    Pool *pool;
    Seen *seen;                                     /* [BEAM][SECONDS + FIRSTS] by the left and the new second */
    int again;                                                      /* in a later round than the first */
} Joint;

static inline int has(const Set *set, int v) { return set->bits[v >> 6] >> (v & 63) & 1; }

/* 64 bits of a set, from value `from` on, which may be less than 0. */
static inline u64 bits_from(const Set *set, int from) {
    if (from < 0) return set->bits[0] << -from;
    int word = from >> 6, bit = from & 63;
    return set->bits[word] >> bit | (bit && word < 3 ? set->bits[word + 1] << (64 - bit) : 0);
}

/* The first plane's values that some Y renders pixel p with, and the second's; NULL if there are none. */
static const Run *firsts_of(Joint *s, const u8 *p, int second) {
    uint32_t key = ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)second) ^ 1u << 31;
    Run *run = s->runs + ((((key | 255) * 2654435761u >> 16) + (uint32_t)second) & (RUNS - 1)); /* neighbours side by side */
    if (run->key == key && key) return run->count ? run : NULL;
    const Conversion *t = s->t;
    i32 least[256], most[256];
    for (int v = 0; v < 256; v++) least[v] = t->light[0], most[v] = t->light[255] + 1;
    for (int k = 0; k < 3; k++) {
        i32 from = (p[k] << t->shift) - t->second[k][second], to = from + (1 << t->shift);
        const i32 *first = t->first[k];
        if (p[k] > 0) for (int v = 0; v < 256; v++) least[v] = least[v] > from - first[v] ? least[v] : from - first[v];
        if (p[k] < 255) for (int v = 0; v < 256; v++) most[v] = most[v] < to - first[v] ? most[v] : to - first[v];
    }
    *run = (Run){.key = key};
    for (int from = 0; from < 256; from += 16) {
        int open = 0;                                               /* mostly none is: Y need not be looked for */
        for (int v = from; v < from + 16; v++) open |= least[v] < most[v];
        for (int v = from; open && v < from + 16; v++) {
            int y = least[v] < most[v] ? luma_from(t, s->unit, least[v]) : 256;
            if (y < 256 && t->light[y] < most[v]) run->set.bits[v >> 6] |= (u64)1 << (v & 63), run->count++;
        }
    }
    return run->count ? run : NULL;
}

/* Whether a value of the first plane's new sample is right for a bound: had + r value is in the set, shifted. */
typedef struct { const Set *set; i32 had, r; } Test;

static void see(Joint *s, const Bound *bounds, int total, int left, int second, Seen *seen) {
    seen->is_known = 1, seen->n = 0;
    for (const Bound *p = bounds; p < bounds + total; p++) {
        int u = (p->held[1] + p->l * left + p->r * second) >> s->e->shift;
        const Run *run = p->known == 2 ? firsts_of(s, p->rgb, u) : NULL;
        const Set *set = run ? &run->set : p->known == 1 && u == p->exact[1] ? s->one + p->exact[0] : NULL;
        if (set) seen->set[seen->n] = *set, seen->which[seen->n++] = (u8)(p - bounds);
    }
}

/* Whether the pixel at (r, c) of the enlarged planes comes out wrong. */
static int is_wrong(const Joint *s, i64 r, i64 c, int first, int second) {
    r -= s->top, c -= s->left;
    if (r < 0 || c < 0 || r >= s->h || c >= s->w) return 0;
    i64 i = r * s->w + c;
    if (s->known[i] == 1) return first != s->exact[0][i] || second != s->exact[1][i];
    return s->known[i] == 2 && !renders(s->t, s->unit, s->rgb + 3 * i, first, second, 0);
}

/* What a sample costs that is so far from what is expected. */
static inline i32 far_cost(int a, int b) {
    int far = abs(a - b), bits = 0;
    while (far >> bits) bits++;
    return 32 * bits + far;
}

/* The pixels that bound column j of a row of samples, whose output rows are the n lines. */
static int bounds_of(const Joint *s, const Line *lines, int n, const u8 *const above[2], const u8 *const below[2], i64 j,
                     Bound *out) {
    const Enlargement *e = s->e;
    Column columns[2];
    int m = columns_of(&e->columns, j, s->sw, columns), total = 0;
    for (int q = 0; q < n; q++)
        for (int c = 0; c < m; c++) {
            const Line *line = lines + q;
            i64 r = line->row - s->top, at = columns[c].at - s->left;
            if (r < 0 || at < 0 || r >= s->h || at >= s->w) continue;
            i64 where = r * s->w + at;
            if (!s->known[where]) continue;
            Bound *p = out + total++;
            p->l = columns[c].l * line->own[0], p->r = columns[c].r * line->own[0];
            p->inverse = p->r ? 1.f / (float)p->r : 0.f;
            p->rgb = s->rgb + 3 * where, p->known = s->known[where], p->alone = p->r == 1 << e->shift;
            for (int k = 0; k < 2; k++) {
                p->exact[k] = s->exact[k][where];
                p->held[k] = e->bias[line->parity][columns[c].parity];
                if (j > 0) p->held[k] += columns[c].l * (line->above * above[k][j - 1] + line->below * below[k][j - 1]);
                if (j < s->sw) p->held[k] += columns[c].r * (line->above * above[k][j] + line->below * below[k][j]);
            }
        }
    return total;
}

/* The values of the second plane worth trying: those nearest to what it is now that the pixels of this sample alone allow, if
 * any do; fewer where these leave the first plane much choice. first: that of the first plane where it is sure, or -1. */
static int seconds_of(Joint *s, const Bound *bounds, int total, int now, u8 *out, int *first) {
    int n = 0, clipped = 0, pairs = 0, most_pairs = s->again ? SECONDS : SECONDS / 2; /* more beside rows that are right */
    *first = -1;
    for (const Bound *p = bounds; p < bounds + total; p++) {
        if (!p->alone) continue;
        if (p->known == 2) { clipped = 1; continue; }
        if (*first == -1) *first = p->exact[0], out[0] = (u8)p->exact[1];
        else if (*first != p->exact[0] || out[0] != p->exact[1]) *first = -2;
    }
    if (*first >= 0) return 1;
    *first = -1;
    for (int k = 0; clipped && k <= 2 * BROAD && pairs < most_pairs; k++) {
        int v = now + (k & 1 ? -(k + 1) / 2 : k / 2), most = FIRSTS;
        if (v & ~255) continue;
        for (const Bound *p = bounds; p < bounds + total && most; p++)
            if (p->alone && p->known == 2) {
                const Run *run = firsts_of(s, p->rgb, v);
                int many = run ? run->count : 0;
                if (many < most) most = many;
            }
        if (most) out[n++] = (u8)v;
        pairs += most;
    }
    if (n) return n;
    for (int v = now - SECONDS / 2 + 1; v < now + SECONDS / 2; v++)
        if (!(v & ~255)) out[n++] = (u8)v;
    return n;
}

/* Searches row i of both planes, columns from .. to - 1, beside held ones. The first time, where samples are pixels, these
 * and the row above tell nearly all, and the row below is not trusted yet; where samples lie between pixels it always is. */
static void solve_both(Joint *s, i64 i, i64 from_column, i64 to_column) {
    const Enlargement *e = s->e;
    i64 sw = s->sw;
    int between = is_between(e);
    Solver axis = {.e = e, .sh = s->sh};
    Line lines[2 * DEPTH + 2];
    int n = lines_of(&axis, i, 1, s->again || between, lines), before = 1;
    const u8 *above[2], *below[2], *now[2];
    for (int k = 0; k < 2; k++) {
        above[k] = s->x[k] + (i ? i - 1 : 0) * sw, below[k] = s->x[k] + (i + 1 < s->sh ? i + 1 : i) * sw;
        now[k] = s->x[k] + i * sw;
    }
    State start = {{0}, 0, 0};
    if (from_column) start.v[0] = now[0][from_column - 1], start.v[1] = now[1][from_column - 1];
    i64 stop = to_column < sw ? to_column : sw - 1;
    for (i64 j = from_column; j <= to_column; j++) {
        Bound bounds[8], *p;
        int total = bounds_of(s, lines, n, above, below, j, bounds);
        if (j == sw) {
            for (int g = 0; g < before; g++) {
                State *f = s->states + stop * BEAM + g;
                for (p = bounds; p < bounds + total; p++) {
                    int u1 = (p->held[0] + p->l * f->v[0]) >> e->shift, u2 = (p->held[1] + p->l * f->v[1]) >> e->shift;
                    if (p->known == 1 ? u1 != p->exact[0] || u2 != p->exact[1] : !renders(s->t, s->unit, p->rgb, u1, u2, 0))
                        f->cost += WRONG;
                }
            }
            break;
        }
        int forced = j == to_column, fixed = now[0][j], count = 1;
        u8 seconds[SECONDS + FIRSTS] = {now[1][j]};
        if (!forced) {
            count = seconds_of(s, bounds, total, now[1][j], seconds, &fixed);
            forced = fixed >= 0;
        }
        const State *first = j > from_column ? s->states + (j - 1) * BEAM : &start;
        pool_open(s->pool, least_of(first, before));
        u8 rows[256] = {0};
        int many = 0;
        for (int g = 0; g < before; g++) {
            const State *f = first + g;
            if (!rows[f->v[1]]) {
                for (int c = 0; c < count; c++) s->seen[many * (SECONDS + FIRSTS) + c].is_known = 0;
                rows[f->v[1]] = (u8)++many;
            }
            int row = rows[f->v[1]] - 1;
            i32 low = 0, high = 255;
            for (p = bounds; p < bounds + total && !forced; p++) {
                if (p->known != 1 || !p->r) continue;
                i32 had = p->held[1] + p->l * f->v[1], base = p->exact[1] << e->shift;
                i32 a = -floor_times(had - base, p->inverse), b = floor_times(base + (1 << e->shift) - 1 - had, p->inverse);
                if (a > low) low = a;
                if (b < high) high = b;
            }
            int any = 0, expected[2];
            for (int c = 0; c < count; c++) any |= seconds[c] >= low && seconds[c] <= high;
            for (int k = 0; k < 2; k++) {
                i32 left = j ? f->v[k] : above[k][j], top = i ? above[k][j] : left;
                expected[k] = between ? now[k][j] : (left + top + 1) >> 1;
            }
            for (int c = 0; c < count; c++) {
                i32 second = seconds[c], cost = f->cost + far_cost(second, expected[1]), a1 = 0, b1 = 255;
                if (cost >= s->pool->limit) continue;
                if (any && (second < low || second > high)) continue;
                Test tests[8];
                const Set *own = NULL;
                int k = 0;
                Seen *seen = s->seen + row * (SECONDS + FIRSTS) + c;
                if (!seen->is_known) see(s, bounds, total, f->v[1], second, seen);
                cost += WRONG * (total - seen->n);
                for (int q = 0; q < seen->n; q++) {
                    p = bounds + seen->which[q];
                    const Set *set = seen->set + q;
                    i32 had = p->held[0] + p->l * f->v[0];
                    if (!p->r) { cost += WRONG * !has(set, had >> e->shift); continue; }
                    tests[k] = (Test){set, had, p->r};
                    if (p->alone) own = set, tests[k] = tests[0], tests[0] = (Test){set, had, p->r}; /* whose values are tried */
                    k++;
                    if (p->known == 2) continue;
                    i32 base = p->exact[0] << e->shift;
                    i32 a = -floor_times(had - base, p->inverse), b = floor_times(base + (1 << e->shift) - 1 - had, p->inverse);
                    if (a > a1) a1 = a;
                    if (b < b1) b1 = b;
                }
                if (cost >= s->pool->limit) continue;
                if (a1 > b1) a1 = 0, b1 = 255;
                if (forced) a1 = b1 = fixed, own = NULL;
                u8 value[FIRSTS];
                i32 near = k ? expected[0] : now[0][j], middle = near < a1 ? a1 : near > b1 ? b1 : near;
                int values = 0, fewest = (s->pool->limit - 1 - cost) / WRONG;
                fewest = (fewest < k ? fewest : k) + 1;
                i32 reach = own ? 32 : 8, from = middle - reach > a1 ? middle - reach : a1;
                i32 to = middle + reach - (reach == 32) < b1 ? middle + reach - (reach == 32) : b1;
                u64 open = (own ? bits_from(own, middle - 32) | (u64)1 << 32 : ~(u64)0) & (u64)-1 >> (31 - to + middle)
                    & (u64)-1 << (from - middle + 32);              /* bit 32 is the middle */
                while (open && (fewest || values < FIRSTS)) {
                    uint32_t under = (uint32_t)open, over = (uint32_t)(open >> 32);
                    int down = under ? __builtin_clz(under) + 1 : 64, up = over ? __builtin_ctz(over) : 64;
                    i32 v = down <= up ? middle - down : middle + up, bad = 0;
                    open &= ~((u64)1 << (v - middle + 32));
                    if (k && cost + far_cost(v, expected[0]) >= s->pool->limit) break; /* so are those further away */
                    for (int q = own && v != middle; q < k && bad <= fewest; q++)
                        bad += !has(tests[q].set, (tests[q].had + tests[q].r * v) >> e->shift);
                    if (bad < fewest) fewest = bad, values = 0;
                    if (bad == fewest && values < FIRSTS) value[values++] = (u8)v;
                }
                for (int q = 0; q < values; q++) {
                    State state = {{value[q], (u8)second}, (u8)g, cost + WRONG * fewest + far_cost(value[q], expected[0])};
                    pool_offer(s->pool, &state);
                }
            }
        }
        before = pool_take(s->pool, s->states + j * BEAM);
        s->alive[j] = (u8)before;
    }
    State *end = s->states + stop * BEAM;
    int k = 0;
    for (int g = 1; g < s->alive[stop]; g++) if (end[g].cost < end[k].cost) k = g;
    for (i64 j = stop; j >= from_column; j--) {
        const State *f = s->states + j * BEAM + k;
        s->x[0][i * sw + j] = f->v[0], s->x[1][i * sw + j] = f->v[1];
        k = f->back;
    }
}

static i64 count_both(const void *of, i64 r, u8 *lines, u8 *wrong) {
    const Joint *s = of;
    i64 fw = s->sw * s->e->columns.by, count = 0;
    for (int k = 0; k < 2; k++) lgcodec_origin_enlarge(s->e, s->x[k], s->sh, s->sw, r, 0, 1, fw, lines + k * fw);
    for (i64 c = 0; c < fw; c++) count += wrong[c] = (u8)is_wrong(s, r, c, lines[c], lines[fw + c]);
    return count;
}

static void search_both(void *of, i64 i, int depth, i64 from_column, i64 to_column) {
    (void)depth;
    solve_both(of, i, from_column, to_column);
}

/* Improves both planes where clipped pixels are wrong; returns how many pixels still are, or -1 without memory. The picture
 * [h][w], with known and exact values, is rows top.. and columns left.. of the enlarged planes. rounds: at most, as long as
 * each of them mends one in 32. limit: gives up once more pixels are wrong after a round. */
EXPORT i64 lgcodec_origin_repair(const Conversion *t, const Enlargement *e, const u8 *rgb, const u8 *known, const u8 *exact1,
                     const u8 *exact2, i64 h, i64 w, i64 top, i64 left, u8 *x1, u8 *x2, i64 sh, i64 sw, i64 rounds,
                     i64 limit) {
    i64 wrong = 0;
    Joint s = {.t = t, .e = e, .sh = sh, .sw = sw, .top = top, .left = left, .h = h, .w = w, .rgb = rgb, .known = known,
               .exact = {exact1, exact2}, .x = {x1, x2}, .unit = luma_unit(t), .runs = calloc(RUNS, sizeof(Run)),
               .states = malloc(sizeof(State) * BEAM * (size_t)sw), .alive = malloc((size_t)sw),
               .pool = calloc(1, sizeof(Pool)), .seen = malloc(sizeof(Seen) * BEAM * (SECONDS + FIRSTS))};
    Wrong found = {.of = &s, .count = count_both, .search = search_both};
    if (!wrong_open(&found, sh, sw, e) || !s.runs || !s.states || !s.alive || !s.pool || !s.seen) { wrong = -1; goto done; }
    for (int v = 0; v < 256; v++) s.one[v].bits[v >> 6] = (u64)1 << (v & 63);
    wrong = wrong_in(&found, 0, sh * e->rows.by);
    for (i64 round = 0; wrong && round < rounds; round++) {
        i64 last = wrong;
        s.again = round > 0;
        wrong = search_again(&found, round, 1, round & 1 ? 12 : 5);
        if (wrong > limit || (round && wrong + wrong / 32 >= last)) break;
    }
done:
    free(s.runs);
    free(s.states);
    free(s.alive);
    free(s.pool);
    free(s.seen);
    free(found.bad);
    return wrong;
}
