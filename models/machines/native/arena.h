/* One block of memory, handed out piece by piece. A layout that is run with `at` 0 tells how large the block
 * must be, less ALIGNMENT: it may begin anywhere.
 */
#ifndef LGCODEC_ARENA_H
#define LGCODEC_ARENA_H

#include "native.h"

typedef struct {
    uintptr_t at;
} Arena;

enum { ALIGNMENT = 64 };

/* Room for `count` elements of `size` bytes, and for SLACK more behind and before them; on a cache line. */
INLINE void *take(Arena *arena, int64_t count, int64_t size) {
    const uintptr_t slack = 8 * SLACK;
    uintptr_t start = ((arena->at + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1)) + slack;
    arena->at = start + (uintptr_t)(count * size) + slack;
    return (void *)start;
}

#define TAKE(arena, type, count) ((type *)take(arena, count, sizeof(type)))

#endif
