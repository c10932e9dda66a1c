"""What every room stands on: errors, the clock, logging. Imports nothing of the house."""
