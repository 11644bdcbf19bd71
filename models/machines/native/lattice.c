/* The search of codec/origins/lattice.py for quantised coefficients. Nothing here decides bits: what is found is decoded and
 * compared before it is written. Sums have one order, whatever the width of vectors, so that all machines find the same.
 */
#include "native.h"

enum { SAMPLES = 64, SUMS = 16, BEST = 3 };

/* Sum of squares by which 64 samples are outside of least..most. */
INLINE float excess_of(const float *samples, const float *least, const float *most) {
    float sum[SUMS] = {0};
    for (int i = 0; i < SAMPLES; i += SUMS)
        for (int l = 0; l < SUMS; l++) {
            float below = least[i + l] - samples[i + l], above = samples[i + l] - most[i + l];
            float out = below > above ? below : above;
            out = out > 0 ? out : 0;
            sum[l] += out * out;
        }
    for (int half = SUMS / 2; half; half /= 2)
        for (int l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
}

INLINE void add(const float *a, const float *b, float *sum) {
    for (int i = 0; i < SAMPLES; i++) sum[i] = a[i] + b[i];
}

typedef struct {
    const float *shifts, *least, *most; /* [moves][64], [64], [64] */
    int moves;
    float cost[BEST];
    int32_t set[BEST];                  /* bits of moves */
} Block;

static void offer(Block *block, float cost, int32_t set) {
    int place = BEST;
    while (place && cost < block->cost[place - 1]) place--;
    for (int i = BEST - 1; i > place; i--) block->cost[i] = block->cost[i - 1], block->set[i] = block->set[i - 1];
    if (place < BEST) block->cost[place] = cost, block->set[place] = set;
}

/* All sets that hold `set`, whose samples are given, and up to `more` moves from `from` on. */
static void try_all(Block *block, const float *samples, int32_t set, int from, int more) {
    for (int move = from; move < block->moves; move++) {
        float moved[SAMPLES];
        add(samples, block->shifts + move * SAMPLES, moved);
        float cost = excess_of(moved, block->least, block->most);
        if (cost < block->cost[BEST - 1]) offer(block, cost, set | 1 << move);
        if (more > 1) try_all(block, moved, set | 1 << move, move + 1, more - 1);
    }
}

/* Of n blocks, the three sets of one to `most_moves` moves, as bits, that bring samples nearest to least..most, the best first.
 * samples, least, most: [n][64]. base [64][64]: what a coefficient of one adds. keys, amounts [n][moves]: moves add so much to
 * one coefficient. best: [n][3].
 */
EXPORT void lgcodec_lattice_moves(const float *samples, const float *least, const float *most, const float *base,
                                  const int32_t *keys, const float *amounts, int64_t n, int64_t moves, int64_t most_moves,
                                  int32_t *best) {
    enum { MOST_MOVES = 30 };
    float shifts[MOST_MOVES * SAMPLES];
    if (moves > MOST_MOVES) moves = MOST_MOVES;
    for (int64_t i = 0; i < n; i++, samples += SAMPLES, least += SAMPLES, most += SAMPLES) {
        for (int64_t k = 0; k < moves; k++)
            for (int s = 0; s < SAMPLES; s++)
                shifts[k * SAMPLES + s] = amounts[i * moves + k] * base[keys[i * moves + k] * SAMPLES + s];
        Block block = {.shifts = shifts, .least = least, .most = most, .moves = (int)moves};
        for (int k = 0; k < BEST; k++) block.cost[k] = 3e38f;
        try_all(&block, samples, 0, 0, (int)most_moves);
        memcpy(best + i * BEST, block.set, sizeof block.set);
    }
}
