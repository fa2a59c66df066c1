"""taran_eo: on-board ship segmentation with minifloat networks.

The story, in the order of the data: ``imagery`` reads a scene window by window, ``graph`` is the frozen
program of integers that turns pixels into logits and that ``engines`` run bit for bit alike (or of float32, to
compare with, and then nearly so), the fastest of them in the C of ``c_runtime``; ``onboard`` joins the tiles into
ships and a mask, ``codec`` makes of them the bytes that go down. On the ground, ``nn`` and ``train`` (with torch)
make the graph, and ``formats`` says what every number in it means; ``bench`` measures how fast it runs, and ``export``
writes it for others, of whose processors ``target`` tells.
"""

__version__ = "0.1.0"
