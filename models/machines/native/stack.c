/* The ANS stack: the words of machines/numpy/stack.py and of FORMAT.md. */
#include "stack.h"

void stack_open(Stack *stack) {
    stack->state = 0;
    stack_refill(stack);
    stack_refill(stack);
}

int stack_push(Stack *stack, const uint32_t *starts, const uint32_t *frequencies, int64_t n) {
    if (stack->room - stack->left < n + 2) return WRONG_SIZES;
    uint64_t state = stack->state;
    for (int64_t i = n - 1; i >= 0; i--) {
        uint64_t frequency = frequencies[i];
        if (frequency == 0) return WRONG_SIZES;
        if (state >> (64 - PRECISION) >= frequency) {
            stack->words[stack->left++] = (uint32_t)state;
            state >>= 32;
        }
        state = (state / frequency << PRECISION) + state % frequency + starts[i];
    }
    stack->state = state;
    return FINE;
}

EXPORT void lgcodec_open(Stack *stack) { stack_open(stack); }

EXPORT int lgcodec_push(Stack *stack, const uint32_t *starts, const uint32_t *frequencies, int64_t n) {
    return stack_push(stack, starts, frequencies, n);
}

/* Pops a symbol of each row of cdf [n][columns], columns at least 2. */
EXPORT int lgcodec_pop_rows(Stack *stack, const uint32_t *cdf, int64_t n, int64_t columns, int64_t *symbols) {
    if (columns < 2) return WRONG_SIZES;
    for (int64_t i = 0; i < n; i++, cdf += columns) {
        int64_t low = 0, high = columns - 1;
        while (high - low > 1) {
            int64_t middle = (low + high) / 2;
            if (cdf[middle] <= stack_point(stack)) low = middle;
            else high = middle;
        }
        symbols[i] = low;
        stack_pop(stack, cdf[low], cdf[high]);
    }
    return FINE;
}

/* The product of frequencies, as a mantissa and an exponent of two: 42 of them stay below 2**1024. Its logarithm is the
 * caller's, since log2 would ask for a glibc of 2019. */
EXPORT double lgcodec_product(const uint32_t *frequencies, int64_t n, int64_t *exponent) {
    enum { MANY = 42 };
    double product = 1;
    *exponent = 0;
    for (int64_t start = 0; start < n; start += MANY) {
        int shift;
        for (int64_t i = start; i < start + MANY && i < n; i++) product *= frequencies[i];
        product = frexp(product, &shift);
        *exponent += shift;
    }
    return product;
}
