"""Pure decisions: no Trio, and no clock of their own. Time is an argument."""
