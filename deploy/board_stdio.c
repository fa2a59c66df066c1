/* The board of targets with a C library, on an operating system or on a debugger's semihosting. */
#include <stdio.h>

void board_put(char character);

void board_put(char character)
{
    putchar(character);
}
