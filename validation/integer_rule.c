/* The queue length of qtheory/sizing/integer_rule.py, which says what it means, in C. */

#include <stdint.h>

#define BILLION 1000000000LL

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t doublings(int64_t n)
{
    int64_t log = 0;

    while (n >>= 1)
        log++;
    return log;
}

static int64_t root(int64_t n)
{
    int64_t low = 0, bit;

    for (bit = 1LL << 31; bit; bit >>= 1)
        if ((low + bit) <= n / (low + bit))
            low += bit;
    return low;
}

/* e^(budget/latency - 4.6), at most `top` */
static int64_t at_once(int64_t tenths, int64_t top)
{
    if (tenths < 46)
        return 0;
    if ((tenths - 46) / 7 > doublings(top))
        return top;
    return least((1LL << (tenths - 46) / 7) * (7 + (tenths - 46) % 7) / 7, top);
}

static int64_t drained_at(int64_t c, int64_t flow, int64_t spread, int64_t log)
{
    int64_t r = most(flow - c * (6 + 7 * doublings(c) + 5 / c), 0);
    int64_t zz = (24 + 2 * log) * (24 + 2 * log);

    return most(10 * c + r + zz / 20 -
                root(zz * (r + 10 * spread) / 10 + zz * zz / 400 + 100 * (16 + 3 * log) * c * c), 0) / 10;
}

/* budget_ns 0: none; smallest and largest ring: those of the mean where all are alike */
int64_t queue_length(int64_t rings, int64_t disks, int64_t devices, int64_t latency_ns, int64_t rate, int64_t budget_ns,
                     int64_t smallest, int64_t largest)
{
    int64_t used = least(most((rate * latency_ns + BILLION - 1) / BILLION, 1), rings);
    int64_t c = most(used / devices, 1), extra = rings - disks * smallest, apart = largest - smallest;
    int64_t need = used + root(used) / 3, drained = rings;

    if (devices > 1)
        need = (19 * used + 19) / 20 + 57 * root(smallest) * (devices - 1) / (3 * root(smallest) + 28 + 2 * c) + 3 +
               extra;
    if (budget_ns) {
        int64_t flow = rate * budget_ns / (BILLION / 10);
        int64_t parallel = at_once(10 * budget_ns / latency_ns, used);
        int64_t deep = apart ? most(devices * extra / (disks * apart), 1) : devices;

        drained = least(most(drained_at(c, flow / devices, 0, 0), least(parallel, c)), rings);
        if (deep > 1) {
            int64_t log = doublings(deep), left = largest, each = 0, uneven;

            for (int round = 0; round < 2; round++) {
                each = drained_at(c, flow / devices, left * (deep - 1) / deep, log);
                left = most(largest - each, 0);
            }
            uneven = least(most(flow * deep / devices / (46 + 7 * log) - deep, 0), rings);
            drained = most(deep * each + (devices - deep) * most(each - apart, 0),
                           root(drained * drained + uneven * uneven));
        }
        if (parallel < used)
            drained = least(drained, parallel);
    }
    return most(least(least(need, drained), rings), 1);
}
