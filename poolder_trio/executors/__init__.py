"""Where functions run, if not in tasks of this Trio: a file for each place."""
