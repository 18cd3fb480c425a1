"""What both compiled backends stand on: the thread pool, the memory pool, and what the machine can do at best."""
