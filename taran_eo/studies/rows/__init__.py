"""Ways to train one network of classified pictures, each a row of a table: compared by seed and picture."""
