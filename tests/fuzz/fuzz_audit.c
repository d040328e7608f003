/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's audit log as somebody left it, and heads that others are said to have seen. Input:
 * u8 what, bytes.
 *
 *   what % 3   0 a whole log, 1 the lines after a right header, 2 the line of a head
 *   what & 4   1: a head of ours ends the log, made over what is there if that reads
 *
 * Whatever comes: no crash, nothing counted as whole or signed that is not there, and a log that
 * reads can be gone on with.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "trust/audit.h"

static struct identity *broker;

static void start(void)
{
    static const struct secret seed = {{9}};

    require(crypto_start() == 0);
    require(identity_new("broker", &seed, 0, &broker) == 0);
}

static struct bytes ns(void)
{
    return bytes_text("aico");
}

static void saw(void *context, const struct audit_head *head)
{
    (void)head;
    ++*(size_t *)context;
}

/* Reads @text from a block of its exact size. */
static int read_log(struct bytes text, struct audit_report *report)
{
    uint8_t *copy = copy_of(text);
    size_t heads = 0;
    int r = audit_read(bytes_of(copy, text.size), ns(), broker->public, saw, &heads, report, NULL);

    if (r == 0) {
        require(report->whole <= text.size);
        require(report->signed_entries <= report->chain.entries);
        require(heads > 0 || report->signed_entries == 0);
    }
    free(copy);
    return r;
}

/* Where writing would go on: one more entry and a head are read again. */
static void go_on(struct bytes text, struct audit_report *report)
{
    static const struct audit_entry entry = {
        .time_ms = 1763668800000, .kind = "began", .component = "", .address = "", .text = "x"};
    CLEANUP(buffer_deinit)
    struct buffer more = {0};
    struct audit_report again;
    uint64_t entries = report->chain.entries;

    require(buffer_append(&more, bytes_of(text.at, report->whole)) == 0);
    require(audit_add(&report->chain, &entry, &more) == 0);
    require(audit_sign(&report->chain, broker, 1763668800000, &more) == 0);
    require(read_log(buffer_view(&more), &again) == 0);
    require(again.whole == more.size && again.chain.entries == entries + 1);
    require(again.signed_entries == entries + 1);
}

static void try_log(struct bytes text)
{
    struct audit_report report;

    if (read_log(text, &report) == 0 && report.chain.entries < UINT32_MAX)
        go_on(text, &report);
}

static void try_lines(struct bytes lines, bool sign)
{
    static const uint8_t id[AUDIT_ID_SIZE] = {1}, previous[AUDIT_HASH_SIZE];
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct audit_chain chain;
    struct audit_report report;

    require(audit_begin(&chain, ns(), broker, id, previous, &text) == 0);
    require(buffer_append(&text, lines) == 0);
    if (sign && read_log(buffer_view(&text), &report) == 0) {
        text.size = report.whole;
        require(audit_sign(&report.chain, broker, 1763668800000, &text) == 0);
    }
    try_log(buffer_view(&text));
}

static void try_head(struct bytes line)
{
    uint8_t *copy = copy_of(line);
    struct audit_head head;

    if (audit_head_parse(bytes_of(copy, line.size), &head) == 0)
        (void)!audit_head_verify(&head, ns(), broker->public);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest;

    if (!broker)
        start();
    if (size == 0)
        return 0;
    rest = bytes_of(data + 1, size - 1);
    if (data[0] % 3 == 0)
        try_log(rest);
    else if (data[0] % 3 == 1)
        try_lines(rest, data[0] & 4);
    else
        try_head(rest);
    return 0;
}
