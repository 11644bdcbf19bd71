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
        if (state >> (64 - PRECISION) >= frequency) {
            stack->words[stack->left++] = (uint32_t)state;
            state >>= 32;
        }
        state = (state / frequency << PRECISION) + state % frequency + starts[i];
    }
    stack->state = state;
    return FINE;
}
