/* SPDX-License-Identifier: Apache-2.0 */
/* A run as a table for people and as one JSON object. */
#include <inttypes.h>

#include "bench/bench.h"

bool bench_result_is_whole(const struct bench_result *r)
{
    return r->lost + r->doubled + r->corrupted == 0;
}

static double quantile_us(const struct bench_result *r, double quantile)
{
    return (double)histogram_quantile(&r->latency, quantile) / 1000;
}

static double per_second(uint64_t count, const struct bench_result *r)
{
    return r->seconds > 0 ? (double)count / r->seconds : 0;
}

/* CPU seconds per million messages sent. */
static double per_million(double cpu_s, const struct bench_result *r)
{
    return r->sent > 0 ? cpu_s * 1e6 / (double)r->sent : 0;
}

static double all_cpu(const struct bench_result *r)
{
    return r->publisher.cpu_s + r->broker.cpu_s + r->reader.cpu_s;
}

static double per_message(uint64_t count, const struct bench_result *r)
{
    return r->sent > 0 ? (double)count / (double)r->sent : 0;
}

static void print_latency_json(const struct bench_result *r, FILE *to)
{
    (void)fprintf(
        to, ",\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f",
        quantile_us(r, 0.5), quantile_us(r, 0.9), quantile_us(r, 0.99), quantile_us(r, 0.999),
        (double)r->latency.max / 1000);
}

static void print_use_json(const struct bench_result *r, FILE *to)
{
    (void)fprintf(to,
                  ",\"cpu_s_per_million\":%.3f,\"cpu\":{\"publisher\":%.3f,\"reader\":%.3f,"
                  "\"broker\":",
                  per_million(all_cpu(r), r), per_million(r->publisher.cpu_s, r),
                  per_million(r->reader.cpu_s, r));
    if (r->has_broker)
        (void)fprintf(to, "%.3f}", per_million(r->broker.cpu_s, r));
    else
        (void)fputs("null}", to);
    (void)fprintf(to, ",\"switches_per_message\":{\"publisher\":%.3f,\"reader\":%.3f,\"broker\":",
                  per_message(r->publisher.switches, r), per_message(r->reader.switches, r));
    if (r->has_broker)
        (void)fprintf(to, "%.3f}", per_message(r->broker.switches, r));
    else
        (void)fputs("null}", to);
}

/* Names and texts come from our own tables: nothing needs escaping. */
void bench_print_json(const struct bench_plan *plan, const struct bench_label *label,
                      const struct bench_result *r, FILE *to)
{
    (void)fprintf(
        to,
        "{\"bench\":\"%s\",\"bus\":\"%s\",\"link\":\"%s\",\"place\":\"%s\",\"seal\":\"%s\","
        "\"sealed\":%s",
        bench_mode_name(plan->mode), label->bus, label->link, bench_place_name(plan->place),
        label->seal, r->delivered > 0 && r->sealed == r->delivered ? "true" : "false");
    (void)fprintf(to,
                  ",\"size\":%" PRIu64 ",\"count\":%" PRIu64 ",\"publishers\":%u,\"readers\":%u",
                  plan->size, plan->count, plan->publishers, plan->readers);
    (void)fprintf(to, ",\"topics\":%" PRIu64 ",\"filters\":%" PRIu64 ",\"idle\":%u", plan->topics,
                  plan->filters, plan->idle);
    if (plan->rate > 0)
        (void)fprintf(to, ",\"rate\":%" PRIu64, plan->rate);
    (void)fprintf(to, ",\"seconds\":%.6f,\"messages_per_s\":%.0f,\"deliveries_per_s\":%.0f",
                  r->seconds, per_second(r->sent, r), per_second(r->delivered, r));
    (void)fprintf(to, ",\"lost\":%" PRIu64 ",\"doubled\":%" PRIu64 ",\"corrupted\":%" PRIu64,
                  r->lost, r->doubled, r->corrupted);
    print_latency_json(r, to);
    print_use_json(r, to);
    if (plan->mode == BENCH_IDLE)
        (void)fprintf(to, ",\"bytes_per_connection\":%" PRIu64, r->memory_per_link);
    (void)fprintf(to, ",\"others\":%.3f}\n", r->others);
}

static void print_work(const struct bench_plan *plan, const struct bench_result *r, FILE *to)
{
    switch (plan->mode) {
    case BENCH_CONNECT:
        (void)fprintf(to, "  connections/s      %12.0f   %" PRIu64 " opened and closed\n",
                      per_second(r->sent, r), r->sent);
        return;
    case BENCH_IDLE:
        (void)fprintf(to,
                      "  bytes/connection   %12" PRIu64 "   resident in the broker, of %" PRIu64
                      " connections\n",
                      r->memory_per_link, r->sent);
        return;
    default:
        break;
    }
    (void)fprintf(to, "  messages/s         %12.0f   %" PRIu64 " of %" PRIu64 " bytes in %.3f s\n",
                  per_second(r->sent, r), r->sent, plan->size, r->seconds);
    (void)fprintf(to,
                  "  deliveries/s       %12.0f   %" PRIu64 ", lost %" PRIu64 ", doubled %" PRIu64
                  ", changed %" PRIu64 "\n",
                  per_second(r->delivered, r), r->delivered, r->lost, r->doubled, r->corrupted);
}

void bench_print_table(const struct bench_plan *plan, const struct bench_label *label,
                       const struct bench_result *r, FILE *to)
{
    static const struct {
        const char *name;
        double quantile;
    } rows[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};

    (void)fprintf(to, "%s %s: %s, seal %s, %u to %u, placed by %s\n", label->bus,
                  bench_mode_name(plan->mode), label->link, label->seal, plan->publishers,
                  plan->readers, bench_place_name(plan->place));
    print_work(plan, r, to);
    for (size_t i = 0; r->latency.count > 0 && i < sizeof(rows) / sizeof(rows[0]); i++)
        (void)fprintf(to, "  %-5s us           %12.1f\n", rows[i].name,
                      quantile_us(r, rows[i].quantile));
    (void)fprintf(to, "  CPU s per million  %12.3f   publisher %.3f, reader %.3f, ",
                  per_million(all_cpu(r), r), per_million(r->publisher.cpu_s, r),
                  per_million(r->reader.cpu_s, r));
    if (r->has_broker)
        (void)fprintf(to, "broker %.3f\n", per_million(r->broker.cpu_s, r));
    else
        (void)fputs("broker not ours\n", to);
    (void)fprintf(to, "  others took        %12.0f %% of the cores%s\n", r->others * 100,
                  r->others > 0.15 ? ": repeat it on a quiet machine" : "");
}
