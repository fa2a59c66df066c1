"""The downlink budget: where satellites are, what contacts carry, what reaches the ground, when and at what cost.

`orbit`, `stations`, `passes`, `link` and `budget` are the physics. A `scenario` says what is asked; `simulate` lives
through it once for each of the `strategies`: images are taken (`acquisition`), wait on board and are sent (`queue`)
in the planned `contacts`, with what the wire adds (`overheads`). `results` and `folder` keep what came out.
"""
