/* Turns a JSON array of numbers into raw floats, in one pass. For a large tensor in JSON this is most of the work.
 *
 * Each number becomes the nearest double, ties to even. FP32 is this double, rounded once more. The bits are the same as
 * those that Python gives. Digits up to 2^53 and powers of ten up to 10^22 are exact as doubles, and IEEE 754 rounds
 * their quotient once. For up to 19 digits the quotient is computed with twice the precision. If the rounding is still
 * not certain, and for rare notations, the C library's strtod reads the number.
 *
 * This file uses no Python: `native_numbers.py` loads it with ctypes. So any C compiler can build it, and other threads
 * run while it works.
 */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "expected a little-endian machine: tensors are little-endian, and eight digits are read at once as such"
#endif
#if FLT_EVAL_METHOD != 0
#error "expected FLT_EVAL_METHOD 0: each operation on doubles must round to a double"
#endif

#define EVERY(byte) (UINT64_C(0x0101010101010101) * (byte))

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
static const uint64_t EXACT = UINT64_C(1) << 53;
enum { EXACT_POWER = 22, MOST_POWER = 4 * EXACT_POWER, MOST_DIGITS = 19, LONGEST = 400 };

/* A number as written, without its sign: digits * 10^-power. If `count` is above MOST_DIGITS, `digits` has overflowed. */
struct written {
    uint64_t digits;
    ptrdiff_t count, power;
};

static int is_digit(char byte) { return byte >= '0' && byte <= '9'; }

/* The value of eight digits, the first one in the lowest byte: joins digits to pairs, pairs to fours, fours to eight. */
static uint64_t eight(uint64_t digits) {
    digits = (digits * 10 + (digits >> 8)) & UINT64_C(0x00ff00ff00ff00ff);
    digits = (digits * 100 + (digits >> 16)) & UINT64_C(0x0000ffff0000ffff);
    return (digits * 10000 + (digits >> 32)) & UINT64_C(0xffffffff);
}

/* Append the digits from `at` on to `value`; returns the place behind them. The last few are read one by one: the
 * processor predicts how many there are, and begins the next number before this one is done. */
static inline const char *append(const char *at, const char *end, uint64_t *value) {
    uint64_t sum = *value;
    for (; end - at >= 8 && is_digit(at[4]); at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        word ^= EVERY('0');
        if ((((word & EVERY(0x7f)) + EVERY(0x76)) | word) & EVERY(0x80)) break;
        sum = sum * 100000000 + eight(word);
    }
    for (; is_digit(*at); at++) sum = sum * 10 + (uint64_t)(*at - '0');
    *value = sum;
    return at;
}

/* digits / 10^power, computed in two doubles and rounded once; returns 0 if the rounding is not certain. The remainder
 * of each quotient is exact, so the error stays below 2^-98 of the result. */
static int divided(uint64_t digits, ptrdiff_t power, double *result) {
    double high = (double)digits;
    double low = (double)(int64_t)(digits - (uint64_t)high);
    for (; power > 0; power -= EXACT_POWER) {
        double ten = TENS[power < EXACT_POWER ? power : EXACT_POWER], whole = high;
        high = whole / ten;
        low = (fma(-high, ten, whole) + low) / ten;
    }
    double lost = high * 0x1p-98;
    *result = high + (low - lost);
    return *result == high + (low + lost);
}

/* Read a number that has an exponent, or more digits than a double. `first` is its first digit, `at` is behind its last
 * one. Returns the place behind the number; NULL if it is not a number, or not finite. */
static const char *rare(const char *first, const char *at, const char *end, struct written *it, double *result) {
    const char *start = first;
    if (it->count > LONGEST) return NULL;
    if (*at == 'e' || *at == 'E') {
        int below = at[1] == '-';
        const char *from = at + 1 + (below || at[1] == '+');
        uint64_t exponent = 0;
        at = append(from, end, &exponent);
        if (at == from || at - from > 4) return NULL;
        it->power += below ? (ptrdiff_t)exponent : -(ptrdiff_t)exponent;
    }
    for (; it->count > MOST_DIGITS && (*first == '0' || *first == '.'); first++) it->count -= *first == '0';
    int known = it->count <= MOST_DIGITS;
    if (known && it->digits < EXACT && it->power < 0 && it->power >= -EXACT_POWER) {
        *result = (double)it->digits * TENS[-it->power];
    } else if (!known || it->power < 0 || it->power > MOST_POWER || !divided(it->digits, it->power, result)) {
        char *stop;
        *result = strtod(start, &stop);
        if (stop != at) return NULL; /* the locale has another decimal point */
    }
    return isinf(*result) ? NULL : at;
}

/* Read one number (RFC 8259); returns the place behind it, or NULL as `rare` does. */
static inline const char *number(const char *at, const char *end, double *result) {
    struct written it = {0};
    int negative = *at == '-';
    if (negative) at++;
    const char *first = at;
    if (*at == '0') at++;
    else if ((at = append(at, end, &it.digits)) == first) return NULL;
    it.count = at - first;
    if (*at == '.') {
        const char *fraction = ++at;
        if ((at = append(at, end, &it.digits)) == fraction) return NULL;
        it.power = at - fraction;
        it.count += it.power;
    }
    if (it.count <= MOST_DIGITS && it.digits < EXACT && (*at | 0x20) != 'e') {
        *result = (double)(int64_t)it.digits / TENS[it.power];
    } else if ((at = rare(first, at, end, &it, result)) == NULL) {
        return NULL;
    }
    if (negative) *result = -*result; /* "-0" is -0.0, as Go and JavaScript write it */
    return at;
}

static const char *behind_space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
    return at;
}

/* Returns 1 if text[start:end] holds exactly `count` numbers with commas between them, all within the range of their
 * type, and writes them to `out` as doubles or floats; else 0. text[end] is the first "]", so reading stops there. */
int hub_numbers(const char *text, size_t start, size_t end, size_t count, int doubles, void *out) {
    const char *at = text + start, *last = text + end;
    for (size_t index = 0; index < count; index++) {
        double value;
        at = number(behind_space(at), last, &value);
        if (at == NULL) return 0;
        if (doubles) {
            ((double *)out)[index] = value;
        } else if (isinf(((float *)out)[index] = (float)value)) {
            return 0;
        }
        if (*at != ',') at = behind_space(at);
        if (*at != ',') return at == last && index + 1 == count;
        at++;
    }
    return 0;
}
