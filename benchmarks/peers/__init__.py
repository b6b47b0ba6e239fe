"""Other libraries answering the same questions: one file a peer."""
