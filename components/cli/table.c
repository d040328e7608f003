/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-bus: verbs, options and what its manual says about them. */
#include "bench/bench.h"
#include "cli/table.h"

/* clang-format off */
static const struct verb_entry verbs[VERB_COUNT + 1] = {
    [VERB_PUB] = {"pub", "TOPIC [TEXT|-]", "publish a message, or every line of stdin", 1, 2,
     "Without TEXT, or with -, the message is read from stdin, byte for byte. Exits 0 only when\n"
     "the broker has acknowledged everything. With --json prints one object at the end:\n"
     "published, acknowledged, refused, seconds, rate.\n"
     "\n"
     "--ack delivered waits, --timeout at most, until each reader the broker had for a message\n"
     "says that its application took it: exit 7 with the name of each that is silent, 8 where\n"
     "there was none. Where the rule stores, these are all that have a durable reader, which may\n"
     "come meanwhile. --ack signed wants that signed, for 'aico-keytool receipt'. With --json a\n"
     "line {\"receipt\": {id, topic, receiver, time or error}} each, and receipts in the counts.\n"
     "\n"
     "--outbox writes each message to state/NAME/outbox.db in the home, sealed, before it counts\n"
     "as taken, and works without a broker: what could not be sent is sent, in order and once, by\n"
     "the next pub --outbox of this component. Without TEXT, and with an empty stdin and --lines,\n"
     "it sends only that."},
    [VERB_SUB] = {"sub", "FILTER...", "print messages as they come", 1, -1,
     "Prints `TOPIC SENDER PAYLOAD`, a line each; control characters are escaped. In a filter *\n"
     "stands for one level and ** for any number of trailing levels. '$bus/presence/*' shows who\n"
     "comes and goes. Messages that will not come are reported on stderr, or with --json as\n"
     "{\"gap\":{\"topic\",\"count\",\"cause\"}} on stdout; those that did not open likewise.\n"
     "\n"
     "--json prints {\"topic\",\"sender\",\"seq\",\"time\",\"payload\"}, or \"payload_base64\"\n"
     "where it is not UTF-8, and \"headers\" where there are any; time is in ms since 1970.\n"
     "\n"
     "--durable and --since read what the broker has stored (rules with `store`) and go on with\n"
     "what comes; --json then adds \"number\", \"attempt\" and \"stored\". A message is acknowledged\n"
     "when it was written to stdout, and comes again, as attempt 2, if that was not heard.\n"
     "\n"
     "Exits 0 when --count messages came, 7 when --for ended before, 9 when it did and messages\n"
     "did not open; without --count the end of --for is exit 0."},
    [VERB_REQUEST] = {"request", "TOPIC [TEXT|-]", "ask whoever serves TOPIC and print the reply", 1, 2,
     "Without TEXT the question is empty; with - it is read from stdin. Exits 8 at once when\n"
     "nobody serves TOPIC."},
    [VERB_REPLY] = {"reply", "TOPIC", "answer requests with a command or an echo", 1, 1,
     "--exec runs CMD with sh -c for each request: the question on its stdin, AICO_TOPIC and\n"
     "AICO_SENDER in its environment, its stdout is the reply whatever its exit status is. It\n"
     "is killed, and nothing replied, when it takes longer than --timeout (60s) or writes more\n"
     "than 16 MiB. --json prints each question, as sub does, once it is answered."},
    [VERB_DOCTOR] = {"doctor", "", "what is wrong here, and the command that repairs it", 0, 0,
     "Looks at home, modes, settings, registry, keys, limits, rules, clock and broker, as the\n"
     "component --as NAME would use them, and prints for each finding its cause and a line for\n"
     "sh that repairs it. Changes nothing itself. Exits 0 without errors, else with the status\n"
     "of the first one. --json prints {\"level\",\"check\",\"subject\",\"code\",\"cause\",\n"
     "\"repair\",\"for_owner\"} for each."},
    [VERB_STATUS] = {"status", "", "what the broker has done so far", 0, 0, NULL},
    [VERB_PEERS] = {"peers", "[FILTER]", "who is connected (role admin)", 0, 1, NULL},
    [VERB_TOPICS] = {"topics", "[FILTER]", "topics seen by the broker (role admin)", 0, 1, NULL},
    [VERB_TOP] = {"top", "", "what happens now: components, topics, slow readers, losses (role admin)", 0, 0,
     "On a terminal a screen that is refreshed every --interval. Keys: q ends; Tab, or 1 to 4,\n"
     "turns to another view; < and > sort by another column, r the other way round; arrows and\n"
     "page keys scroll; space refreshes at once, ^L draws the screen anew. When the broker is\n"
     "away it says so and waits for it.\n"
     "\n"
     "Elsewhere, or with --once, it prints its tables once: the rates are those of one\n"
     "--interval. --json prints one object: time, seconds, status, peers, topics, slow, losses;\n"
     "--count N of them."},
    [VERB_STREAM_LIST] = {"stream list", "", "what the broker stores (role admin)", 0, 0, NULL},
    [VERB_STREAM_SHOW] = {"stream show", "FILTER", "one stream, its readers and dead letters (role admin)", 1, 1,
     "FILTER is that of the rule that stores, as `stream list` shows it."},
    [VERB_STREAM_PURGE] = {"stream purge", "FILTER", "delete what one stream holds (role admin)", 1, 1,
     "With --up-to only messages up to that number."},
    [VERB_STREAM_FORGET] = {"stream forget", "NAME", "forget how far our durable reader NAME is, or with --queue a group's", 1, 1, NULL},
    [VERB_PING] = {"ping", "[NAME]", "round trip to the broker or a component", 0, 1,
     "To a component the round trip goes through an end-to-end channel. --count times, 3 if not\n"
     "given."},
    [VERB_BENCH] = {"bench", "throughput|fanout|rtt|latency|loaded|stored|connect|idle", "how fast the bus is here", 1, 1,
     "throughput: publishers to readers as fast as it goes; fanout: the same with 8 readers;\n"
     "rtt: one message there and back; latency: one way at --rate; loaded: rtt while two others\n"
     "send as fast as it goes; stored: acknowledged when it is on disk; connect: connections\n"
     "opened and closed; idle: memory of the broker per connection. Everything runs in\n"
     "processes of its own, in a temporary home with a broker of its own unless --broker names\n"
     "one; that one's home has to have the identities bench-p1.. (publishers), bench-r1..\n"
     "(readers) and a rule for bench/**.\n"
     "\n"
     "Every message carries a number and a check: a run that lost, doubled or changed one says\n"
     "so and exits 1. CPU seconds count user and system time of all threads, per million\n"
     "messages sent. Latencies count from the time at which a message was due.\n"
     "\n"
     "--json prints one object: messages_per_s, deliveries_per_s, lost, doubled, corrupted,\n"
     "p50_us, p90_us, p99_us, p999_us, max_us, cpu_s_per_million, cpu, sealed, others and what\n"
     "was asked."},
    [VERB_KICK] = {"kick", "NAME [REASON]", "end the session of a component (role admin)", 1, 2,
     "The component is told E_KICKED and the reason, and ends; whoever starts it again may come\n"
     "back. To keep a component out, its owner revokes it: aico-keytool revoke NAME."},
    [VERB_LEDGER] = {"ledger", "", "what became of every message, and whether it adds up (role admin)", 0, 0,
     "By sender and rule what was published and refused; by reader besides what was delivered,\n"
     "dropped for which cause, or waits. WAY is topic, or for one component direct, request or\n"
     "reply; control is the bus's own. A request is answered, or not for a cause. Exits 1 when\n"
     "the books do not balance."},
    [VERB_RELOAD] = {"reload", "", "make the broker read its configuration again (role admin)", 0, 0,
     "Prints each changed key: applied, or when it will be. Exits 3 when the files are wrong:\n"
     "then each mistake is named and nothing was changed."},
    [VERB_DRAIN] = {"drain", "", "make the broker deliver what it holds and end (role admin)", 0, 0,
     "Nobody can connect or publish any more, everybody is told E_DRAIN. Ends when the broker has\n"
     "said goodbye."},
};
/* clang-format on */

