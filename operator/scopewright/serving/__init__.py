"""What the processes that serve HTTP share: workers, background tasks, counters, audit lines, replay memory."""
