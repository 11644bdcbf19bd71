#include "crew.h"

#ifdef _WIN32
int __stdcall SwitchToThread(void);
INLINE void give_way(void) { SwitchToThread(); }
#else
#include <sched.h>
INLINE void give_way(void) { sched_yield(); }
#endif

enum { PATIENCE = 1 << 7 }; /* so often a worker looks before it lets others have the core: tens of microseconds */

INLINE void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void crew_meet(Crew *crew) {
    if (crew->workers == 1) return;
    int32_t round = __atomic_load_n(&crew->round, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&crew->arrived, 1, __ATOMIC_ACQ_REL) == crew->workers) {
        __atomic_store_n(&crew->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&crew->round, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int looks = 0; __atomic_load_n(&crew->round, __ATOMIC_ACQUIRE) == round; looks++)
        if (looks < PATIENCE)
            pause_a_little();
        else
            give_way();
}
