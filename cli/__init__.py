"""`meshlab`, the command line: thin commands over `lab` and the two engines. `main.py` says what there is."""
