"""A cluster API and a registry that real clients can use, embedded, in memory, on loopback only."""
