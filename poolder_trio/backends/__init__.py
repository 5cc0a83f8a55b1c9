"""Where a shared state is kept: a file for each place."""
