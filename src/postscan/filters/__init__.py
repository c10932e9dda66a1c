"""One module a destination or a processing step; the filter contract; file naming."""
