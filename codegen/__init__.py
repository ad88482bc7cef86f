"""What is emitted: tables, the storage image and the fixed C runtime."""
