"""The definition of every operation, in plain NumPy: short, slow and written to be read."""
