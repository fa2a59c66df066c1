"""The downlink budget: where the satellite is, what a pass carries, and what reaches the ground, when and at what cost."""
