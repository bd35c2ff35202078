"""One file per outside world. Translation only: no decision is taken here, and no edge knows another."""
