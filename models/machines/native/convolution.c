/* Integer convolutions (layers/convolution.py): a layer over the window around each position. A window's rows lie side by side
 * in the padded image, so products read them there.
 */
#include "native.h"

enum { BLOCK = 96 }; /* positions of a row that are computed together */

/* a [N][H][W][I], out [N][H][W][outputs]: whole numbers in float32. The layer's inputs are `size` windows' rows, each of size * I
 * numbers and rounded up to pairs. padded: int16, [H + 2 r][W + 2 r][I] and SLACK; sums: [BLOCK][the layer's outputs].
 */
EXPORT int lgcodec_convolve(const float *a, const int64_t *shape, const Layers *layer, int64_t size, int64_t outputs, float *out,
                            int16_t *padded, int32_t *sums) {
    const int64_t N = shape[0], H = shape[1], W = shape[2], I = shape[3], r = size / 2, width = W + 2 * r;
    if (outputs > layer->outputs || layer->pairs != (size * I + 1) / 2 * size) return WRONG_SIZES;
    memset(padded, 0, (size_t)((H + 2 * r) * width * I + SLACK) * sizeof *padded);
    for (int64_t n = 0; n < N; n++) {
        for (int64_t y = 0; y < H; y++) {
            const float *from = a + (n * H + y) * W * I;
            int16_t *to = padded + ((y + r) * width + r) * I;
            for (int64_t i = 0; i < W * I; i++) to[i] = (int16_t)from[i];
        }
        for (int64_t y = 0; y < H; y++)
            for (int64_t x = 0; x < W; x += BLOCK) {
                int64_t count = W - x < BLOCK ? W - x : BLOCK;
                multiply_windows(padded + (y * width + x) * I, I, size, width * I, layer, sums, count);
                activate_wide(sums, layer, 0, sums, layer->outputs, count);
                float *to = out + ((n * H + y) * W + x) * outputs;
                for (int64_t j = 0; j < count; j++)
                    for (int64_t o = 0; o < outputs; o++) to[j * outputs + o] = (float)sums[j * layer->outputs + o];
            }
    }
    return FINE;
}
