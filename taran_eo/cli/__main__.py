"""``python -m taran_eo.cli``, the same as ``taran-eo``."""

from taran_eo.cli import main

main()
