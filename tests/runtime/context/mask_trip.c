/* SPDX-License-Identifier: Apache-2.0 */
/* mask_trip.c - a switch in a program that is built for processors with AVX-512 */
#include "tests/runtime/context/mask_trip.h"

#include <immintrin.h>

void mask_trip(struct context *from, struct context *to, const int32_t in[16], int32_t out[16])
{
    __m512i before = _mm512_loadu_si512(in);
    __mmask16 mask = _mm512_test_epi32_mask(before, before);
    fm__context_switch(from, to, false);
    __m512i after = _mm512_loadu_si512(in);
    _mm512_storeu_si512(out, _mm512_mask_add_epi32(after, mask, after, _mm512_set1_epi32(1)));
}

void mask_spoil(void)
{
    __asm__ volatile("kxnorw %%k0, %%k0, %%k0\n\t"
                     "kxnorw %%k1, %%k1, %%k1" ::
                         : "k0", "k1");
}
