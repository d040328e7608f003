/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner: recursive descent, bounded in depth. Pure, any thread. */
#include "base/utf8.h"
#include "envelope/scan.h"

struct scan {
    struct reader r;
    const uint8_t *begin;
    bool canonical;
    struct scan_wanted *wanted;
    size_t wanted_count;
};

/* The extent of a number's parts. */
struct number {
    bool negative;
    struct bytes integer;
    struct bytes fraction;
    bool has_exponent;
};

static bool scan_value(struct scan *s, unsigned depth);

static int peek(const struct reader *r)
{
    return r->left > 0 ? r->at[0] : -1;
}

static bool take(struct reader *r, char c)
{
    if (peek(r) != (uint8_t)c)
        return false;
    (void)reader_u8(r);
    return true;
}

static void skip_space(struct scan *s)
{
    while (!s->canonical &&
           (take(&s->r, ' ') || take(&s->r, '\t') || take(&s->r, '\n') || take(&s->r, '\r')))
        ;
}

/* A comma or colon: one space behind it and none before is canonical. */
static bool take_separator(struct scan *s, char c)
{
    skip_space(s);
    if (!take(&s->r, c) || (s->canonical && !take(&s->r, ' ')))
        return false;
    skip_space(s);
    return true;
}

/* Four hexadecimal digits, or -1. */
static int32_t read_hex4(struct reader *r, bool canonical)
{
    struct bytes digits = reader_bytes(r, 4);
    int32_t code = 0;

    if (digits.size != 4)
        return -1;
    for (size_t i = 0; i < 4; i++) {
        uint8_t c = digits.at[i];

        if (c >= '0' && c <= '9')
            code = code << 4 | (c - '0');
        else if (c >= 'a' && c <= 'f')
            code = code << 4 | (c - 'a' + 10);
        else if (c >= 'A' && c <= 'F' && !canonical)
            code = code << 4 | (c - 'A' + 10);
        else
            return -1;
    }
    return code;
}

/* Whether Python's json.dumps() writes @code as itself or as a short escape, not as \uXXXX. */
static bool has_shorter_form(uint32_t code)
{
    return (code >= ' ' && code <= '~') || code == '\n' || code == '\r' || code == '\t' ||
           code == '\b' || code == '\f';
}

/* Behind "\u": one character, of two such escapes above U+FFFF. */
static bool read_unicode(struct reader *r, bool canonical, uint32_t *ret_code)
{
    int32_t high = read_hex4(r, canonical), low;

    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return false;
    *ret_code = (uint32_t)high;
    if (high < 0xd800 || high > 0xdfff)
        return !canonical || !has_shorter_form(*ret_code);
    if (!take(r, '\\') || !take(r, 'u'))
        return false;
    low = read_hex4(r, canonical);
    if (low < 0xdc00 || low > 0xdfff)
        return false;
    *ret_code = 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
    return true;
}

static bool read_escape(struct reader *r, bool canonical, uint32_t *ret_code)
{
    static const char names[] = "\"\\nrtbf/", codes[] = "\"\\\n\r\t\b\f/";
    uint8_t c = reader_u8(r);
    const char *name;

    if (c == 'u')
        return read_unicode(r, canonical, ret_code);
    name = c != 0 ? strchr(names, c) : NULL;
    if (!name || (c == '/' && canonical))
        return false;
    *ret_code = (uint8_t)codes[name - names];
    return true;
}

/* One character inside a string: 1, 0 for the closing quote, -1 for anything no string holds. */
static int read_character(struct reader *r, bool canonical, uint32_t *ret_code)
{
    size_t size;

    if (take(r, '"'))
        return 0;
    if (take(r, '\\'))
        return read_escape(r, canonical, ret_code) ? 1 : -1;
    size = utf8_next(bytes_of(r->at, r->left), ret_code);
    if (size == 0 || *ret_code < ' ' || (canonical && *ret_code > '~'))
        return -1;
    (void)reader_bytes(r, size);
    return 1;
}

static bool scan_string(struct scan *s)
{
    uint32_t code;
    int r;

    if (!take(&s->r, '"'))
        return false;
    while ((r = read_character(&s->r, s->canonical, &code)) > 0)
        ;
    return r == 0;
}

/* Both stand behind the opening quote of a string that was scanned before. */
static bool same_string(struct reader a, struct reader b)
{
    uint32_t code_a = 0, code_b = 0;
    int more_a, more_b;

    do {
        more_a = read_character(&a, false, &code_a);
        more_b = read_character(&b, false, &code_b);
        if (more_a != more_b || (more_a > 0 && code_a != code_b))
            return false;
    } while (more_a > 0);
    return true;
}

static bool is_name(struct reader key, const char *name)
{
    uint32_t code;

    while (read_character(&key, false, &code) > 0)
        if (*name == '\0' || code != (uint8_t)*name++)
            return false;
    return *name == '\0';
}

static struct bytes take_digits(struct reader *r)
{
    struct bytes digits = {r->at, 0};

    while (peek(r) >= '0' && peek(r) <= '9') {
        (void)reader_u8(r);
        digits.size++;
    }
    return digits;
}

