"""The messages as typed values, one namespace a module, and the published keyword sets. No I/O."""
