"""The device role: what a DSM scanner does, from reading pages to sending them."""
