/* Runs golden vectors and tells whether every logit and every label is as it must be. */
#include "golden.h"
#include "model.h"

#ifndef REPLAY_RUNS
#define REPLAY_RUNS 1 /* of each vector; more only where it is counted what one run takes */
#endif

enum {
    LABELS = TARAN_LOGIT_ROWS * TARAN_LOGIT_COLS, /* one for each logit of a class */
    LOGITS = TARAN_CLASSES * LABELS
};

static int32_t logits[LOGITS];
static uint8_t labels[LABELS];

/* Writes a character to wherever the board's user reads; the board brings it. */
void board_put(char character);

static void put_text(const char *text)
{
    while (*text != '\0')
        board_put(*text++);
}

static void put_number(uint32_t number)
{
    if (number >= 10)
        put_number(number / 10);
    board_put((char)('0' + number % 10));
}

static void put_hexadecimal(uint32_t number)
{
    for (int32_t shift = 28; shift >= 0; shift -= 4)
        board_put("0123456789abcdef"[number >> shift & 15U]);
}

/* FNV-1a of the logits, each from its lowest byte on: the same on all machines. */
static uint32_t hash(void)
{
    uint32_t hash = 2166136261U;
    for (int32_t i = 0; i < LOGITS; i++)
        for (int32_t shift = 0; shift < 32; shift += 8)
            hash = (hash ^ ((uint32_t)logits[i] >> shift & 255U)) * 16777619U;
    return hash;
}

/* Returns how many logits and labels of a vector are wrong. */
static uint32_t replay(uint32_t vector, const char *again)
{
    const int32_t *expected = golden_logits[vector];
    uint32_t wrong_logits = 0, wrong_labels = 0;
    /* What is not written is wrong, whatever the run before has left. */
    for (int32_t i = 0; i < LOGITS; i++)
        logits[i] = ~expected[i];
    for (int32_t i = 0; i < LABELS; i++)
        labels[i] = expected[i] < TARAN_LIMIT;
    for (int32_t run = 0; run < REPLAY_RUNS; run++)
        taran_run(golden_pixels[vector], logits);
    taran_mask(logits, labels);
    for (int32_t i = 0; i < LOGITS; i++)
        wrong_logits += logits[i] != expected[i];
    for (int32_t i = 0; i < LABELS; i++)
        wrong_labels += labels[i] != (expected[i] >= TARAN_LIMIT);
    put_text("vector ");
    put_number(vector);
    put_text(again);
    put_text(": ");
    put_number(wrong_logits);
    put_text(" of ");
    put_number(LOGITS);
    put_text(" logits differ, ");
    put_number(wrong_labels);
    put_text(" of ");
    put_number(LABELS);
    put_text(" labels, FNV-1a 0x");
    put_hexadecimal(hash());
    put_text("\n");
    return wrong_logits + wrong_labels;
}

int main(void)
{
    uint32_t wrong = 0;
    for (uint32_t vector = 0; vector < GOLDEN_VECTORS; vector++)
        wrong += replay(vector, "");
    /* The first finds what the last left behind in memory. */
    wrong += replay(0, " again");
    put_text(wrong == 0 ? "replay: passed\n" : "replay: FAILED\n");
    return wrong != 0;
}
