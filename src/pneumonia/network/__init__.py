"""The network: how it is built, kept in a file and applied."""
