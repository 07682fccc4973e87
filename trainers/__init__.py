"""Trainers of word vectors: they make the files that `vecio` reads.

Here today: a skip-gram with sub-words and negative sampling on the CPU (`sgns`), the text that every Python
installation holds (`stdlib_text`), and the command `vecio demo` (`demo`), which puts the two together and draws a map
of the result (`projection`, `picture`).

What this package is not: it is no part of reading a file. `vecio` never imports it; it uses `vecio` only through its
public interface.
"""
