! LEON3: trap table, start, and the two traps that a program without interrupts needs, which spill and fill register
! windows. A processor of 8 windows, of which one is always kept free; every other trap ends the program.

        .section .text.traps, "ax"
        .macro trap where
        ba      \where
        nop
        nop
        nop
        .endm

        .global _start
_start:
        trap    reset                   ! 0
        .rept   4
        trap    stop
        .endr
        trap    spill                   ! 5: window overflow
        trap    fill                    ! 6: window underflow
        .rept   249
        trap    stop
        .endr

stop:
        wr      %g0, 0xc0, %psr         ! without traps, one more stops the processor, and QEMU
        nop
        nop
        nop
        ta      0
1:      ba      1b
        nop

reset:
        set     _start, %g1
        wr      %g1, 0, %tbr
        wr      %g0, 2, %wim            ! window 1 is the free one
        wr      %g0, 0xe0, %psr         ! supervisor, traps, window 0
        nop
        nop
        nop
        set     bss_begin, %o0
        set     bss_end, %o1
1:      cmp     %o0, %o1
        bgeu    2f
        nop
        std     %g0, [%o0]              ! %g1 goes with it
        ba      1b
        add     %o0, 8, %o0
2:      set     stack_top - 96, %sp
        call    main
        clr     %fp
        ba      stop
        nop

spill:
        mov     %wim, %l3               ! the free window, one on:
        mov     %g1, %l7
        srl     %l3, 1, %g1
        sll     %l3, 7, %l4
        or      %l4, %g1, %g1
        save
        mov     %g1, %wim
        nop
        nop
        nop
        std     %l0, [%sp]
        std     %l2, [%sp + 8]
        std     %l4, [%sp + 16]
        std     %l6, [%sp + 24]
        std     %i0, [%sp + 32]
        std     %i2, [%sp + 40]
        std     %i4, [%sp + 48]
        std     %i6, [%sp + 56]
        restore
        mov     %l7, %g1
        jmp     %l1
        rett    %l2

fill:
        mov     %wim, %l3               ! the free window, one back
        sll     %l3, 1, %l4
        srl     %l3, 7, %l5
        or      %l5, %l4, %l5
        mov     %l5, %wim
        nop
        nop
        nop
        restore
        restore
        ldd     [%sp], %l0
        ldd     [%sp + 8], %l2
        ldd     [%sp + 16], %l4
        ldd     [%sp + 24], %l6
        ldd     [%sp + 32], %i0
        ldd     [%sp + 40], %i2
        ldd     [%sp + 48], %i4
        ldd     [%sp + 56], %i6
        save
        save
        jmp     %l1
        rett    %l2

        .section .note.GNU-stack, "", @progbits
