"""The way down and back: files, CFDP, space packets, transfer frames, channel coding, a lossy channel, and each undone.

Frames may be TM or AOS; whatever a channel makes of them, what is valid comes out and what is wrong is told by name.
"""
