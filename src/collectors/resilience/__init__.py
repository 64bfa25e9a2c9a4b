"""What keeps trouble small: pure state machines that are told the time and never wait, sleep or do I/O."""
