/* Which instruction sets this processor and its system have. A library of its own, which runs on any of them. */
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Which registers the system saves: asked for by an instruction that older compilers give no name without a flag. */
static uint64_t saved(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has(uint32_t flags, uint32_t wanted) { return (flags & wanted) == wanted; }
#endif

/* How many of the sets of build.py this processor has, from the narrowest on; each includes those before it. */
__attribute__((visibility("default"))) int lgcodec_processor(void) {
#if defined(__x86_64__)
    uint32_t a, b, c, d, features, wide;
    if (!__get_cpuid(1, &a, &b, &features, &d) || !has(features, bit_SSE4_2 | bit_POPCNT)) return 0;
    if (!has(features, bit_OSXSAVE | bit_AVX | bit_FMA | bit_MOVBE) || !__get_cpuid_count(7, 0, &a, &wide, &c, &d)) return 1;
    uint64_t registers = saved();
    if ((registers & 6) != 6 || !has(wide, bit_AVX2 | bit_BMI | bit_BMI2)) return 1;
    if ((registers & 0xe6) != 0xe6 || !has(wide, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL)) return 2;
    return has(c, 1u << 11) ? 4 : 3; /* AVX512_VNNI */
#else
    return 1;
#endif
}
