"""How measures are taken of many texts at once: prose lines, words, repetition; C4's line rules."""
