/* Threads of Python's that work on one thing together: all of them call the same function, with the same arguments and a
 * number each, and meet where one needs what the others have made.
 */
#ifndef LGCODEC_CREW_H
#define LGCODEC_CREW_H

#include "native.h"

enum { MOST_WORKERS = 32 };

typedef struct {
    int64_t workers;
    int32_t arrived, round; /* 0 at first: how many wait, and how often all have met */
} Crew;

/* Returns when all workers have called it. What a worker wrote before is there for the others after. */
void crew_meet(Crew *crew);

#endif
