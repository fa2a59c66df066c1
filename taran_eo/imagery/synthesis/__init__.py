"""The parts of a synthetic scene: noise by position, sea, clouds, shore and vessels.

Every part is a frozen value that paints itself on any block of the scene from absolute positions alone, so
that blocks join without a seam and a scene of any size can be rendered in bounded memory.
"""
