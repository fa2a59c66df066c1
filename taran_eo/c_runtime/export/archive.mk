# Loads the archive and replays its golden vectors. Made by taran_eo.
#
#     make replay                     builds for this machine, and runs here
#     make replay CC=... RUN=...      builds for another, and runs under an emulator

CC = cc
CFLAGS = -std=c99 -O2 -Wall -Wextra -Wconversion -pedantic -Werror $(ROOM)
MACHINE =
RUN =

OBJECTS = archive_replay.o taran_archive.o taran.o

.PHONY: all replay clean

all: archive_replay

# What is said is judged, not the exit status, which not every emulator hands on.
replay: archive_replay
	@$(RUN) ./archive_replay model.taran golden/pixels.u8 golden/logits.i32 $(VECTORS) $(ROWS) $(COLS) > replay.txt 2>&1; \
	cat replay.txt; grep -q '^replay: passed' replay.txt

clean:
	rm -f archive_replay $(OBJECTS) replay.txt

archive_replay: $(OBJECTS)
	$(CC) $(MACHINE) $(OBJECTS) -o $@

$(OBJECTS): taran.h taran_archive.h Makefile

%.o: %.c
	$(CC) $(CFLAGS) $(MACHINE) -c $< -o $@
