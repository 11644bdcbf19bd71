/* The ANS stack's steps, inlined where symbols are found. Range ANS: 24-bit precision, 32-bit words, a 64-bit state. */
#ifndef LGCODEC_STACK_H
#define LGCODEC_STACK_H

#include "native.h"

enum { PRECISION = 24, TOTAL = 1 << PRECISION };

/* What the next symbol's share holds. */
INLINE int64_t stack_point(const Stack *stack) { return (int64_t)(stack->state & (TOTAL - 1)); }

/* Takes a word where the state is below 2**32. Without a branch, which a processor would often guess wrongly; an empty stack
 * has a word of room that is read in vain.
 */
INLINE void stack_refill(Stack *stack) {
    int wanted = (stack->state < ((uint64_t)1 << 32)) & (stack->left > 0);
    uint64_t word = stack->words[stack->left - (stack->left > 0)];
    stack->state = wanted ? stack->state << 32 | word : stack->state;
    stack->left -= wanted;
}

/* Pops the symbol whose share start .. end holds the point. */
INLINE void stack_pop(Stack *stack, int64_t start, int64_t end) {
    stack->state = (uint64_t)(end - start) * (stack->state >> PRECISION) + (uint64_t)(stack_point(stack) - start);
    stack_refill(stack);
}

#endif
