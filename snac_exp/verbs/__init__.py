"""The verbs of `snac-exp VERB key=value …`: one file each, found by its name.

A verb's docstring is its help. `main(arguments)` gets the arguments after the verb and returns the exit status; it
imports torch, if at all, only once its configuration has passed.
"""