static const struct option_entry options[] = {
    {OPTION_LINES, "pub", "lines", 0, NULL, "each line of stdin, without its newline, is a message",
     "Messages", false},
    {OPTION_CHUNK, "pub", "chunk", 0, "SIZE", "each SIZE bytes of stdin (64KiB, 1M) are a message",
     "Messages", false},
    {OPTION_HEADER, "pub", "header", 0, "K=V", "a header, sealed with the message; repeatable",
     "Messages", false},
    {OPTION_TO, "pub", "to", 0, "NAME", "only this component receives it", "Messages", false},
    {OPTION_MAILBOX, "pub", "mailbox", 0, NULL,
     "with --to: it is stored for that component while it is away, also with another --ack than\n"
     "stored",
     "Messages", false},
    {OPTION_TTL, "pub", "ttl", 0, "TIME",
     "void when it has not reached its readers by then: 500ms, 10s, 2m", "Messages", false},
    {OPTION_RETAIN, "pub", "retain", 0, NULL,
     "it is the value of TOPIC: who subscribes later gets it while this runs (--for)", "Messages",
     false},
    {OPTION_FOR, "pub", "for", 0, "TIME",
     "with --retain: stay that long, to give the value to who subscribes later", "Messages", false},
    {OPTION_ACK, "pub", "ack", 0, "accepted|stored|delivered|signed",
     "what to wait for: the broker has it, has stored it, each reader says so, or signs it",
     "Messages", false},
    {OPTION_RECEIPT, "pub", "receipt", 0, "FILE",
     "with --ack signed: write the receipts here instead of to stdout", "Messages", false},
    {OPTION_LEDGER, "pub,sub,request,reply", "ledger", 0, "FILE",
     "at the end write what became of each message, for 'ledger --with'", "Messages", false},
    {OPTION_WITH, "ledger", "with", 0, "FILE",
     "hold the books of pub, sub, request or reply --ledger against the broker's; repeatable", NULL,
     false},
    {OPTION_OUTBOX, "pub", "outbox", 0, NULL,
     "keep what was taken in a file until the broker has answered; send what is left there first",
     "Messages", false},
    {OPTION_OUTBOX_LIMIT, "pub", "outbox-limit", 0, "SIZE",
     "with --outbox: what the file may hold (64MiB)", "Messages", false},
    {OPTION_COUNT, "pub", "count", 'n', "N",
     "publish TEXT N times, or the first N messages of stdin", "Messages", false},
    {OPTION_COUNT, "sub", "count", 'n', "N", "end after N messages", "Messages", false},
    {OPTION_COUNT, "reply", "count", 'n', "N", "end after N replies", "Messages", false},
    {OPTION_COUNT, "ping", "count", 'n', "N", "ping N times", "Messages", false},
    {OPTION_INTERVAL, "ping", "interval", 0, "TIME", "from one to the next (1ms)", "Messages",
     false},
    {OPTION_ONCE, "top", "once", 0, NULL, "print the tables and end", NULL, false},
    {OPTION_COUNT, "top", "count", 'n', "N", "end after N refreshes", NULL, false},
    {OPTION_INTERVAL, "top", "interval", 0, "TIME", "from one refresh to the next (1s)", NULL,
     false},
    {OPTION_VIEW, "top", "view", 0, "peers|topics|slow|losses", "begin with this one, or only it",
     NULL, false},
    {OPTION_SORT, "top", "sort", 0, "COLUMN", "by this column, named as in the table: waiting",
     NULL, false},
    {OPTION_FOR, "sub", "for", 0, "TIME", "end after this time: 500ms, 10s, 2m", "Messages", false},
    {OPTION_SLOW, "sub", "slow", 0, "drop-old|drop-new|block|disconnect", "when we are too slow",
     "Messages", false},
    {OPTION_DURABLE, "sub", "durable", 0, "NAME",
     "stored messages, each once: the broker keeps how far NAME is", "Messages", false},
    {OPTION_SINCE, "sub", "since", 0, "TIME|all",
     "stored messages from then on: all, last, new, 10m ago, 2026-11-28T12:00:00Z, or seq:N",
     "Messages", false},
    {OPTION_UP_TO, "stream purge", "up-to", 0, "N", "messages up to this number", NULL, false},
    {OPTION_QUEUE, "sub", "queue", 0, "GROUP",
     "each message goes to one of all who subscribe under this name; with --durable they share\n"
     "its place in what is stored",
     "Messages", false},
    {OPTION_QUEUE, "stream forget", "queue", 0, "GROUP", "the reader NAME of this queue group",
     NULL, false},
    {OPTION_WILL, "pub,sub,reply", "will", 0, "TOPIC=TEXT",
     "the broker publishes this if we end without goodbye", "Messages", false},
    {OPTION_EXEC, "reply", "exec", 0, "CMD", "the reply is what this command prints", "Messages",
     false},
    {OPTION_ECHO, "reply", "echo", 0, NULL, "the reply is the question", "Messages", false},
    {OPTION_PUBLISH, "doctor", "publish", 0, "TOPIC",
     "the component wants to publish there; repeatable", "Rules", false},
    {OPTION_SUBSCRIBE, "doctor", "subscribe", 0, "FILTER", "... to subscribe to it; repeatable",
     "Rules", false},
    {OPTION_RAW, "sub,request", "raw", 0, NULL,
     "payloads as they are; sub adds a newline to each, request nothing", "Output", false},
    {OPTION_WIRE, "sub", "wire", 0, NULL,
     "also what the broker saw of each message: size and first bytes", "Output", false},
    {CONNECT_JSON, NULL, "json", 0, NULL, "one JSON object a line on stdout", "Output", false},
    {CONNECT_VERBOSE, NULL, "verbose", 'v', NULL, "say more on stderr", "Output", false},
    {CONNECT_QUIET, NULL, "quiet", 'q', NULL, "only errors on stderr", "Output", false},
    {CONNECT_READY_FD, "sub,reply", "ready-fd", 0, "N",
     "for scripts: writes a byte to descriptor N when the subscriptions are live", "Output", false},
    {OPTION_BENCH + BENCH_OPTION_SIZE, "bench", "size", 0, "SIZE", "of a message: 64, 1KiB, 16MiB",
     "Work", false},
    {OPTION_BENCH + BENCH_OPTION_COUNT, "bench", "count", 'n', "N",
     "messages of all publishers together; connections of connect and idle", "Work", false},
    {OPTION_BENCH + BENCH_OPTION_PUBLISHERS, "bench", "publishers", 0, "N", "so many send", "Work",
     false},
    {OPTION_BENCH + BENCH_OPTION_READERS, "bench", "readers", 0, "N", "so many receive, each all",
     "Work", false},
    {OPTION_BENCH + BENCH_OPTION_IDLE, "bench", "idle", 0, "N",
     "so many further connections do nothing", "Work", false},
    {OPTION_BENCH + BENCH_OPTION_TOPICS, "bench", "topics", 0, "N",
     "of each publisher, in turn (1)", "Work", false},
    {OPTION_BENCH + BENCH_OPTION_FILTERS, "bench", "filters", 0, "N",
     "of each reader, all but one match nothing (1)", "Work", false},
    {OPTION_BENCH + BENCH_OPTION_RATE, "bench", "rate", 0, "N",
     "latency: messages a second of all publishers together", "Work", false},
    {OPTION_SEAL, "bench", "seal", 0, "group|channel|none", "of the topics' rule", "Work", false},
    {OPTION_BENCH + BENCH_OPTION_PLACE, "bench", "place", 0, "kernel|one|broker",
     "one: all on one core; broker: a core of its own for the broker", "Work", false},
    {OPTION_LINK, "bench", "link", 0, "ipc|tcp", "tcp on the loopback", "Work", false},
    {OPTION_IO_THREADS, "bench", "io-threads", 0, "N", "of the broker (1)", "Work", false},
    {OPTION_BUSY_POLL, "bench", "busy-poll", 0, "US",
     "who waits asks so many microseconds before it sleeps (0)", "Work", false},
    {OPTION_BUSY_BROKER, "bench", "busy-broker", 0, "US", "the same of the broker (0)", "Work",
     false},
    {OPTION_SVG, "bench", "svg", 0, "FILE",
     "latency: a picture of seven rates, each twice the one before, up to --rate", "Output", false},
    CONNECT_OPTION_ENTRIES,
    {0},
};

static const struct manual_part parts[] = {
    {"Exit status",
     "0 done, 1 error, 2 usage, 3 configuration, 4 denied by a rule, 5 identity or trust,\n"
     "6 broker not reachable, 7 timeout, 8 no responder, 9 a message did not open, 10 full,\n"
     "128+n ended by signal n."},
    CONNECT_MANUAL_PARTS,
    {"Examples", "  aico-bus --as cli sub 'logs/**'\n"
                 "  aico-bus --as cli pub logs/app/v1 'hello'\n"
                 "  aico-bus --as cli request logs/query/v1 '{\"text\":\"hello\"}'"},
    {0},
};

const struct program cli_program = {
    .name = "aico-bus",
    .section = '1',
    .summary = "publish, subscribe, ask and look around on an AICO Bus",
    .verbs = verbs,
    .options = options,
    .parts = parts,
};
