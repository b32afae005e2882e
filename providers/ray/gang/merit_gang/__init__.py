"""Merit's gang driver: one command on N nodes of a Ray cluster, all or none. Shipped with each gang as a package by content."""
