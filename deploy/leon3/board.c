/* LEON3: the first serial port, and what a compiler expects to be there without a C library. */
#include <stddef.h>
#include <stdint.h>

/* APBUART: data, status, control. */
#define UART ((volatile uint32_t *)0x80000100U)
enum { DATA = 0, STATUS = 1, CONTROL = 2, HOLD_EMPTY = 1 << 2, RECEIVE_AND_SEND = 3 };

void board_put(char character);
void *memcpy(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);

void board_put(char character)
{
    UART[CONTROL] = RECEIVE_AND_SEND;
    while (!(UART[STATUS] & HOLD_EMPTY))
        ;
    UART[DATA] = (uint8_t)character;
}

/* Or the compiler would see what the loops do, and call the very functions. */
#define AS_WRITTEN __attribute__((optimize("no-tree-loop-distribute-patterns")))

AS_WRITTEN void *memcpy(void *to, const void *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}

AS_WRITTEN void *memset(void *to, int value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)to)[i] = (uint8_t)value;
    return to;
}
