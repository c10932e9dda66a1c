"""Who people are and which scan processes they may use."""
