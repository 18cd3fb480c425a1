"""What ``auto`` takes: operation -> backend, with the measurement behind each choice. `dlfast info` prints it."""

CHOICE: dict[str, str] = {}
