/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of durations, HDR-style: buckets grow with the value, so that every percentile is known to
 * better than 1 % from nanoseconds to hours in fixed memory. No allocation, no locking: one writer.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7 /* 128 buckets a power of two */
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
/* Adds all of @from to @to. */
void histogram_merge(struct histogram *to, const struct histogram *from);
/* The value that the part @quantile (0..1) does not exceed; 0 of an empty one. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

#endif
