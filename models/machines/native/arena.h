/* One block of memory, handed out piece by piece. A layout that is run with `at` 0 tells how large the block must be. */
#ifndef LGCODEC_ARENA_H
#define LGCODEC_ARENA_H

#include "native.h"

typedef struct {
    uintptr_t at;
} Arena;

/* Room for `count` elements of `size` bytes, and for SLACK more behind and before them; on a cache line. */
INLINE void *take(Arena *arena, int64_t count, int64_t size) {
    const uintptr_t slack = 64 * SLACK / 8;
    uintptr_t start = ((arena->at + 63) & ~(uintptr_t)63) + slack;
    arena->at = start + (uintptr_t)(count * size) + slack;
    return (void *)start;
}

#define TAKE(arena, type, count) ((type *)take(arena, count, sizeof(type)))

#endif
