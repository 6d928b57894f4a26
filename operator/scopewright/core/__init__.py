"""The decisions: plain values in, plans out. No I/O, no clock, no randomness here: those are arguments."""
