"""One file a suite: see `dlfast.bench`."""
