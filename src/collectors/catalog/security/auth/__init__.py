"""Bounded, vectorised state of sign-in attempts by key: hashing, an index of keys, sliding windows."""
