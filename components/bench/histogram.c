/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets: values below 2^7 one each, then 2^7 to every power of two. */
#include "bench/histogram.h"

static unsigned bucket_of(uint64_t value)
{
    unsigned shift;

    if (value < (uint64_t)1 << HISTOGRAM_SUB_BITS)
        return (unsigned)value;
    shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) +
           (unsigned)((value >> shift) & (((uint64_t)1 << HISTOGRAM_SUB_BITS) - 1));
}

/* The largest value that falls into @bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    unsigned group = bucket >> HISTOGRAM_SUB_BITS;
    uint64_t sub = bucket & ((1u << HISTOGRAM_SUB_BITS) - 1);

    if (group == 0)
        return sub;
    return ((((uint64_t)1 << HISTOGRAM_SUB_BITS) + sub) << (group - 1)) +
           ((uint64_t)1 << (group - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[bucket_of(value)]++;
    histogram->count++;
    if (value > histogram->max)
        histogram->max = value;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
    to->count += from->count;
    if (from->max > to->max)
        to->max = from->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    double exact = quantile * (double)histogram->count;
    uint64_t wanted = (uint64_t)exact, seen = 0;

    if (histogram->count == 0)
        return 0;
    if ((double)wanted < exact)
        wanted++;
    if (wanted == 0)
        wanted = 1;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted)
            return bucket_top(i) < histogram->max ? bucket_top(i) : histogram->max;
    }
    return histogram->max;
}