static bool scan_number_parts(struct reader *r, struct number *n)
{
    n->negative = take(r, '-');
    n->integer = take_digits(r);
    if (n->integer.size == 0 || (n->integer.size > 1 && n->integer.at[0] == '0'))
        return false;
    if (take(r, '.')) {
        n->fraction = take_digits(r);
        if (n->fraction.size == 0)
            return false;
    }
    if (take(r, 'e') || take(r, 'E')) {
        n->has_exponent = true;
        if (!take(r, '+'))
            (void)take(r, '-');
        return take_digits(r).size > 0;
    }
    return true;
}

/* The numbers that Python reads and writes unchanged, as PROTOCOL 5.5 lists them. Up to 15
 * significant digits a double gives back what it was read from; below 0.0001 and from 10^16 Python
 * writes an exponent. */
static bool number_is_canonical(const struct number *n)
{
    bool zero = bytes_equal_text(n->integer, "0");
    size_t significant = zero ? 0 : n->integer.size, leading = 0;

    if (n->has_exponent)
        return false;
    if (n->fraction.size == 0)
        return n->integer.size <= SCAN_INTEGER_DIGITS_MAX && !(zero && n->negative);
    if (bytes_equal_text(n->fraction, "0"))
        return zero ? !n->negative : significant <= 15;
    if (n->fraction.at[n->fraction.size - 1] == '0')
        return false;
    while (zero && n->fraction.at[leading] == '0')
        leading++;
    return leading <= 3 && n->fraction.size <= 18 && significant + n->fraction.size - leading <= 15;
}

static bool scan_number(struct scan *s)
{
    struct number n = {0};

    return scan_number_parts(&s->r, &n) && (!s->canonical || number_is_canonical(&n));
}

static bool scan_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t size = strlen(words[i]);

        if (s->r.left >= size && memcmp(s->r.at, words[i], size) == 0) {
            (void)reader_bytes(&s->r, size);
            return true;
        }
    }
    return false;
}

static bool scan_array(struct scan *s, unsigned depth)
{
    if (!take(&s->r, '['))
        return false;
    skip_space(s);
    if (take(&s->r, ']'))
        return true;
    do {
        if (!scan_value(s, depth + 1))
            return false;
        skip_space(s);
        if (take(&s->r, ']'))
            return true;
    } while (take_separator(s, ','));
    return false;
}

static void remember(struct scan *s, struct reader key, struct bytes value)
{
    for (size_t i = 0; i < s->wanted_count; i++)
        if (is_name(key, s->wanted[i].name))
            s->wanted[i].value = value;
}

/* The keys of one object that were met so far, as offsets of their first characters. */
struct keys {
    uint16_t at[SCAN_MEMBERS_MAX];
    size_t count;
};

static bool add_key(const struct scan *s, struct keys *keys, struct reader key)
{
    if (keys->count == SCAN_MEMBERS_MAX)
        return false;
    for (size_t i = 0; i < keys->count; i++) {
        const uint8_t *other = s->begin + keys->at[i];

        if (same_string(reader_over(bytes_of(other, (size_t)(s->r.at - other))), key))
            return false;
    }
    keys->at[keys->count++] = (uint16_t)(key.at - s->begin);
    return true;
}

static bool scan_member(struct scan *s, struct keys *keys, unsigned depth)
{
    struct reader key = s->r;
    const uint8_t *value;

    if (!scan_string(s))
        return false;
    (void)reader_u8(&key);
    if (!add_key(s, keys, key) || !take_separator(s, ':'))
        return false;
    value = s->r.at;
    if (!scan_value(s, depth + 1))
        return false;
    if (depth == 0)
        remember(s, key, bytes_of(value, (size_t)(s->r.at - value)));
    return true;
}

static bool scan_object(struct scan *s, unsigned depth)
{
    struct keys keys;

    keys.count = 0;
    if (!take(&s->r, '{'))
        return false;
    skip_space(s);
    if (take(&s->r, '}'))
        return true;
    do {
        if (!scan_member(s, &keys, depth))
            return false;
        skip_space(s);
        if (take(&s->r, '}'))
            return true;
    } while (take_separator(s, ','));
    return false;
}

static bool scan_value(struct scan *s, unsigned depth)
{
    if (depth >= SCAN_DEPTH_MAX)
        return false;
    switch (peek(&s->r)) {
    case '{':
        return scan_object(s, depth);
    case '[':
        return scan_array(s, depth);
    case '"':
        return scan_string(s);
    case 't':
    case 'f':
    case 'n':
        return scan_word(s);
    default:
        return scan_number(s);
    }
}

bool scan_metadata(struct bytes text, bool canonical, struct scan_wanted *wanted, size_t count)
{
    struct scan s = {.r = reader_over(text),
                     .begin = text.at,
                     .canonical = canonical,
                     .wanted = wanted,
                     .wanted_count = count};

    if (text.size > SCAN_SIZE_MAX)
        return false;
    skip_space(&s);
    if (!scan_object(&s, 0))
        return false;
    skip_space(&s);
    return reader_done(&s.r);
}

bool scan_text(struct bytes value, uint8_t *to, size_t capacity, size_t *ret_size)
{
    struct reader r = reader_over(value);
    uint8_t character[4];
    size_t size = 0;
    uint32_t code;
    int more;

    if (!take(&r, '"'))
        return false;
    while ((more = read_character(&r, false, &code)) > 0) {
        size_t n = utf8_write(code, character);

        if (n > capacity - size)
            return false;
        bytes_copy(to + size, bytes_of(character, n));
        size += n;
    }
    if (more < 0)
        return false;
    *ret_size = size;
    return true;
}
